/* Batch normalisation (Ioffe, Szegedy 2015) of x (n,c,size) along n and size; m = n size.
 *   x^ = (x - mean) rstd,  rstd = 1 / sqrt(var + eps),  var = sum (x - mean)^2 / m
 *   y = x^ w + b + residual; with relu, 0 where that is negative
 *   g = y <= 0 ? 0 : dy, or dy where no y is given;  dresidual = g
 *   db = sum g,  dw = sum g x^
 *   dx = w rstd (g - db / m - x^ dw / m), or w rstd g where the statistics are constants
 * x, y, residual and their gradients (n,c,size); mean, rstd, var, w, b and their gradients (c,).
 * w, b, residual, the backward's y and dresidual may be NULL; y may be x or residual itself.
 *
 * A task takes whole channels, one after the other, so that a channel's second pass finds it in L2;
 * it begins with what the first read last. Where rows are at most half a vector (features: size 1),
 * a task takes a strip of columns of the matrix (n, c size). */
typedef struct {
    idx n, c, size, task_channels;
    int relu, training;
    double eps;
    const REAL *x, *w, *b, *residual, *dy, *mask; /* mask: the forward's y */
    const REAL *mean, *rstd, *var;                /* given */
    REAL *y, *new_mean, *new_rstd;
    REAL *dx, *dw, *db, *dresidual;
} FN(batch_norm_job);
#define batch_norm_job FN(batch_norm_job)

enum {
    FN(BATCH_NORM_TASK) = 16384, /* elements per task */
    FN(STRIP_VECTORS) = 8,
    FN(STRIP_ROWS) = 64, /* partial sums of so many rows are added up */
};

/* Of one channel. y = (x - mean) scale + shift;  dx = scale (g - shift - (x - mean) slope) */
typedef struct {
    REAL mean, scale, shift, slope;
} FN(channel);
#define channel FN(channel)

INLINE channel FN(forward_channel)(const batch_norm_job *job, idx k, REAL mean, REAL rstd)
{
    const REAL w = job->w ? job->w[k] : 1;
    return (channel){mean, rstd * w, job->b ? job->b[k] : 0, 0};
}

/* sum: of g; dot: of g (x - mean) */
INLINE channel FN(backward_channel)(const batch_norm_job *job, idx k, double sum, double dot)
{
    const double rstd = (double)job->rstd[k], m = (double)(job->n * job->size);
    job->db[k] = (REAL)sum;
    job->dw[k] = (REAL)(dot * rstd);
    const REAL scale = job->rstd[k] * (job->w ? job->w[k] : 1);
    return (channel){job->mean[k], scale, (REAL)(sum / m), (REAL)(dot * rstd * rstd / m)};
}

/* Rows of one channel, stride elements apart. */
INLINE void FN(normalise_rows)(const batch_norm_job *job, idx offset, idx rows, idx stride,
                               channel of, int add, int relu)
{
    const vec mean = FN(splat)(of.mean), scale = FN(splat)(of.scale), shift = FN(splat)(of.shift);
    for (idx row = offset + (rows - 1) * stride; row >= offset; row -= stride) {
        const REAL *x = job->x + row, *residual = add ? job->residual + row : NULL;
        REAL *y = job->y + row;
        FOR_ROW(row, job->size, {
            vec v = (FN(load_part)(x + at, rest, 0) - mean) * scale + shift;
            if (add)
                v += FN(load_part)(residual + at, rest, 0);
            FN(store_part)(y + at, rest, relu ? FN(at_least)(v, 0) : v);
        });
    }
}

static void FN(normalise_channel)(const batch_norm_job *job, idx offset, idx rows, idx stride,
                                  channel of)
{
    if (job->residual && job->relu)
        FN(normalise_rows)(job, offset, rows, stride, of, 1, 1);
    else if (job->residual)
        FN(normalise_rows)(job, offset, rows, stride, of, 1, 0);
    else if (job->relu)
        FN(normalise_rows)(job, offset, rows, stride, of, 0, 1);
    else
        FN(normalise_rows)(job, offset, rows, stride, of, 0, 0);
}

