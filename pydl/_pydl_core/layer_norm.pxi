def layer_norm_forward(x, weight=None, bias=None, *, int normalized_ndim, double eps, out):
    x, weight, bias = contiguous(x), contiguous(weight), contiguous(bias)
    leading = x.shape[:x.ndim - normalized_ndim]
    cdef idx rows = count_of(leading), size = count_of(x.shape[x.ndim - normalized_ndim:])
    if out is None:
        out = new_array(x.shape, x.dtype)
    mean = new_array(leading, x.dtype)
    rstd = new_array(leading, x.dtype)
    cdef int dtype = code_of(x), status
    cdef void *px = address(x)
    cdef void *pw = address(weight)
    cdef void *pb = address(bias)
    cdef void *py = address(out)
    cdef void *pmean = address(mean)
    cdef void *prstd = address(rstd)
    with nogil:
        status = pydl_layer_norm_forward(dtype, rows, size, eps, px, pw, pb, py, pmean, prstd)
    check(status, "layer_norm_forward")
    return out, mean, rstd


def layer_norm_backward(dy, x, mean, rstd, weight=None):
    dy, x, mean, rstd, weight = contiguous(dy), contiguous(x), contiguous(mean), contiguous(rstd), contiguous(weight)
    tail = x.shape[mean.ndim:]
    cdef idx rows = mean.size, size = count_of(tail)
    dx = new_array(x.shape, x.dtype)
    dw = new_array(tail, x.dtype)
    db = new_array(tail, x.dtype)
    cdef int dtype = code_of(x), status
    cdef void *pdy = address(dy)
    cdef void *px = address(x)
    cdef void *pmean = address(mean)
    cdef void *prstd = address(rstd)
    cdef void *pw = address(weight)
    cdef void *pdx = address(dx)
    cdef void *pdw = address(dw)
    cdef void *pdb = address(db)
    with nogil:
        status = pydl_layer_norm_backward(dtype, rows, size, pdy, px, pmean, prstd, pw, pdx, pdw, pdb)
    check(status, "layer_norm_backward")
    return dx, dw, db
