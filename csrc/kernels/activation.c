/* Activations of n elements. Backward takes the forward's result y
 *   relu        y = x < 0 ? 0 : x, so that NaN passes      dx = y <= 0 ? 0 : dy
 *   sigmoid     y = 1 / (1 + exp(-x))                      dx = dy y (1 - y)
 *   tanh        y = tanh(x)                                dx = dy (1 - y^2)
 * or its argument x
 *   leaky_relu  y = x > 0 ? x : slope x                    dx = x > 0 ? dy : slope dy
 *   elu         y = x > 0 ? x : alpha (exp(x) - 1)         dx = x > 0 ? dy : dy alpha exp(x)
 *   gelu        y = x P(x), P the normal distribution      dx = dy (P(x) + x exp(-x^2/2) /
 *                                                          sqrt(2 pi))
 *      by tanh  y = x s, s = sigmoid(2 u),                 dx = dy (s + 2 x s (1 - s) du/dx)
 *               u = sqrt(2 / pi) (x + 0.044715 x^3)
 *   silu        y = x s, s = sigmoid(x)                    dx = dy s (1 + x (1 - s))
 *   softplus    y = log(1 + exp(beta x)) / beta            dx = dy sigmoid(beta x)
 *               or x and dy where beta x > threshold
 *   hardswish   y = x min(max(x + 3, 0), 6) / 6            dx = dy (x / 3 + 1/2), 0 where x <= -3
 *                                                          and dy where x >= 3
 * And the sum y = a + b, or relu(a + b), whose gradients are dy, or relu_backward(dy, y). */
typedef struct {
    idx n;
    const REAL *a, *b; /* b only where the formula has two operands */
    REAL *result;
    REAL p, q; /* options */
    int leaves; /* the result leaves the caches */
} FN(elementwise);
#define elementwise FN(elementwise)

enum {
    FN(ELEMENTWISE_CHUNK) = 16384,
    FN(ELEMENTWISE_AHEAD) = 2048 / sizeof(REAL), /* fetched before the loop comes to them */
};

static int FN(run_elementwise)(double cost, pydl_body body, elementwise job)
{
    job.leaves = FN(leaves_caches)(job.n) && job.result != job.a && job.result != job.b;
    pydl_parallel_for((job.n + FN(ELEMENTWISE_CHUNK) - 1) / FN(ELEMENTWISE_CHUNK),
                      cost * (double)job.n, body, &job);
    return PYDL_OK;
}

/* name_body(context, task), which computes the formula of the operands' vectors a and b and the
 * options p and q; an operand may be the result itself. Where the formula costs more operations
 * than memory takes time, the result's way does not matter. */
