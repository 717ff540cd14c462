/* Mean and variance of channels: x (n,c,size), a channel's values lie in n rows of size, stride elements apart.
 *
 * Two passes over a block that stays in L1: its sum, then the sum of squared deviations from its mean, so that no digits
 * cancel. Blocks are joined in double by the formula for the variance of a union (Chan, Golub, LeVeque 1979). A channel of a few
 * values is one block, and VLEN such channels have their lanes added up together. */
enum {
    FN(MOMENT_BLOCK) = 4096, /* values: a quarter of L1 */
    FN(MOMENT_FEW) = 1024,   /* at most, for VLEN channels at a time */
};

/* acc[k] += the elements of a row, lane by lane. */
INLINE void FN(add_row)(idx count, const REAL *x, vec acc[4])
{
    idx j = 0;
    for (; j + 4 * VLEN <= count; j += 4 * VLEN)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            acc[k] += FN(load)(x + j + k * VLEN);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++, j += VLEN)
        if (j < count)
            acc[k] += FN(load_part)(x + j, count - j, 0);
}

/* acc[k] += (x - mean)^2 */
INLINE void FN(add_row_squares)(idx count, const REAL *x, REAL mean, vec acc[4])
{
    idx j = 0;
    for (; j + 4 * VLEN <= count; j += 4 * VLEN)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const vec d = FN(load)(x + j + k * VLEN) - mean;
            acc[k] += d * d;
        }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++, j += VLEN)
        if (j < count) {
            const vec d = FN(load_part)(x + j, count - j, mean) - mean;
            acc[k] += d * d;
        }
}

INLINE vec FN(block_sum)(idx rows, idx count, const REAL *x, idx stride)
{
    vec acc[4] = {{0}};
    for (idx i = 0; i < rows; i++)
        FN(add_row)(count, x + i * stride, acc);
    return (acc[0] + acc[1]) + (acc[2] + acc[3]);
}

INLINE vec FN(block_squares)(idx rows, idx count, const REAL *x, idx stride, REAL mean)
{
    vec acc[4] = {{0}};
    for (idx i = 0; i < rows; i++)
        FN(add_row_squares)(count, x + i * stride, mean, acc);
    return (acc[0] + acc[1]) + (acc[2] + acc[3]);
}

/* For the blocks of a channel of n rows: i the first row, j the first column, rows and columns the size. */
#define FOR_BLOCKS(n, size, limit)                                                                 \
    for (idx i = 0, rows; i < (n); i += rows)                                                      \
        for (idx j = 0, columns = (rows = FN(min)(FN(max)((limit) / (size), 1), (n)-i), 0);        \
             columns = FN(min)(limit, (size)-j), j < (size); j += columns)

static void FN(moments_of_many)(idx n, idx size, const REAL *x, idx stride, double *mean, double *m2)
{
    double sum = 0, squares = 0, seen = 0;
    FOR_BLOCKS(n, size, FN(MOMENT_BLOCK)) {
        const REAL *block = x + i * stride + j;
        const double count = (double)(rows * columns);
        const REAL m = FN(sum_lanes)(FN(block_sum)(rows, columns, block, stride)) / (REAL)count;
        squares += (double)FN(sum_lanes)(FN(block_squares)(rows, columns, block, stride, m));
        if (seen) {
            const double d = (double)m - sum / seen;
            squares += d * d * (count * seen / (count + seen));
        }
        sum += (double)m * count;
        seen += count;
    }
    *mean = sum / seen;
    *m2 = squares;
}

/* VLEN channels at most, which follow each other */
static void FN(moments_of_few)(idx n, idx size, const REAL *x, idx stride, idx channels, double mean[],
                               double m2[])
{
    vec sums[VECTOR_BYTES / sizeof(REAL)] = {{0}};
    REAL m[VECTOR_BYTES / sizeof(REAL)];
    for (idx k = 0; k < channels; k++)
        sums[k] = FN(block_sum)(n, size, x + k * size, stride);
    FN(store)(m, FN(sum_each)(sums) / (REAL)(n * size));
    for (idx k = 0; k < channels; k++)
        sums[k] = FN(block_squares)(n, size, x + k * size, stride, m[k]);
    const vec squares = FN(sum_each)(sums);
    for (idx k = 0; k < channels; k++) {
        mean[k] = (double)m[k];
        m2[k] = (double)squares[k];
    }
}

/* mean[k] and the sum of squared deviations m2[k] of so many channels, of at least one value each */
static void FN(moments)(idx n, idx size, const REAL *x, idx stride, idx channels, double mean[], double m2[])
{
    if (n * size > FN(MOMENT_FEW)) {
        for (idx k = 0; k < channels; k++)
            FN(moments_of_many)(n, size, x + k * size, stride, mean + k, m2 + k);
        return;
    }
    for (idx k = 0; k < channels; k += VLEN)
        FN(moments_of_few)(n, size, x + k * size, stride, FN(min)(VLEN, channels - k), mean + k, m2 + k);
}
