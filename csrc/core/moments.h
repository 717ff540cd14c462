/* Mean and variance of channels: a channel of x (n,c,size) has n rows of size values, stride
 * elements apart.
 *
 * Of every block of a channel, which stays in L1, the sums of d = x - shift and of d^2 are taken,
 * where shift is the mean of a fourth of the block, or at least an eighth: so shift is within
 * sqrt(8 var) of the block's mean, and sum d^2 - (sum d)^2 / count loses at most a factor of 9 of
 * precision however large the mean is. Blocks are joined in double by the formula for the variance
 * of a union (Chan, Golub, LeVeque 1983, who discuss shifts as well). Channels of one block are
 * taken a few at a time, so that the end of one sum does not wait for that of another. */
enum {
    FN(MOMENT_BLOCK) = 4096, /* values: a third of L1 in float */
    FN(MOMENT_GROUP) = 8192, /* values of the channels that are taken together */
    FN(ALIGNED_ROW) = 64,    /* rows of so many values are worth a partial vector to be aligned */
    FN(GROUP) = VECTOR_BYTES / sizeof(REAL), /* channels in a group, at most */
};

/* Runs statements for the vectors of a row of count elements: at is the element's number in the
 * row, rest the elements from there on that count (VLEN, but for the first and the last vector), k
 * one of four accumulators. Vectors are aligned if the array, which the row begins offset elements
 * into, is. */
#define FOR_ROW(offset, count, ...)                                                                \
    do {                                                                                           \
        const idx row_end = (count);                                                               \
        const idx head = row_end >= FN(ALIGNED_ROW) ? -(offset) & (VLEN - 1) : 0;                  \
        const idx tail = (row_end - head) % VLEN;                                                  \
        idx begin = head;                                                                          \
        for (; begin + 4 * VLEN <= row_end; begin += 4 * VLEN) {                                   \
            ROW_STEP(0, begin, VLEN, __VA_ARGS__);                                                 \
            ROW_STEP(1, begin + VLEN, VLEN, __VA_ARGS__);                                          \
            ROW_STEP(2, begin + 2 * VLEN, VLEN, __VA_ARGS__);                                      \
            ROW_STEP(3, begin + 3 * VLEN, VLEN, __VA_ARGS__);                                      \
        }                                                                                          \
        if (begin + VLEN <= row_end)                                                               \
            ROW_STEP(0, begin, VLEN, __VA_ARGS__);                                                 \
        if (begin + 2 * VLEN <= row_end)                                                           \
            ROW_STEP(1, begin + VLEN, VLEN, __VA_ARGS__);                                          \
        if (begin + 3 * VLEN <= row_end)                                                           \
            ROW_STEP(2, begin + 2 * VLEN, VLEN, __VA_ARGS__);                                      \
        if (tail)                                                                                  \
            ROW_STEP(3, row_end - tail, tail, __VA_ARGS__);                                        \
        if (head)                                                                                  \
            ROW_STEP(2, 0, head, __VA_ARGS__);                                                     \
    } while (0)
#define ROW_STEP(accumulator, place, count, ...)                                                   \
    do {                                                                                           \
        enum { k = accumulator };                                                                  \
        const idx at = place, rest = count;                                                        \
        __VA_ARGS__;                                                                               \
    } while (0)

INLINE vec FN(sum_of_4)(const vec acc[4]) { return (acc[0] + acc[1]) + (acc[2] + acc[3]); }

/* A number of rows, and of their columns. */
typedef struct {
    idx rows, columns;
} FN(extent);

/* The part of a block that its shift is taken from. */
INLINE FN(extent) FN(shift_part)(idx rows, idx columns)
{
    if (rows >= 4)
        return (FN(extent)){rows / 4, columns};
    return (FN(extent)){1, FN(min)(columns, FN(max)(columns / 2, FN(ALIGNED_ROW)))};
}

/* The lanes' sums of x over a block of rows, the first of which begins at offset. */
INLINE vec FN(block_sum)(const REAL *x, idx offset, FN(extent) block, idx stride)
{
    vec acc[4] = {{0}};
    for (idx i = 0; i < block.rows; i++, offset += stride) {
        const REAL *row = x + offset;
        FOR_ROW(offset, block.columns, acc[k] += FN(load_part)(row + at, rest, 0));
    }
    return FN(sum_of_4)(acc);
}

/* ... and of x - shift and its square */
INLINE void FN(block_moments)(const REAL *x, idx offset, FN(extent) block, idx stride, REAL shift,
                              vec *sum, vec *square)
{
    vec sums[4] = {{0}}, squares[4] = {{0}};
    for (idx i = 0; i < block.rows; i++, offset += stride) {
        const REAL *row = x + offset;
        FOR_ROW(offset, block.columns, {
            const vec d = FN(load_part)(row + at, rest, shift) - shift;
            sums[k] += d;
            squares[k] += d * d;
        });
    }
    *sum = FN(sum_of_4)(sums);
    *square = FN(sum_of_4)(squares);
}

