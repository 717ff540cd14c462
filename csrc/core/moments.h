/* Mean and reciprocal standard deviation of channels: a channel of x (n,c,size) has n rows of size
 * values, stride elements apart.
 *
 * Of every block of a channel, which stays in L2, the sums of d = x - shift and of d^2 are taken,
 * where shift is the mean of an eighth of the block or more: so shift is within
 * sqrt(8 var) of the block's mean, and sum d^2 - (sum d)^2 / count loses at most a factor of 9 of
 * precision however large the mean is. Blocks are joined in double by the formula for the variance
 * of a union (Chan, Golub, LeVeque 1983, who discuss shifts as well). Channels of one block are
 * taken a vector's lanes at a time: their sums end, and what follows from them is computed, as
 * vectors. */
enum {
    FN(MOMENT_BLOCK) = 16384, /* values: they stay in L2 */
    /* values of the channels that are taken together: of one row, whose second pass finds them in
     * L1; of several, which are read from memory in longer runs, in L2 */
    FN(ROW_GROUP) = 6144,
    FN(MOMENT_GROUP) = 16384,
    /* rows of so many values are worth a partial vector to be aligned; of AVX2 none */
    FN(ALIGNED_ROW) = VECTOR_BYTES == 32 ? INT32_MAX : 64,
    FN(GROUP) = VECTOR_BYTES / sizeof(REAL), /* channels in a group, at most: a vector's lanes */
};

/* Runs statements for the vectors of a row of count elements that begins at element offset of its
 * arrays: at is the vector's first element, rest the elements from there on that count (VLEN, but
 * for the first and the last vector), k one of four accumulators. Vectors are aligned if the arrays
 * are. */
#define FOR_ROW(offset, count, ...)                                                                \
    do {                                                                                           \
        idx place = (offset);                                                                      \
        const idx end = place + (count);                                                           \
        if ((count) >= FN(ALIGNED_ROW) && place & (VLEN - 1)) {                                    \
            const idx head = -place & (VLEN - 1);                                                  \
            ROW_STEP(2, place, head, __VA_ARGS__);                                                 \
            place += head;                                                                         \
        }                                                                                          \
        for (; place + 4 * VLEN <= end; place += 4 * VLEN) {                                       \
            ROW_STEP(0, place, VLEN, __VA_ARGS__);                                                 \
            ROW_STEP(1, place + VLEN, VLEN, __VA_ARGS__);                                          \
            ROW_STEP(2, place + 2 * VLEN, VLEN, __VA_ARGS__);                                      \
            ROW_STEP(3, place + 3 * VLEN, VLEN, __VA_ARGS__);                                      \
        }                                                                                          \
        const idx over = end - place;                                                              \
        if (over & 2 * VLEN) {                                                                     \
            ROW_STEP(0, place, VLEN, __VA_ARGS__);                                                 \
            ROW_STEP(1, place + VLEN, VLEN, __VA_ARGS__);                                          \
            place += 2 * VLEN;                                                                     \
        }                                                                                          \
        if (over & VLEN) {                                                                         \
            ROW_STEP(2, place, VLEN, __VA_ARGS__);                                                 \
            place += VLEN;                                                                         \
        }                                                                                          \
        if (over & (VLEN - 1))                                                                     \
            ROW_STEP(3, place, over & (VLEN - 1), __VA_ARGS__);                                    \
    } while (0)
#define ROW_STEP(accumulator, first, count, ...)                                                   \
    do {                                                                                           \
        enum { k = accumulator };                                                                  \
        const idx at = first, rest = count;                                                        \
        __VA_ARGS__;                                                                               \
    } while (0)

/* The same for a row of at most four vectors, without branches: vector k has part[k] elements. */
#define FOR_SHORT_ROW(offset, part, ...)                                                           \
    do {                                                                                           \
        ROW_STEP(0, offset, part[0], __VA_ARGS__);                                                 \
        if (part[1])                                                                               \
            ROW_STEP(1, (offset) + VLEN, part[1], __VA_ARGS__);                                    \
        if (part[2])                                                                               \
            ROW_STEP(2, (offset) + 2 * VLEN, part[2], __VA_ARGS__);                                \
        if (part[3])                                                                               \
            ROW_STEP(3, (offset) + 3 * VLEN, part[3], __VA_ARGS__);                                \
    } while (0)

