/* What an optimizer does to a run of elements, in one pass, in place; the formulas are PyTorch's. p
 * parameter; g gradient, with weight decay gradient + weight_decay p.
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
typedef struct FN(step_job) {
    /* Steps on n elements from number i on, whose gradient is there. */
    void (*update)(const struct FN(step_job) *job, idx i, idx n, const REAL *from);
    REAL *p;
    REAL *first, *second, *third; /* the state arrays, NULL where there is none */
    REAL lr, weight_decay, momentum, decay, gain, decay2, gain2, eps, shrink, scale;
    int nesterov, initialize;
} FN(step_job);
#define step_job FN(step_job)

/* For a run's vectors: i and k the places in the arrays and in the gradient, rest the number of
 * elements from there on. The job is copied, since stores of REAL could change the original as far
 * as the compiler knows. */
#define FOR_VECTORS                                                                                \
    const step_job copy = *given, *job = &copy;                                                    \
    for (idx k = 0, i = start, rest = n; k < n; k += VLEN, i += VLEN, rest -= VLEN)

INLINE vec FN(gradient)(const step_job *job, const REAL *from, idx rest, vec p)
{
    const vec g = FN(load_part)(from, rest, 0);
    return job->weight_decay != 0 ? g + job->weight_decay * p : g;
}

static void FN(sgd_update)(const step_job *given, idx start, idx n, const REAL *from)
{
    FOR_VECTORS {
        const vec p = FN(load_part)(job->p + i, rest, 0);
        vec g = FN(gradient)(job, from + k, rest, p);
        if (job->first) {
            const vec old = FN(load_part)(job->first + i, rest, 0);
            const vec v = job->initialize ? g : job->momentum * old + job->gain * g;
            FN(store_part)(job->first + i, rest, v);
            g = job->nesterov ? g + job->momentum * v : v;
        }
        FN(store_part)(job->p + i, rest, p - job->lr * g);
    }
}

static step_job FN(sgd_job)(REAL *p, REAL *v, double lr, double momentum, double dampening,
                            double weight_decay, int nesterov, int initialize)
{
    return (step_job){.update = FN(sgd_update), .p = p, .first = momentum != 0 ? v : NULL,
                      .lr = (REAL)lr, .momentum = (REAL)momentum, .gain = (REAL)(1 - dampening),
                      .weight_decay = (REAL)weight_decay, .nesterov = nesterov,
                      .initialize = initialize};
}

static void FN(adam_update)(const step_job *given, idx start, idx n, const REAL *from)
{
    FOR_VECTORS {
        const vec p = FN(load_part)(job->p + i, rest, 0) * job->shrink;
        const vec g = FN(gradient)(job, from + k, rest, p);
        const vec m = job->decay * FN(load_part)(job->first + i, rest, 0) + job->gain * g;
        const vec v = job->decay2 * FN(load_part)(job->second + i, rest, 0) + job->gain2 * (g * g);
        FN(store_part)(job->first + i, rest, m);
        FN(store_part)(job->second + i, rest, v);
        FN(store_part)(job->p + i, rest, p - job->lr * m / (FN(sqrt)(v) * job->scale + job->eps));
    }
}

static step_job FN(adam_job)(REAL *p, REAL *m, REAL *v, idx step, double lr, double beta1,
                             double beta2, double eps, double weight_decay, int decoupled)
{
    return (step_job){.update = FN(adam_update), .p = p, .first = m, .second = v,
                      .lr = (REAL)(lr / (1 - pow(beta1, (double)step))),
                      .decay = (REAL)beta1, .gain = (REAL)(1 - beta1),
                      .decay2 = (REAL)beta2, .gain2 = (REAL)(1 - beta2), .eps = (REAL)eps,
                      .scale = (REAL)(1 / sqrt(1 - pow(beta2, (double)step))),
                      .weight_decay = decoupled ? 0 : (REAL)weight_decay,
                      .shrink = decoupled ? (REAL)(1 - lr * weight_decay) : 1};
}

static void FN(rmsprop_update)(const step_job *given, idx start, idx n, const REAL *from)
{
    FOR_VECTORS {
        const vec p = FN(load_part)(job->p + i, rest, 0), g = FN(gradient)(job, from + k, rest, p);
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

static step_job FN(rmsprop_job)(REAL *p, REAL *s, REAL *v, REAL *a, double lr, double alpha,
                                double eps, double weight_decay, double momentum)
{
    return (step_job){.update = FN(rmsprop_update), .p = p, .first = s,
                      .second = momentum != 0 ? v : NULL, .third = a, .lr = (REAL)lr,
                      .decay = (REAL)alpha, .gain = (REAL)(1 - alpha), .eps = (REAL)eps,
                      .momentum = (REAL)momentum, .weight_decay = (REAL)weight_decay};
}

static void FN(adagrad_update)(const step_job *given, idx start, idx n, const REAL *from)
{
    FOR_VECTORS {
        const vec p = FN(load_part)(job->p + i, rest, 0), g = FN(gradient)(job, from + k, rest, p);
        const vec s = FN(load_part)(job->first + i, rest, 0) + g * g;
        FN(store_part)(job->first + i, rest, s);
        FN(store_part)(job->p + i, rest, p - job->lr * g / (FN(sqrt)(s) + job->eps));
    }
}

static step_job FN(adagrad_job)(REAL *p, REAL *s, double lr, double eps, double weight_decay)
{
    return (step_job){.update = FN(adagrad_update), .p = p, .first = s, .lr = (REAL)lr,
                      .eps = (REAL)eps, .weight_decay = (REAL)weight_decay};
}
#undef FOR_VECTORS
