cdef extern from "pydl.h" nogil:
    int pydl_relu_forward(dtype_code dtype, idx n, const void *x, void *y)
    int pydl_relu_backward(dtype_code dtype, idx n, const void *dy, const void *y, void *dx)
    int pydl_sigmoid_forward(dtype_code dtype, idx n, const void *x, void *y)
    int pydl_sigmoid_backward(dtype_code dtype, idx n, const void *dy, const void *y, void *dx)
    int pydl_tanh_forward(dtype_code dtype, idx n, const void *x, void *y)
    int pydl_tanh_backward(dtype_code dtype, idx n, const void *dy, const void *y, void *dx)

ctypedef int (*forward_of)(dtype_code, idx, const void *, void *) noexcept nogil
ctypedef int (*backward_of)(dtype_code, idx, const void *, const void *, void *) noexcept nogil


cdef object elementwise_forward(forward_of function, str kernel, x, out):
    x = contiguous(x)
    if out is None:
        out = new_array(x.shape, x.dtype)
    cdef int dtype = code_of(x), status
    cdef idx n = x.size
    cdef void *px = address(x)
    cdef void *py = address(out)
    with nogil:
        status = function(dtype, n, px, py)
    check(status, kernel)
    return out


cdef object elementwise_backward(backward_of function, str kernel, dy, y, out):
    dy, y = contiguous(dy), contiguous(y)
    if out is None:
        out = new_array(dy.shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef idx n = dy.size
    cdef void *pdy = address(dy)
    cdef void *py = address(y)
    cdef void *pdx = address(out)
    with nogil:
        status = function(dtype, n, pdy, py, pdx)
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
