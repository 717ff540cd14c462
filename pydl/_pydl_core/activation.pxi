ctypedef int (*forward_of)(dtype_code, idx, const void *, void *) noexcept nogil
ctypedef int (*backward_of)(dtype_code, idx, const void *, const void *, void *) noexcept nogil
ctypedef int (*forward_by)(dtype_code, idx, double, const void *, void *) noexcept nogil
ctypedef int (*backward_by)(dtype_code, idx, double, const void *, const void *, void *) noexcept nogil


cdef object elementwise_forward(forward_of function, str kernel, x, out):
    cdef list copies = []
    cdef object dtype = x.dtype
    if out is None:
        out = new_array(x.shape, dtype)
    cdef int code = code_of_dtype(dtype), status
    cdef idx n = x.size
    cdef void *px = flat_address(x, copies)
    cdef void *py = address(out)
    with nogil:
        status = function(code, n, px, py)
    check(status, kernel)
    return out


cdef object elementwise_backward(backward_of function, str kernel, dy, y, out):
    cdef list copies = []
    cdef object dtype = dy.dtype
    if out is None:
        out = new_array(dy.shape, dtype)
    cdef int code = code_of_dtype(dtype), status
    cdef idx n = dy.size
    cdef void *pdy = flat_address(dy, copies)
    cdef void *py = flat_address(y, copies)
    cdef void *pdx = address(out)
    with nogil:
        status = function(code, n, pdy, py, pdx)
    check(status, kernel)
    return out


cdef object parametric_forward(forward_by function, str kernel, double parameter, x, out):
    x = contiguous(x)
    if out is None:
        out = new_array(x.shape, x.dtype)
    cdef int dtype = code_of(x), status
    cdef idx n = x.size
    cdef void *px = address(x)
    cdef void *py = address(out)
    with nogil:
        status = function(dtype, n, parameter, px, py)
    check(status, kernel)
    return out


cdef object parametric_backward(backward_by function, str kernel, double parameter, dy, x, out):
    dy, x = contiguous(dy), contiguous(x)
    if out is None:
        out = new_array(dy.shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef idx n = dy.size
    cdef void *pdy = address(dy)
    cdef void *px = address(x)
    cdef void *pdx = address(out)
    with nogil:
        status = function(dtype, n, parameter, pdy, px, pdx)
    check(status, kernel)
    return out


def relu_forward(x, *, out=None):
    return elementwise_forward(pydl_relu_forward, "relu_forward", x, out)


def relu_backward(dy, y, *, out=None):
    return elementwise_backward(pydl_relu_backward, "relu_backward", dy, y, out)


def sigmoid_forward(x, *, out=None):
    return elementwise_forward(pydl_sigmoid_forward, "sigmoid_forward", x, out)


def sigmoid_backward(dy, y, *, out=None):
    return elementwise_backward(pydl_sigmoid_backward, "sigmoid_backward", dy, y, out)


def tanh_forward(x, *, out=None):
    return elementwise_forward(pydl_tanh_forward, "tanh_forward", x, out)


def tanh_backward(dy, y, *, out=None):
    return elementwise_backward(pydl_tanh_backward, "tanh_backward", dy, y, out)


def silu_forward(x, *, out=None):
    return elementwise_forward(pydl_silu_forward, "silu_forward", x, out)


def silu_backward(dy, x, *, out=None):
    return elementwise_backward(pydl_silu_backward, "silu_backward", dy, x, out)


def hardswish_forward(x, *, out=None):
    return elementwise_forward(pydl_hardswish_forward, "hardswish_forward", x, out)


def hardswish_backward(dy, x, *, out=None):
    return elementwise_backward(pydl_hardswish_backward, "hardswish_backward", dy, x, out)


def leaky_relu_forward(x, *, double negative_slope, out=None):
    return parametric_forward(pydl_leaky_relu_forward, "leaky_relu_forward", negative_slope, x, out)


def leaky_relu_backward(dy, x, *, double negative_slope, out=None):
    return parametric_backward(pydl_leaky_relu_backward, "leaky_relu_backward", negative_slope, dy, x, out)


def elu_forward(x, *, double alpha, out=None):
    return parametric_forward(pydl_elu_forward, "elu_forward", alpha, x, out)


def elu_backward(dy, x, *, double alpha, out=None):
    return parametric_backward(pydl_elu_backward, "elu_backward", alpha, dy, x, out)


def gelu_forward(x, *, str approximate, out=None):
    x = contiguous(x)
    if out is None:
        out = new_array(x.shape, x.dtype)
    cdef int by_tanh = approximate == "tanh"
    cdef int dtype = code_of(x), status
    cdef idx n = x.size
    cdef void *px = address(x)
    cdef void *pout = address(out)
    with nogil:
        status = pydl_gelu_forward(dtype, n, by_tanh, px, pout)
    check(status, "gelu_forward")
    return out


def gelu_backward(dy, x, *, str approximate, out=None):
    dy, x = contiguous(dy), contiguous(x)
    if out is None:
        out = new_array(dy.shape, dy.dtype)
    cdef int by_tanh = approximate == "tanh"
    cdef int dtype = code_of(dy), status
    cdef idx n = dy.size
    cdef void *pdy = address(dy)
    cdef void *px = address(x)
    cdef void *pout = address(out)
    with nogil:
        status = pydl_gelu_backward(dtype, n, by_tanh, pdy, px, pout)
    check(status, "gelu_backward")
    return out


def softplus_forward(x, *, double beta, double threshold, out=None):
    x = contiguous(x)
    if out is None:
        out = new_array(x.shape, x.dtype)
    cdef int dtype = code_of(x), status
    cdef idx n = x.size
    cdef void *px = address(x)
    cdef void *pout = address(out)
    with nogil:
        status = pydl_softplus_forward(dtype, n, beta, threshold, px, pout)
    check(status, "softplus_forward")
    return out


def softplus_backward(dy, x, *, double beta, double threshold, out=None):
    dy, x = contiguous(dy), contiguous(x)
    if out is None:
        out = new_array(dy.shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef idx n = dy.size
    cdef void *pdy = address(dy)
    cdef void *px = address(x)
    cdef void *pout = address(out)
    with nogil:
        status = pydl_softplus_backward(dtype, n, beta, threshold, pdy, px, pout)
    check(status, "softplus_backward")
    return out


def add_forward(a, b, *, bint relu, out=None):
    a, b = contiguous(a), contiguous(b)
    if out is None:
        out = new_array(a.shape, a.dtype)
    cdef int dtype = code_of(a), status
    cdef idx n = a.size
    cdef void *pa = address(a)
    cdef void *pb = address(b)
    cdef void *pout = address(out)
    with nogil:
        status = pydl_add_forward(dtype, n, relu, pa, pb, pout)
    check(status, "add_forward")
    return out
