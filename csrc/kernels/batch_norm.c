/* Batch normalisation (Ioffe, Szegedy 2015) of x (n,c,size) along n and size; m = n size.
 *   x^ = (x - mean) rstd,  rstd = 1 / sqrt(var + eps),  var = sum (x - mean)^2 / m
 *   y = x^ w + b + residual; with relu, 0 where that is negative
 *   g = y <= 0 ? 0 : dy, or dy where there was no ReLU;  dresidual = g
 *   db = sum g,  dw = sum g x^
 *   dx = w rstd (g - db / m - x^ dw / m), or w rstd g where the statistics are constants
 * x, y, residual and their gradients (n,c,size); mean, rstd, var, w, b and their gradients (c,).
 * w, b, residual, the backward's y and dresidual may be NULL; y may be x or residual itself.
 * The backward of a ReLU has y, or else b, with which it computes y's sign again from x: an array
 * less to be read.
 *
 * A task takes whole channels, one after the other, so that a channel's second pass finds it in L2;
 * it begins with what the first read last. Where arrays are far, the first pass asks for the lines
 * that the second one writes, and that for what the next channels' first one reads: so memory works
 * at the same pace in both. Where rows are at most half a vector (features: size 1), a task takes a
 * strip of columns of the matrix (n, c size). */
typedef struct {
    idx n, c, size, task_channels;
    int relu, training;
    int far;          /* one of: */
    int asks, leaves; /* a pass asks for the lines of the other one; the result leaves the caches */
    double eps;
    const REAL *x, *w, *b, *residual, *dy, *mask; /* mask: the forward's y */
    const REAL *mean, *rstd, *var;                /* given */
    REAL *y, *new_mean, *new_rstd;
    REAL *dx, *dw, *db, *dresidual;
} FN(batch_norm_job);
#define batch_norm_job FN(batch_norm_job)

/* Where the ReLU's mask is taken from. */
enum { FN(NO_MASK), FN(MASK_OF_Y), FN(MASK_OF_X) };

enum {
    FN(BATCH_NORM_TASK) = 16384, /* elements per task */
    FN(STRIP_VECTORS) = 4,
    FN(STRIP_ROWS) = 64, /* partial sums of so many rows are added up */
};

/* Of a group of channels, a lane each; k is the first.
 *   forward   y = (x - mean) scale + b
 *   backward  dx = g scale - shift - (x - mean) slope */
typedef struct {
    vec mean, scale, b, shift, slope;
} FN(line);
#define line FN(line)

/* The values p[k] of the group's channels; fill where p is NULL. */
INLINE vec FN(of_channels)(const REAL *p, idx k, idx channels, REAL fill)
{
    return p ? FN(load_masked)(p + k, channels, fill) : FN(splat)(fill);
}

INLINE line FN(forward_line)(const batch_norm_job *job, idx k, idx channels, vec mean, vec rstd)
{
    return (line){mean, rstd * FN(of_channels)(job->w, k, channels, 1),
                  FN(of_channels)(job->b, k, channels, 0), {0}, {0}};
}

/* The same of given statistics, completed by backward_line. */
INLINE line FN(given_line)(const batch_norm_job *job, idx k, idx channels)
{
    return FN(forward_line)(job, k, channels, FN(of_channels)(job->mean, k, channels, 0),
                            FN(of_channels)(job->rstd, k, channels, 0));
}

/* sum: of g; dot: of g (x - mean) */
INLINE line FN(backward_line)(const batch_norm_job *job, idx k, idx channels, line of, vec sum,
                              vec dot)
{
    const vec rstd = FN(of_channels)(job->rstd, k, channels, 0), dw = dot * rstd;
    const REAL share = 1 / (REAL)(job->n * job->size);
    FN(store_masked)(job->db + k, channels, sum);
    FN(store_masked)(job->dw + k, channels, dw);
    of.shift = sum * share * of.scale;
    of.slope = dw * share * rstd * of.scale;
    return of;
}

