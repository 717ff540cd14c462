/* Activations of n elements; backward takes the forward's result y.
 *   relu     y = x < 0 ? 0 : x, so that NaN passes    dx = y <= 0 ? 0 : dy
 *   sigmoid  y = 1 / (1 + exp(-x))                    dx = dy y (1 - y)
 *   tanh     y = tanh(x)                              dx = dy (1 - y^2) */
typedef struct {
    idx n;
    const REAL *a, *b; /* b only where the formula has two operands */
    REAL *result;
} FN(elementwise);

enum { FN(ELEMENTWISE_CHUNK) = 16384 };

static void FN(run_elementwise)(idx n, double cost, pydl_body body, const REAL *a, const REAL *b,
                                REAL *result)
{
    FN(elementwise) job = {n, a, b, result};
    pydl_parallel_for((n + FN(ELEMENTWISE_CHUNK) - 1) / FN(ELEMENTWISE_CHUNK),
                      cost * (double)n, body, &job);
}

/* name_body(context, task), which computes the formula of the operands' vectors a and b; an operand
 * may be the result itself. */
#define ELEMENTWISE(name, formula)                                                                 \
    INLINE vec FN(name##_formula)(vec a, vec b)                                                    \
    {                                                                                              \
        (void)b;                                                                                   \
        return formula;                                                                            \
    }                                                                                              \
    static void FN(name##_body)(void *context, idx task)                                           \
    {                                                                                              \
        const FN(elementwise) *job = context;                                                      \
        const idx end = FN(min)(job->n, (task + 1) * FN(ELEMENTWISE_CHUNK));                       \
        idx i = task * FN(ELEMENTWISE_CHUNK);                                                      \
        for (; i + VLEN <= end; i += VLEN)                                                         \
            FN(store)(job->result + i,                                                             \
                      FN(name##_formula)(FN(load)(job->a + i), FN(load)(job->b + i)));             \
        if (i < end)                                                                               \
            FN(store_part)(job->result + i, end - i,                                               \
                           FN(name##_formula)(FN(load_part)(job->a + i, end - i, 0),               \
                                              FN(load_part)(job->b + i, end - i, 0)));             \
    }

#define FORWARD(name, cost, formula)                                                               \
    ELEMENTWISE(name, formula)                                                                     \
    static int FN(name)(idx n, const REAL *x, REAL *y)                                             \
    {                                                                                              \
        FN(run_elementwise)(n, cost, FN(name##_body), x, x, y);                                    \
        return PYDL_OK;                                                                            \
    }

#define BACKWARD(name, formula)                                                                    \
    ELEMENTWISE(name, formula)                                                                     \
    static int FN(name)(idx n, const REAL *dy, const REAL *y, REAL *dx)                            \
    {                                                                                              \
        FN(run_elementwise)(n, 2, FN(name##_body), dy, y, dx);                                     \
        return PYDL_OK;                                                                            \
    }

FORWARD(relu_forward, 1, FN(at_least)(a, 0))
BACKWARD(relu_backward, FN(select)((lanes)(b <= 0), (vec){0}, a))

FORWARD(sigmoid_forward, 8, FN(sigmoid)(a))
BACKWARD(sigmoid_backward, a * (b * (1 - b)))

FORWARD(tanh_forward, 8, FN(tanh)(a))
BACKWARD(tanh_backward, a * (1 - b * b))

#undef ELEMENTWISE
#undef FORWARD
#undef BACKWARD
