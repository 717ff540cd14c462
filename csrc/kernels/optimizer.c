/* Optimizer steps with given gradients, in place: step.h says what they do. One parameter, or a
 * list of them with one set of options: ends[i] counts the elements of the parameters up to and
 * including i. The threads share the elements of all, so that small arrays are stepped at once. */
typedef struct {
    step_job step; /* but for the arrays */
    idx count;
    const idx *ends;
    void *const *p;
    const void *const *g;
    void *const *first, *const *second, *const *third;
} FN(steps);

enum { FN(STEP_CHUNK) = 16384 };

/* The first parameter that ends after element i. */
static idx FN(parameter_of)(const FN(steps) *all, idx i)
{
    idx low = 0, high = all->count - 1;
    while (low < high) {
        const idx middle = (low + high) / 2;
        if (all->ends[middle] > i)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void FN(steps_task)(void *context, idx task)
{
    const FN(steps) *all = context;
    idx i = task * FN(STEP_CHUNK);
    const idx end = FN(min)(i + FN(STEP_CHUNK), all->ends[all->count - 1]);
    for (idx k = FN(parameter_of)(all, i); i < end; k++) {
        const idx begin = k ? all->ends[k - 1] : 0, n = FN(min)(end, all->ends[k]) - i;
        step_job job = all->step;
        job.p = all->p[k];
        job.first = all->first ? all->first[k] : NULL;
        job.second = all->second ? all->second[k] : NULL;
        job.third = all->third ? all->third[k] : NULL;
        job.update(&job, i - begin, n, (const REAL *)all->g[k] + (i - begin));
        i += n;
    }
}

static int FN(step_all)(FN(steps) all)
{
    const idx n = all.count ? all.ends[all.count - 1] : 0;
    pydl_parallel_for((n + FN(STEP_CHUNK) - 1) / FN(STEP_CHUNK), 4 * (double)n, FN(steps_task),
                      &all);
    return PYDL_OK;
}

static int FN(step_one)(step_job step, idx n, const REAL *g)
{
    void *const p = step.p, *const first = step.first, *const second = step.second,
                *const third = step.third;
    const void *const gradient = g;
    return FN(step_all)((FN(steps)){step, 1, &n, &p, &gradient, &first, &second, &third});
}

static int FN(sgd_step)(idx n, REAL *p, const REAL *g, REAL *v, double lr, double momentum,
                        double dampening, double weight_decay, int nesterov, int initialize)
{
    return FN(step_one)(
        FN(sgd_job)(p, v, lr, momentum, dampening, weight_decay, nesterov, initialize), n, g);
}

static int FN(sgd_steps)(idx count, const idx *ends, void *const *p, const void *const *g,
                         void *const *v, double lr, double momentum, double dampening,
                         double weight_decay, int nesterov, int initialize)
{
    const step_job step =
        FN(sgd_job)(NULL, NULL, lr, momentum, dampening, weight_decay, nesterov, initialize);
    return FN(step_all)((FN(steps)){step, count, ends, p, g, momentum != 0 ? v : NULL, NULL,
                                     NULL});
}

static int FN(adam_step)(idx n, REAL *p, const REAL *g, REAL *m, REAL *v, idx step, double lr,
                         double beta1, double beta2, double eps, double weight_decay, int decoupled)
{
    return FN(step_one)(
        FN(adam_job)(p, m, v, step, lr, beta1, beta2, eps, weight_decay, decoupled), n, g);
}

static int FN(adam_steps)(idx count, const idx *ends, void *const *p, const void *const *g,
                          void *const *m, void *const *v, idx step, double lr, double beta1,
                          double beta2, double eps, double weight_decay, int decoupled)
{
    const step_job job = FN(adam_job)(NULL, NULL, NULL, step, lr, beta1, beta2, eps, weight_decay,
                                      decoupled);
    return FN(step_all)((FN(steps)){job, count, ends, p, g, m, v, NULL});
}

static int FN(rmsprop_step)(idx n, REAL *p, const REAL *g, REAL *s, REAL *v, REAL *a, double lr,
                            double alpha, double eps, double weight_decay, double momentum)
{
    return FN(step_one)(FN(rmsprop_job)(p, s, v, a, lr, alpha, eps, weight_decay, momentum), n, g);
}

static int FN(adagrad_step)(idx n, REAL *p, const REAL *g, REAL *s, double lr, double eps,
                            double weight_decay)
{
    return FN(step_one)(FN(adagrad_job)(p, s, lr, eps, weight_decay), n, g);
}
