/* Optimizer steps on n elements in one pass, in place; the formulas are PyTorch's. p parameter; g
 * gradient, with weight decay gradient + weight_decay p.
 *   sgd      v = momentum v + (1 - dampening) g, or v = g to initialize;
 *            p -= lr (nesterov ? g + momentum v : v), or lr g without momentum
 *   adam     m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
 *            p -= lr / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + eps);
 *            decoupled: p *= 1 - lr weight_decay instead of the decay in g
 *   rmsprop  s = alpha s + (1 - alpha) g^2;  a = alpha a + (1 - alpha) g if centered, else 0;
 *            d = g / (sqrt(s - a^2) + eps);  v = momentum v + d;
 *            p -= lr v, or lr d without momentum
 *   adagrad  s += g^2;  p -= lr g / (sqrt(s) + eps)
 * Kingma and Ba 2014 (Adam), Loshchilov and Hutter 2017 (decoupled), Duchi, Hazan and Singer 2011
 * (Adagrad). */
typedef struct {
    idx n;
    REAL *p;
    const REAL *g;
    REAL *first, *second, *third; /* the state arrays, NULL where there is none */
    REAL lr, weight_decay, momentum, decay, gain, decay2, gain2, eps, shrink, scale;
    int nesterov, initialize;
} FN(step_job);
#define step_job FN(step_job)

enum { FN(STEP_CHUNK) = 16384 };

static int FN(run_step)(step_job *job, pydl_body body)
{
    pydl_parallel_for((job->n + FN(STEP_CHUNK) - 1) / FN(STEP_CHUNK), 4 * (double)job->n, body,
                      job);
    return PYDL_OK;
}

/* For a task's vectors: i the offset, rest the number of elements from there on. The job is
 * copied, since stores of REAL could change the original as far as the compiler knows. */
#define FOR_VECTORS                                                                                \
    const step_job copy = *(const step_job *)context, *job = &copy;                                \
    const idx end = FN(min)(job->n, (task + 1) * FN(STEP_CHUNK));                                  \
    for (idx i = task * FN(STEP_CHUNK), rest = end - i; i < end; i += VLEN, rest -= VLEN)

INLINE vec FN(gradient)(const step_job *job, idx i, idx rest, vec p)
{
    const vec g = FN(load_part)(job->g + i, rest, 0);
    return job->weight_decay != 0 ? g + job->weight_decay * p : g;
}

static void FN(sgd_body)(void *context, idx task)
{
    FOR_VECTORS {
        const vec p = FN(load_part)(job->p + i, rest, 0);
        vec g = FN(gradient)(job, i, rest, p);
        if (job->first) {
            const vec old = FN(load_part)(job->first + i, rest, 0);
            const vec v = job->initialize ? g : job->momentum * old + job->gain * g;
            FN(store_part)(job->first + i, rest, v);
            g = job->nesterov ? g + job->momentum * v : v;
        }
        FN(store_part)(job->p + i, rest, p - job->lr * g);
    }
}

static int FN(sgd_step)(idx n, REAL *p, const REAL *g, REAL *v, double lr, double momentum,
                        double dampening, double weight_decay, int nesterov, int initialize)
{
    step_job job = {.n = n, .p = p, .g = g, .first = momentum != 0 ? v : NULL, .lr = (REAL)lr,
                    .momentum = (REAL)momentum, .gain = (REAL)(1 - dampening),
                    .weight_decay = (REAL)weight_decay, .nesterov = nesterov,
                    .initialize = initialize};
    return FN(run_step)(&job, FN(sgd_body));
}

static void FN(adam_body)(void *context, idx task)
{
    FOR_VECTORS {
        const vec p = FN(load_part)(job->p + i, rest, 0) * job->shrink;
        const vec g = FN(gradient)(job, i, rest, p);
        const vec m = job->decay * FN(load_part)(job->first + i, rest, 0) + job->gain * g;
        const vec v = job->decay2 * FN(load_part)(job->second + i, rest, 0) + job->gain2 * (g * g);
        FN(store_part)(job->first + i, rest, m);
        FN(store_part)(job->second + i, rest, v);
        FN(store_part)(job->p + i, rest, p - job->lr * m / (FN(sqrt)(v) * job->scale + job->eps));
    }
}

static int FN(adam_step)(idx n, REAL *p, const REAL *g, REAL *m, REAL *v, idx step, double lr,
                         double beta1, double beta2, double eps, double weight_decay, int decoupled)
{
    step_job job = {.n = n, .p = p, .g = g, .first = m, .second = v,
                    .lr = (REAL)(lr / (1 - pow(beta1, (double)step))),
                    .decay = (REAL)beta1, .gain = (REAL)(1 - beta1),
                    .decay2 = (REAL)beta2, .gain2 = (REAL)(1 - beta2), .eps = (REAL)eps,
                    .scale = (REAL)(1 / sqrt(1 - pow(beta2, (double)step))),
                    .weight_decay = decoupled ? 0 : (REAL)weight_decay,
                    .shrink = decoupled ? (REAL)(1 - lr * weight_decay) : 1};
    return FN(run_step)(&job, FN(adam_body));
}

static void FN(rmsprop_body)(void *context, idx task)
{
    FOR_VECTORS {
        const vec p = FN(load_part)(job->p + i, rest, 0), g = FN(gradient)(job, i, rest, p);
        vec variance = job->decay * FN(load_part)(job->first + i, rest, 0) + job->gain * (g * g);
        FN(store_part)(job->first + i, rest, variance);
        if (job->third) {
            const vec a = job->decay * FN(load_part)(job->third + i, rest, 0) + job->gain * g;
            FN(store_part)(job->third + i, rest, a);
            variance -= a * a;
        }
        vec d = g / (FN(sqrt)(variance) + job->eps);
        if (job->second) {
            d += job->momentum * FN(load_part)(job->second + i, rest, 0);
            FN(store_part)(job->second + i, rest, d);
        }
        FN(store_part)(job->p + i, rest, p - job->lr * d);
    }
}

static int FN(rmsprop_step)(idx n, REAL *p, const REAL *g, REAL *s, REAL *v, REAL *a, double lr,
                            double alpha, double eps, double weight_decay, double momentum)
{
    step_job job = {.n = n, .p = p, .g = g, .first = s, .second = momentum != 0 ? v : NULL,
                    .third = a, .lr = (REAL)lr, .decay = (REAL)alpha, .gain = (REAL)(1 - alpha),
                    .eps = (REAL)eps, .momentum = (REAL)momentum,
                    .weight_decay = (REAL)weight_decay};
    return FN(run_step)(&job, FN(rmsprop_body));
}

static void FN(adagrad_body)(void *context, idx task)
{
    FOR_VECTORS {
        const vec p = FN(load_part)(job->p + i, rest, 0), g = FN(gradient)(job, i, rest, p);
        const vec s = FN(load_part)(job->first + i, rest, 0) + g * g;
        FN(store_part)(job->first + i, rest, s);
        FN(store_part)(job->p + i, rest, p - job->lr * g / (FN(sqrt)(s) + job->eps));
    }
}

static int FN(adagrad_step)(idx n, REAL *p, const REAL *g, REAL *s, double lr, double eps,
                            double weight_decay)
{
    step_job job = {.n = n, .p = p, .g = g, .first = s, .lr = (REAL)lr,
                    .eps = (REAL)eps, .weight_decay = (REAL)weight_decay};
    return FN(run_step)(&job, FN(adagrad_body));
}

#undef step_job
#undef FOR_VECTORS