static void FN(batch_norm_forward_body)(void *context, idx task)
{
    const batch_norm_job *job = context;
    const idx n = job->n, size = job->size, stride = job->c * size;
    const idx end = FN(min)(job->c, (task + 1) * job->task_channels);
    const idx group = FN(group_of)(n * size);
    moments found[FN(GROUP)];
    for (idx first = task * job->task_channels; first < end; first += group) {
        const idx channels = FN(min)(group, end - first);
        FN(moments_of_group)(job->x, first * size, n, size, stride, channels, found);
        for (idx k = 0; k < channels; k++) {
            job->new_mean[first + k] = (REAL)found[k].mean;
            job->new_rstd[first + k] = FN(rstd_of)(found[k].squares / found[k].count, job->eps);
        }
        for (idx k = first; k < first + channels; k++)
            FN(normalise_channel)(job, k * size, n, stride,
                                  FN(forward_channel)(job, k, job->new_mean[k], job->new_rstd[k]));
    }
}

static void FN(batch_norm_inference_body)(void *context, idx task)
{
    const batch_norm_job *job = context;
    const idx planes = job->n * job->c, end = FN(min)(planes, (task + 1) * job->task_channels);
    for (idx plane = task * job->task_channels; plane < end; plane++) {
        const idx k = plane % job->c;
        const REAL rstd = FN(rstd_of)((double)job->var[k], job->eps);
        FN(normalise_channel)(job, plane * job->size, 1, 1,
                              FN(forward_channel)(job, k, job->mean[k], rstd));
    }
}

/* g of the elements at offset at: dy, masked or not */
INLINE vec FN(gradient_at)(const batch_norm_job *job, idx at, idx rest, int mask)
{
    const vec dy = FN(load_part)(job->dy + at, rest, 0);
    if (!mask)
        return dy;
    return FN(select)((lanes)(FN(load_part)(job->mask + at, rest, 0) <= 0), (vec){0}, dy);
}

/* The lanes' sums over a block of g, and of g (x - mean); dresidual is stored. */
INLINE void FN(block_gradients)(const batch_norm_job *job, idx offset, idx rows, idx columns,
                                idx stride, REAL mean, int mask, int keep, vec *sum, vec *dot)
{
    vec sums[4] = {{0}}, dots[4] = {{0}};
    for (idx i = 0; i < rows; i++, offset += stride) {
        const REAL *x = job->x + offset;
        FOR_ROW(offset, columns, {
            const vec g = FN(gradient_at)(job, offset + at, rest, mask);
            if (keep)
                FN(store_part)(job->dresidual + offset + at, rest, g);
            sums[k] += g;
            dots[k] += g * (FN(load_part)(x + at, rest, mean) - mean);
        });
    }
    *sum = FN(sum_of_4)(sums);
    *dot = FN(sum_of_4)(dots);
}

/* dx of a channel; where dresidual is kept it is g. */
INLINE void FN(gradient_rows)(const batch_norm_job *job, idx offset, channel v, int mask, int keep,
                              int training)
{
    const idx stride = job->c * job->size;
    const vec mean = FN(splat)(v.mean), scale = FN(splat)(v.scale);
    const vec shift = FN(splat)(v.shift), slope = FN(splat)(v.slope);
    for (idx row = offset + (job->n - 1) * stride; row >= offset; row -= stride) {
        const REAL *x = job->x + row, *kept = keep ? job->dresidual + row : NULL;
        REAL *dx = job->dx + row;
        FOR_ROW(row, job->size, {
            vec g = keep ? FN(load_part)(kept + at, rest, 0)
                         : FN(gradient_at)(job, row + at, rest, mask);
            if (training)
                g -= shift + (FN(load_part)(x + at, rest, 0) - mean) * slope;
            FN(store_part)(dx + at, rest, g * scale);
        });
    }
}

