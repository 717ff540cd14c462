/* Softmax of rows (rows,c), its logarithm and its cross-entropy (Bridle 1990); m is the row's
 * maximum.
 *   softmax        y = exp(x - m) / sum exp(x - m)             dx = y (dy - sum dy y)
 *   log_softmax    y = x - m - log(sum exp(x - m))             dx = dy - exp(y) sum dy
 *   cross-entropy  loss (rows,) = -log p[label], or -sum t log p with targets t (rows,c);
 *                  p (rows,c) = softmax(logits)
 *                  dlogits (rows,c) = dloss (p sum t - t), t one-hot for labels
 * A row stays in cache from its first pass to its last. NaN and infinities come out as in the
 * formulas: the maximum may overlook a NaN, the sum does not. */
typedef struct {
    idx rows, c, chunk;
    const REAL *a, *b;
    REAL *result;
    const int64_t *labels; /* NULL: targets */
    const REAL *targets;
    REAL *loss;
    const REAL *dloss;
    int has_ignore, bad_index;
    int64_t ignore;
} FN(row_job);
#define row_job FN(row_job)

enum { FN(ROW_CHUNK) = 16384 }; /* elements per task */

static void FN(run_rows)(row_job *job, double cost, pydl_body body)
{
    job->chunk = FN(max)(FN(ROW_CHUNK) / job->c, 1);
    pydl_parallel_for((job->rows + job->chunk - 1) / job->chunk,
                      cost * (double)job->rows * (double)job->c, body, job);
}

/* for every row r of a task, x being the row's offset */
#define FOR_ROWS                                                                                   \
    for (idx r = task * job->chunk, x = r * c; r < FN(min)(job->rows, (task + 1) * job->chunk);    \
         r++, x += c)

/* For the vectors of a row, from `at` on: the last one reaches back over the one before rather
 * than over the row's end (only a row shorter than a vector is loaded and stored in part), and
 * not_yet_seen clears the lanes it repeats. */
#define FOR_VECTORS(c)                                                                             \
    for (idx j = 0, at = 0; j < (c); j += VLEN, at = FN(max)(FN(min)(j, (c) - VLEN), 0))

INLINE vec FN(not_yet_seen)(vec v, idx j, idx at, idx c)
{
    return j == at ? v : (vec)((lanes)v & FN(last_lanes)(c - j));
}

INLINE REAL FN(row_max)(idx c, const REAL *x)
{
    vec best = FN(load_part)(x, c, -INFINITY);
    FOR_VECTORS(c) {
        const vec v = FN(load_part)(x + at, c - at, -INFINITY);
        best = FN(select)((lanes)(v > best), v, best);
    }
    REAL largest = best[0];
    for (idx i = 1; i < VLEN; i++)
        largest = best[i] > largest ? best[i] : largest;
    return largest;
}

/* The sum of exp(x - m), which is stored if y is not NULL. */
INLINE REAL FN(row_exp)(idx c, const REAL *x, REAL m, REAL *y)
{
    vec sum = {0};
    FOR_VECTORS(c) {
        const vec e = FN(exp)(FN(load_part)(x + at, c - at, -INFINITY) - m);
        if (y)
            FN(store_part)(y + at, c - at, e);
        sum += FN(not_yet_seen)(e, j, at, c);
    }
    return FN(sum_lanes)(sum);
}

/* The sum of a b, or of a if b is NULL. */
INLINE REAL FN(row_dot)(idx c, const REAL *a, const REAL *b)
{
    vec sum = {0};
    FOR_VECTORS(c) {
        const vec v = FN(load_part)(a + at, c - at, 0);
        sum += FN(not_yet_seen)(b ? v * FN(load_part)(b + at, c - at, 0) : v, j, at, c);
    }
    return FN(sum_lanes)(sum);
}

static void FN(softmax_forward_body)(void *context, idx task)
{
    const row_job *job = context;
    const idx c = job->c;
    FOR_ROWS {
        REAL *y = job->result + x;
        const REAL scale = 1 / FN(row_exp)(c, job->a + x, FN(row_max)(c, job->a + x), y);
        for (idx j = 0; j < c; j++)
            y[j] *= scale;
    }
}

static int FN(softmax_forward)(idx rows, idx c, const REAL *x, REAL *y)
{
    row_job job = {.rows = rows, .c = c, .a = x, .result = y};
    FN(run_rows)(&job, 10, FN(softmax_forward_body));
    return PYDL_OK;
}

static void FN(softmax_backward_body)(void *context, idx task)
{
    const row_job *job = context;
    const idx c = job->c;
    FOR_ROWS {
        const REAL *dy = job->a + x, *y = job->b + x, dot = FN(row_dot)(c, dy, y);
        REAL *restrict dx = job->result + x;
        for (idx j = 0; j < c; j++)
            dx[j] = y[j] * (dy[j] - dot);
    }
}

static int FN(softmax_backward)(idx rows, idx c, const REAL *dy, const REAL *y, REAL *dx)
{
    row_job job = {.rows = rows, .c = c, .a = dy, .b = y, .result = dx};
    FN(run_rows)(&job, 3, FN(softmax_backward_body));
    return PYDL_OK;
}

