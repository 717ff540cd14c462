/* Products with a thin operand, of at most THIN rows: the other, large operand is read once, where
 * it is, by as many accumulators as there are registers.
 *
 *   dots   out(i, j) = sum over p of thin[i][p] large[j][p]     rows of the large operand lie along
 * p sums   out(i, j) = sum over p of thin[i][p] large[p][j]     rows of the large operand lie along
 * j */
enum {
    FN(THIN) = 8,
    FN(THIN_ACCUMULATORS) = MR * NR_VECTORS,
    FN(THIN_COLUMNS) = 2048 / sizeof(REAL), /* of the sums, which stay in L1 */
    FN(THIN_RANK) = 4, /* rows of the large operand for each pass over the sums */
    FN(THIN_AHEAD) = 4, /* rows on, which lie in other pages: they are fetched meanwhile */
};

typedef struct {
    idx thin, large, k;
    const REAL *a; /* thin: row stride a_row, the other stride is 1 */
    idx a_row;
    const REAL *b; /* large: row stride b_row, the other stride is 1 */
    idx b_row;
    REAL *c; /* out(i, j) at c[i * c_thin + j * c_large] */
    idx c_thin, c_large;
    const REAL *bias_of_thin, *bias_of_large; /* NULL: none */
    int relu;
    idx piece;                                /* of the large operand, for a task */
} FN(thin_job);
#define thin_job FN(thin_job)

INLINE REAL FN(thin_result)(const thin_job *job, idx i, idx j, REAL sum)
{
    const REAL result = sum + ((job->bias_of_thin ? job->bias_of_thin[i] : 0) +
                               (job->bias_of_large ? job->bias_of_large[j] : 0));
    return job->relu && result < 0 ? 0 : result;
}

/* dots for large rows j .. j + rows */
INLINE void FN(thin_dots)(const thin_job *job, idx j, int thin, int rows)
{
    vec acc[FN(THIN)][FN(THIN)];
#pragma GCC unroll 8
    for (int i = 0; i < thin; i++)
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            acc[i][r] = (vec){0};
    const REAL *b = job->b + j * job->b_row;
    const idx whole = job->k / VLEN * VLEN;
    for (idx p = 0; p < whole; p += VLEN) {
        vec value[FN(THIN)];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            value[r] = FN(load)(b + r * job->b_row + p);
#pragma GCC unroll 8
        for (int i = 0; i < thin; i++) {
            const vec from = FN(load)(job->a + i * job->a_row + p);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                acc[i][r] += from * value[r];
        }
    }
    for (int r = 0; r < rows; r++) {
        const vec rest = FN(load_part)(b + r * job->b_row + whole, job->k - whole, 0);
        for (int i = 0; i < thin; i++) {
            const REAL *a = job->a + i * job->a_row + whole;
            const vec sum =
                whole < job->k ? acc[i][r] + FN(load_part)(a, job->k - whole, 0) * rest : acc[i][r];
            job->c[i * job->c_thin + (j + r) * job->c_large] =
                FN(thin_result)(job, i, j + r, FN(sum_lanes)(sum));
        }
    }
}

/* sum (thin, columns) += rows p .. p + rows of the large operand, from column j on */
INLINE void FN(thin_rank)(const thin_job *job, idx p, idx j, idx columns, int thin, int rows,
                          REAL *sum)
{
    const REAL *b = job->b + p * job->b_row + j, *a = job->a + p;
    for (idx q = 0; q < columns; q += VLEN) {
        const idx count = columns - q;
        vec value[FN(THIN)];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            value[r] = FN(load_part)(b + r * job->b_row + q, count, 0);
            __builtin_prefetch(b + (r + FN(THIN_AHEAD)) * job->b_row + q);
        }
#pragma GCC unroll 8
        for (int i = 0; i < thin; i++) {
            vec total = FN(load)(sum + i * FN(THIN_COLUMNS) + q);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                total += a[i * job->a_row + r] * value[r];
            FN(store)(sum + i * FN(THIN_COLUMNS) + q, total);
        }
    }
}

static void FN(thin_store)(const thin_job *job, const REAL *sum, idx j, idx columns)
{
    for (idx i = 0; i < job->thin; i++)
        for (idx q = 0; q < columns; q++)
            job->c[i * job->c_thin + j + q] =
                FN(thin_result)(job, i, j + q, sum[i * FN(THIN_COLUMNS) + q]);
}

/* How many rows or vectors of the large operand go with a thin operand of so many rows. */
#define THIN_WIDTH(thin)                                                                           \
    (FN(THIN_ACCUMULATORS) / (thin) > FN(THIN) ? FN(THIN) : FN(THIN_ACCUMULATORS) / (thin))
#define THIN_CASES(DO)                                                                             \
    switch (job->thin) {                                                                           \
    case 1:                                                                                        \
        DO(1) break;                                                                               \
    case 2:                                                                                        \
        DO(2) break;                                                                               \
    case 3:                                                                                        \
        DO(3) break;                                                                               \
    case 4:                                                                                        \
        DO(4) break;                                                                               \
    case 5:                                                                                        \
        DO(5) break;                                                                               \
    case 6:                                                                                        \
        DO(6) break;                                                                               \
    case 7:                                                                                        \
        DO(7) break;                                                                               \
    case 8:                                                                                        \
        DO(8) break;                                                                               \
    }

static void FN(thin_dots_task)(void *context, idx task)
{
    const thin_job *job = context;
    idx j = task * job->piece;
    const idx end = FN(min)(j + job->piece, job->large);
#define DOTS(thin)                                                                                 \
    for (; j + THIN_WIDTH(thin) <= end; j += THIN_WIDTH(thin))                                     \
        FN(thin_dots)(job, j, thin, THIN_WIDTH(thin));                                             \
    for (; j < end; j++)                                                                           \
        FN(thin_dots)(job, j, thin, 1);
    THIN_CASES(DOTS)
#undef DOTS
}

static void FN(thin_sums_task)(void *context, idx task)
{
    const thin_job *job = context;
    const idx end = FN(min)((task + 1) * job->piece, job->large);
    REAL sum[FN(THIN) * FN(THIN_COLUMNS)];
    for (idx j = task * job->piece; j < end; j += FN(THIN_COLUMNS)) {
        const idx columns = FN(min)(FN(THIN_COLUMNS), end - j);
        memset(sum, 0, (size_t)(job->thin * FN(THIN_COLUMNS)) * sizeof(REAL));
        idx p = 0;
#define SUMS(thin)                                                                                 \
    for (; p + FN(THIN_RANK) <= job->k; p += FN(THIN_RANK))                                        \
        FN(thin_rank)(job, p, j, columns, thin, FN(THIN_RANK), sum);                               \
    for (; p < job->k; p++)                                                                        \
        FN(thin_rank)(job, p, j, columns, thin, 1, sum);
        THIN_CASES(SUMS)
#undef SUMS
        FN(thin_store)(job, sum, j, columns);
    }
}
#undef THIN_CASES
#undef THIN_WIDTH
