from libc.stdlib cimport free, malloc

cdef idx product(tuple sizes) except -1:
    cdef idx total = 1
    for size in sizes:
        total *= <idx>size
    return total


cdef class Runs:
    """The widths and addresses of arrays that lie side by side along an axis."""
    cdef idx *widths
    cdef void **addresses

    def __cinit__(self, list arrays, int axis):
        cdef Py_ssize_t i, count = len(arrays)
        self.widths = <idx *>malloc(count * sizeof(idx))
        self.addresses = <void **>malloc(count * sizeof(void *))
        if self.widths == NULL or self.addresses == NULL:
            raise MemoryError(f"cannot list {count} arrays")
        for i in range(count):
            self.widths[i] = product(arrays[i].shape[axis:])
            self.addresses[i] = address(arrays[i])

    def __dealloc__(self):
        free(self.widths)
        free(self.addresses)


def concatenate_forward(*arrays, int axis):
    cdef list parts = [contiguous(a) for a in arrays]
    cdef Runs runs = Runs(parts, axis)
    cdef tuple shape = parts[0].shape
    y = new_array((*shape[:axis], sum([a.shape[axis] for a in parts]), *shape[axis + 1:]), parts[0].dtype)
    cdef int dtype = code_of(y), status
    cdef idx outer = product(shape[:axis]), count = len(parts)
    cdef void *py = address(y)
    with nogil:
        status = pydl_concatenate_forward(dtype, outer, count, runs.widths, <const void *const *>runs.addresses, py)
    check(status, "concatenate_forward")
    return y


def concatenate_backward(dy, sizes, *, int axis):
    dy = contiguous(dy)
    cdef tuple shape = dy.shape
    cdef list parts = [new_array((*shape[:axis], size, *shape[axis + 1:]), dy.dtype) for size in sizes]
    cdef Runs runs = Runs(parts, axis)
    cdef int dtype = code_of(dy), status
    cdef idx outer = product(shape[:axis]), count = len(parts)
    cdef void *pdy = address(dy)
    with nogil:
        status = pydl_concatenate_backward(dtype, outer, count, runs.widths, pdy, <void *const *>runs.addresses)
    check(status, "concatenate_backward")
    return tuple(parts)
