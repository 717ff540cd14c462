# The C API for Cython modules: `cimport pydl._pydl_core`.
from libc.stdint cimport int64_t

cdef extern from "pydl.h" nogil:
    ctypedef Py_ssize_t idx "pydl_idx"
    ctypedef int dtype_code "pydl_dtype"
    int OK "PYDL_OK"
    int NO_MEMORY "PYDL_NO_MEMORY"
    int BAD_INDEX "PYDL_BAD_INDEX"

    ctypedef struct conv2d_shape "pydl_conv2d_shape":
        idx n, c, h, w, oc, oh, ow, kh, kw
        idx stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups
        int algorithm

    ctypedef int weight_form "pydl_weight_form"
    int AS_GIVEN "PYDL_AS_GIVEN"

    ctypedef struct pool2d_shape "pydl_pool2d_shape":
        idx planes, h, w, oh, ow, kh, kw
        idx stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w

    ctypedef struct recurrent_shape "pydl_recurrent_shape":
        idx t, b, input "in", h
        int reverse
        const int64_t *lengths

    ctypedef struct strides "pydl_strides":
        idx row_stride, column_stride

    ctypedef struct cache_stats "pydl_cache_stats":
        size_t cached_bytes, used_bytes, limit_bytes
        unsigned long long hits, misses

    ctypedef struct table "pydl_table":
        const char *isa
        double (*peak_f32)(idx rounds) noexcept nogil
        double (*peak_f64)(idx rounds) noexcept nogil

    const table *pydl_active()
    const char *const *pydl_isas()
    int pydl_use_isa(const char *isa)
    int pydl_get_winograd()
    void pydl_set_winograd(int on)
    int pydl_get_num_threads()
    void pydl_set_num_threads(int count)
    int pydl_get_scoped_threads()
    void pydl_set_scoped_threads(int count)
    int pydl_default_num_threads()
    void *pydl_block_alloc(size_t size)
    void pydl_block_free(void *block)
    void pydl_cache_empty()
    void pydl_cache_set_limit(size_t size)
    cache_stats pydl_cache_get_stats()
