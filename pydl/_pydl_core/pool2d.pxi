cdef pool2d_shape pooled(tuple x_shape, tuple kernel_size, tuple stride, tuple padding, tuple dilation, bint ceil_mode):
    from pydl.kernels.shapes import pool_positions
    cdef pool2d_shape s
    s.planes, s.h, s.w = x_shape[0] * x_shape[1], x_shape[2], x_shape[3]
    s.oh, s.ow = pool_positions(x_shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    s.kh, s.kw = kernel_size
    s.stride_h, s.stride_w = stride
    s.pad_h, s.pad_w = padding
    s.dilation_h, s.dilation_w = dilation
    return s


def max_pool2d_forward(x, kernel_size, *, stride, padding, dilation, ceil_mode, return_argmax):
    x = contiguous(x)
    cdef pool2d_shape s = pooled(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    y_shape = (x.shape[0], x.shape[1], s.oh, s.ow)
    y = new_array(y_shape, x.dtype)
    argmax = new_array(y_shape, INT32) if return_argmax else None
    cdef int dtype = code_of(x), status
    cdef void *px = address(x)
    cdef void *py = address(y)
    cdef int32_t *pargmax = <int32_t *>address(argmax)
    with nogil:
        status = pydl_max_pool2d_forward(dtype, &s, px, py, pargmax)
    check(status, "max_pool2d_forward")
    return y, argmax


def max_pool2d_backward(dy, argmax, x_shape):
    dy, argmax = contiguous(dy), contiguous(argmax)
    cdef idx planes = x_shape[0] * x_shape[1], out_size = dy.shape[2] * dy.shape[3], in_size = x_shape[2] * x_shape[3]
    dx = new_array(x_shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef void *pdy = address(dy)
    cdef int32_t *pargmax = <int32_t *>address(argmax)
    cdef void *pdx = address(dx)
    with nogil:
        status = pydl_max_pool2d_backward(dtype, planes, out_size, in_size, pdy, pargmax, pdx)
    check(status, "max_pool2d_backward")
    return dx


def avg_pool2d_forward(x, kernel_size, *, stride, padding, ceil_mode, bint count_include_pad):
    x = contiguous(x)
    cdef pool2d_shape s = pooled(x.shape, kernel_size, stride, padding, (1, 1), ceil_mode)
    y = new_array((x.shape[0], x.shape[1], s.oh, s.ow), x.dtype)
    cdef int dtype = code_of(x), status
    cdef void *px = address(x)
    cdef void *py = address(y)
    with nogil:
        status = pydl_avg_pool2d_forward(dtype, &s, count_include_pad, px, py)
    check(status, "avg_pool2d_forward")
    return y


def avg_pool2d_backward(dy, x_shape, kernel_size, *, stride, padding, ceil_mode, bint count_include_pad):
    dy = contiguous(dy)
    cdef pool2d_shape s = pooled(x_shape, kernel_size, stride, padding, (1, 1), ceil_mode)
    dx = new_array(x_shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef void *pdy = address(dy)
    cdef void *pdx = address(dx)
    with nogil:
        status = pydl_avg_pool2d_backward(dtype, &s, count_include_pad, pdy, pdx)
    check(status, "avg_pool2d_backward")
    return dx


def global_avg_pool2d_forward(x):
    x = contiguous(x)
    cdef idx planes = x.shape[0] * x.shape[1], size = x.shape[2] * x.shape[3]
    y = new_array(x.shape[:2], x.dtype)
    cdef int dtype = code_of(x), status
    cdef void *px = address(x)
    cdef void *py = address(y)
    with nogil:
        status = pydl_global_avg_pool2d_forward(dtype, planes, size, px, py)
    check(status, "global_avg_pool2d_forward")
    return y


def global_avg_pool2d_backward(dy, x_shape):
    dy = contiguous(dy)
    cdef idx planes = x_shape[0] * x_shape[1], size = x_shape[2] * x_shape[3]
    dx = new_array(x_shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef void *pdy = address(dy)
    cdef void *pdx = address(dx)
    with nogil:
        status = pydl_global_avg_pool2d_backward(dtype, planes, size, pdy, pdx)
    check(status, "global_avg_pool2d_backward")
    return dx


def adaptive_avg_pool2d_forward(x, output_size):
    x = contiguous(x)
    cdef idx planes = x.shape[0] * x.shape[1], h = x.shape[2], w = x.shape[3], oh = output_size[0], ow = output_size[1]
    y = new_array((x.shape[0], x.shape[1], oh, ow), x.dtype)
    cdef int dtype = code_of(x), status
    cdef void *px = address(x)
    cdef void *py = address(y)
    with nogil:
        status = pydl_adaptive_avg_pool2d_forward(dtype, planes, h, w, oh, ow, px, py)
    check(status, "adaptive_avg_pool2d_forward")
    return y


def adaptive_avg_pool2d_backward(dy, x_shape):
    dy = contiguous(dy)
    cdef idx planes = x_shape[0] * x_shape[1], h = x_shape[2], w = x_shape[3], oh = dy.shape[2], ow = dy.shape[3]
    dx = new_array(x_shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef void *pdy = address(dy)
    cdef void *pdx = address(dx)
    with nogil:
        status = pydl_adaptive_avg_pool2d_backward(dtype, planes, h, w, oh, ow, pdy, pdx)
    check(status, "adaptive_avg_pool2d_backward")
    return dx
