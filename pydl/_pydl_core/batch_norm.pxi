def batch_norm_forward(x, weight=None, bias=None, residual=None, *, double eps, bint relu, out):
    cdef tuple shape = x.shape
    cdef object dtype = x.dtype
    cdef list copies = []
    cdef idx n = shape[0], c = shape[1], size = count_of(shape[2:])
    if out is None:
        out = new_array(shape, dtype)
    mean = new_array((c,), dtype)
    rstd = new_array((c,), dtype)
    cdef int code = code_of_dtype(dtype), status
    cdef void *px = flat_address(x, copies)
    cdef void *pw = flat_address(weight, copies)
    cdef void *pb = flat_address(bias, copies)
    cdef void *presidual = flat_address(residual, copies)
    cdef void *py = address(out)
    cdef void *pmean = address(mean)
    cdef void *prstd = address(rstd)
    with nogil:
        status = pydl_batch_norm_forward(code, n, c, size, eps, relu, px, pw, pb, presidual, py, pmean, prstd)
    check(status, "batch_norm_forward")
    return out, mean, rstd


def batch_norm_inference(x, mean, var, weight=None, bias=None, residual=None, *, double eps, bint relu, out):
    cdef tuple shape = x.shape
    cdef object dtype = x.dtype
    cdef list copies = []
    cdef idx n = shape[0], c = shape[1], size = count_of(shape[2:])
    if out is None:
        out = new_array(shape, dtype)
    cdef int code = code_of_dtype(dtype), status
    cdef void *px = flat_address(x, copies)
    cdef void *pmean = flat_address(mean, copies)
    cdef void *pvar = flat_address(var, copies)
    cdef void *pw = flat_address(weight, copies)
    cdef void *pb = flat_address(bias, copies)
    cdef void *presidual = flat_address(residual, copies)
    cdef void *py = address(out)
    with nogil:
        status = pydl_batch_norm_inference(code, n, c, size, eps, relu, px, pmean, pvar, pw, pb, presidual, py)
    check(status, "batch_norm_inference")
    return out


def batch_norm_backward(dy, x, mean, rstd, weight=None, y=None, *, bint training, bint residual, bias=None):
    cdef tuple shape = x.shape
    cdef object dtype = x.dtype
    cdef list copies = []
    cdef idx n = shape[0], c = shape[1], size = count_of(shape[2:])
    dx = new_array(shape, dtype)
    dw = new_array((c,), dtype)
    db = new_array((c,), dtype)
    dresidual = new_array(shape, dtype) if residual else None
    cdef int code = code_of_dtype(dtype), status
    cdef void *pdy = flat_address(dy, copies)
    cdef void *px = flat_address(x, copies)
    cdef void *pmean = flat_address(mean, copies)
    cdef void *prstd = flat_address(rstd, copies)
    cdef void *pw = flat_address(weight, copies)
    cdef void *pb = flat_address(bias, copies)
    cdef void *py = flat_address(y, copies)
    cdef void *pdx = address(dx)
    cdef void *pdw = address(dw)
    cdef void *pdb = address(db)
    cdef void *pdresidual = address(dresidual)
    with nogil:
        status = pydl_batch_norm_backward(code, n, c, size, training, pdy, px, pmean, prstd, pw, pb, py, pdx, pdw,
                                          pdb, pdresidual)
    check(status, "batch_norm_backward")
    return (dx, dw, db, dresidual) if residual else (dx, dw, db)