static void FN(log_softmax_forward_body)(void *context, idx task)
{
    const row_job *job = context;
    const idx c = job->c;
    FOR_ROWS {
        const REAL *row = job->a + x, m = FN(row_max)(c, row);
        REAL *restrict y = job->result + x;
        const REAL log_sum = FN(log)(FN(splat)(FN(row_exp)(c, row, m, NULL)))[0];
        for (idx j = 0; j < c; j++)
            y[j] = row[j] - m - log_sum;
    }
}

static int FN(log_softmax_forward)(idx rows, idx c, const REAL *x, REAL *y)
{
    row_job job = {.rows = rows, .c = c, .a = x, .result = y};
    FN(run_rows)(&job, 10, FN(log_softmax_forward_body));
    return PYDL_OK;
}

static void FN(log_softmax_backward_body)(void *context, idx task)
{
    const row_job *job = context;
    const idx c = job->c;
    FOR_ROWS {
        const REAL *dy = job->a + x, *y = job->b + x, sum = FN(row_dot)(c, dy, NULL);
        REAL *dx = job->result + x;
        FOR_VECTORS(c)
            FN(store_part)(dx + at, c - at,
                           FN(load_part)(dy + at, c - at, 0) -
                               FN(exp)(FN(load_part)(y + at, c - at, 0)) * sum);
    }
}

static int FN(log_softmax_backward)(idx rows, idx c, const REAL *dy, const REAL *y, REAL *dx)
{
    row_job job = {.rows = rows, .c = c, .a = dy, .b = y, .result = dx};
    FN(run_rows)(&job, 9, FN(log_softmax_backward_body));
    return PYDL_OK;
}

/* Whether row r's label counts; one out of range is noted and does not. */
INLINE int FN(label_counts)(row_job *job, idx r)
{
    const int64_t label = job->labels[r];
    if (job->has_ignore && label == job->ignore)
        return 0;
    if (label >= 0 && label < job->c)
        return 1;
    __atomic_store_n(&job->bad_index, 1, __ATOMIC_RELAXED);
    return 0;
}

static void FN(softmax_cross_entropy_forward_body)(void *context, idx task)
{
    row_job *job = context;
    const idx c = job->c;
    FOR_ROWS {
        const REAL *row = job->a + x, m = FN(row_max)(c, row);
        REAL *probs = job->result + x, loss = 0;
        const REAL sum = FN(row_exp)(c, row, m, probs), scale = 1 / sum;
        const REAL log_sum = FN(log)(FN(splat)(sum))[0];
        for (idx j = 0; j < c; j++)
            probs[j] *= scale;
        if (job->labels) {
            if (FN(label_counts)(job, r))
                loss = log_sum - (row[job->labels[r]] - m);
        } else {
            vec total = {0};
            FOR_VECTORS(c) {
                const vec t = FN(load_part)(job->targets + x + at, c - at, 0);
                total += FN(not_yet_seen)(t * (log_sum - (FN(load_part)(row + at, c - at, m) - m)),
                                          j, at, c);
            }
            loss = FN(sum_lanes)(total);
        }
        job->loss[r] = loss;
    }
}

static int FN(softmax_cross_entropy_forward)(idx rows, idx c, const REAL *logits,
                                             const int64_t *labels, const REAL *targets,
                                             int has_ignore, int64_t ignore, REAL *loss,
                                             REAL *probs)
{
    row_job job = {.rows = rows, .c = c, .a = logits, .result = probs, .labels = labels,
                   .targets = targets, .loss = loss, .has_ignore = has_ignore, .ignore = ignore};
    FN(run_rows)(&job, 10, FN(softmax_cross_entropy_forward_body));
    return job.bad_index ? PYDL_BAD_INDEX : PYDL_OK;
}

static void FN(softmax_cross_entropy_backward_body)(void *context, idx task)
{
    row_job *job = context;
    const idx c = job->c;
    FOR_ROWS {
        const REAL *probs = job->a + x, dloss = job->dloss[r];
        REAL *restrict dlogits = job->result + x;
        if (!job->labels) {
            const REAL *t = job->targets + x, sum = FN(row_dot)(c, t, NULL);
            for (idx j = 0; j < c; j++)
                dlogits[j] = dloss * (probs[j] * sum - t[j]);
        } else if (FN(label_counts)(job, r)) {
            for (idx j = 0; j < c; j++)
                dlogits[j] = dloss * probs[j];
            dlogits[job->labels[r]] = dloss * (probs[job->labels[r]] - 1);
        } else {
            FN(zero_run)(dlogits, c);
        }
    }
}

static int FN(softmax_cross_entropy_backward)(idx rows, idx c, const REAL *dloss,
                                              const REAL *probs, const int64_t *labels,
                                              const REAL *targets, int has_ignore, int64_t ignore,
                                              REAL *dlogits)
{
    row_job job = {.rows = rows, .c = c, .a = probs, .result = dlogits, .labels = labels,
                   .targets = targets, .dloss = dloss, .has_ignore = has_ignore, .ignore = ignore};
    FN(run_rows)(&job, 3, FN(softmax_cross_entropy_backward_body));
    return job.bad_index ? PYDL_BAD_INDEX : PYDL_OK;
}

#undef row_job
#undef FOR_ROWS
#undef FOR_VECTORS
