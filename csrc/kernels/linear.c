/* y = x w^T + b, where relu a negative one is 0.  x (n,in), w (out,in), b (out,) or NULL, y (n,out).
 */
static int FN(linear_forward)(idx n, idx in, idx out, const REAL *x, const REAL *w, const REAL *b,
                              int relu, REAL *y)
{
    return FN(gemm)(n, out, in, (matrix){x, in, 1}, (matrix){w, 1, in},
                    (sink){.c = y, .row = out, .bias_of_column = b, .last = {.relu = relu}});
}

/* dx = dy w */
static int FN(linear_backward_input)(idx n, idx in, idx out, const REAL *dy, const REAL *w,
                                     REAL *dx)
{
    return FN(gemm)(n, in, out, (matrix){dy, out, 1}, (matrix){w, in, 1},
                    (sink){.c = dx, .row = in});
}

/* dw = dy^T x */
static int FN(linear_backward_weight)(idx n, idx in, idx out, const REAL *dy, const REAL *x,
                                      REAL *dw)
{
    return FN(gemm)(out, in, n, (matrix){dy, 1, out}, (matrix){x, in, 1},
                    (sink){.c = dw, .row = in, .last.far = FN(is_far)(out * in)});
}

/* db = sum of dy over the rows, `row` apart: a band of columns per task */
typedef struct {
    idx n, out;
    const REAL *dy;
    idx row;
    REAL *db;
} FN(column_sum_job);

enum { FN(BAND_COLUMNS) = 256, FN(SUMMED_ROWS) = 128 };

INLINE void FN(add_rows)(idx rows, idx count, const REAL *dy, idx row, REAL *to)
{
    for (idx j = 0; j < count; j++)
        to[j] = 0;
    for (idx i = 0; i < rows; i++, dy += row)
        for (idx j = 0; j < count; j++)
            to[j] += dy[j];
}

/* Sums of so many rows are added in double: more rows lose no more digits than these. */
static void FN(column_sum)(void *context, idx band)
{
    const FN(column_sum_job) *job = context;
    const idx first = band * FN(BAND_COLUMNS), count = FN(min)(FN(BAND_COLUMNS), job->out - first);
    const REAL *dy = job->dy + first;
    REAL *db = job->db + first;
    if (job->n <= FN(SUMMED_ROWS)) {
        FN(add_rows)(job->n, count, dy, job->row, db);
        return;
    }
    double total[FN(BAND_COLUMNS)] = {0};
    for (idx i = 0; i < job->n; i += FN(SUMMED_ROWS)) {
        FN(add_rows)(FN(min)(FN(SUMMED_ROWS), job->n - i), count, dy + i * job->row, job->row, db);
        for (idx j = 0; j < count; j++)
            total[j] += (double)db[j];
    }
    for (idx j = 0; j < count; j++)
        db[j] = (REAL)total[j];
}

static void FN(column_sums)(idx n, idx out, const REAL *dy, idx row, REAL *db)
{
    FN(column_sum_job) job = {n, out, dy, row, db};
    pydl_parallel_for((out + FN(BAND_COLUMNS) - 1) / FN(BAND_COLUMNS), (double)n * (double)out,
                      FN(column_sum), &job);
}

static int FN(linear_backward_bias)(idx n, idx out, const REAL *dy, REAL *db)
{
    FN(column_sums)(n, out, dy, out, db);
    return PYDL_OK;
}
