/* Softmax along c of x (outer,c,inner), its logarithm and its cross-entropy (Bridle 1990); m is the
 * maximum along c.
 *   softmax        y = exp(x - m) / sum exp(x - m)             dx = y (dy - sum dy y)
 *   log_softmax    y = x - m - log(sum exp(x - m))             dx = dy - exp(y) sum dy
 *   cross-entropy  of logits (rows,c): loss (rows,) = -log p[label], or -sum t log p with targets
 *                  t (rows,c);  p (rows,c) = softmax(logits)
 *                  dlogits (rows,c) = dloss (p sum t - t), t one-hot for labels
 * Where inner is 1 a vector lies along c, else along inner: a tile of columns. A row or a tile
 * stays in cache from its first pass to its last. NaN and infinities come out as in the formulas:
 * the maximum may overlook a NaN, the sum does not. */
typedef struct {
    idx rows, c, chunk;
    const REAL *a, *b;
    REAL *result;
    idx inner, tiles; /* tiles of columns in each of outer */
    const int64_t *labels; /* NULL: targets */
    const REAL *targets;
    REAL *loss;
    const REAL *dloss;
    int has_ignore, bad_index;
    int64_t ignore;
} FN(row_job);
#define row_job FN(row_job)

enum {
    FN(ROW_CHUNK) = 16384,  /* elements per task */
    FN(SOFTMAX_BYTES) = 16384, /* of one operand */
    FN(TILE_COLUMNS) = 256, /* at most */
    FN(FAR_RESULT) = 1048576 / (idx)sizeof(REAL), /* elements: larger ones leave L2 */
    FN(FETCHED_AHEAD) = 8192 / (idx)sizeof(REAL),    /* elements */
};

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

#if VECTOR_BYTES == 64
#define UNROLLED
#else
#define UNROLLED _Pragma("GCC unroll 2")
#endif
/* Runs statements for the vectors of a row of count elements: j the offset, rest the elements of
 * the vector that count. */