/* y of mean - x, where `turned` is -scale. */
INLINE vec FN(normalised)(vec difference, vec turned, vec b) { return difference * turned + b; }

/* Past the caches, if the result leaves them. */
INLINE void FN(store_result)(int leaves, REAL *to, idx count, vec v)
{
    if (leaves)
        FN(store_stream)(to, count, v);
    else
        FN(store_masked)(to, count, v);
}

/* y of channels; rows of each, stride elements apart. The last rows come first. A row's channels,
 * which lie together, follow each other: those of a channel may all fall into the same sets of L1. */
INLINE void FN(normalise_rows)(const batch_norm_job *job, idx offset, idx rows, idx stride,
                               idx channels, const line *of, int add, int far)
{
    const REAL *x = job->x, *residual = job->residual;
    const REAL least = job->relu ? 0 : -INFINITY;
    REAL *y = job->y;
    const idx size = job->size, next = channels * size;
    const int asks = far && job->asks, leaves = far && job->leaves;
    for (offset += (rows - 1) * stride; rows > 0; rows--, offset -= stride)
        for (idx c = 0; c < channels; c++) {
            const vec mean = FN(splat)(of->mean[c]), turned = FN(splat)(-of->scale[c]);
            const vec b = FN(splat)(of->b[c]);
            FOR_CHANNEL_ROWS(offset + c * size, 1, 0, size, {
                vec v = FN(normalised)(mean - FN(load_masked)(x + at, rest, 0), turned, b);
                if (add)
                    v += FN(load_masked)(residual + at, rest, 0);
                if (asks)
                    ASK_LINE(k, x + at + next, 0);
                FN(store_result)(leaves, y + at, rest, FN(at_least)(v, least));
            });
        }
}

static void FN(normalise_channels)(const batch_norm_job *job, idx offset, idx rows, idx stride,
                                   idx channels, line of)
{
    if (job->residual && job->far)
        FN(normalise_rows)(job, offset, rows, stride, channels, &of, 1, 1);
    else if (job->residual)
        FN(normalise_rows)(job, offset, rows, stride, channels, &of, 1, 0);
    else if (job->far)
        FN(normalise_rows)(job, offset, rows, stride, channels, &of, 0, 1);
    else
        FN(normalise_rows)(job, offset, rows, stride, channels, &of, 0, 0);
}

static void FN(batch_norm_forward_body)(void *context, idx task)
{
    const batch_norm_job *job = context;
    const idx n = job->n, size = job->size, stride = job->c * size;
    const idx end = FN(min)(job->c, (task + 1) * job->task_channels);
    const idx group = FN(group_of)(n, size, 1);
    for (idx k = task * job->task_channels; k < end; k += group) {
        const idx channels = FN(min)(group, end - k);
        const statistics found =
            FN(statistics_of_group)(job->x, k * size, n, size, stride, channels,
                                    job->asks && !job->leaves ? job->y : NULL, job->eps);
        FN(store_masked)(job->new_mean + k, channels, found.mean);
        FN(store_masked)(job->new_rstd + k, channels, found.rstd);
        FN(normalise_channels)(job, k * size, n, stride, channels,
                               FN(forward_line)(job, k, channels, found.mean, found.rstd));
    }
    if (job->leaves)
        FN(finish_far_stores)();
}

static void FN(batch_norm_inference_body)(void *context, idx task)
{
    const batch_norm_job *job = context;
    const idx planes = job->n * job->c, end = FN(min)(planes, (task + 1) * job->task_channels);
    for (idx plane = task * job->task_channels, channels; plane < end; plane += channels) {
        const idx k = plane % job->c;
        channels = FN(min)(FN(min)(FN(GROUP), job->c - k), end - plane);
        const vec rstd = FN(rstd_of)(FN(of_channels)(job->var, k, channels, 0), job->eps);
        const vec mean = FN(of_channels)(job->mean, k, channels, 0);
        FN(normalise_channels)(job, plane * job->size, 1, 0, channels,
                               FN(forward_line)(job, k, channels, mean, rstd));
    }
    if (job->leaves)
        FN(finish_far_stores)();
}

