def sgd_step(param, grad, velocity, *, double lr, double momentum, double dampening, double weight_decay,
             bint nesterov, bint initialize):
    grad = contiguous(grad)
    cdef int dtype = code_of(param), status
    cdef idx n = param.size
    cdef void *p = address(param)
    cdef void *g = address(grad)
    cdef void *v = address(velocity)
    with nogil:
        status = pydl_sgd_step(dtype, n, p, g, v, lr, momentum, dampening, weight_decay, nesterov, initialize)
    check(status, "sgd_step")


def adam_step(param, grad, m, v, *, idx step, double lr, double beta1, double beta2, double eps, double weight_decay,
              bint decoupled):
    grad = contiguous(grad)
    cdef int dtype = code_of(param), status
    cdef idx n = param.size
    cdef void *p = address(param)
    cdef void *g = address(grad)
    cdef void *pm = address(m)
    cdef void *pv = address(v)
    with nogil:
        status = pydl_adam_step(dtype, n, p, g, pm, pv, step, lr, beta1, beta2, eps, weight_decay, decoupled)
    check(status, "adam_step")


def rmsprop_step(param, grad, square_avg, velocity, grad_avg, *, double lr, double alpha, double eps,
                 double weight_decay, double momentum):
    grad = contiguous(grad)
    cdef int dtype = code_of(param), status
    cdef idx n = param.size
    cdef void *p = address(param)
    cdef void *g = address(grad)
    cdef void *s = address(square_avg)
    cdef void *v = address(velocity)
    cdef void *a = address(grad_avg)
    with nogil:
        status = pydl_rmsprop_step(dtype, n, p, g, s, v, a, lr, alpha, eps, weight_decay, momentum)
    check(status, "rmsprop_step")


def adagrad_step(param, grad, square_sum, *, double lr, double eps, double weight_decay):
    grad = contiguous(grad)
    cdef int dtype = code_of(param), status
    cdef idx n = param.size
    cdef void *p = address(param)
    cdef void *g = address(grad)
    cdef void *s = address(square_sum)
    with nogil:
        status = pydl_adagrad_step(dtype, n, p, g, s, lr, eps, weight_decay)
    check(status, "adagrad_step")
