def dropout_forward(x, double p_drop, rng):
    cdef uint64_t key = int(rng.integers(0, 2**64, dtype=numpy.uint64))
    x = contiguous(x)
    y = new_array(x.shape, x.dtype)
    mask = new_array(x.shape, BOOL)
    cdef int dtype = code_of(x), status
    cdef idx n = x.size
    cdef void *px = address(x)
    cdef void *py = address(y)
    cdef uint8_t *pmask = <uint8_t *>address(mask)
    with nogil:
        status = pydl_dropout_forward(dtype, n, p_drop, key, px, py, pmask)
    check(status, "dropout_forward")
    return y, mask


def dropout_backward(dy, mask, double p_drop):
    dy, mask = contiguous(dy), contiguous(mask)
    dx = new_array(dy.shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef idx n = dy.size
    cdef void *pdy = address(dy)
    cdef uint8_t *pmask = <uint8_t *>address(mask)
    cdef void *pdx = address(dx)
    with nogil:
        status = pydl_dropout_backward(dtype, n, p_drop, pdy, pmask, pdx)
    check(status, "dropout_backward")
    return dx
