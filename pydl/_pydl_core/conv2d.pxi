cdef dict ALGORITHMS = {"auto": 0, "direct": 1, "winograd": 2}


cdef conv2d_shape conv_shape(tuple x_shape, tuple w_shape, tuple stride, tuple padding, tuple dilation, idx groups, algorithm):
    cdef conv2d_shape s = patch_shape(x_shape, w_shape[2:], stride, padding, dilation)
    s.oc, s.groups, s.algorithm = w_shape[0], groups, ALGORITHMS[algorithm]
    return s


cdef object packed_weight(dict cache, object w, int dtype, const conv2d_shape *s, weight_form *form):
    """The weights in the form that this convolution reads, made at the first call with this w; w itself where that is the form."""
    cdef idx size
    cdef int status
    check(pydl_conv2d_weight_form(dtype, s, form, &size), "conv2d_forward")
    if form[0] == AS_GIVEN:
        return w
    if cache.get("w") is not w:
        cache.clear()
        cache["w"] = w
    key = pydl_active().isa, <int>form[0]
    packed = cache.get(key)
    if packed is None:
        packed = new_array((size,), w.dtype)
        source = contiguous(w)
        check(pydl_conv2d_pack_weight(dtype, s, form[0], address(source), address(packed)), "conv2d_forward")
        cache[key] = packed
    return packed


def conv2d_forward(x, w, b=None, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, algorithm="auto",
                   bint relu=False, residual=None, dict cache=None):
    x, b, residual = contiguous(x), contiguous(b), contiguous(residual)
    cdef conv2d_shape s = conv_shape(x.shape, w.shape, stride, padding, dilation, groups, algorithm)
    y = new_array((s.n, s.oc, s.oh, s.ow), x.dtype)
    cdef int dtype = code_of(x), status
    cdef weight_form form = AS_GIVEN
    w = contiguous(w if cache is None else packed_weight(cache, w, dtype, &s, &form))
    cdef void *px = address(x)
    cdef void *pw = address(w)
    cdef void *pb = address(b)
    cdef void *pr = address(residual)
    cdef void *py = address(y)
    with nogil:
        status = pydl_conv2d_forward(dtype, &s, px, pw, pb, pr, relu, form, py)
    check(status, "conv2d_forward")
    return y


def conv2d_backward_input(dy, w, x_shape, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, algorithm="auto"):
    dy, w = contiguous(dy), contiguous(w)
    cdef conv2d_shape s = conv_shape(x_shape, w.shape, stride, padding, dilation, groups, algorithm)
    dx = new_array(x_shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef void *pdy = address(dy)
    cdef void *pw = address(w)
    cdef void *pdx = address(dx)
    with nogil:
        status = pydl_conv2d_backward_input(dtype, &s, pdy, pw, pdx)
    check(status, "conv2d_backward_input")
    return dx


def conv2d_backward_weight(dy, x, w_shape, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, algorithm="auto"):
    dy, x = contiguous(dy), contiguous(x)
    cdef conv2d_shape s = conv_shape(x.shape, w_shape, stride, padding, dilation, groups, algorithm)
    dw = new_array(w_shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef void *pdy = address(dy)
    cdef void *px = address(x)
    cdef void *pdw = address(dw)
    with nogil:
        status = pydl_conv2d_backward_weight(dtype, &s, pdy, px, pdw)
    check(status, "conv2d_backward_weight")
    return dw


def conv2d_backward_bias(dy):
    dy = contiguous(dy)
    cdef idx n = dy.shape[0], oc = dy.shape[1], pixels = dy.shape[2] * dy.shape[3]
    db = new_array((oc,), dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef void *pdy = address(dy)
    cdef void *pdb = address(db)
    with nogil:
        status = pydl_conv2d_backward_bias(dtype, n, oc, pixels, pdy, pdb)
    check(status, "conv2d_backward_bias")
    return db


def conv2d_backward(dy, x, w, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, algorithm="auto", needs=(True, True, True)):
    dy, x, w = contiguous(dy), contiguous(x), contiguous(w)
    cdef conv2d_shape s = conv_shape(x.shape, w.shape, stride, padding, dilation, groups, algorithm)
    dx = new_array(x.shape, dy.dtype) if needs[0] else None
    dw = new_array(w.shape, dy.dtype) if needs[1] else None
    db = new_array((s.oc,), dy.dtype) if needs[2] else None
    cdef int dtype = code_of(dy), status
    cdef void *pdy = address(dy)
    cdef void *px = address(x)
    cdef void *pw = address(w)
    cdef void *pdx = address(dx)
    cdef void *pdw = address(dw)
    cdef void *pdb = address(db)
    with nogil:
        status = pydl_conv2d_backward(dtype, &s, pdy, px, pw, pdx, pdw, pdb)
    check(status, "conv2d_backward")
    return dx, dw, db
