def batch_norm_forward(x, weight=None, bias=None, residual=None, *, double eps, bint relu, out):
    x, weight, bias, residual = contiguous(x), contiguous(weight), contiguous(bias), contiguous(residual)
    cdef idx n = x.shape[0], c = x.shape[1], size = count_of(x.shape[2:])
    if out is None:
        out = new_array(x.shape, x.dtype)
    mean = new_array((c,), x.dtype)
    rstd = new_array((c,), x.dtype)
    cdef int dtype = code_of(x), status
    cdef void *px = address(x)
    cdef void *pw = address(weight)
    cdef void *pb = address(bias)
    cdef void *presidual = address(residual)
    cdef void *py = address(out)
    cdef void *pmean = address(mean)
    cdef void *prstd = address(rstd)
    with nogil:
        status = pydl_batch_norm_forward(dtype, n, c, size, eps, relu, px, pw, pb, presidual, py, pmean, prstd)
    check(status, "batch_norm_forward")
    return out, mean, rstd


def batch_norm_inference(x, mean, var, weight=None, bias=None, residual=None, *, double eps, bint relu, out):
    x, mean, var, weight = contiguous(x), contiguous(mean), contiguous(var), contiguous(weight)
    bias, residual = contiguous(bias), contiguous(residual)
    cdef idx n = x.shape[0], c = x.shape[1], size = count_of(x.shape[2:])
    if out is None:
        out = new_array(x.shape, x.dtype)
    cdef int dtype = code_of(x), status
    cdef void *px = address(x)
    cdef void *pmean = address(mean)
    cdef void *pvar = address(var)
    cdef void *pw = address(weight)
    cdef void *pb = address(bias)
    cdef void *presidual = address(residual)
    cdef void *py = address(out)
    with nogil:
        status = pydl_batch_norm_inference(dtype, n, c, size, eps, relu, px, pmean, pvar, pw, pb, presidual, py)
    check(status, "batch_norm_inference")
    return out


def batch_norm_backward(dy, x, mean, rstd, weight=None, y=None, *, bint training, bint residual):
    dy, x, mean, rstd, weight, y = contiguous(dy), contiguous(x), contiguous(mean), contiguous(rstd), contiguous(weight), contiguous(y)
    cdef idx n = x.shape[0], c = x.shape[1], size = count_of(x.shape[2:])
    dx = new_array(x.shape, x.dtype)
    dw = new_array((c,), x.dtype)
    db = new_array((c,), x.dtype)
    dresidual = new_array(x.shape, x.dtype) if residual else None
    cdef int dtype = code_of(x), status
    cdef void *pdy = address(dy)
    cdef void *px = address(x)
    cdef void *pmean = address(mean)
    cdef void *prstd = address(rstd)
    cdef void *pw = address(weight)
    cdef void *py = address(y)
    cdef void *pdx = address(dx)
    cdef void *pdw = address(dw)
    cdef void *pdb = address(db)
    cdef void *pdresidual = address(dresidual)
    with nogil:
        status = pydl_batch_norm_backward(dtype, n, c, size, training, pdy, px, pmean, prstd, pw, py, pdx, pdw, pdb,
                                          pdresidual)
    check(status, "batch_norm_backward")
    return (dx, dw, db, dresidual) if residual else (dx, dw, db)