/* Runs statements for rows, the first at element offset, stride elements apart. */
#define FOR_CHANNEL_ROWS(offset, rows, stride, columns, ...)                                       \
    do {                                                                                           \
        idx row = (offset);                                                                        \
        if (FN(MASKED) && VECTOR_BYTES == 64 && (columns) <= 4 * VLEN) {                           \
            idx part[4];                                                                           \
            FN(cut_row)(columns, part);                                                            \
            for (idx left = (rows); left > 0; left--, row += (stride))                             \
                FOR_SHORT_ROW(row, part, __VA_ARGS__);                                             \
        } else {                                                                                   \
            for (idx left = (rows); left > 0; left--, row += (stride))                             \
                FOR_ROW(row, columns, __VA_ARGS__);                                                \
        }                                                                                          \
    } while (0)

/* Asks for a line at p, to be written or not, where a line begins with vector k of a row. */
#define ASK_LINE(k, p, write)                                                                      \
    do {                                                                                           \
        if ((k) % (64 / VECTOR_BYTES) == 0)                                                        \
            __builtin_prefetch(p, write, 2);                                                       \
    } while (0)

INLINE void FN(cut_row)(idx columns, idx part[4])
{
#pragma GCC unroll 4
    for (idx k = 0; k < 4; k++)
        part[k] = FN(max)(FN(min)(columns - k * VLEN, VLEN), 0);
}

INLINE vec FN(sum_of_4)(const vec acc[4]) { return (acc[0] + acc[1]) + (acc[2] + acc[3]); }

/* A number of rows, and of their columns. */
typedef struct {
    idx rows, columns;
} FN(extent);

/* The part of a block that its shift is taken from. */
INLINE FN(extent) FN(shift_part)(idx rows, idx columns)
{
    if (rows >= 4)
        return (FN(extent)){(rows + 7) / 8, columns};
    return (FN(extent)){1, FN(min)(columns, FN(round_up)((rows * columns + 7) / 8, VLEN))};
}

/* Of blocks of channels, size elements apart, the lanes' sums of x. */
static void FN(block_sums)(const REAL *x, idx offset, FN(extent) block, idx stride, idx size,
                           idx channels, vec sum[])
{
    for (idx c = 0; c < channels; c++, offset += size) {
        vec sums[4] = {{0}};
        FOR_CHANNEL_ROWS(offset, block.rows, stride, block.columns,
                 sums[k] += FN(load_masked)(x + at, rest, 0));
        sum[c] = FN(sum_of_4)(sums);
    }
}

/* ... and of x - shift and its square */
INLINE void FN(block_moments_of)(const REAL *x, idx offset, FN(extent) block, idx stride, idx size,
                                 idx channels, const REAL *shift, const REAL *asked, int asks,
                                 vec sum[], vec square[])
{
    for (idx c = 0; c < channels; c++, offset += size) {
        vec sums[4] = {{0}}, squares[4] = {{0}};
        const vec from = FN(splat)(shift[c]);
        FOR_CHANNEL_ROWS(offset, block.rows, stride, block.columns, {
            const vec d = from - FN(load_masked)(x + at, rest, shift[c]);
            if (asks)
                ASK_LINE(k, asked + at, 1);
            sums[k] -= d;
            squares[k] += d * d;
        });
        sum[c] = FN(sum_of_4)(sums);
        square[c] = FN(sum_of_4)(squares);
    }
}

/* The lines of `asked` at the same places, which are written next, are asked for; NULL: of none. */
static void FN(block_moments)(const REAL *x, idx offset, FN(extent) block, idx stride, idx size,
                              idx channels, const REAL *shift, const REAL *asked, vec sum[],
                              vec square[])
{
    if (asked)
        FN(block_moments_of)(x, offset, block, stride, size, channels, shift, asked, 1, sum,
                             square);
    else
        FN(block_moments_of)(x, offset, block, stride, size, channels, shift, NULL, 0, sum,
                             square);
}

