# cython: boundscheck=False, initializedcheck=False
"""The binding: every function takes checked arguments, allocates, releases the GIL and calls the C table."""

from operator import index
from time import perf_counter

import numpy
from numpy import empty as numpy_empty, ndarray

from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_STRIDED_RO, PyBuffer_FillInfo, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.pycapsule cimport PyCapsule_New

include "_pydl_core/program.pxi"
include "_pydl_core/functions_defined.pxi"

cdef extern from "pydl.h" nogil:
    ctypedef struct table "pydl_table":
        const char *isa
        double (*peak_f32)(idx rounds) noexcept nogil
        double (*peak_f64)(idx rounds) noexcept nogil

    const table *pydl_active()
    const void *pydl_get_api()

_C_API = PyCapsule_New(<void *>pydl_get_api(), "pydl._pydl_core._C_API", NULL)

cdef object FLOAT32 = numpy.dtype(numpy.float32)
cdef object FLOAT64 = numpy.dtype(numpy.float64)
cdef object INT32 = numpy.dtype(numpy.int32)
cdef object INT64 = numpy.dtype(numpy.int64)
cdef object BOOL = numpy.dtype(numpy.bool_)


# ---- memory ----
cdef enum:
    TINY = 8192


cdef class Block:
    """Memory from the caching allocator, given back when the last array that views it dies."""
    cdef void *data
    cdef Py_ssize_t size

    def __cinit__(self, Py_ssize_t size):
        self.size = size
        self.data = pydl_block_alloc(<size_t>size)
        if self.data == NULL:
            raise MemoryError(f"cannot allocate {size} bytes")

    def __dealloc__(self):
        pydl_block_free(self.data)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 0, flags)


cdef inline object new_array(tuple shape, object dtype):
    """An uninitialised C-contiguous array: from the caching allocator, or, which takes half the time, NumPy's own where it is tiny."""
    cdef Py_ssize_t size = dtype.itemsize
    cdef object extent
    for extent in shape:
        size *= <Py_ssize_t>extent
    if recorder != NULL:
        return (<Program>recorder).new(shape, dtype, size)
    return numpy_empty(shape, dtype) if size <= TINY else ndarray(shape, dtype, Block(size))


def empty(shape, dtype=FLOAT32):
    """An uninitialised C-contiguous array whose memory comes from, and returns to, the caching allocator."""
    try:
        sizes = tuple([index(extent) for extent in (shape if hasattr(shape, "__iter__") else (shape,))])
    except TypeError:
        raise TypeError(f"shape: expected an int or several, got {shape!r}") from None
    dtype = numpy.dtype(dtype)
    if dtype.hasobject:
        raise TypeError(f"dtype: expected one without Python objects, got {dtype}")
    size = dtype.itemsize
    for extent in sizes:
        if extent < 0:
            raise ValueError(f"shape: expected sizes of at least 0, got {sizes}")
        size *= extent
    if size > (1 << 46):
        raise MemoryError(f"cannot allocate {size} bytes")
    return new_array(sizes, dtype)


def empty_cache():
    """Give the memory that is kept for reuse back to the system."""
    pydl_cache_empty()


def memory_stats():
    """The caching allocator's counts, as a dict: cached, used and limit in bytes, hits and misses."""
    cdef cache_stats stats = pydl_cache_get_stats()
    return {"cached_bytes": stats.cached_bytes, "used_bytes": stats.used_bytes, "limit_bytes": stats.limit_bytes,
            "hits": stats.hits, "misses": stats.misses}


def set_cache_limit(size_t size):
    """Keep at most size bytes for reuse."""
    pydl_cache_set_limit(size)


# ---- instruction sets and threads ----
def isa():
    """The name of the instruction set in use."""
    return pydl_active().isa.decode()


def isas():
    """The names of the instruction sets that this CPU and build have, best first."""
    cdef list names = []
    cdef int i = 0
    while pydl_isas()[i] != NULL:
        names.append(pydl_isas()[i].decode())
        i += 1
    return names


def use_isa(str name):
    """Use the named instruction set; False if there is no such one here."""
    return bool(pydl_use_isa(name.encode()))


def get_winograd():
    return pydl_get_winograd() != 0


