/* A step of an optimizer on w (out,in) with the gradient dy^T x of a fully connected layer, in one
 * pass: the gradient, as large as w, exists only as blocks that are still in the cache when the
 * step takes them.  dy (n,out), x (n,in), the state as w.
 *
 * The sums and the step are those of linear_backward_weight and of step.h. If memory for a block is
 * lacking, some rows have been stepped and others not. */
static void FN(linear_take)(const void *context, REAL *at, idx count, const REAL *g)
{
    const step_job *step = context;
    step->update(step, at - step->p, count, g);
}

static int FN(linear_step)(idx n, idx in, idx out, const REAL *dy, const REAL *x, step_job step)
{
    return FN(gemm)(out, in, n, (matrix){dy, 1, out}, (matrix){x, in, 1},
                    (sink){.c = step.p, .row = in, .take = FN(linear_take), .taker = &step});
}

static int FN(linear_sgd_step)(idx n, idx in, idx out, REAL *w, const REAL *dy, const REAL *x,
                               REAL *v, double lr, double momentum, double dampening,
                               double weight_decay, int nesterov, int initialize)
{
    return FN(linear_step)(
        n, in, out, dy, x,
        FN(sgd_job)(w, v, lr, momentum, dampening, weight_decay, nesterov, initialize));
}

static int FN(linear_adam_step)(idx n, idx in, idx out, REAL *w, const REAL *dy, const REAL *x,
                                REAL *m, REAL *v, idx step, double lr, double beta1, double beta2,
                                double eps, double weight_decay, int decoupled)
{
    return FN(linear_step)(
        n, in, out, dy, x,
        FN(adam_job)(w, m, v, step, lr, beta1, beta2, eps, weight_decay, decoupled));
}