/* The lanes' sum of each of so many vectors. */
INLINE vec FN(sum_group)(idx count, vec sums[FN(GROUP)])
{
    vec total = {0};
    if (count < 4) {
        for (idx k = 0; k < count; k++)
            total[k] = FN(sum_lanes)(sums[k]);
        return total;
    }
    for (idx k = count; k < FN(GROUP); k++)
        sums[k] = (vec){0};
    return FN(sum_each)(sums);
}

/* How many channels of so many rows and columns are taken together, of so many arrays. */
INLINE idx FN(group_of)(idx rows, idx columns, idx arrays)
{
    const idx most = (rows > 1 ? FN(MOMENT_GROUP) : FN(ROW_GROUP)) / arrays;
    return FN(max)(FN(min)(most / (rows * columns), FN(GROUP)), 1);
}

/* For the blocks of a channel: rows and columns, the size of the one at row i, column j. */
#define FOR_BLOCKS(n, size)                                                                        \
    for (idx i = 0, rows; rows = FN(min)(FN(max)(FN(MOMENT_BLOCK) / (size), 1), (n) - i), i < (n); \
         i += rows)                                                                                \
        for (idx j = 0, columns; columns = FN(min)(FN(MOMENT_BLOCK), (size) - j), j < (size);      \
             j += columns)

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

/* An infinite value or a NaN must reach the sum, not the shift. */
INLINE vec FN(finite_or_0)(vec v) { return FN(select)((lanes)(v - v == 0), v, (vec){0}); }

/* 1 / sqrt(var + eps) */
INLINE vec FN(rstd_of)(vec var, double eps) { return 1 / FN(sqrt)(var + (REAL)eps); }

/* Of a group of channels, or of one of more than one block. */
typedef struct {
    vec mean, rstd;
} FN(statistics);
#define statistics FN(statistics)

/* Of count values each: sum and square are those of x - shift and of its square. */
INLINE statistics FN(statistics_about)(REAL count, vec shift, vec sum, vec square, double eps)
{
    const REAL share = 1 / count;
    const vec past = sum * share, var = FN(at_least)((square - sum * past) * share, 0);
    return (statistics){shift + past, FN(rstd_of)(var, eps)};
}

static statistics FN(statistics_by_blocks)(const REAL *x, idx offset, idx n, idx size, idx stride,
                                           const REAL *asked, double eps)
{
    moments all = {0};
    FOR_BLOCKS(n, size) {
        const idx at = offset + i * stride + j;
        const FN(extent) block = {rows, columns}, part = FN(shift_part)(rows, columns);
        vec sum, square;
        FN(block_sums)(x, at, part, stride, size, 1, &sum);
        const vec shift = FN(finite_or_0)(
            FN(splat)(FN(sum_lanes)(sum) / (REAL)(part.rows * part.columns)));
        const REAL from = shift[0];
        FN(block_moments)(x, at, block, stride, size, 1, &from, asked, &sum, &square);
        all = FN(moments_of_both)(all, FN(moments_about)((double)(rows * columns), from,
                                                         FN(sum_lanes)(sum),
                                                         FN(sum_lanes)(square)));
    }
    return (statistics){FN(splat)((REAL)all.mean),
                        FN(rstd_of)(FN(splat)((REAL)(all.squares / all.count)), eps)};
}

/* Of a group of channels, the first at offset. asked as in block_moments. */
static statistics FN(statistics_of_group)(const REAL *x, idx offset, idx n, idx size, idx stride,
                                          idx channels, const REAL *asked, double eps)
{
    if (n * size > FN(MOMENT_BLOCK))
        return FN(statistics_by_blocks)(x, offset, n, size, stride, asked, eps);
    const FN(extent) block = {n, size}, part = FN(shift_part)(n, size);
    const REAL count = (REAL)(n * size);
    vec sums[FN(GROUP)], squares[FN(GROUP)];
    REAL shifts[FN(GROUP)];
    FN(block_sums)(x, offset, part, stride, size, channels, sums);
    const vec shift = FN(finite_or_0)(FN(sum_group)(channels, sums) *
                                      (1 / (REAL)(part.rows * part.columns)));
    FN(store)(shifts, shift);
    FN(block_moments)(x, offset, block, stride, size, channels, shifts, asked, sums, squares);
    return FN(statistics_about)(count, shift, FN(sum_group)(channels, sums),
                                FN(sum_group)(channels, squares), eps);
}