INLINE void FN(backward_of_group)(const batch_norm_job *job, idx first, idx channels, int mask,
                                  int keep)
{
    const idx n = job->n, size = job->size, stride = job->c * size;
    double sum[FN(GROUP)] = {0}, dot[FN(GROUP)] = {0};
    if (n * size > FN(MOMENT_BLOCK)) {
        FOR_BLOCKS(n, size) {
            vec sums, dots;
            FN(block_gradients)(job, first * size + i * stride + j, rows, columns, stride,
                                job->mean[first], mask, keep, &sums, &dots);
            sum[0] += (double)FN(sum_lanes)(sums);
            dot[0] += (double)FN(sum_lanes)(dots);
        }
    } else {
        vec sums[FN(GROUP)], dots[FN(GROUP)];
        REAL total[2][FN(GROUP)];
        for (idx k = 0; k < channels; k++)
            FN(block_gradients)(job, (first + k) * size, n, size, stride, job->mean[first + k],
                                mask, keep, sums + k, dots + k);
        FN(sum_group)(channels, sums, total[0]);
        FN(sum_group)(channels, dots, total[1]);
        for (idx k = 0; k < channels; k++) {
            sum[k] = (double)total[0][k];
            dot[k] = (double)total[1][k];
        }
    }
    for (idx k = 0; k < channels; k++) {
        const channel v = FN(backward_channel)(job, first + k, sum[k], dot[k]);
        const idx offset = (first + k) * size;
        if (job->training)
            FN(gradient_rows)(job, offset, v, mask, keep, 1);
        else
            FN(gradient_rows)(job, offset, v, mask, keep, 0);
    }
}

static void FN(batch_norm_backward_body)(void *context, idx task)
{
    const batch_norm_job *job = context;
    const idx end = FN(min)(job->c, (task + 1) * job->task_channels);
    const idx group = FN(group_of)(job->n * job->size);
    for (idx first = task * job->task_channels; first < end; first += group) {
        const idx channels = FN(min)(group, end - first);
        if (job->mask && job->dresidual)
            FN(backward_of_group)(job, first, channels, 1, 1);
        else if (job->mask)
            FN(backward_of_group)(job, first, channels, 1, 0);
        else if (job->dresidual)
            FN(backward_of_group)(job, first, channels, 0, 1);
        else
            FN(backward_of_group)(job, first, channels, 0, 0);
    }
}

/* A strip of columns of the matrix (n, c size): whole channels, the values of each column side by
 * side. */
typedef struct {
    idx first, channels, width; /* width = channels size columns */
    REAL mean[FN(STRIP_VECTORS) * VECTOR_BYTES / sizeof(REAL)];
    REAL scale[FN(STRIP_VECTORS) * VECTOR_BYTES / sizeof(REAL)];
    REAL shift[FN(STRIP_VECTORS) * VECTOR_BYTES / sizeof(REAL)];
    REAL slope[FN(STRIP_VECTORS) * VECTOR_BYTES / sizeof(REAL)];
} FN(strip);
#define strip FN(strip)

#define FOR_STRIP for (idx j = 0, v = 0; j < s->width; j += VLEN, v++)

INLINE strip FN(strip_of)(const batch_norm_job *job, idx task)
{
    strip s = {.first = task * job->task_channels};
    s.channels = FN(min)(job->task_channels, job->c - s.first);
    s.width = s.channels * job->size;
    return s;
}

INLINE void FN(spread_channel)(strip *s, idx k, idx size, channel value)
{
    for (idx j = k * size; j < (k + 1) * size; j++) {
        s->mean[j] = value.mean;
        s->scale[j] = value.scale;
        s->shift[j] = value.shift;
        s->slope[j] = value.slope;
    }
}

/* The sum over channel k's columns. */
INLINE double FN(channel_sum)(const vec sums[], idx k, idx size)
{
    const REAL *columns = (const REAL *)sums + k * size;
    double sum = 0;
    for (idx j = 0; j < size; j++)
        sum += (double)columns[j];
    return sum;
}