/* dy, or 0 where y is not positive. */
INLINE vec FN(masked)(vec dy, vec y) { return FN(select)((lanes)(y <= 0), (vec){0}, dy); }

/* Of blocks of channels the lanes' sums of g, and of g (x - mean); dresidual is stored. */
INLINE void FN(block_gradients)(const batch_norm_job *job, idx offset, FN(extent) block,
                                idx channels, const line *of, int mask, int keep, int far,
                                vec sum[FN(GROUP)], vec dot[FN(GROUP)])
{
    const REAL *x = job->x, *dy = job->dy, *y = job->mask;
    REAL *kept = job->dresidual;
    const idx size = job->size, stride = job->c * size;
    const int asks = far && job->asks && !job->leaves;
    for (idx c = 0; c < channels; c++, offset += size) {
        vec sums[4] = {{0}}, dots[4] = {{0}};
        const vec mean = FN(splat)(of->mean[c]), turned = FN(splat)(-of->scale[c]);
        const vec b = FN(splat)(of->b[c]);
        FOR_CHANNEL_ROWS(offset, block.rows, stride, block.columns, {
            const vec difference = mean - FN(load_masked)(x + at, rest, 0);
            vec g = FN(kept)(FN(load_masked)(dy + at, rest, 0));
            if (mask == FN(MASK_OF_Y))
                g = FN(masked)(g, FN(load_masked)(y + at, rest, 0));
            if (mask == FN(MASK_OF_X))
                g = FN(masked)(g, FN(normalised)(difference, turned, b));
            if (keep)
                FN(store_masked)(kept + at, rest, g);
            if (asks)
                ASK_LINE(k, job->dx + at, 1);
            sums[k] += g;
            dots[k] -= g * difference;
        });
        sum[c] = FN(sum_of_4)(sums);
        dot[c] = FN(sum_of_4)(dots);
    }
}

/* dx of rows of channels; where dresidual is kept it is g. The last rows come first. */
INLINE void FN(gradient_rows)(const batch_norm_job *job, idx offset, idx rows, idx channels,
                              const line *of, int mask, int keep, int training, int far)
{
    const idx size = job->size, stride = job->c * size;
    const REAL *x = job->x, *dy = keep ? job->dresidual : job->dy, *y = job->mask;
    const REAL *next_x = x + channels * size, *next_dy = job->dy + channels * size;
    REAL *dx = job->dx;
    const int asks = far && job->asks, leaves = far && job->leaves;
    offset += (rows - 1) * stride;
    for (idx c = 0; c < channels; c++, offset += size) {
        const vec mean = FN(splat)(of->mean[c]), scale = FN(splat)(of->scale[c]);
        const vec shift = FN(splat)(of->shift[c]), slope = FN(splat)(of->slope[c]);
        const vec turned = -scale, b = FN(splat)(of->b[c]);
        FOR_CHANNEL_ROWS(offset, rows, -stride, size, {
            vec g = FN(kept)(FN(load_masked)(dy + at, rest, 0)), difference = {0};
            if (training || mask == FN(MASK_OF_X))
                difference = mean - FN(load_masked)(x + at, rest, 0);
            if (mask == FN(MASK_OF_Y) && !keep)
                g = FN(masked)(g, FN(load_masked)(y + at, rest, 0));
            if (mask == FN(MASK_OF_X))
                g = FN(masked)(g, FN(normalised)(difference, turned, b));
            g *= scale;
            if (training)
                g += difference * slope - shift;
            if (asks) {
                ASK_LINE(k, next_x + at, 0);
                ASK_LINE(k, next_dy + at, 0);
            }
            FN(store_result)(leaves, dx + at, rest, g);
        });
    }
}

/* The two passes over channels, for a mask or none, and with dresidual or without. */
typedef struct {
    void (*sums)(const batch_norm_job *job, idx offset, FN(extent) block, idx channels,
                 const line *of, vec sum[FN(GROUP)], vec dot[FN(GROUP)]);
    void (*dx)(const batch_norm_job *job, idx offset, idx rows, idx channels, const line *of);
} FN(backward_passes);