/* An infinite value or a NaN must reach the sum, not the shift. */
INLINE REAL FN(finite_or_0)(REAL value) { return value - value == 0 ? value : 0; }

/* Mean and sum of squared deviations from it of count values. */
typedef struct {
    double count, mean, squares;
} FN(moments);
#define moments FN(moments)

INLINE moments FN(moments_about)(double count, REAL shift, REAL sum, REAL square)
{
    const double part = (double)sum / count, squares = (double)square - (double)sum * part;
    return (moments){count, (double)shift + part, squares < 0 ? 0 : squares};
}

INLINE moments FN(moments_of_both)(moments a, moments b)
{
    if (!a.count)
        return b;
    const double count = a.count + b.count, d = b.mean - a.mean;
    return (moments){count, (a.mean * a.count + b.mean * b.count) / count,
                     a.squares + b.squares + d * d * (a.count * b.count / count)};
}

/* The lanes' sum of each of so many vectors. */
INLINE void FN(sum_group)(idx count, vec sums[FN(GROUP)], REAL total[FN(GROUP)])
{
    if (count < 4) {
        for (idx k = 0; k < count; k++)
            total[k] = FN(sum_lanes)(sums[k]);
        return;
    }
    for (idx k = count; k < FN(GROUP); k++)
        sums[k] = (vec){0};
    FN(store)(total, FN(sum_each)(sums));
}

/* How many channels of so many values each are taken together. */
INLINE idx FN(group_of)(idx values)
{
    return FN(max)(FN(min)(FN(MOMENT_GROUP) / values, FN(GROUP)), 1);
}

/* For the blocks of a channel: rows and columns, the size of the one at row i, column j. */
#define FOR_BLOCKS(n, size)                                                                        \
    for (idx i = 0, rows; rows = FN(min)(FN(max)(FN(MOMENT_BLOCK) / (size), 1), (n) - i), i < (n); \
         i += rows)                                                                                \
        for (idx j = 0, columns; columns = FN(min)(FN(MOMENT_BLOCK), (size) - j), j < (size);      \
             j += columns)

static moments FN(moments_by_blocks)(const REAL *x, idx offset, idx n, idx size, idx stride)
{
    moments all = {0};
    FOR_BLOCKS(n, size) {
        const idx at = offset + i * stride + j;
        const FN(extent) block = {rows, columns}, part = FN(shift_part)(rows, columns);
        const REAL sum = FN(sum_lanes)(FN(block_sum)(x, at, part, stride));
        const REAL shift = FN(finite_or_0)(sum / (REAL)(part.rows * part.columns));
        vec sums, squares;
        FN(block_moments)(x, at, block, stride, shift, &sums, &squares);
        all = FN(moments_of_both)(all, FN(moments_about)((double)(rows * columns), shift,
                                                         FN(sum_lanes)(sums),
                                                         FN(sum_lanes)(squares)));
    }
    return all;
}

/* Of a group of channels, the first at offset. */
static void FN(moments_of_group)(const REAL *x, idx offset, idx n, idx size, idx stride,
                                 idx channels, moments result[FN(GROUP)])
{
    if (n * size > FN(MOMENT_BLOCK)) {
        for (idx k = 0; k < channels; k++)
            result[k] = FN(moments_by_blocks)(x, offset + k * size, n, size, stride);
        return;
    }
    const FN(extent) block = {n, size}, part = FN(shift_part)(n, size);
    vec sums[FN(GROUP)], squares[FN(GROUP)];
    REAL shift[FN(GROUP)], sum[FN(GROUP)], square[FN(GROUP)];
    for (idx k = 0; k < channels; k++)
        sums[k] = FN(block_sum)(x, offset + k * size, part, stride);
    FN(sum_group)(channels, sums, shift);
    for (idx k = 0; k < channels; k++) {
        shift[k] = FN(finite_or_0)(shift[k] / (REAL)(part.rows * part.columns));
        FN(block_moments)(x, offset + k * size, block, stride, shift[k], sums + k, squares + k);
    }
    FN(sum_group)(channels, sums, sum);
    FN(sum_group)(channels, squares, square);
    for (idx k = 0; k < channels; k++)
        result[k] = FN(moments_about)((double)(n * size), shift[k], sum[k], square[k]);
}

/* 1 / sqrt(var + eps) */
INLINE REAL FN(rstd_of)(double var, double eps)
{
#if REAL_IS_FLOAT
    return 1 / sqrtf((float)(var + eps));
#else
    return 1 / sqrt(var + eps);
#endif
}
