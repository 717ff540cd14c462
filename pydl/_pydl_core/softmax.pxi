from libc.stdint cimport int64_t

cdef extern from "pydl.h" nogil:
    int pydl_softmax_forward(dtype_code dtype, idx rows, idx c, const void *x, void *y)
    int pydl_softmax_backward(dtype_code dtype, idx rows, idx c, const void *dy, const void *y, void *dx)
    int pydl_log_softmax_forward(dtype_code dtype, idx rows, idx c, const void *x, void *y)
    int pydl_log_softmax_backward(dtype_code dtype, idx rows, idx c, const void *dy, const void *y, void *dx)
    int pydl_softmax_cross_entropy_forward(dtype_code dtype, idx rows, idx c, const void *logits, const int64_t *labels,
                                           const void *targets, int has_ignore, int64_t ignore, void *loss, void *probs)
    int pydl_softmax_cross_entropy_backward(dtype_code dtype, idx rows, idx c, const void *dloss, const void *probs,
                                            const int64_t *labels, const void *targets, int has_ignore,
                                            int64_t ignore, void *dlogits)

ctypedef int (*rows_forward_of)(dtype_code, idx, idx, const void *, void *) noexcept nogil
ctypedef int (*rows_backward_of)(dtype_code, idx, idx, const void *, const void *, void *) noexcept nogil


cdef object rows_forward(rows_forward_of function, str kernel, x, int axis):
    cdef bint last = axis == x.ndim - 1
    x = contiguous(x if last else x.swapaxes(axis, -1))
    y = new_array(x.shape, x.dtype)
    cdef int dtype = code_of(x), status
    cdef idx c = x.shape[-1], rows = x.size // c
    cdef void *px = address(x)
    cdef void *py = address(y)
    with nogil:
        status = function(dtype, rows, c, px, py)
    check(status, kernel)
    return y if last else contiguous(y.swapaxes(axis, -1))


cdef object rows_backward(rows_backward_of function, str kernel, dy, y, int axis):
    cdef bint last = axis == dy.ndim - 1
    dy, y = contiguous(dy if last else dy.swapaxes(axis, -1)), contiguous(y if last else y.swapaxes(axis, -1))
    dx = new_array(dy.shape, dy.dtype)
    cdef int dtype = code_of(dy), status
    cdef idx c = dy.shape[-1], rows = dy.size // c
    cdef void *pdy = address(dy)
    cdef void *py = address(y)
    cdef void *pdx = address(dx)
    with nogil:
        status = function(dtype, rows, c, pdy, py, pdx)
    check(status, kernel)
    return dx if last else contiguous(dx.swapaxes(axis, -1))


def softmax_forward(x, *, int axis):
    return rows_forward(pydl_softmax_forward, "softmax_forward", x, axis)


def softmax_backward(dy, y, *, int axis):
    return rows_backward(pydl_softmax_backward, "softmax_backward", dy, y, axis)


def log_softmax_forward(x, *, int axis):
    return rows_forward(pydl_log_softmax_forward, "log_softmax_forward", x, axis)


def log_softmax_backward(dy, y, *, int axis):
    return rows_backward(pydl_log_softmax_backward, "log_softmax_backward", dy, y, axis)


def softmax_cross_entropy_forward(logits, labels, *, ignore_index):
    logits = contiguous(logits)
    classes = integers64(labels) if labels.ndim == 1 else None
    targets = contiguous(labels) if labels.ndim == 2 else None
    cdef idx rows = logits.shape[0], c = logits.shape[1]
    loss = new_array((rows,), logits.dtype)
    probs = new_array((rows, c), logits.dtype)
    cdef int dtype = code_of(logits), has_ignore = ignore_index is not None, status
    cdef int64_t ignore = ignore_index if has_ignore else 0
    cdef void *plogits = address(logits)
    cdef int64_t *pclasses = <int64_t *>address(classes)
    cdef void *ptargets = address(targets)
    cdef void *ploss = address(loss)
    cdef void *pprobs = address(probs)
    with nogil:
        status = pydl_softmax_cross_entropy_forward(dtype, rows, c, plogits, pclasses, ptargets, has_ignore, ignore,
                                                    ploss, pprobs)
    check(status, "softmax_cross_entropy_forward")
    return loss, probs


def softmax_cross_entropy_backward(dloss, probs, labels, *, ignore_index):
    dloss, probs = contiguous(dloss), contiguous(probs)
    classes = integers64(labels) if labels.ndim == 1 else None
    targets = contiguous(labels) if labels.ndim == 2 else None
    cdef idx rows = probs.shape[0], c = probs.shape[1]
    dlogits = new_array((rows, c), probs.dtype)
    cdef int dtype = code_of(probs), has_ignore = ignore_index is not None, status
    cdef int64_t ignore = ignore_index if has_ignore else 0
    cdef void *pdloss = address(dloss)
    cdef void *pprobs = address(probs)
    cdef int64_t *pclasses = <int64_t *>address(classes)
    cdef void *ptargets = address(targets)
    cdef void *pdlogits = address(dlogits)
    with nogil:
        status = pydl_softmax_cross_entropy_backward(dtype, rows, c, pdloss, pprobs, pclasses, ptargets, has_ignore,
                                                     ignore, pdlogits)
    check(status, "softmax_cross_entropy_backward")
    return dlogits
