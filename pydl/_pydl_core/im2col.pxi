cdef conv2d_shape patch_shape(tuple image_shape, tuple kernel_size, tuple stride, tuple padding, tuple dilation):
    cdef conv2d_shape s
    s.n, s.c, s.h, s.w = image_shape
    s.kh, s.kw = kernel_size
    s.stride_h, s.stride_w = stride
    s.pad_h, s.pad_w = padding
    s.dilation_h, s.dilation_w = dilation
    s.oh = (s.h + 2 * s.pad_h - s.dilation_h * (s.kh - 1) - 1) // s.stride_h + 1
    s.ow = (s.w + 2 * s.pad_w - s.dilation_w * (s.kw - 1) - 1) // s.stride_w + 1
    s.oc, s.groups, s.algorithm = 0, 1, 0
    return s


def im2col(x, kernel_size, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    x = contiguous(x)
    cdef conv2d_shape s = patch_shape(x.shape, kernel_size, stride, padding, dilation)
    cols = new_array((s.n, s.c * s.kh * s.kw, s.oh * s.ow), x.dtype)
    cdef int dtype = code_of(x), status
    cdef void *px = address(x)
    cdef void *pcols = address(cols)
    with nogil:
        status = pydl_im2col(dtype, &s, px, pcols)
    check(status, "im2col")
    return cols


def col2im(cols, image_shape, kernel_size, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    cols = contiguous(cols)
    cdef conv2d_shape s = patch_shape(image_shape, kernel_size, stride, padding, dilation)
    x = new_array(image_shape, cols.dtype)
    cdef int dtype = code_of(cols), status
    cdef void *pcols = address(cols)
    cdef void *px = address(x)
    with nogil:
        status = pydl_col2im(dtype, &s, pcols, px)
    check(status, "col2im")
    return x
