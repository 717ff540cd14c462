def matmul(a, b, *, out=None):
    cdef int dtype = code_of(a)
    cdef Py_ssize_t size = 8 if dtype else 4
    cdef tuple a_shape = a.shape, b_shape = b.shape, a_steps = a.strides, b_steps = b.strides
    cdef bint batched = len(a_shape) == 3
    cdef idx batch = a_shape[0] if batched else 1, m = a_shape[-2], k = a_shape[-1], n = b_shape[-1]
    cdef strides a_strides = strides(a_steps[-2] // size, a_steps[-1] // size)
    cdef strides b_strides = strides(b_steps[-2] // size, b_steps[-1] // size)
    cdef idx a_batch = a_steps[0] // size if batched else 0, b_batch = b_steps[0] // size if batched else 0
    if out is None:
        out = new_array((*a_shape[:-1], n), a.dtype)
    cdef void *pa = strided_address(a)
    cdef void *pb = strided_address(b)
    cdef void *pc = address(out)
    cdef int status
    with nogil:
        status = pydl_matmul(dtype, batch, m, n, k, pa, a_strides, a_batch, pb, b_strides, b_batch, pc)
    check(status, "matmul")
    return out
