/* Products with a thin operand, of at most THIN rows: the other, large operand is read once, where it is, by as many accumulators
 * as there are registers.
 *
 *   dots   out(i, j) = sum over p of thin[i][p] large[j][p]     rows of the large operand lie along p
 *   sums   out(i, j) = sum over p of thin[i][p] large[p][j]     rows of the large operand lie along j */
enum {
    FN(THIN) = 8,
    FN(THIN_ACCUMULATORS) = MR * NR_VECTORS,
    FN(THIN_AHEAD) = 8, /* rows to prefetch: they are far apart */
};

typedef struct {
    idx thin, large, k;
    const REAL *a;            /* thin (thin, a_row), zeros from k to a_row, a multiple of VLEN */
    idx a_row;
    const REAL *b;            /* large: row stride b_row, the other stride is 1 */
    idx b_row;
    REAL *c;                  /* out(i, j) at c[i * c_thin + j * c_large] */
    idx c_thin, c_large;
    const REAL *bias_of_thin, *bias_of_large; /* NULL: none */
    idx piece;                /* of the large operand, for a task */
} FN(thin_job);
#define thin_job FN(thin_job)

INLINE REAL FN(thin_bias)(const thin_job *job, idx i, idx j)
{
    return (job->bias_of_thin ? job->bias_of_thin[i] : 0) + (job->bias_of_large ? job->bias_of_large[j] : 0);
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
            const vec sum = whole < job->k ? acc[i][r] + FN(load)(a) * rest : acc[i][r];
            job->c[i * job->c_thin + (j + r) * job->c_large] = FN(sum_lanes)(sum) + FN(thin_bias)(job, i, j + r);
        }
    }
}

/* sums for columns j .. j + vectors * VLEN */
INLINE void FN(thin_sums)(const thin_job *job, idx j, int thin, int vectors)
{
    vec acc[FN(THIN)][FN(THIN)];
#pragma GCC unroll 8
    for (int i = 0; i < thin; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            acc[i][v] = (vec){0};
    const REAL *b = job->b + j;
    for (idx p = 0; p < job->k; p++, b += job->b_row) {
        vec value[FN(THIN)];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            __builtin_prefetch(b + FN(THIN_AHEAD) * job->b_row + v * VLEN);
            value[v] = FN(load)(b + v * VLEN);
        }
#pragma GCC unroll 8
        for (int i = 0; i < thin; i++) {
            const vec from = FN(splat)(job->a[i * job->a_row + p]);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                acc[i][v] += from * value[v];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < thin; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            vec sum = acc[i][v] + (job->bias_of_thin ? job->bias_of_thin[i] : 0);
            if (job->bias_of_large)
                sum += FN(load)(job->bias_of_large + j + v * VLEN);
            FN(store)(job->c + i * job->c_thin + j + v * VLEN, sum);
        }
}

static void FN(thin_scalar_sum)(const thin_job *job, idx j)
{
    for (idx i = 0; i < job->thin; i++) {
        REAL sum = 0;
        for (idx p = 0; p < job->k; p++)
            sum += job->a[i * job->a_row + p] * job->b[p * job->b_row + j];
        job->c[i * job->c_thin + j] = sum + FN(thin_bias)(job, i, j);
    }
}

/* How many rows or vectors of the large operand go with a thin operand of so many rows. */
#define THIN_WIDTH(thin) (FN(THIN_ACCUMULATORS) / (thin) > FN(THIN) ? FN(THIN) : FN(THIN_ACCUMULATORS) / (thin))
#define THIN_CASES(DO) \
    switch (job->thin) { \
        case 1: DO(1) break; \
        case 2: DO(2) break; \
        case 3: DO(3) break; \
        case 4: DO(4) break; \
        case 5: DO(5) break; \
        case 6: DO(6) break; \
        case 7: DO(7) break; \
        case 8: DO(8) break; \
    }

static void FN(thin_dots_task)(void *context, idx task)
{
    const thin_job *job = context;
    idx j = task * job->piece;
    const idx end = FN(min)(j + job->piece, job->large);
#define DOTS(thin) \
    for (; j + THIN_WIDTH(thin) <= end; j += THIN_WIDTH(thin)) \
        FN(thin_dots)(job, j, thin, THIN_WIDTH(thin)); \
    for (; j < end; j++) \
        FN(thin_dots)(job, j, thin, 1);
    THIN_CASES(DOTS)
#undef DOTS
}

static void FN(thin_sums_task)(void *context, idx task)
{
    const thin_job *job = context;
    idx j = task * job->piece;
    const idx end = FN(min)(j + job->piece, job->large);
#define SUMS(thin) \
    for (; j + THIN_WIDTH(thin) * VLEN <= end; j += THIN_WIDTH(thin) * VLEN) \
        FN(thin_sums)(job, j, thin, THIN_WIDTH(thin)); \
    for (; j + VLEN <= end; j += VLEN) \
        FN(thin_sums)(job, j, thin, 1);
    THIN_CASES(SUMS)
#undef SUMS
    for (; j < end; j++)
        FN(thin_scalar_sum)(job, j);
}
#undef THIN_CASES
#undef THIN_WIDTH
