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


cdef class Parameters:
    """The addresses of the arrays of parameters, by kind, and where each ends if they stood in a row."""
    cdef idx *ends
    cdef void **addresses
    cdef Py_ssize_t count

    def __cinit__(self, tuple arrays, int kinds, int places):
        """`arrays` has `kinds` of them for each parameter, and the list `places` rows, NULL beyond."""
        cdef Py_ssize_t i
        cdef idx total = 0
        cdef int kind
        self.count = len(arrays) // kinds
        self.ends = <idx *>malloc(self.count * sizeof(idx))
        self.addresses = <void **>malloc(places * self.count * sizeof(void *))
        if self.ends == NULL or self.addresses == NULL:
            raise MemoryError(f"cannot list {len(arrays)} arrays")
        for i in range(self.count):
            total += arrays[i * kinds].size
            self.ends[i] = total
            for kind in range(places):
                self.addresses[kind * self.count + i] = address(arrays[i * kinds + kind]) if kind < kinds else NULL

    cdef void **row(self, int kind) noexcept:
        return self.addresses + kind * self.count

    def __dealloc__(self):
        free(self.ends)
        free(self.addresses)


def sgd_steps(*arrays, double lr, double momentum, double dampening, double weight_decay, bint nesterov, bint initialize):
    arrays = tuple([contiguous(a) for a in arrays])
    cdef Parameters of = Parameters(arrays, 3 if momentum != 0 else 2, 3)
    cdef int dtype = code_of(arrays[0]), status
    cdef void **p = of.row(0)
    cdef void **g = of.row(1)
    cdef void **v = of.row(2)
    with nogil:
        status = pydl_sgd_steps(dtype, of.count, of.ends, <void *const *>p, <const void *const *>g, <void *const *>v,
                                lr, momentum, dampening, weight_decay, nesterov, initialize)
    check(status, "sgd_steps")


def adam_steps(*arrays, idx step, double lr, double beta1, double beta2, double eps, double weight_decay,
               bint decoupled):
    arrays = tuple([contiguous(a) for a in arrays])
    cdef Parameters of = Parameters(arrays, 4, 4)
    cdef int dtype = code_of(arrays[0]), status
    cdef void **p = of.row(0)
    cdef void **g = of.row(1)
    cdef void **m = of.row(2)
    cdef void **v = of.row(3)
    with nogil:
        status = pydl_adam_steps(dtype, of.count, of.ends, <void *const *>p, <const void *const *>g, <void *const *>m,
                                 <void *const *>v, step, lr, beta1, beta2, eps, weight_decay, decoupled)
    check(status, "adam_steps")


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