#define PASSES(name, mask, keep)                                                                   \
    static void FN(name##_sums)(const batch_norm_job *job, idx offset, FN(extent) block,           \
                                idx channels, const line *of, vec sum[FN(GROUP)],                  \
                                vec dot[FN(GROUP)])                                                \
    {                                                                                              \
        if (job->far)                                                                              \
            FN(block_gradients)(job, offset, block, channels, of, mask, keep, 1, sum, dot);        \
        else                                                                                       \
            FN(block_gradients)(job, offset, block, channels, of, mask, keep, 0, sum, dot);        \
    }                                                                                              \
    static void FN(name##_dx)(const batch_norm_job *job, idx offset, idx rows, idx channels,       \
                              const line *of)                                                      \
    {                                                                                              \
        if (!job->training)                                                                        \
            FN(gradient_rows)(job, offset, rows, channels, of, mask, keep, 0, 0);                  \
        else if (job->far)                                                                         \
            FN(gradient_rows)(job, offset, rows, channels, of, mask, keep, 1, 1);                  \
        else                                                                                       \
            FN(gradient_rows)(job, offset, rows, channels, of, mask, keep, 1, 0);                  \
    }
PASSES(plain, FN(NO_MASK), 0)
PASSES(kept, FN(NO_MASK), 1)
PASSES(of_y, FN(MASK_OF_Y), 0)
PASSES(of_y_kept, FN(MASK_OF_Y), 1)
PASSES(of_x, FN(MASK_OF_X), 0)
PASSES(of_x_kept, FN(MASK_OF_X), 1)
#undef PASSES

static const FN(backward_passes) FN(backward_passes_of)[3][2] = {
    {{FN(plain_sums), FN(plain_dx)}, {FN(kept_sums), FN(kept_dx)}},
    {{FN(of_y_sums), FN(of_y_dx)}, {FN(of_y_kept_sums), FN(of_y_kept_dx)}},
    {{FN(of_x_sums), FN(of_x_dx)}, {FN(of_x_kept_sums), FN(of_x_kept_dx)}},
};

static int FN(mask_of)(const batch_norm_job *job)
{
    return job->mask ? FN(MASK_OF_Y) : job->b ? FN(MASK_OF_X) : FN(NO_MASK);
}

static void FN(batch_norm_backward_body)(void *context, idx task)
{
    const batch_norm_job *job = context;
    const FN(backward_passes) *passes =
        &FN(backward_passes_of)[FN(mask_of)(job)][job->dresidual != NULL];
    const idx n = job->n, size = job->size, stride = job->c * size;
    const idx end = FN(min)(job->c, (task + 1) * job->task_channels);
    const idx group = FN(group_of)(n, size, 2);
    for (idx k = task * job->task_channels; k < end; k += group) {
        const idx channels = FN(min)(group, end - k);
        const line given = FN(given_line)(job, k, channels);
        vec sums[FN(GROUP)], dots[FN(GROUP)], sum, dot;
        if (n * size <= FN(MOMENT_BLOCK)) {
            passes->sums(job, k * size, (FN(extent)){n, size}, channels, &given, sums, dots);
            sum = FN(sum_group)(channels, sums);
            dot = FN(sum_group)(channels, dots);
        } else {
            double total[2] = {0};
            FOR_BLOCKS(n, size) {
                passes->sums(job, k * size + i * stride + j, (FN(extent)){rows, columns}, 1, &given,
                             sums, dots);
                total[0] += (double)FN(sum_lanes)(sums[0]);
                total[1] += (double)FN(sum_lanes)(dots[0]);
            }
            sum = FN(splat)((REAL)total[0]);
            dot = FN(splat)((REAL)total[1]);
        }
        const line of = FN(backward_line)(job, k, channels, given, sum, dot);
        const idx rows = channels > 1 ? 1 : n; /* as in normalise_rows */
        for (idx i = n - rows; i >= 0; i -= rows)
            passes->dx(job, k * size + i * stride, rows, channels, &of);
    }
    if (job->leaves)
        FN(finish_far_stores)();
}