def set_winograd(bint on):
    pydl_set_winograd(on)


def get_num_threads():
    return pydl_get_num_threads()


def set_num_threads(int count):
    pydl_set_num_threads(count)


def get_scoped_threads():
    return pydl_get_scoped_threads()


def set_scoped_threads(int count):
    pydl_set_scoped_threads(count)


def default_num_threads():
    return pydl_default_num_threads()


def fma_peak(double seconds=0.05, dtype="float32"):
    """GFLOP/s of one thread doing nothing but multiply-adds in registers: the best of many short runs in that time."""
    cdef bint double_precision = numpy.dtype(dtype) == FLOAT64
    cdef idx rounds = 20000
    cdef double work, best = 0
    end = perf_counter() + seconds
    while perf_counter() < end:
        begin = perf_counter()
        with nogil:
            work = pydl_active().peak_f64(rounds) if double_precision else pydl_active().peak_f32(rounds)
        best = max(best, work / (perf_counter() - begin))
    return best / 1e9


# ---- what the kernels' bindings share ----
cdef inline int code_of_dtype(object dtype) except -1:
    return 0 if dtype is FLOAT32 else dtype.itemsize == 8


cdef inline int code_of(object array) except -1:
    return code_of_dtype(array.dtype)


cpdef object contiguous(object array):
    """The array itself if it is C-contiguous, else a copy."""
    if array is None or array.flags.c_contiguous:
        return array
    copy = new_array(array.shape, array.dtype)
    copy_into(copy, array)
    return copy


cdef inline void *start(object array, int flags) except? NULL:
    """Where an array's first element is. The caller keeps the array alive."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, flags)
    cdef void *data = view.buf
    PyBuffer_Release(&view)
    if recorder != NULL:
        (<Program>recorder).see(array, data)
    return data


cdef inline void *address(object array) except? NULL:
    """Where a C-contiguous array's data begin; NULL for None. The caller keeps the array alive."""
    return NULL if array is None else start(array, PyBUF_SIMPLE)


cdef inline void *flat_address(object array, list copies) except? NULL:
    """The same for an array of any strides: those of a C-contiguous copy, kept in the list, where it is not C-contiguous."""
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_STRIDED_RO)
    cdef void *data = view.buf
    cdef bint is_flat = PyBuffer_IsContiguous(&view, c'C')
    PyBuffer_Release(&view)
    if not is_flat:
        array = contiguous(array)
        copies.append(array)
        return address(array)
    if recorder != NULL:
        (<Program>recorder).see(array, data)
    return data


cdef inline void *strided_address(object array) except? NULL:
    """Where the first element of an array of any strides is. The caller keeps the array alive."""
    return start(array, PyBUF_STRIDED_RO)


cdef inline object integers64(object array):
    """Indices as a contiguous int64 array; an unsigned one beyond its range stays out of range."""
    if array.dtype is INT64:
        return contiguous(array)
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:
        array = numpy.minimum(array, 0x7fffffffffffffff)
    return contiguous(array.astype(INT64, copy=False))


cdef int check(int status, str kernel) except -1:
    if status == OK:
        return 0
    if status == BAD_INDEX:
        from pydl.kernels.shapes import BAD_INDEX as messages
        raise ValueError(messages[kernel])
    raise MemoryError(f"{kernel}: no scratch memory")


include "_pydl_core/matmul.pxi"
include "_pydl_core/linear.pxi"
include "_pydl_core/im2col.pxi"
include "_pydl_core/conv2d.pxi"
include "_pydl_core/activation.pxi"
include "_pydl_core/softmax.pxi"
include "_pydl_core/pool2d.pxi"
include "_pydl_core/batch_norm.pxi"
include "_pydl_core/layer_norm.pxi"
include "_pydl_core/lrn.pxi"
include "_pydl_core/concatenate.pxi"
include "_pydl_core/dropout.pxi"
include "_pydl_core/optimizer.pxi"
include "_pydl_core/linear_step.pxi"
include "_pydl_core/rnn.pxi"
include "_pydl_core/lstm.pxi"
include "_pydl_core/gru.pxi"
include "_pydl_core/embedding.pxi"
