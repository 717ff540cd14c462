# cython: language_level=3, boundscheck=False, wraparound=False
"""pydl's kernels in a Cython module: cimported, called without the GIL, nothing linked."""

from libc.stdint cimport intptr_t
from pydl._pydl_core cimport ABI_VERSION, AS_GIVEN, F32, F64, OK, conv2d_shape, pydl_abi_version, pydl_conv2d_forward

if pydl_abi_version() != ABI_VERSION:
    raise ImportError("borrowed was compiled for another C interface of pydl: build it again")


cdef conv2d_shape valid(Py_ssize_t n, Py_ssize_t c, Py_ssize_t h, Py_ssize_t w, Py_ssize_t oc, Py_ssize_t kh,
                        Py_ssize_t kw) noexcept nogil:
    """A convolution without padding, stride 1."""
    cdef conv2d_shape s
    s.n, s.c, s.h, s.w, s.oc, s.kh, s.kw = n, c, h, w, oc, kh, kw
    s.oh, s.ow = h - kh + 1, w - kw + 1
    s.stride_h = s.stride_w = s.dilation_h = s.dilation_w = s.groups = 1
    s.pad_h = s.pad_w = 0
    s.algorithm = 0
    return s


def convolve(const float[:, :, :, ::1] x, const float[:, :, :, ::1] w, float[:, :, :, ::1] y):
    """x (N,C,H,W), w (OC,C,KH,KW) -> y (N,OC,H-KH+1,W-KW+1), all of at least one element."""
    cdef conv2d_shape s = valid(x.shape[0], x.shape[1], x.shape[2], x.shape[3], w.shape[0], w.shape[2], w.shape[3])
    cdef int status
    if w.shape[1] != s.c or (y.shape[0], y.shape[1], y.shape[2], y.shape[3]) != (s.n, s.oc, s.oh, s.ow):
        raise ValueError("convolve: the shapes do not fit")
    with nogil:
        status = pydl_conv2d_forward(F32, &s, &x[0, 0, 0, 0], &w[0, 0, 0, 0], NULL, NULL, 0, AS_GIVEN, &y[0, 0, 0, 0])
    if status != OK:
        raise MemoryError


cdef api int filter_line(double *line, intptr_t length, double *out, intptr_t out_length, void *weights) noexcept nogil:
    """What scipy.ndimage.generic_filter1d calls for each line; weights holds length - out_length + 1 numbers."""
    cdef conv2d_shape s = valid(1, 1, 1, length, 1, 1, length - out_length + 1)
    return pydl_conv2d_forward(F64, &s, line, weights, NULL, NULL, 0, AS_GIVEN, out) == OK
