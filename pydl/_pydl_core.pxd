# The C API for Cython modules: `from pydl._pydl_core cimport pydl_conv2d_forward, conv2d_shape`. Compile with the folder
# pydl.get_include() among the include folders; nothing is linked.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cdef extern from "pydl.h" nogil:
    int ABI_VERSION "PYDL_ABI_VERSION"
    ctypedef Py_ssize_t idx "pydl_idx"
    ctypedef int dtype_code "pydl_dtype"
    int OK "PYDL_OK"
    dtype_code F32 "PYDL_F32"
    dtype_code F64 "PYDL_F64"
    int NO_MEMORY "PYDL_NO_MEMORY"
    int BAD_INDEX "PYDL_BAD_INDEX"

    ctypedef struct conv2d_shape "pydl_conv2d_shape":
        idx n, c, h, w, oc, oh, ow, kh, kw
        idx stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups
        int algorithm

    ctypedef int weight_form "pydl_weight_form"
    weight_form AS_GIVEN "PYDL_AS_GIVEN"

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

# Every kernel of kernels.def and every control function of pydl.h, by its C name.
include "_pydl_core/functions_declared.pxi"