/* The columns' sums over some rows of x - mean, the strip's, and of its square. */
INLINE void FN(strip_moments)(const batch_norm_job *job, const strip *s, idx rows,
                              vec sums[FN(STRIP_VECTORS)], vec squares[FN(STRIP_VECTORS)])
{
    const idx stride = job->c * job->size;
    const REAL *from = job->x + s->first * job->size;
    for (idx first = 0; first < rows; first += FN(STRIP_ROWS)) {
        vec sum[FN(STRIP_VECTORS)] = {{0}}, square[FN(STRIP_VECTORS)] = {{0}};
        for (idx i = first; i < FN(min)(first + FN(STRIP_ROWS), rows); i++)
            FOR_STRIP {
                const vec d = FN(load_part)(from + i * stride + j, s->width - j, 0) -
                              FN(load)(s->mean + j);
                sum[v] += d;
                square[v] += d * d;
            }
        FOR_STRIP {
            sums[v] += sum[v];
            squares[v] += square[v];
        }
    }
}

static void FN(normalise_strip)(const batch_norm_job *job, const strip *s)
{
    for (idx i = 0; i < job->n; i++)
        FOR_STRIP {
            const idx at = (i * job->c + s->first) * job->size + j, rest = s->width - j;
            vec y = (FN(load_part)(job->x + at, rest, 0) - FN(load)(s->mean + j)) *
                        FN(load)(s->scale + j) +
                    FN(load)(s->shift + j);
            if (job->residual)
                y += FN(load_part)(job->residual + at, rest, 0);
            FN(store_part)(job->y + at, rest, job->relu ? FN(at_least)(y, 0) : y);
        }
}

/* As in moments.h, every column being a block. */
static void FN(batch_norm_forward_strip)(void *context, idx task)
{
    const batch_norm_job *job = context;
    const idx size = job->size, part = FN(shift_part)(job->n, 1).rows;
    strip s = FN(strip_of)(job, task);
    vec shifts[FN(STRIP_VECTORS)] = {{0}}, unused[FN(STRIP_VECTORS)] = {{0}};
    vec sums[FN(STRIP_VECTORS)] = {{0}}, squares[FN(STRIP_VECTORS)] = {{0}};
    FN(strip_moments)(job, &s, part, shifts, unused);
    for (idx j = 0; j < s.width; j++)
        s.mean[j] = FN(finite_or_0)(((REAL *)shifts)[j] / (REAL)part);
    FN(strip_moments)(job, &s, job->n, sums, squares);
    for (idx k = 0; k < s.channels; k++) {
        moments all = {0};
        for (idx j = k * size; j < (k + 1) * size; j++)
            all = FN(moments_of_both)(all, FN(moments_about)((double)job->n, s.mean[j],
                                                             ((REAL *)sums)[j],
                                                             ((REAL *)squares)[j]));
        const REAL mean = (REAL)all.mean, rstd = FN(rstd_of)(all.squares / all.count, job->eps);
        job->new_mean[s.first + k] = mean;
        job->new_rstd[s.first + k] = rstd;
        FN(spread_channel)(&s, k, size, FN(forward_channel)(job, s.first + k, mean, rstd));
    }
    FN(normalise_strip)(job, &s);
}

static void FN(batch_norm_inference_strip)(void *context, idx task)
{
    const batch_norm_job *job = context;
    strip s = FN(strip_of)(job, task);
    for (idx k = 0; k < s.channels; k++) {
        const idx at = s.first + k;
        const REAL rstd = FN(rstd_of)((double)job->var[at], job->eps);
        FN(spread_channel)(&s, k, job->size, FN(forward_channel)(job, at, job->mean[at], rstd));
    }
    FN(normalise_strip)(job, &s);
}