#define FOR_VECTORS(count, ...)                                                                    \
    do {                                                                                           \
        idx j = 0;                                                                                 \
        UNROLLED                                                                                   \
        for (; j + VLEN <= (count); j += VLEN) {                                                   \
            const idx rest = VLEN;                                                                 \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
        if (j < (count)) {                                                                         \
            const idx rest = (count) - j;                                                          \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
    } while (0)

/* Each lane's largest value of a row. */
INLINE vec FN(row_max)(idx c, const REAL *x)
{
    vec best[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
        best[k] = FN(splat)(-INFINITY);
    idx j = 0;
    for (; j + 4 * VLEN <= c; j += 4 * VLEN)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            best[k] = FN(larger)(FN(load)(x + j + k * VLEN), best[k]);
    for (; j < c; j += VLEN)
        best[0] = FN(larger)(FN(load_part)(x + j, c - j, -INFINITY), best[0]);
    return FN(larger)(FN(larger)(best[0], best[1]), FN(larger)(best[2], best[3]));
}

enum { FN(STORE_EXP), FN(STORE_DIFFERENCE) };

/* Each lane's sum of exp(x - m) over a row; y = exp(x - m) or x - m. */
INLINE vec FN(row_exp)(idx c, const REAL *x, REAL m, int what, REAL *y)
{
    vec sum = {0};
    FOR_VECTORS(c, {
        const vec difference = FN(load_part)(x + j, rest, -INFINITY) - m;
        const vec e = FN(exp_negative)(difference);
        FN(store_part)(y + j, rest, what == FN(STORE_EXP) ? e : difference);
        sum += e;
    });
    return sum;
}

/* How many last columns of rows are better taken as vectors of a lane for each row: those that are
 * few after whole vectors. */
INLINE idx FN(odd_columns)(idx rows, idx c)
{
    return rows >= 4 && c > VLEN && c % VLEN <= 3 ? c % VLEN : 0;
}

/* The same for a few rows, a lane each: their maxima m, and their sums; those of y are so far
 * apart. */
INLINE vec FN(rows_exp)(idx rows, idx c, const REAL *x, int what, REAL *y, idx stride, REAL m[])
{
    const idx odd = FN(odd_columns)(rows, c), whole = c - odd;
    vec each[VECTOR_BYTES / sizeof(REAL)], column[3], sum = {0};
    for (idx k = 0; k < rows; k++)
        each[k] = FN(row_max)(whole, x + k * c);
    if (rows < 4)
        for (idx k = 0; k < rows; k++)
            m[k] = FN(largest_lane)(each[k]);
    else {
        for (idx k = rows; k < VLEN; k++)
            each[k] = (vec){0};
        vec largest = FN(largest_each)(each);
        for (idx j = 0; j < odd; j++) {
            REAL values[VECTOR_BYTES / sizeof(REAL)] = {0};
            for (idx k = 0; k < rows; k++)
                values[k] = x[k * c + whole + j];
            column[j] = FN(load)(values);
            largest = FN(larger)(column[j], largest);
        }
        FN(store)(m, largest);
    }
    for (idx k = 0; k < rows; k++)
        each[k] = FN(row_exp)(whole, x + k * c, m[k], what, y + k * stride);
    for (idx j = 0; j < odd; j++) {
        const vec difference = column[j] - FN(load)(m), e = FN(exp_negative)(difference);
        REAL values[VECTOR_BYTES / sizeof(REAL)];
        FN(store)(values, what == FN(STORE_EXP) ? e : difference);
        for (idx k = 0; k < rows; k++)
            y[k * stride + whole + j] = values[k];
        sum += e;
    }
    sum += FN(sum_group)(rows, each);
    return FN(select)(FN(first_lanes)(rows), sum, FN(splat)(1));
}

/* How many rows are taken together: those of so many bytes. */
INLINE idx FN(rows_of)(idx c)
{
    return FN(max)(FN(min)(FN(SOFTMAX_BYTES) / (idx)sizeof(REAL) / c, VLEN), 1);
}

/* Where the first pass over rows leaves its results for the second, and how far apart: in place, or
 * if they are short and lie across cache lines there, in `room`. */
enum { FN(SHORT_ROW) = 8 }; /* vectors */
typedef struct {
    REAL *at;
    idx stride;
} FN(between);

INLINE FN(between) FN(between_passes)(idx c, REAL *y, vec room[])
{
    if (c % VLEN == 0 || c > FN(SHORT_ROW) * VLEN)
        return (FN(between)){y, c};
    return (FN(between)){(REAL *)room, FN(round_up)(c, VLEN)};
}

/* The sum of a b, or of a if b is NULL. */
INLINE REAL FN(row_dot)(idx c, const REAL *a, const REAL *b)
{
    vec sum[4] = {{0}};
    idx j = 0;
    for (; j + 4 * VLEN <= c; j += 4 * VLEN)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            sum[k] += b ? FN(load)(a + j + k * VLEN) * FN(load)(b + j + k * VLEN)
                        : FN(load)(a + j + k * VLEN);
    for (; j < c; j += VLEN) {
        const vec v = FN(load_part)(a + j, c - j, 0);
        sum[0] += b ? v * FN(load_part)(b + j, c - j, 0) : v;
    }
    return FN(sum_lanes)((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

/* y = x scale; the lines of y are fetched so many elements ahead, unless that is 0. */
INLINE void FN(row_scale)(idx c, const REAL *x, REAL scale, REAL *y, idx ahead)
{
    FOR_VECTORS(c, {
        if (ahead)
            __builtin_prefetch(y + j + ahead, 1, 2);
        FN(store_part)(y + j, rest, FN(load_part)(x + j, rest, 0) * scale);
    });
}

INLINE vec FN(log_softmax_dx)(vec dy, vec y, vec sum) { return dy - FN(exp)(y) * sum; }
INLINE vec FN(softmax_dx)(vec dy, vec y, vec dot) { return y * (dy - dot); }

static idx FN(tile_width)(idx c, idx inner)
{
    const idx most = FN(SOFTMAX_BYTES) / (idx)sizeof(REAL) / c / VLEN * VLEN;
    return FN(min)(FN(max)(FN(min)(most, FN(TILE_COLUMNS)), VLEN), inner);
}

typedef struct {
    idx at, columns; /* offset of the first element */
} FN(tile);

INLINE FN(tile) FN(tile_of)(const row_job *job, idx t)
{
    const idx width = FN(tile_width)(job->c, job->inner), first = t % job->tiles * width;
    return (FN(tile)){t / job->tiles * job->c * job->inner + first,
                      FN(min)(width, job->inner - first)};
}

#define FOR_TILES                                                                                  \
    for (idx t = task * job->chunk; t < FN(min)(job->rows, (task + 1) * job->chunk); t++)

/* for the vectors of a tile: at the offset, j the column, rest the columns from there on */
#define FOR_TILE_VECTORS                                                                           \
    for (idx k = 0; k < job->c; k++)                                                               \
        for (idx j = 0, rest = tile.columns, at = tile.at + k * job->inner; rest > 0;              \
             j += VLEN, rest -= VLEN, at += VLEN)

/* A whole number of rows or tiles per task. */
static int FN(run_softmax)(row_job *job, idx outer, double cost, pydl_body rows, pydl_body tiles)
{
    if (job->inner == 1) {
        job->rows = outer;
        FN(run_rows)(job, cost, rows);
        return PYDL_OK;
    }
    if (!outer || !job->inner)
        return PYDL_OK;
    const idx width = FN(tile_width)(job->c, job->inner);
    job->tiles = (job->inner + width - 1) / width;
    job->rows = outer * job->tiles;
    job->chunk = FN(max)(FN(ROW_CHUNK) / (job->c * width), 1);
    pydl_parallel_for((job->rows + job->chunk - 1) / job->chunk,
                      cost * (double)(outer * job->c) * (double)job->inner, tiles, job);
    return PYDL_OK;
}

/* The reciprocals or logarithms of a few rows' sums are computed as one vector. */
INLINE void FN(softmax_rows)(const row_job *job, idx task, int what)
{
    const idx c = job->c, end = FN(min)(job->rows, (task + 1) * job->chunk), some = FN(rows_of)(c);
    REAL m[VECTOR_BYTES / sizeof(REAL)], s[VECTOR_BYTES / sizeof(REAL)];
    vec room[FN(SHORT_ROW) * VECTOR_BYTES / sizeof(REAL)];
    for (idx r = task * job->chunk, rows; r < end; r += rows) {
        rows = FN(min)(some, end - r);
        REAL *y = job->result + r * c;
        FN(between) from = FN(between_passes)(c, y, room);
        const vec sum = FN(rows_exp)(rows, c, job->a + r * c, what, from.at, from.stride, m);
        FN(store)(s, what == FN(STORE_EXP) ? 1 / sum : FN(log)(sum));
        for (idx k = 0; k < rows; k++, y += c, from.at += from.stride)
            if (what == FN(STORE_EXP))
                FN(row_scale)(c, from.at, s[k], y, 0);
            else
                FOR_VECTORS(c, FN(store_part)(y + j, rest,
                                              FN(load_part)(from.at + j, rest, 0) - s[k]));
    }
}

INLINE void FN(softmax_tiles)(const row_job *job, idx task, int what)
{
    REAL m[FN(TILE_COLUMNS)], sum[FN(TILE_COLUMNS)];
    REAL *y = job->result;
    FOR_TILES {
        const FN(tile) tile = FN(tile_of)(job, t);
        for (idx j = 0; j < tile.columns; j += VLEN) {
            FN(store)(m + j, FN(splat)(-INFINITY));
            FN(store)(sum + j, (vec){0});
        }
        FOR_TILE_VECTORS
            FN(store)(m + j, FN(larger)(FN(load_part)(job->a + at, rest, 0), FN(load)(m + j)));
        FOR_TILE_VECTORS {
            const vec difference = FN(load_part)(job->a + at, rest, 0) - FN(load)(m + j);
            const vec e = FN(exp_negative)(difference);
            FN(store_part)(y + at, rest, what == FN(STORE_EXP) ? e : difference);
            FN(store)(sum + j, FN(load)(sum + j) + e);
        }
        for (idx j = 0; j < tile.columns; j += VLEN)
            FN(store)(sum + j, what == FN(STORE_EXP) ? 1 / FN(load)(sum + j)
                                                     : FN(log)(FN(load)(sum + j)));
        FOR_TILE_VECTORS {
            const vec v = FN(load_part)(y + at, rest, 0), s = FN(load)(sum + j);
            FN(store_part)(y + at, rest, what == FN(STORE_EXP) ? v * s : v - s);
        }
    }
}

INLINE void FN(softmax_rows_backward)(const row_job *job, idx task, int what)
{
    const idx c = job->c;
    FOR_ROWS {
        const REAL *dy = job->a + x, *y = job->b + x;
        const vec sum = FN(splat)(FN(row_dot)(c, dy, what == FN(STORE_EXP) ? y : NULL));
        FOR_VECTORS(c, {
            const vec a = FN(load_part)(dy + j, rest, 0), b = FN(load_part)(y + j, rest, 0);
            FN(store_part)(job->result + x + j, rest,
                           what == FN(STORE_EXP) ? FN(softmax_dx)(a, b, sum)
                                                 : FN(log_softmax_dx)(a, b, sum));
        });
    }
}

INLINE void FN(softmax_tiles_backward)(const row_job *job, idx task, int what)
{
    REAL sum[FN(TILE_COLUMNS)];
    const REAL *dy = job->a, *y = job->b;
    FOR_TILES {
        const FN(tile) tile = FN(tile_of)(job, t);
        for (idx j = 0; j < tile.columns; j += VLEN)
            FN(store)(sum + j, (vec){0});
        FOR_TILE_VECTORS {
            const vec a = FN(load_part)(dy + at, rest, 0);
            const vec term = what == FN(STORE_EXP) ? a * FN(load_part)(y + at, rest, 0) : a;
            FN(store)(sum + j, FN(load)(sum + j) + term);
        }
        FOR_TILE_VECTORS {
            const vec a = FN(load_part)(dy + at, rest, 0), b = FN(load_part)(y + at, rest, 0);
            const vec total = FN(load)(sum + j);
            FN(store_part)(job->result + at, rest,
                           what == FN(STORE_EXP) ? FN(softmax_dx)(a, b, total)
                                                 : FN(log_softmax_dx)(a, b, total));
        }
    }
}

#define SOFTMAX(name, what, cost, backward_cost)                                                   \
    static void FN(name##_rows_body)(void *job, idx task)                                          \
    {                                                                                              \
        FN(softmax_rows)(job, task, FN(what));                                                     \
    }                                                                                              \
    static void FN(name##_tiles_body)(void *job, idx task)                                         \
    {                                                                                              \
        FN(softmax_tiles)(job, task, FN(what));                                                    \
    }                                                                                              \
    static int FN(name##_forward)(idx outer, idx c, idx inner, const REAL *x, REAL *y)             \
    {                                                                                              \
        row_job job = {.c = c, .inner = inner, .a = x, .result = y};                               \
        return FN(run_softmax)(&job, outer, cost, FN(name##_rows_body), FN(name##_tiles_body));    \
    }                                                                                              \
    static void FN(name##_rows_backward_body)(void *job, idx task)                                 \
    {                                                                                              \
        FN(softmax_rows_backward)(job, task, FN(what));                                            \
    }                                                                                              \
    static void FN(name##_tiles_backward_body)(void *job, idx task)                                \
    {                                                                                              \
        FN(softmax_tiles_backward)(job, task, FN(what));                                           \
    }                                                                                              \
    static int FN(name##_backward)(idx outer, idx c, idx inner, const REAL *dy, const REAL *y,     \
                                   REAL *dx)                                                       \
    {                                                                                              \
        row_job job = {.c = c, .inner = inner, .a = dy, .b = y, .result = dx};                     \
        return FN(run_softmax)(&job, outer, backward_cost, FN(name##_rows_backward_body),          \
                               FN(name##_tiles_backward_body));                                    \
    }
SOFTMAX(softmax, STORE_EXP, 10, 3)
SOFTMAX(log_softmax, STORE_DIFFERENCE, 10, 9)
#undef SOFTMAX
#undef FOR_TILES
#undef FOR_TILE_VECTORS

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

/* -sum t log p of a row of logits x */
INLINE REAL FN(row_loss)(idx c, const REAL *t, const REAL *x, REAL m, REAL log_sum)
{
    vec total = {0};
    FOR_VECTORS(c, {
        const vec p = log_sum - (FN(load_part)(x + j, rest, m) - m);
        total += FN(load_part)(t + j, rest, 0) * p;
    });
    return FN(sum_lanes)(total);
}

static void FN(softmax_cross_entropy_forward_body)(void *context, idx task)
{
    row_job *job = context;
    const idx c = job->c, end = FN(min)(job->rows, (task + 1) * job->chunk), some = FN(rows_of)(c);
    REAL m[VECTOR_BYTES / sizeof(REAL)], scale[VECTOR_BYTES / sizeof(REAL)];
    REAL log_sum[VECTOR_BYTES / sizeof(REAL)];
    vec room[FN(SHORT_ROW) * VECTOR_BYTES / sizeof(REAL)];
    for (idx first = task * job->chunk, rows; first < end; first += rows) {
        rows = FN(min)(some, end - first);
        const REAL *x = job->a + first * c;
        REAL *probs = job->result + first * c;
        FN(between) from = FN(between_passes)(c, probs, room);
        const vec sum = FN(rows_exp)(rows, c, x, FN(STORE_EXP), from.at, from.stride, m);
        FN(store)(scale, 1 / sum);
        FN(store)(log_sum, FN(log)(sum));
        for (idx k = 0; k < rows; k++, x += c, probs += c, from.at += from.stride) {
            const idx r = first + k;
            FN(row_scale)(c, from.at, scale[k], probs, 0);
            if (!job->labels)
                job->loss[r] = FN(row_loss)(c, job->targets + r * c, x, m[k], log_sum[k]);
            else
                job->loss[r] =
                    FN(label_counts)(job, r) ? log_sum[k] - (x[job->labels[r]] - m[k]) : 0;
        }
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
    const idx ahead = job->rows * c > FN(FAR_RESULT) ? FN(FETCHED_AHEAD) : 0;
    /* of so many: two arrays that fit level 3 are faster there */
    const int leaves = c % FN(LINE) == 0 && FN(leaves_caches)(job->rows * c / 5 * 2);
    FOR_ROWS {
        const REAL *probs = job->a + x, dloss = job->dloss[r];
        REAL *dlogits = job->result + x;
        if (!job->labels) {
            const REAL *t = job->targets + x, sum = FN(row_dot)(c, t, NULL);
            FOR_VECTORS(c, {
                const vec p = FN(load_part)(probs + j, rest, 0);
                FN(store_part)(dlogits + j, rest,
                               dloss * (p * sum - FN(load_part)(t + j, rest, 0)));
            });
        } else if (FN(label_counts)(job, r)) {
            if (leaves)
                FOR_VECTORS(c, FN(store_stream)(dlogits + j, rest,
                                                FN(load_part)(probs + j, rest, 0) * dloss));
            else
                FN(row_scale)(c, probs, dloss, dlogits, ahead);
            dlogits[job->labels[r]] = dloss * (probs[job->labels[r]] - 1);
        } else {
            FN(zero_run)(dlogits, c);
        }
    }
    if (leaves)
        FN(finish_far_stores)();
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
#undef UNROLLED
