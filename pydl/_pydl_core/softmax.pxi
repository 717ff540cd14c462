ctypedef int (*axis_forward_of)(dtype_code, idx, idx, idx, const void *, void *) noexcept nogil
ctypedef int (*axis_backward_of)(dtype_code, idx, idx, idx, const void *, const void *, void *) noexcept nogil


cdef idx count_of(sizes):
    cdef idx count = 1
    for size in sizes:
        count *= size
    return count


cdef object axis_forward(axis_forward_of function, str kernel, x, int axis):
    x = contiguous(x)
    y = new_array(x.shape, x.dtype)
    cdef int dtype = code_of(x), status
    cdef idx outer = count_of(x.shape[:axis]), c = x.shape[axis], inner = count_of(x.shape[axis + 1:])
    cdef void *px = address(x)
    cdef void *py = address(y)
    with nogil:
        status = function(dtype, outer, c, inner, px, py)
    check(status, kernel)
    return y


cdef object axis_backward(axis_backward_of function, str kernel, dy, y, int axis):
    dy, y = contiguous(dy), contiguous(y)
    dx = new_array(dy.shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef idx outer = count_of(dy.shape[:axis]), c = dy.shape[axis], inner = count_of(dy.shape[axis + 1:])
    cdef void *pdy = address(dy)
    cdef void *py = address(y)
    cdef void *pdx = address(dx)
    with nogil:
        status = function(dtype, outer, c, inner, pdy, py, pdx)
    check(status, kernel)
    return dx


def softmax_forward(x, *, int axis):
    return axis_forward(pydl_softmax_forward, "softmax_forward", x, axis)


def softmax_backward(dy, y, *, int axis):
    return axis_backward(pydl_softmax_backward, "softmax_backward", dy, y, axis)


def log_softmax_forward(x, *, int axis):
    return axis_forward(pydl_log_softmax_forward, "log_softmax_forward", x, axis)


def log_softmax_backward(dy, y, *, int axis):
    return axis_backward(pydl_log_softmax_backward, "log_softmax_backward", dy, y, axis)


def softmax_cross_entropy_forward(logits, labels, *, ignore_index):
    cdef tuple shape = logits.shape
    cdef object dtype = logits.dtype
    cdef list copies = []
    cdef idx rows = shape[0], c = shape[1]
    cdef bint of_classes = labels.ndim == 1
    classes = integers64(labels) if of_classes else None
    loss = new_array((rows,), dtype)
    probs = new_array(shape, dtype)
    cdef int code = code_of_dtype(dtype), has_ignore = ignore_index is not None, status
    cdef int64_t ignore = ignore_index if has_ignore else 0
    cdef void *plogits = flat_address(logits, copies)
    cdef int64_t *pclasses = <int64_t *>address(classes)
    cdef void *ptargets = NULL if of_classes else flat_address(labels, copies)
    cdef void *ploss = address(loss)
    cdef void *pprobs = address(probs)
    with nogil:
        status = pydl_softmax_cross_entropy_forward(code, rows, c, plogits, pclasses, ptargets, has_ignore, ignore,
                                                    ploss, pprobs)
    check(status, "softmax_cross_entropy_forward")
    return loss, probs


def softmax_cross_entropy_backward(dloss, probs, labels, *, ignore_index):
    cdef tuple shape = probs.shape
    cdef object dtype = probs.dtype
    cdef list copies = []
    cdef idx rows = shape[0], c = shape[1]
    cdef bint of_classes = labels.ndim == 1
    classes = integers64(labels) if of_classes else None
    dlogits = new_array(shape, dtype)
    cdef int code = code_of_dtype(dtype), has_ignore = ignore_index is not None, status
    cdef int64_t ignore = ignore_index if has_ignore else 0
    cdef void *pdloss = flat_address(dloss, copies)
    cdef void *pprobs = flat_address(probs, copies)
    cdef int64_t *pclasses = <int64_t *>address(classes)
    cdef void *ptargets = NULL if of_classes else flat_address(labels, copies)
    cdef void *pdlogits = address(dlogits)
    with nogil:
        status = pydl_softmax_cross_entropy_backward(code, rows, c, pdloss, pprobs, pclasses, ptargets, has_ignore,
                                                     ignore, pdlogits)
    check(status, "softmax_cross_entropy_backward")
    return dlogits