/* ---- narrow rows ---- */
/* A strip of columns of the matrix (n, c size): whole channels, the values of each column side by
 * side. Its vectors have part[k] columns each. */
enum { FN(STRIP_COLUMNS) = FN(STRIP_VECTORS) * VECTOR_BYTES / sizeof(REAL) };
typedef struct {
    idx first, channels;
    idx part[FN(STRIP_VECTORS)];
    int whole; /* all vectors are */
    REAL mean[FN(STRIP_COLUMNS)], scale[FN(STRIP_COLUMNS)], b[FN(STRIP_COLUMNS)];
    REAL shift[FN(STRIP_COLUMNS)], slope[FN(STRIP_COLUMNS)];
} FN(strip);
#define strip FN(strip)

INLINE void FN(find_strip)(const batch_norm_job *job, idx task, strip *s)
{
    s->first = task * job->task_channels;
    s->channels = FN(min)(job->task_channels, job->c - s->first);
    FN(cut_row)(s->channels * job->size, s->part);
    s->whole = s->part[FN(STRIP_VECTORS) - 1] == VLEN;
}

/* Runs statements for row i of a strip, whose vectors are known to be whole or not. */
#define FOR_STRIP_ROW(whole, ...)                                                                  \
    do {                                                                                           \
        const idx first_column = (i * job->c + s->first) * job->size;                              \
        if (whole) {                                                                               \
            static const idx all[] = {VLEN, VLEN, VLEN, VLEN};                                     \
            FOR_SHORT_ROW(first_column, all, __VA_ARGS__);                                         \
        } else {                                                                                   \
            FOR_SHORT_ROW(first_column, s->part, __VA_ARGS__);                                     \
        }                                                                                          \
    } while (0)

/* values, of channels that begin with the strip's channel k, to all of their columns */
INLINE void FN(spread)(idx k, idx channels, idx size, vec values, REAL *columns)
{
    columns += k * size;
    if (size == 1)
        FN(store)(columns, values);
    else
        for (idx c = 0; c < channels; c++)
            for (idx j = 0; j < size; j++)
                *columns++ = values[c];
}

INLINE void FN(spread_line)(strip *s, idx k, idx channels, idx size, line of)
{
    FN(spread)(k, channels, size, of.mean, s->mean);
    FN(spread)(k, channels, size, of.scale, s->scale);
    FN(spread)(k, channels, size, of.b, s->b);
    FN(spread)(k, channels, size, of.shift, s->shift);
    FN(spread)(k, channels, size, of.slope, s->slope);
}

/* For groups of the strip's channels: channels that begin with its channel k. */
#define FOR_GROUPS                                                                                 \
    for (idx k = 0, channels; channels = FN(min)(FN(GROUP), s->channels - k), channels > 0;        \
         k += channels)

/* The sums over the columns of each channel of such a group. */
INLINE vec FN(channel_sums)(const vec columns[], idx k, idx channels, idx size)
{
    const REAL *from = (const REAL *)columns + k * size;
    vec sums = {0};
    if (size == 1)
        return FN(load)(from);
    for (idx c = 0; c < channels; c++)
        for (idx j = 0; j < size; j++)
            sums[c] += *from++;
    return sums;
}

/* The columns' sums over some rows of x - mean, the strip's, and of its square. */
INLINE void FN(sum_strip)(const batch_norm_job *job, const strip *s, int whole, idx rows,
                          vec sums[FN(STRIP_VECTORS)], vec squares[FN(STRIP_VECTORS)])
{
    const REAL *x = job->x;
    for (idx first = 0; first < rows; first += FN(STRIP_ROWS)) {
        vec sum[FN(STRIP_VECTORS)] = {{0}}, square[FN(STRIP_VECTORS)] = {{0}};
        for (idx i = first; i < FN(min)(first + FN(STRIP_ROWS), rows); i++)
            FOR_STRIP_ROW(whole, {
                const vec d = FN(load)(s->mean + k * VLEN) - FN(load_masked)(x + at, rest, 0);
                sum[k] -= d;
                square[k] += d * d;
            });
        for (int k = 0; k < FN(STRIP_VECTORS); k++) {
            sums[k] += sum[k];
            squares[k] += square[k];
        }
    }
}

