/* Products with a thin operand, of at most THIN rows: the other, large operand is read once, where
 * it is, by as many accumulators as there are registers.
 *
 *   dots   out(i, j) = sum over p of thin[i][p] large[j][p], the large operand's rows lie along p
 *   sums   out(i, j) = sum over p of thin[i][p] large[p][j], the large operand's rows lie along j
 */
enum {
    FN(THIN) = 16,
    FN(THIN_PASS) = 8, /* rows of the thin operand that meet a piece of the large one at a time */
    FN(THIN_ACCUMULATORS) = MR * NR_VECTORS,
    FN(THIN_COLUMNS) = 2048 / sizeof(REAL), /* of the sums, which stay in L1 */
    FN(THIN_RANK) = 4, /* rows of the large operand for each pass over the sums ... */
    FN(THIN_VECTORS) = 2, /* ... and vectors of each */
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

/* dots for large rows j .. j + rows and thin rows from first on */
INLINE void FN(thin_dots)(const thin_job *job, idx j, idx first, int thin, int rows)
{
    vec acc[FN(THIN_PASS)][FN(THIN_PASS)];
#pragma GCC unroll 8
    for (int i = 0; i < thin; i++)
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            acc[i][r] = (vec){0};
    const REAL *a = job->a + first * job->a_row, *b = job->b + j * job->b_row;
    const idx whole = job->k / VLEN * VLEN;
    for (idx p = 0; p < whole; p += VLEN) {
        vec value[FN(THIN_PASS)];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            value[r] = FN(load)(b + r * job->b_row + p);
#pragma GCC unroll 8
        for (int i = 0; i < thin; i++) {
            const vec from = FN(load)(a + i * job->a_row + p);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                acc[i][r] += from * value[r];
        }
    }
    for (int r = 0; r < rows; r++) {
        const vec rest = FN(load_part)(b + r * job->b_row + whole, job->k - whole, 0);
        for (int i = 0; i < thin; i++) {
            vec sum = acc[i][r];
            if (whole < job->k)
                sum += FN(load_part)(a + i * job->a_row + whole, job->k - whole, 0) * rest;
            job->c[(first + i) * job->c_thin + (j + r) * job->c_large] =
                FN(thin_result)(job, first + i, j + r, FN(sum_lanes)(sum));
        }
    }
}

/* sum += rows of the thin operand, from a on, times some vectors of `rows` rows of the large one,
 * from b on; of the last of these vectors count columns exist. */
INLINE void FN(thin_rank)(const thin_job *job, const REAL *a, const REAL *b, idx count, int thin,
                          int rows, int vectors, REAL *sum)
{
    vec value[FN(THIN_RANK)][FN(THIN_VECTORS)];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            value[r][v] = FN(load_part)(b + r * job->b_row + v * VLEN, count, 0);
            __builtin_prefetch(b + (r + FN(THIN_AHEAD)) * job->b_row + v * VLEN);
        }
#pragma GCC unroll 8
    for (int i = 0; i < thin; i++) {
        vec total[FN(THIN_VECTORS)];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            total[v] = FN(load)(sum + i * FN(THIN_COLUMNS) + v * VLEN);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const vec from = FN(splat)(a[i * job->a_row + r]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                total[v] += from * value[r][v];
        }
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            FN(store)(sum + i * FN(THIN_COLUMNS) + v * VLEN, total[v]);
    }
}

/* sum (thin, columns) += rows p .. p + rows of the large operand from column j on, for the rows
 * i .. i + thin of the thin one */
INLINE void FN(thin_ranks)(const thin_job *job, idx p, idx j, idx columns, idx i, int thin,
                           int rows, REAL *sum)
{
    const REAL *b = job->b + p * job->b_row + j, *a = job->a + i * job->a_row + p;
    sum += i * FN(THIN_COLUMNS);
    idx q = 0;
    if (rows > 1)
        for (; q + FN(THIN_VECTORS) * VLEN <= columns; q += FN(THIN_VECTORS) * VLEN)
            FN(thin_rank)(job, a, b + q, VLEN, thin, rows, FN(THIN_VECTORS), sum + q);
    for (; q < columns; q += VLEN)
        FN(thin_rank)(job, a, b + q, columns - q, thin, rows, 1, sum + q);
}

