def embedding_forward(indices, weight):
    indices, weight = integers64(indices), contiguous(weight)
    cdef idx n = indices.size, rows = weight.shape[0], d = weight.shape[1]
    y = new_array(indices.shape + (d,), weight.dtype)
    cdef int dtype = code_of(weight), status
    cdef int64_t *pindices = <int64_t *>address(indices)
    cdef void *pweight = address(weight)
    cdef void *py = address(y)
    with nogil:
        status = pydl_embedding_forward(dtype, n, rows, d, pindices, pweight, py)
    check(status, "embedding_forward")
    return y


def embedding_backward(dy, indices, num_embeddings, *, padding_idx=None):
    dy, indices = contiguous(dy), integers64(indices)
    cdef idx n = indices.size, rows = num_embeddings, d = dy.shape[dy.ndim - 1]
    cdef int64_t padding = -1 if padding_idx is None else padding_idx
    dw = new_array((rows, d), dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef int64_t *pindices = <int64_t *>address(indices)
    cdef void *pdy = address(dy)
    cdef void *pdw = address(dw)
    with nogil:
        status = pydl_embedding_backward(dtype, n, rows, d, pdy, pindices, padding, pdw)
    check(status, "embedding_backward")
    return dw