static void FN(strip_moments)(const batch_norm_job *job, const strip *s, idx rows,
                              vec sums[FN(STRIP_VECTORS)], vec squares[FN(STRIP_VECTORS)])
{
    if (s->whole)
        FN(sum_strip)(job, s, 1, rows, sums, squares);
    else
        FN(sum_strip)(job, s, 0, rows, sums, squares);
}

INLINE void FN(normalise_strip_rows)(const batch_norm_job *job, const strip *s, int whole)
{
    const REAL *x = job->x, *residual = job->residual;
    REAL *y = job->y;
    const int relu = job->relu;
    for (idx i = 0; i < job->n; i++)
        FOR_STRIP_ROW(whole, {
            const idx j = k * VLEN;
            const vec difference = FN(load)(s->mean + j) - FN(load_masked)(x + at, rest, 0);
            vec v = FN(normalised)(difference, -FN(load)(s->scale + j), FN(load)(s->b + j));
            if (residual)
                v += FN(load_masked)(residual + at, rest, 0);
            FN(store_masked)(y + at, rest, relu ? FN(at_least)(v, 0) : v);
        });
}

static void FN(normalise_strip)(const batch_norm_job *job, const strip *s)
{
    if (s->whole)
        FN(normalise_strip_rows)(job, s, 1);
    else
        FN(normalise_strip_rows)(job, s, 0);
}

/* As in moments.h: all rows of a channel are a block, its columns' sums added up. */
static void FN(batch_norm_forward_strip)(void *context, idx task)
{
    const batch_norm_job *job = context;
    const idx size = job->size, part = FN(shift_part)(job->n, 1).rows;
    strip found, *const s = &found;
    vec shifts[FN(STRIP_VECTORS)] = {{0}}, unused[FN(STRIP_VECTORS)] = {{0}};
    vec sums[FN(STRIP_VECTORS)] = {{0}}, squares[FN(STRIP_VECTORS)] = {{0}};
    FN(find_strip)(job, task, s);
    memset(s->mean, 0, sizeof s->mean);
    FN(strip_moments)(job, s, part, shifts, unused);
    FOR_GROUPS {
        const vec shift = FN(channel_sums)(shifts, k, channels, size) / (REAL)(part * size);
        FN(spread)(k, channels, size, FN(finite_or_0)(shift), s->mean);
    }
    FN(strip_moments)(job, s, job->n, sums, squares);
    FOR_GROUPS {
        vec shift = {0};
        for (idx c = 0; c < channels; c++)
            shift[c] = s->mean[(k + c) * size];
        const statistics found = FN(statistics_about)(
            (REAL)(job->n * size), shift, FN(channel_sums)(sums, k, channels, size),
            FN(channel_sums)(squares, k, channels, size), job->eps);
        const idx first = s->first + k;
        FN(store_part)(job->new_mean + first, channels, found.mean);
        FN(store_part)(job->new_rstd + first, channels, found.rstd);
        FN(spread_line)(s, k, channels, size,
                        FN(forward_line)(job, first, channels, found.mean, found.rstd));
    }
    FN(normalise_strip)(job, s);
}

static void FN(batch_norm_inference_strip)(void *context, idx task)
{
    const batch_norm_job *job = context;
    strip found, *const s = &found;
    FN(find_strip)(job, task, s);
    FOR_GROUPS {
        const idx first = s->first + k;
        const vec mean = FN(of_channels)(job->mean, first, channels, 0);
        const vec rstd = FN(rstd_of)(FN(of_channels)(job->var, first, channels, 0), job->eps);
        FN(spread_line)(s, k, channels, job->size,
                        FN(forward_line)(job, first, channels, mean, rstd));
    }
    FN(normalise_strip)(job, s);
}

