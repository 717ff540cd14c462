/* Optimizer steps on n elements with gradient g, in place: step.h says what they do. */
typedef struct {
    step_job step;
    idx n;
    const REAL *g;
} FN(whole_step);

enum { FN(STEP_CHUNK) = 16384 };

static void FN(step_task)(void *context, idx task)
{
    const FN(whole_step) *job = context;
    const idx i = task * FN(STEP_CHUNK);
    job->step.update(&job->step, i, FN(min)(FN(STEP_CHUNK), job->n - i), job->g + i);
}

static int FN(run_step)(step_job step, idx n, const REAL *g)
{
    FN(whole_step) job = {step, n, g};
    pydl_parallel_for((n + FN(STEP_CHUNK) - 1) / FN(STEP_CHUNK), 4 * (double)n, FN(step_task),
                      &job);
    return PYDL_OK;
}

static int FN(sgd_step)(idx n, REAL *p, const REAL *g, REAL *v, double lr, double momentum,
                        double dampening, double weight_decay, int nesterov, int initialize)
{
    return FN(run_step)(
        FN(sgd_job)(p, v, lr, momentum, dampening, weight_decay, nesterov, initialize), n, g);
}

static int FN(adam_step)(idx n, REAL *p, const REAL *g, REAL *m, REAL *v, idx step, double lr,
                         double beta1, double beta2, double eps, double weight_decay, int decoupled)
{
    return FN(run_step)(
        FN(adam_job)(p, m, v, step, lr, beta1, beta2, eps, weight_decay, decoupled), n, g);
}

static int FN(rmsprop_step)(idx n, REAL *p, const REAL *g, REAL *s, REAL *v, REAL *a, double lr,
                            double alpha, double eps, double weight_decay, double momentum)
{
    return FN(run_step)(FN(rmsprop_job)(p, s, v, a, lr, alpha, eps, weight_decay, momentum), n, g);
}

static int FN(adagrad_step)(idx n, REAL *p, const REAL *g, REAL *s, double lr, double eps,
                            double weight_decay)
{
    return FN(run_step)(FN(adagrad_job)(p, s, lr, eps, weight_decay), n, g);
}
