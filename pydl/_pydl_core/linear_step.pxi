def linear_sgd_step(param, dy, x, velocity, *, double lr, double momentum, double dampening, double weight_decay,
                    bint nesterov, bint initialize):
    dy, x = contiguous(dy), contiguous(x)
    cdef int dtype = code_of(param), status
    cdef idx n = x.shape[0], in_ = x.shape[1], out = dy.shape[1]
    cdef void *w = address(param)
    cdef void *pdy = address(dy)
    cdef void *px = address(x)
    cdef void *v = address(velocity)
    with nogil:
        status = pydl_linear_sgd_step(dtype, n, in_, out, w, pdy, px, v, lr, momentum, dampening, weight_decay,
                                      nesterov, initialize)
    check(status, "linear_sgd_step")


def linear_adam_step(param, dy, x, m, v, *, idx step, double lr, double beta1, double beta2, double eps,
                     double weight_decay, bint decoupled):
    dy, x = contiguous(dy), contiguous(x)
    cdef int dtype = code_of(param), status
    cdef idx n = x.shape[0], in_ = x.shape[1], out = dy.shape[1]
    cdef void *w = address(param)
    cdef void *pdy = address(dy)
    cdef void *px = address(x)
    cdef void *pm = address(m)
    cdef void *pv = address(v)
    with nogil:
        status = pydl_linear_adam_step(dtype, n, in_, out, w, pdy, px, pm, pv, step, lr, beta1, beta2, eps,
                                       weight_decay, decoupled)
    check(status, "linear_adam_step")