/* g of a vector of row's columns, whose difference is mean - x. */
INLINE vec FN(strip_gradient)(const batch_norm_job *job, const strip *s, int mask, idx at, idx rest,
                              idx k, vec difference)
{
    const vec dy = FN(kept)(FN(load_masked)(job->dy + at, rest, 0));
    if (mask == FN(MASK_OF_Y))
        return FN(masked)(dy, FN(load_masked)(job->mask + at, rest, 0));
    if (mask == FN(MASK_OF_X))
        return FN(masked)(dy, FN(normalised)(difference, -FN(load)(s->scale + k * VLEN),
                                             FN(load)(s->b + k * VLEN)));
    return dy;
}

/* The columns' sums of g, and of g (x - mean); dresidual is stored. */
INLINE void FN(strip_gradients)(const batch_norm_job *job, const strip *s, int whole, int mask,
                                vec sums[FN(STRIP_VECTORS)], vec dots[FN(STRIP_VECTORS)])
{
    const idx n = job->n;
    const REAL *x = job->x;
    REAL *kept = job->dresidual;
    for (idx first = 0; first < n; first += FN(STRIP_ROWS)) {
        vec sum[FN(STRIP_VECTORS)] = {{0}}, dot[FN(STRIP_VECTORS)] = {{0}};
        for (idx i = first; i < FN(min)(first + FN(STRIP_ROWS), n); i++)
            FOR_STRIP_ROW(whole, {
                const vec difference =
                    FN(load)(s->mean + k * VLEN) - FN(load_masked)(x + at, rest, 0);
                const vec g = FN(strip_gradient)(job, s, mask, at, rest, k, difference);
                if (kept)
                    FN(store_masked)(kept + at, rest, g);
                sum[k] += g;
                dot[k] -= g * difference;
            });
        for (int k = 0; k < FN(STRIP_VECTORS); k++) {
            sums[k] += sum[k];
            dots[k] += dot[k];
        }
    }
}

INLINE void FN(gradient_strip)(const batch_norm_job *job, const strip *s, int whole, int mask)
{
    const REAL *x = job->x;
    REAL *dx = job->dx;
    const int training = job->training;
    for (idx i = 0; i < job->n; i++)
        FOR_STRIP_ROW(whole, {
            const idx j = k * VLEN;
            const vec difference = FN(load)(s->mean + j) - FN(load_masked)(x + at, rest, 0);
            vec v = FN(strip_gradient)(job, s, mask, at, rest, k, difference) *
                    FN(load)(s->scale + j);
            if (training)
                v += difference * FN(load)(s->slope + j) - FN(load)(s->shift + j);
            FN(store_masked)(dx + at, rest, v);
        });
}

INLINE void FN(batch_norm_backward_of)(const batch_norm_job *job, strip *s, int whole, int mask)
{
    const idx size = job->size;
    vec sums[FN(STRIP_VECTORS)] = {{0}}, dots[FN(STRIP_VECTORS)] = {{0}};
    FOR_GROUPS
        FN(spread_line)(s, k, channels, size, FN(given_line)(job, s->first + k, channels));
    FN(strip_gradients)(job, s, whole, mask, sums, dots);
    FOR_GROUPS {
        const line given = FN(given_line)(job, s->first + k, channels);
        FN(spread_line)(s, k, channels, size,
                        FN(backward_line)(job, s->first + k, channels, given,
                                          FN(channel_sums)(sums, k, channels, size),
                                          FN(channel_sums)(dots, k, channels, size)));
    }
    FN(gradient_strip)(job, s, whole, mask);
}

static void FN(batch_norm_backward_strip)(void *context, idx task)
{
    const batch_norm_job *job = context;
    strip found, *const s = &found;
    const int mask = FN(mask_of)(job);
    FN(find_strip)(job, task, s);
#define OF(some)                                                                                   \
    if (mask == some) {                                                                            \
        if (s->whole)                                                                              \
            FN(batch_norm_backward_of)(job, s, 1, some);                                           \
        else                                                                                       \
            FN(batch_norm_backward_of)(job, s, 0, some);                                           \
    }
    OF(FN(NO_MASK))
    OF(FN(MASK_OF_Y))
    OF(FN(MASK_OF_X))
#undef OF
}

