def local_response_norm_forward(x, idx size, *, double alpha, double beta, double k, bint save):
    x = contiguous(x)
    y = new_array(x.shape, x.dtype)
    scale = new_array(x.shape, x.dtype) if save else None
    cdef int dtype = code_of(x), status
    cdef idx n = x.shape[0], c = x.shape[1], inner = x.shape[2] * x.shape[3]
    cdef void *px = address(x)
    cdef void *py = address(y)
    cdef void *pscale = address(scale)
    with nogil:
        status = pydl_local_response_norm_forward(dtype, n, c, inner, size, alpha, beta, k, px, py, pscale)
    check(status, "local_response_norm_forward")
    return y, scale


def local_response_norm_backward(dy, x, scale, idx size, *, double alpha, double beta):
    dy, x, scale = contiguous(dy), contiguous(x), contiguous(scale)
    dx = new_array(x.shape, x.dtype)
    cdef int dtype = code_of(x), status
    cdef idx n = x.shape[0], c = x.shape[1], inner = x.shape[2] * x.shape[3]
    cdef void *pdy = address(dy)
    cdef void *px = address(x)
    cdef void *pscale = address(scale)
    cdef void *pdx = address(dx)
    with nogil:
        status = pydl_local_response_norm_backward(dtype, n, c, inner, size, alpha, beta, pdy, px, pscale, pdx)
    check(status, "local_response_norm_backward")
    return dx