static void FN(thin_store)(const thin_job *job, const REAL *sum, idx j, idx columns)
{
    const ending last = {.relu = job->relu};
    for (idx i = 0; i < job->thin; i++)
        for (idx q = 0; q < columns; q += VLEN) {
            const idx count = columns - q;
            vec bias = FN(splat)(job->bias_of_thin ? job->bias_of_thin[i] : 0);
            if (job->bias_of_large)
                bias += FN(load_part)(job->bias_of_large + j + q, count, 0);
            FN(store_part)(job->c + i * job->c_thin + j + q, count,
                           FN(finished)(FN(load)(sum + i * FN(THIN_COLUMNS) + q) + bias, last, 0,
                                        count));
        }
}

/* `DO(n)` for the number of rows of a pass, as a constant */
#define THIN_CASES(thin, DO)                                                                       \
    switch (thin) {                                                                                \
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

/* The rows of the thin operand for a pass, evened out. */
INLINE idx FN(thin_pass)(const thin_job *job)
{
    return FN(even_piece)(job->thin, FN(THIN_PASS), 1);
}

/* How many rows of the large operand go with so many of the thin one. */
INLINE int FN(thin_width)(int thin)
{
    return FN(THIN_ACCUMULATORS) / thin > FN(THIN_PASS) ? FN(THIN_PASS)
                                                        : FN(THIN_ACCUMULATORS) / thin;
}

static void FN(thin_dots_task)(void *context, idx task)
{
    const thin_job *job = context;
    const idx pass = FN(thin_pass)(job), end = FN(min)((task + 1) * job->piece, job->large);
    const idx width = FN(thin_width)((int)pass);
    for (idx j = task * job->piece; j < end; j += width)
        for (idx i = 0; i < job->thin; i += pass) {
            const idx last = FN(min)(j + width, end);
            idx r = j;
#define DOTS(thin)                                                                                 \
    for (; r + FN(thin_width)(thin) <= last; r += FN(thin_width)(thin))                            \
        FN(thin_dots)(job, r, i, thin, FN(thin_width)(thin));                                      \
    for (; r < last; r++)                                                                          \
        FN(thin_dots)(job, r, i, thin, 1);
            THIN_CASES(FN(min)(pass, job->thin - i), DOTS)
#undef DOTS
        }
}

static void FN(thin_sums_task)(void *context, idx task)
{
    const thin_job *job = context;
    const idx pass = FN(thin_pass)(job), end = FN(min)((task + 1) * job->piece, job->large);
    REAL sum[FN(THIN) * FN(THIN_COLUMNS)];
    for (idx j = task * job->piece; j < end; j += FN(THIN_COLUMNS)) {
        const idx columns = FN(min)(FN(THIN_COLUMNS), end - j);
        memset(sum, 0, (size_t)(job->thin * FN(THIN_COLUMNS)) * sizeof(REAL));
        for (idx p = 0; p < job->k; p += FN(THIN_RANK))
            for (idx i = 0; i < job->thin; i += pass) {
                const idx last = FN(min)(p + FN(THIN_RANK), job->k);
                idx r = p;
#define SUMS(thin)                                                                                 \
    if (r + FN(THIN_RANK) == last)                                                                 \
        FN(thin_ranks)(job, r, j, columns, i, thin, FN(THIN_RANK), sum);                           \
    else                                                                                           \
        for (; r < last; r++)                                                                      \
            FN(thin_ranks)(job, r, j, columns, i, thin, 1, sum);
                THIN_CASES(FN(min)(pass, job->thin - i), SUMS)
#undef SUMS
            }
        FN(thin_store)(job, sum, j, columns);
    }
}
#undef THIN_CASES
