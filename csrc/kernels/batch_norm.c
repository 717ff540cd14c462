/* Batch normalisation (Ioffe, Szegedy 2015) of x (n,c,size) along n and size, m = n size values per channel.
 *   x^ = (x - mean) rstd,  rstd = 1 / sqrt(var + eps),  var = sum (x - mean)^2 / m
 *   y = x^ w + b + residual, with relu y < 0 ? 0 : y
 *   g = y <= 0 ? 0 : dy, or dy where no y is given;  dresidual = g
 *   db = sum g,  dw = sum g x^,  dx = w rstd (g - db / m - x^ dw / m), or w rstd g where the statistics are constants
 * x, y, residual and their gradients (n,c,size); mean, rstd, var, w, b and their gradients (c,). w, b, residual, y of the
 * backward, dresidual may be NULL.
 *
 * A task takes whole channels, one after the other, so that a channel's second pass finds it in L2. Where rows are shorter
 * than half a vector (features: size 1), a task takes a strip of columns of the matrix (n, c size). */
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

INLINE channel FN(forward_channel)(const batch_norm_job *job, idx k, double mean, double rstd)
{
    const REAL w = job->w ? job->w[k] : 1;
    return (channel){(REAL)mean, (REAL)rstd * w, job->b ? job->b[k] : 0, 0};
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

INLINE vec FN(normalise)(vec x, vec residual, vec mean, vec scale, vec shift, int relu)
{
    const vec y = (x - mean) * scale + shift + residual;
    return relu ? FN(at_least)(y, 0) : y;
}

INLINE void FN(normalise_row)(const batch_norm_job *job, idx at, channel v, int add, int relu)
{
    const idx size = job->size;
    const vec mean = FN(splat)(v.mean), scale = FN(splat)(v.scale), shift = FN(splat)(v.shift);
    const vec none = {0};
    for (idx j = 0; j < size; j += VLEN) {
        const idx rest = size - j;
        const vec residual = add ? FN(load_part)(job->residual + at + j, rest, 0) : none;
        FN(store_part)(job->y + at + j, rest,
                       FN(normalise)(FN(load_part)(job->x + at + j, rest, 0), residual, mean, scale,
                                     shift, relu));
    }
}

/* Rows of planes apart, from the first at offset at. */
static void FN(normalise_rows)(const batch_norm_job *job, idx at, idx rows, idx stride, channel v)
{
    for (idx i = 0; i < rows; i++, at += stride)
        if (job->residual)
            if (job->relu)
                FN(normalise_row)(job, at, v, 1, 1);
            else
                FN(normalise_row)(job, at, v, 1, 0);
        else if (job->relu)
            FN(normalise_row)(job, at, v, 0, 1);
        else
            FN(normalise_row)(job, at, v, 0, 0);
}

INLINE REAL FN(rstd_of)(double var, double eps) { return (REAL)(1 / sqrt(var + eps)); }

static void FN(batch_norm_forward_body)(void *context, idx task)
{
    const batch_norm_job *job = context;
    const idx n = job->n, c = job->c, size = job->size, stride = c * size;
    const idx end = FN(min)(c, (task + 1) * job->task_channels);
    const idx group = n * size > FN(MOMENT_FEW) ? 1 : VLEN;
    double mean[VECTOR_BYTES / sizeof(REAL)], m2[VECTOR_BYTES / sizeof(REAL)];
    for (idx first = task * job->task_channels; first < end; first += group) {
        const idx channels = FN(min)(group, end - first);
        FN(moments)(n, size, job->x + first * size, stride, channels, mean, m2);
        for (idx k = 0; k < channels; k++) {
            const REAL rstd = FN(rstd_of)(m2[k] / (double)(n * size), job->eps);
            job->new_mean[first + k] = (REAL)mean[k];
            job->new_rstd[first + k] = rstd;
            const channel v = FN(forward_channel)(job, first + k, mean[k], (double)rstd);
            FN(normalise_rows)(job, (first + k) * size, n, stride, v);
        }
    }
}

static void FN(batch_norm_inference_body)(void *context, idx task)
{
    const batch_norm_job *job = context;
    const idx planes = job->n * job->c, end = FN(min)(planes, (task + 1) * job->task_channels);
    for (idx plane = task * job->task_channels; plane < end; plane++) {
        const idx k = plane % job->c;
        const double rstd = (double)FN(rstd_of)((double)job->var[k], job->eps);
        const channel v = FN(forward_channel)(job, k, (double)job->mean[k], rstd);
        FN(normalise_rows)(job, plane * job->size, 1, 0, v);
    }
}

INLINE vec FN(masked_gradient)(const batch_norm_job *job, idx at, idx rest, int mask)
{
    const vec dy = FN(load_part)(job->dy + at, rest, 0);
    if (!mask)
        return dy;
    return FN(select)((lanes)(FN(load_part)(job->mask + at, rest, 0) <= 0), (vec){0}, dy);
}

/* sums[0] += g and sums[1] += g (x - mean) for a run of elements; dresidual is stored. */
INLINE void FN(add_gradients)(const batch_norm_job *job, idx at, idx count, REAL mean, int mask,
                              vec sums[2])
{
    for (idx j = 0; j < count; j += VLEN) {
        const idx rest = count - j;
        const vec g = FN(masked_gradient)(job, at + j, rest, mask);
        if (job->dresidual)
            FN(store_part)(job->dresidual + at + j, rest, g);
        sums[0] += g;
        sums[1] += g * (FN(load_part)(job->x + at + j, rest, mean) - mean);
    }
}

INLINE void FN(gradient_row)(const batch_norm_job *job, idx at, channel v, int mask)
{
    for (idx j = 0; j < job->size; j += VLEN) {
        const idx rest = job->size - j;
        vec g = FN(masked_gradient)(job, at + j, rest, mask);
        if (job->training)
            g -= v.shift + (FN(load_part)(job->x + at + j, rest, 0) - v.mean) * v.slope;
        FN(store_part)(job->dx + at + j, rest, g * v.scale);
    }
}

INLINE void FN(backward_of_channel)(const batch_norm_job *job, idx k, int mask)
{
    const idx n = job->n, size = job->size, stride = job->c * size;
    double sum = 0, dot = 0;
    FOR_BLOCKS(n, size, FN(MOMENT_BLOCK)) {
        vec sums[2] = {{0}};
        for (idx row = 0; row < rows; row++)
            FN(add_gradients)(job, (i + row) * stride + k * size + j, columns, job->mean[k], mask, sums);
        sum += (double)FN(sum_lanes)(sums[0]);
        dot += (double)FN(sum_lanes)(sums[1]);
    }
    const channel v = FN(backward_channel)(job, k, sum, dot);
    for (idx i = 0; i < n; i++)
        FN(gradient_row)(job, i * stride + k * size, v, mask);
}

static void FN(batch_norm_backward_body)(void *context, idx task)
{
    const batch_norm_job *job = context;
    const idx end = FN(min)(job->c, (task + 1) * job->task_channels);
    for (idx k = task * job->task_channels; k < end; k++)
        if (job->mask)
            FN(backward_of_channel)(job, k, 1);
        else
            FN(backward_of_channel)(job, k, 0);
}

/* A strip of columns of the matrix (n, c size): whole channels, the values of each column side by side. */
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

enum { FN(SUM_VALUES), FN(SUM_SQUARES) };

/* sums = the columns' sums of x or of (x - mean)^2 */
INLINE void FN(strip_sums)(const batch_norm_job *job, const strip *s, int what, vec sums[FN(STRIP_VECTORS)])
{
    const idx stride = job->c * job->size;
    memset(sums, 0, FN(STRIP_VECTORS) * sizeof(vec));
    for (idx first = 0; first < job->n; first += FN(STRIP_ROWS)) {
        vec part[FN(STRIP_VECTORS)] = {{0}};
        for (idx i = first; i < FN(min)(first + FN(STRIP_ROWS), job->n); i++)
            FOR_STRIP {
                vec x = FN(load_part)(job->x + i * stride + s->first * job->size + j, s->width - j, 0);
                if (what == FN(SUM_SQUARES)) {
                    x -= FN(load)(s->mean + j);
                    x *= x;
                }
                part[v] += x;
            }
        FOR_STRIP
            sums[v] += part[v];
    }
}

static void FN(normalise_strip)(const batch_norm_job *job, const strip *s)
{
    for (idx i = 0; i < job->n; i++)
        FOR_STRIP {
            const idx at = (i * job->c + s->first) * job->size + j, rest = s->width - j;
            const vec residual = job->residual ? FN(load_part)(job->residual + at, rest, 0) : (vec){0};
            const vec x = FN(load_part)(job->x + at, rest, 0);
            FN(store_part)(job->y + at, rest,
                           FN(normalise)(x, residual, FN(load)(s->mean + j), FN(load)(s->scale + j),
                                         FN(load)(s->shift + j), job->relu));
        }
}

static void FN(batch_norm_forward_strip)(void *context, idx task)
{
    const batch_norm_job *job = context;
    strip s = FN(strip_of)(job, task);
    const double m = (double)(job->n * job->size);
    vec sums[FN(STRIP_VECTORS)];
    FN(strip_sums)(job, &s, FN(SUM_VALUES), sums);
    for (idx k = 0; k < s.channels; k++) {
        const REAL mean = (REAL)(FN(channel_sum)(sums, k, job->size) / m);
        job->new_mean[s.first + k] = mean;
        FN(spread_channel)(&s, k, job->size, (channel){.mean = mean});
    }
    FN(strip_sums)(job, &s, FN(SUM_SQUARES), sums);
    for (idx k = 0; k < s.channels; k++) {
        const REAL mean = job->new_mean[s.first + k];
        const REAL rstd = FN(rstd_of)(FN(channel_sum)(sums, k, job->size) / m, job->eps);
        job->new_rstd[s.first + k] = rstd;
        FN(spread_channel)(&s, k, job->size,
                           FN(forward_channel)(job, s.first + k, (double)mean, (double)rstd));
    }
    FN(normalise_strip)(job, &s);
}

static void FN(batch_norm_inference_strip)(void *context, idx task)
{
    const batch_norm_job *job = context;
    strip s = FN(strip_of)(job, task);
    for (idx k = 0; k < s.channels; k++) {
        const idx at = s.first + k;
        const double rstd = (double)FN(rstd_of)((double)job->var[at], job->eps);
        FN(spread_channel)(&s, k, job->size,
                           FN(forward_channel)(job, at, (double)job->mean[at], rstd));
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
                const vec g = FN(masked_gradient)(job, at, rest, job->mask != NULL);
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
                           FN(backward_channel)(job, s->first + k, FN(channel_sum)(sums, k, job->size),
                                                FN(channel_sum)(dots, k, job->size)));
    for (idx i = 0; i < job->n; i++)
        FOR_STRIP {
            const idx at = i * stride + from + j, rest = s->width - j;
            vec g = FN(masked_gradient)(job, at, rest, job->mask != NULL);
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
    } else if (parts == job->c && part <= FN(MOMENT_FEW)) {
        job->task_channels = FN(round_up)(FN(max)(FN(BATCH_NORM_TASK) / part, 1), VLEN);
    } else {
        job->task_channels = FN(max)(FN(BATCH_NORM_TASK) / part, 1);
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