static void FN(batch_norm_backward_strip)(void *context, idx task)
{
    const batch_norm_job *job = context;
    strip whole = FN(strip_of)(job, task), *const s = &whole;
    const idx from = s->first * job->size, stride = job->c * job->size;
    vec sums[FN(STRIP_VECTORS)] = {{0}}, dots[FN(STRIP_VECTORS)] = {{0}};
    for (idx k = 0; k < s->channels; k++)
        FN(spread_channel)(s, k, job->size, (channel){.mean = job->mean[s->first + k]});
    for (idx first = 0; first < job->n; first += FN(STRIP_ROWS)) {
        vec sum[FN(STRIP_VECTORS)] = {{0}}, dot[FN(STRIP_VECTORS)] = {{0}};
        for (idx i = first; i < FN(min)(first + FN(STRIP_ROWS), job->n); i++)
            FOR_STRIP {
                const idx at = i * stride + from + j, rest = s->width - j;
                const vec g = FN(gradient_at)(job, at, rest, job->mask != NULL);
                if (job->dresidual)
                    FN(store_part)(job->dresidual + at, rest, g);
                sum[v] += g;
                dot[v] += g * (FN(load_part)(job->x + at, rest, 0) - FN(load)(s->mean + j));
            }
        FOR_STRIP {
            sums[v] += sum[v];
            dots[v] += dot[v];
        }
    }
    for (idx k = 0; k < s->channels; k++)
        FN(spread_channel)(s, k, job->size,
                           FN(backward_channel)(job, s->first + k,
                                                FN(channel_sum)(sums, k, job->size),
                                                FN(channel_sum)(dots, k, job->size)));
    for (idx i = 0; i < job->n; i++)
        FOR_STRIP {
            const idx at = i * stride + from + j, rest = s->width - j;
            vec g = FN(gradient_at)(job, at, rest, job->mask != NULL);
            const vec x = FN(load_part)(job->x + at, rest, 0) - FN(load)(s->mean + j);
            if (job->training)
                g -= FN(load)(s->shift + j) + x * FN(load)(s->slope + j);
            FN(store_part)(job->dx + at, rest, g * FN(load)(s->scale + j));
        }
}

/* parts: channels, or planes in inference */
static void FN(run_batch_norm)(batch_norm_job *job, idx parts, double cost, pydl_body rows,
                               pydl_body strips)
{
    const double elements = (double)(job->n * job->c) * (double)job->size;
    const int narrow = job->size * 2 <= VLEN;
    const idx part = parts == job->c ? job->n * job->size : job->size;
    if (narrow) {
        parts = job->c;
        job->task_channels = FN(STRIP_VECTORS) * VLEN / job->size;
    } else {
        const idx group = parts == job->c ? FN(group_of)(part) : 1;
        job->task_channels = FN(round_up)(FN(max)(FN(BATCH_NORM_TASK) / part, 1), group);
    }
    pydl_parallel_for((parts + job->task_channels - 1) / job->task_channels, cost * elements,
                      narrow ? strips : rows, job);
}

static int FN(batch_norm_forward)(idx n, idx c, idx size, double eps, int relu, const REAL *x,
                                  const REAL *w, const REAL *b, const REAL *residual, REAL *y,
                                  REAL *mean, REAL *rstd)
{
    batch_norm_job job = {.n = n, .c = c, .size = size, .relu = relu, .eps = eps, .x = x, .w = w,
                          .b = b, .residual = residual, .y = y, .new_mean = mean, .new_rstd = rstd};
    if (n)
        FN(run_batch_norm)(&job, c, 4, FN(batch_norm_forward_body), FN(batch_norm_forward_strip));
    else
        for (idx k = 0; k < c; k++) {
            mean[k] = 0;
            rstd[k] = FN(rstd_of)(0, eps);
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
        FN(run_batch_norm)(&job, n * c, 2, FN(batch_norm_inference_body),
                           FN(batch_norm_inference_strip));
    return PYDL_OK;
}

static int FN(batch_norm_backward)(idx n, idx c, idx size, int training, const REAL *dy,
                                   const REAL *x, const REAL *mean, const REAL *rstd, const REAL *w,
                                   const REAL *y, REAL *dx, REAL *dw, REAL *db, REAL *dresidual)
{
    batch_norm_job job = {.n = n, .c = c, .size = size, .training = training, .x = x, .w = w,
                          .dy = dy, .mask = y, .mean = mean, .rstd = rstd, .dx = dx, .dw = dw,
                          .db = db, .dresidual = dresidual};
    if (n)
        FN(run_batch_norm)(&job, c, 4, FN(batch_norm_backward_body), FN(batch_norm_backward_strip));
    else
        for (idx k = 0; k < c; k++)
            dw[k] = db[k] = 0;
    return PYDL_OK;
}
#undef batch_norm_job
#undef channel
#undef strip
#undef FOR_STRIP