/* parts: channels, or planes in inference; arrays that a channel's first pass reads */
static void FN(run_batch_norm)(batch_norm_job *job, idx parts, idx arrays, double cost,
                               pydl_body rows, pydl_body strips)
{
    const idx values = job->n * job->c * job->size;
    const int narrow = job->size * 2 <= VLEN;
    const idx part = parts == job->c ? job->n * job->size : job->size;
    if (narrow) {
        parts = job->c;
        job->task_channels = FN(STRIP_VECTORS) * VLEN / job->size;
    } else {
        const idx group = parts == job->c ? FN(group_of)(job->n, job->size, arrays) : 1;
        /* where a row is all of a channel, the CPU foresees what follows */
        job->asks = parts == job->c && job->n > 1 && FN(is_far)((arrays + 1) * values) &&
                    (2 * arrays + 1) * part <= FN(L2_BYTES) / 2 / (idx)sizeof(REAL);
        job->leaves = job->size % FN(LINE) == 0 && FN(leaves_caches)(values);
        job->far = job->asks || job->leaves;
        job->task_channels = FN(round_up)(FN(max)(FN(BATCH_NORM_TASK) / part, 1), group);
    }
    pydl_parallel_for((parts + job->task_channels - 1) / job->task_channels, cost * (double)values,
                      narrow ? strips : rows, job);
}

static int FN(batch_norm_forward)(idx n, idx c, idx size, double eps, int relu, const REAL *x,
                                  const REAL *w, const REAL *b, const REAL *residual, REAL *y,
                                  REAL *mean, REAL *rstd)
{
    batch_norm_job job = {.n = n, .c = c, .size = size, .relu = relu, .eps = eps, .x = x, .w = w,
                          .b = b, .residual = residual, .y = y, .new_mean = mean, .new_rstd = rstd};
    if (n)
        FN(run_batch_norm)(&job, c, 1, 4, FN(batch_norm_forward_body),
                           FN(batch_norm_forward_strip));
    else
        for (idx k = 0; k < c; k++) {
            mean[k] = 0;
            rstd[k] = FN(rstd_of)((vec){0}, eps)[0];
        }
    return PYDL_OK;
}

static int FN(batch_norm_inference)(idx n, idx c, idx size, double eps, int relu, const REAL *x,
                                    const REAL *mean, const REAL *var, const REAL *w, const REAL *b,
                                    const REAL *residual, REAL *y)
{
    batch_norm_job job = {.n = n, .c = c, .size = size, .relu = relu, .eps = eps, .x = x, .w = w,
                          .b = b, .residual = residual, .y = y, .mean = mean, .var = var};
    if (n)
        FN(run_batch_norm)(&job, n * c, 1, 2, FN(batch_norm_inference_body),
                           FN(batch_norm_inference_strip));
    return PYDL_OK;
}

static int FN(batch_norm_backward)(idx n, idx c, idx size, int training, const REAL *dy,
                                   const REAL *x, const REAL *mean, const REAL *rstd, const REAL *w,
                                   const REAL *b, const REAL *y, REAL *dx, REAL *dw, REAL *db,
                                   REAL *dresidual)
{
    batch_norm_job job = {.n = n, .c = c, .size = size, .training = training, .x = x, .w = w,
                          .b = b, .dy = dy, .mask = y, .mean = mean, .rstd = rstd, .dx = dx,
                          .dw = dw, .db = db, .dresidual = dresidual};
    if (n)
        FN(run_batch_norm)(&job, c, 2, 4, FN(batch_norm_backward_body),
                           FN(batch_norm_backward_strip));
    else
        for (idx k = 0; k < c; k++)
            dw[k] = db[k] = 0;
    return PYDL_OK;
}
#undef batch_norm_job
#undef line
#undef strip
#undef FOR_GROUPS
#undef FOR_STRIP_ROW