#define ELEMENTWISE(name, cost, formula)                                                           \
    INLINE vec FN(name##_formula)(vec a, vec b, REAL p, REAL q)                                    \
    {                                                                                              \
        (void)b, (void)p, (void)q;                                                                 \
        return formula;                                                                            \
    }                                                                                              \
    INLINE void FN(name##_chunk)(const elementwise *job, idx i, int leaves)                        \
    {                                                                                              \
        const idx end = FN(min)(job->n, i + FN(ELEMENTWISE_CHUNK));                                \
        const REAL *a = job->a, *b = job->b, p = job->p, q = job->q;                               \
        REAL *result = job->result;                                                                \
        for (; i + FN(LINE) <= end; i += FN(LINE)) {                                               \
            __builtin_prefetch(a + i + FN(ELEMENTWISE_AHEAD));                                     \
            if (b != a)                                                                            \
                __builtin_prefetch(b + i + FN(ELEMENTWISE_AHEAD));                                 \
            if (!leaves)                                                                           \
                __builtin_prefetch(result + i + FN(ELEMENTWISE_AHEAD), 1);                         \
            _Pragma("GCC unroll 4") for (idx j = i; j < i + FN(LINE); j += VLEN) {                 \
                const vec v = FN(name##_formula)(FN(load)(a + j), FN(load)(b + j), p, q);          \
                if (leaves)                                                                        \
                    FN(store_stream)(result + j, VLEN, v);                                         \
                else                                                                               \
                    FN(store)(result + j, v);                                                      \
            }                                                                                      \
        }                                                                                          \
        for (; i < end; i += VLEN)                                                                 \
            FN(store_part)(result + i, end - i,                                                    \
                           FN(name##_formula)(FN(load_part)(a + i, end - i, 0),                    \
                                              FN(load_part)(b + i, end - i, 0), p, q));            \
    }                                                                                              \
    static void FN(name##_body)(void *context, idx task)                                           \
    {                                                                                              \
        const elementwise *job = context;                                                          \
        if ((cost) <= 2 && job->leaves) {                                                          \
            FN(name##_chunk)(job, task * FN(ELEMENTWISE_CHUNK), 1);                                \
            FN(finish_far_stores)();                                                               \
        } else {                                                                                   \
            FN(name##_chunk)(job, task * FN(ELEMENTWISE_CHUNK), 0);                                \
        }                                                                                          \
    }

#define FORWARD(name, cost, formula)                                                               \
    ELEMENTWISE(name, cost, formula)                                                               \
    static int FN(name)(idx n, const REAL *x, REAL *y)                                             \
    {                                                                                              \
        return FN(run_elementwise)(cost, FN(name##_body), (elementwise){n, x, x, y, 0, 0, 0});     \
    }

#define BACKWARD(name, cost, formula)                                                              \
    ELEMENTWISE(name, cost, formula)                                                               \
    static int FN(name)(idx n, const REAL *dy, const REAL *saved, REAL *dx)                        \
    {                                                                                              \
        return FN(run_elementwise)(cost, FN(name##_body),                                          \
                                   (elementwise){n, dy, saved, dx, 0, 0, 0});                      \
    }

/* with the option p */
#define FORWARD_WITH(name, cost, formula)                                                          \
    ELEMENTWISE(name, cost, formula)                                                               \
    static int FN(name)(idx n, double p, const REAL *x, REAL *y)                                   \
    {                                                                                              \
        return FN(run_elementwise)(cost, FN(name##_body),                                          \
                                   (elementwise){n, x, x, y, (REAL)p, 0, 0});                      \
    }

#define BACKWARD_WITH(name, cost, formula)                                                         \
    ELEMENTWISE(name, cost, formula)                                                               \
    static int FN(name)(idx n, double p, const REAL *dy, const REAL *x, REAL *dx)                  \
    {                                                                                              \
        const elementwise job = {n, dy, x, dx, (REAL)p, 0, 0};                                     \
        return FN(run_elementwise)(cost, FN(name##_body), job);                                    \
    }

FORWARD(relu_forward, 1, FN(at_least)(a, 0))
BACKWARD(relu_backward, 2, FN(select)((lanes)(b <= 0), (vec){0}, a))

FORWARD(sigmoid_forward, 8, FN(sigmoid)(a))
BACKWARD(sigmoid_backward, 2, a * (b * (1 - b)))

FORWARD(tanh_forward, 8, FN(tanh)(a))
BACKWARD(tanh_backward, 2, a * (1 - b * b))

FORWARD_WITH(leaky_relu_forward, 1, FN(select)((lanes)(a > 0), a, a * p))
BACKWARD_WITH(leaky_relu_backward, 2, FN(select)((lanes)(b > 0), a, a * p))

FORWARD_WITH(elu_forward, 8, FN(select)((lanes)(a > 0), a, FN(expm1)(a) * p))
BACKWARD_WITH(elu_backward, 8, FN(select)((lanes)(b > 0), a, a * (FN(exp)(b) * p)))

#define SQRT_2_OVER_PI ((REAL)0.79788456080286535588)
#define CUBE ((REAL)0.044715)

INLINE vec FN(normal_cdf)(vec x, vec *bell)
{
    const vec tail = FN(normal_tail)(x, bell);
    return FN(select)((lanes)(x < 0), tail, 1 - tail);
}

INLINE vec FN(gelu_slope)(vec x)
{
    vec bell;
    const vec cdf = FN(normal_cdf)(x, &bell);
    return cdf + x * (bell * (SQRT_2_OVER_PI / 2));
}

INLINE vec FN(normal_cdf_by_tanh)(vec x)
{
    return FN(sigmoid)(x * (1 + x * x * CUBE) * (2 * SQRT_2_OVER_PI));
}

/* The second term is 0 for all but small x, where the cube could overflow. */
INLINE vec FN(gelu_slope_by_tanh)(vec x)
{
    const vec s = FN(normal_cdf_by_tanh)(x), near = FN(at_least)(FN(at_most)(x, 64), -64);
    return s + near * (s * (1 - s)) * (1 + near * near * (3 * CUBE)) * (2 * SQRT_2_OVER_PI);
}

ELEMENTWISE(gelu_exact_forward, 16, a * FN(normal_cdf)(a, &b))
ELEMENTWISE(gelu_exact_backward, 16, a * FN(gelu_slope)(b))
ELEMENTWISE(gelu_tanh_forward, 16, a * FN(normal_cdf_by_tanh)(a))
ELEMENTWISE(gelu_tanh_backward, 16, a * FN(gelu_slope_by_tanh)(b))

static int FN(gelu_forward)(idx n, int by_tanh, const REAL *x, REAL *y)
{
    return FN(run_elementwise)(
        16, by_tanh ? FN(gelu_tanh_forward_body) : FN(gelu_exact_forward_body),
        (elementwise){n, x, x, y, 0, 0, 0});
}

static int FN(gelu_backward)(idx n, int by_tanh, const REAL *dy, const REAL *x, REAL *dx)
{
    return FN(run_elementwise)(
        16, by_tanh ? FN(gelu_tanh_backward_body) : FN(gelu_exact_backward_body),
        (elementwise){n, dy, x, dx, 0, 0, 0});
}

INLINE vec FN(silu_slope)(vec x)
{
    const vec s = FN(sigmoid)(x);
    return s * (1 + x * (1 - s));
}

FORWARD(silu_forward, 8, a * FN(sigmoid)(a))
BACKWARD(silu_backward, 8, a * FN(silu_slope)(b))

/* log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)) */
INLINE vec FN(log_1_exp)(vec z)
{
    return FN(at_least)(z, 0) + FN(log1p)(FN(exp)(FN(smaller)(z, -z)));
}

ELEMENTWISE(softplus_forward, 16, FN(select)((lanes)(a * p > q), a, FN(log_1_exp)(a * p) * (1 / p)))
ELEMENTWISE(softplus_backward, 8, FN(select)((lanes)(b * p > q), a, a * FN(sigmoid)(b * p)))

static int FN(softplus_forward)(idx n, double beta, double threshold, const REAL *x, REAL *y)
{
    return FN(run_elementwise)(16, FN(softplus_forward_body),
                               (elementwise){n, x, x, y, (REAL)beta, (REAL)threshold, 0});
}

static int FN(softplus_backward)(idx n, double beta, double threshold, const REAL *dy,
                                 const REAL *x, REAL *dx)
{
    return FN(run_elementwise)(8, FN(softplus_backward_body),
                               (elementwise){n, dy, x, dx, (REAL)beta, (REAL)threshold, 0});
}

FORWARD(hardswish_forward, 2, a * (FN(at_most)(FN(at_least)(a + 3, 0), 6) * (REAL)(1.0 / 6)))
BACKWARD(hardswish_backward, 2,
         FN(select)((lanes)(b <= -3), (vec){0},
                    FN(select)((lanes)(b >= 3), a, a * (b * (REAL)(1.0 / 3) + (REAL)0.5))))

ELEMENTWISE(plain_add, 1, a + b)
ELEMENTWISE(add_relu, 1, FN(at_least)(a + b, 0))

static int FN(add_forward)(idx n, int relu, const REAL *a, const REAL *b, REAL *y)
{
    return FN(run_elementwise)(1, relu ? FN(add_relu_body) : FN(plain_add_body),
                               (elementwise){n, a, b, y, 0, 0, 0});
}

#undef SQRT_2_OVER_PI
#undef CUBE
#undef ELEMENTWISE
#undef FORWARD
#undef BACKWARD
#undef FORWARD_WITH
#undef BACKWARD_WITH
#undef elementwise
