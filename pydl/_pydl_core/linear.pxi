def linear_forward(x, w, b=None, *, bint relu=False):
    x, w, b = contiguous(x), contiguous(w), contiguous(b)
    cdef idx n = x.shape[0], in_ = x.shape[1], out = w.shape[0]
    y = new_array((n, out), x.dtype)
    cdef int dtype = code_of(x), status
    cdef void *px = address(x)
    cdef void *pw = address(w)
    cdef void *pb = address(b)
    cdef void *py = address(y)
    with nogil:
        status = pydl_linear_forward(dtype, n, in_, out, px, pw, pb, relu, py)
    check(status, "linear_forward")
    return y


def linear_backward_input(dy, w):
    dy, w = contiguous(dy), contiguous(w)
    cdef idx n = dy.shape[0], in_ = w.shape[1], out = w.shape[0]
    dx = new_array((n, in_), dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef void *pdy = address(dy)
    cdef void *pw = address(w)
    cdef void *pdx = address(dx)
    with nogil:
        status = pydl_linear_backward_input(dtype, n, in_, out, pdy, pw, pdx)
    check(status, "linear_backward_input")
    return dx


def linear_backward_weight(dy, x):
    dy, x = contiguous(dy), contiguous(x)
    cdef idx n = dy.shape[0], in_ = x.shape[1], out = dy.shape[1]
    dw = new_array((out, in_), dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef void *pdy = address(dy)
    cdef void *px = address(x)
    cdef void *pdw = address(dw)
    with nogil:
        status = pydl_linear_backward_weight(dtype, n, in_, out, pdy, px, pdw)
    check(status, "linear_backward_weight")
    return dw


def linear_backward_bias(dy):
    dy = contiguous(dy)
    cdef idx n = dy.shape[0], out = dy.shape[1]
    db = new_array((out,), dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef void *pdy = address(dy)
    cdef void *pdb = address(db)
    with nogil:
        status = pydl_linear_backward_bias(dtype, n, out, pdy, pdb)
    check(status, "linear_backward_bias")
    return db
