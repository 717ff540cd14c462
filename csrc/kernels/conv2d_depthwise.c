/* Depthwise convolution (groups = channels): every plane has its own filters, so there is no matrix
 * product to speak of and loads are the limit. x (n,c,h,w), w (oc,1,kh,kw) with oc a multiple of c,
 * y (n,oc,oh,ow).
 * Planes are read where they lie, a vector of a row at each tap's shift; lanes that fall outside
 * the row are cleared by a mask. A few rows are computed together, so that a row is loaded once for
 * all of its taps. Rows above and below the plane are a row of zeros. */
enum { FN(MOST_TAPS) = 64, FN(DEPTHWISE_TASK) = 16384 };

typedef struct {
    const pydl_conv2d_shape *s;
    const REAL *from;           /* groups of depth planes (h,w) */
    idx groups, depth, h, w;
    const REAL *weight, *bias, *dy;
    ending last;
    REAL *to;
    idx w_first, w_step;        /* tap i is weight[w_first + i * w_step] */
    idx shift[FN(MOST_TAPS)];   /* of a tap along w: output j reads column j * step + shift */
    idx step, vectors, outputs; /* vectors in a row of so many outputs */
    idx before, after;          /* elements around a group that may be read */
    idx row_step, tap_step;     /* outputs row_step apart share rows: tap kh's is kh + tap_step's */
    lanes *mask;                /* (vectors, kw + 1): a tap's lanes in the row, and new outputs */
    REAL *zeros;
    idx planes, task_planes;
    int failed;
} FN(depthwise_job);
#define depthwise_job FN(depthwise_job)

static int FN(is_depthwise)(const pydl_conv2d_shape *s)
{
    return s->groups == s->c && s->c > 1 && s->kh * s->kw <= FN(MOST_TAPS);
}

/* Vector v's first output: the last vector reaches back rather than over the end of the row. */
INLINE idx FN(first_output)(const depthwise_job *job, idx v)
{
    return FN(max)(FN(min)(v * VLEN, job->outputs - VLEN), 0);
}

/* Fills in what follows from the planes, the shifts and the number of outputs in a row. */
static int FN(depthwise_run)(depthwise_job *job, idx planes, idx size, pydl_body body)
{
    const pydl_conv2d_shape *s = job->s;
    idx least = 0, most = 0;
    for (idx k = 0; k < s->kw; k++) {
        least = FN(min)(least, job->shift[k]);
        most = FN(max)(most, job->shift[k]);
    }
    job->vectors = (job->outputs + VLEN - 1) / VLEN;
    const idx last = FN(first_output)(job, job->vectors - 1);
    job->before = -least;
    job->after = FN(max)((last + VLEN) * job->step + most - job->w, 0);
    const idx masks = job->vectors * (s->kw + 1), zeros = job->before + job->w + job->after;
    job->mask = pydl_block_alloc((size_t)masks * sizeof(lanes) + (size_t)zeros * sizeof(REAL));
    if (!job->mask)
        return PYDL_NO_MEMORY;
    REAL *row = (REAL *)(job->mask + masks);
    FN(zero_run)(row, zeros);
    job->zeros = row + job->before;
    for (idx v = 0; v < job->vectors; v++) {
        const idx first = FN(first_output)(job, v);
        lanes *mask = job->mask + v * (s->kw + 1);
        for (idx k = 0; k <= s->kw; k++)
            for (idx i = 0; i < VLEN; i++) {
                const idx column = k < s->kw ? (first + i) * job->step + job->shift[k] : 0;
                const int within = k < s->kw ? column >= 0 && column < job->w
                                             : first + i >= v * VLEN && first + i < job->outputs;
                mask[k][i] = -within;
            }
    }
    job->planes = planes;
    job->task_planes = FN(max)(FN(DEPTHWISE_TASK) / size, 1);
    pydl_parallel_for((planes + job->task_planes - 1) / job->task_planes,
                      2.0 * (double)(s->n * s->oc) * (double)(s->oh * s->ow * s->kh * s->kw), body,
                      job);
    pydl_block_free(job->mask);
    return job->failed ? PYDL_NO_MEMORY : PYDL_OK;
}

/* Windows (kh,kw) of planes (h,w) for outputs (oh,ow). */
static void FN(depthwise_windows)(depthwise_job *job)
{
    const pydl_conv2d_shape *s = job->s;
    job->h = s->h, job->w = s->w, job->outputs = s->ow, job->step = s->stride_w;
    for (idx k = 0; k < s->kw; k++)
        job->shift[k] = k * s->dilation_w - s->pad_w;
    idx a = s->stride_h, b = s->dilation_h;
    while (b) {
        const idx rest = a % b;
        a = b, b = rest;
    }
    job->row_step = s->dilation_h / a;
    job->tap_step = s->stride_h / a;
}

/* Room for a copy of a group, for a task's use. */
static REAL *FN(copy_alloc)(depthwise_job *job)
{
    const idx size = job->before + job->depth * job->h * job->w + job->after;
    REAL *copy = pydl_block_alloc((size_t)size * sizeof(REAL));
    if (!copy)
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
    return copy;
}

/* A group of planes with readable elements around it: itself, or a copy where the array ends. */
INLINE const REAL *FN(readable_group)(const depthwise_job *job, idx group, REAL *copy)
{
    const idx size = job->depth * job->h * job->w;
    const REAL *planes = job->from + group * size;
    if (group * size >= job->before && (job->groups - group - 1) * size >= job->after)
        return planes;
    return memcpy(copy + job->before, planes, (size_t)size * sizeof(REAL));
}

INLINE const REAL *FN(plane_row)(const depthwise_job *job, const REAL *plane, idx row)
{
    return row >= 0 && row < job->h ? plane + row * job->w : job->zeros;
}

/* A vector of so many rows of outputs, row_step apart, from the row `first` on: the sum over depth
 * planes and the taps, plus the bias. Tap (i, k) of plane m is
 * w[m * kh * kw + (i * kw + k) * w_step]. */
INLINE void FN(convolve_rows)(const depthwise_job *job, idx rows, idx kh, idx kw, idx step,
                              idx tap_step, idx depth, const REAL *x, const REAL *w, idx w_step,
                              REAL bias, idx first, idx v, vec acc[])
{
    const pydl_conv2d_shape *s = job->s;
    const idx at = FN(first_output)(job, v), top = first * s->stride_h - s->pad_h;
    const lanes *mask = job->mask + v * (s->kw + 1);
#pragma GCC unroll 8
    for (idx r = 0; r < rows; r++)
        acc[r] = FN(splat)(bias);
    for (idx m = 0; m < depth; m++, x += job->h * job->w, w += kh * kw)
#pragma GCC unroll 16
        for (idx i = 0; i < (rows - 1) * tap_step + kh; i++) {
            const REAL *row = FN(plane_row)(job, x, top + i * s->dilation_h) + at * step;
#pragma GCC unroll 8
            for (idx k = 0; k < kw; k++) {
                const vec all = FN(load_strided)(row + job->shift[k], step, job->outputs - at);
                const vec pixels = (vec)((lanes)all & mask[k]);
#pragma GCC unroll 8
                for (idx r = 0; r < rows; r++) {
                    const idx tap = i - r * tap_step;
                    if (tap >= 0 && tap < kh)
                        acc[r] += w[(tap * kw + k) * w_step] * pixels;
                }
            }
        }
}

/* The plane of results that begins at the place. */
INLINE void FN(convolve_plane)(const depthwise_job *job, idx rows, idx kh, idx kw, idx step,
                               idx tap_step, idx depth, const REAL *x, const REAL *w, idx w_step,
                               REAL bias, idx place)
{
    const idx oh = job->s->oh, ow = job->s->ow, row_step = job->row_step;
    const ending last = FN(ending_at)(job->last, place);
    REAL *y = job->to + place;
    for (idx phase = 0; phase < FN(min)(row_step, oh); phase++)
        for (idx first = phase; first < oh; first += rows * row_step)
            for (idx v = 0; v < job->vectors; v++) {
                const idx at = FN(first_output)(job, v);
                vec acc[8];
                FN(convolve_rows)(job, rows, kh, kw, step, tap_step, depth, x, w, w_step, bias,
                                  first, v, acc);
                if (last.residual || last.relu)
#pragma GCC unroll 8
                    for (idx r = 0; r < rows; r++)
                        if (first + r * row_step < oh)
                            acc[r] = FN(finished)(acc[r], last, (first + r * row_step) * ow + at,
                                                  ow - at);
#pragma GCC unroll 8
                for (idx r = 0; r < rows; r++)
                    if (first + r * row_step < oh)
                        FN(store_part)(y + (first + r * row_step) * ow + at, ow - at, acc[r]);
            }
}

/* The same for a square filter of constant size, step both ways, whose taps stay in registers. */
INLINE void FN(convolve_constant)(const depthwise_job *job, idx rows, idx size, idx step,
                                  const REAL *x, const REAL *w, idx w_step, REAL bias, idx place)
{
    REAL taps[FN(MOST_TAPS)];
#pragma GCC unroll 32
    for (idx i = 0; i < size * size; i++)
        taps[i] = w[i * w_step];
    FN(convolve_plane)(job, rows, size, size, step, step, 1, x, taps, 1, bias, place);
}

/* Calls a function of (job, rows, size, step, ...) with constants, and returns, if the filter is a
 * common one. */
#define FOR_CONSTANT(function, ...)                                                                \
    const pydl_conv2d_shape *filter = job->s;                                                      \
    const int square = filter->kh == filter->kw && job->step == job->tap_step && job->depth == 1;  \
    CONSTANT(function, 7, 3, 1, __VA_ARGS__)                                                       \
    CONSTANT(function, 7, 3, 2, __VA_ARGS__)                                                       \
    CONSTANT(function, 4, 5, 1, __VA_ARGS__)                                                       \
    CONSTANT(function, 4, 5, 2, __VA_ARGS__)
#define CONSTANT(function, rows, size, stride, ...)                                                \
    if (square && filter->kh == size && job->step == stride) {                                     \
        FN(function)(job, rows, size, stride, __VA_ARGS__);                                        \
        return;                                                                                    \
    }

static void FN(convolve_any)(const depthwise_job *job, const REAL *x, const REAL *w, idx w_step,
                             REAL bias, idx place)
{
    FOR_CONSTANT(convolve_constant, x, w, w_step, bias, place)
    if (job->step == 1)
        FN(convolve_plane)(job, 4, filter->kh, filter->kw, 1, job->tap_step, job->depth, x, w,
                           w_step, bias, place);
    else
        FN(convolve_plane)(job, 4, filter->kh, filter->kw, job->step, job->tap_step, job->depth, x,
                           w, w_step, bias, place);
}

static void FN(convolve_task)(void *context, idx task)
{
    depthwise_job *job = context;
    const pydl_conv2d_shape *s = job->s;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes);
    const idx share = job->planes / job->groups, taps = job->depth * s->kh * s->kw;
    REAL *copy = FN(copy_alloc)(job);
    if (!copy)
        return;
    for (idx plane = task * job->task_planes; plane < end; plane++) {
        const idx channel = plane % s->oc;
        FN(convolve_any)(job, FN(readable_group)(job, plane / share, copy),
                         job->weight + channel * taps + job->w_first, job->w_step,
                         job->bias ? job->bias[channel] : 0, plane * s->oh * s->ow);
    }
    pydl_block_free(copy);
}

static int FN(depthwise_forward)(const pydl_conv2d_shape *s, const REAL *x, const REAL *w,
                                 const REAL *b, ending last, REAL *y)
{
    depthwise_job job = {.s = s, .from = x, .groups = s->n * s->c, .depth = 1, .weight = w,
                         .bias = b, .last = last, .to = y, .w_step = 1};
    FN(depthwise_windows)(&job);
    return FN(depthwise_run)(&job, s->n * s->oc, s->oh * s->ow, FN(convolve_task));
}

/* Any stride: a row of dx gathers the rows of dy whose windows hold it. Column j * stride + e of dx
 * is reached by the taps with kw * dilation - pad congruent to e, output j + shift. */
typedef struct {
    idx count;
    const REAL *dy[FN(MOST_TAPS)], *w[FN(MOST_TAPS)]; /* rows of the first of the depth planes */
} FN(reaching_rows);

INLINE vec FN(gather_taps)(const depthwise_job *job, idx kw, idx stride, idx depth,
                           const FN(reaching_rows) *at, idx v, idx e, vec *other)
{
    const pydl_conv2d_shape *s = job->s;
    const lanes *mask = job->mask + v * (s->kw + 1);
    const idx j = FN(first_output)(job, v);
    vec sum = {0}, odd = {0};
    for (idx m = 0; m < depth; m++)
        for (idx i = 0; i < at->count; i++) {
            const REAL *row = at->dy[i] + m * job->h * job->w + j;
            const REAL *w = at->w[i] + m * s->kh * s->kw;
#pragma GCC unroll 8
            for (idx k = 0; k < kw; k++) {
                const idx place = k * s->dilation_w - s->pad_w + job->shift[k] * stride;
                const vec pixels = (vec)((lanes)FN(load)(row + job->shift[k]) & mask[k]);
                if (place == e)
                    sum += w[k] * pixels;
                else if (stride == 2)
                    odd += w[k] * pixels;
            }
        }
    *other = odd;
    return sum;
}

INLINE void FN(gather_row)(const depthwise_job *job, idx kw, idx stride, idx depth,
                           const FN(reaching_rows) *at, REAL *dx)
{
    const idx w = job->s->w;
    vec odd;
    for (idx v = 0; v < job->vectors; v++) {
        const idx j = FN(first_output)(job, v);
        if (stride == 2) {
            const vec even = FN(gather_taps)(job, kw, stride, depth, at, v, 0, &odd);
            FN(store_part)(dx + 2 * j, FN(max)(w - 2 * j, 0), FN(zip_low)(even, odd));
            if (w - 2 * j > VLEN)
                FN(store_part)(dx + 2 * j + VLEN, w - 2 * j - VLEN, FN(zip_high)(even, odd));
            continue;
        }
        for (idx e = 0; e < stride; e++) {
            const vec sum = FN(gather_taps)(job, kw, stride, depth, at, v, e, &odd);
            for (idx i = 0; i < VLEN && (j + i) * stride + e < w; i++)
                dx[(j + i) * stride + e] = sum[i];
        }
    }
}

static void FN(gather_task)(void *context, idx task)
{
    depthwise_job *job = context;
    const pydl_conv2d_shape *s = job->s;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes), taps = s->kh * s->kw;
    REAL *copy = FN(copy_alloc)(job);
    if (!copy)
        return;
    for (idx plane = task * job->task_planes; plane < end; plane++) {
        const REAL *dy = FN(readable_group)(job, plane, copy);
        const REAL *w = job->weight + plane % s->c * job->depth * taps;
        for (idx ih = 0; ih < s->h; ih++) {
            FN(reaching_rows) at = {0};
            for (idx k = 0; k < s->kh; k++) {
                const idx t = ih + s->pad_h - k * s->dilation_h, oh = t / s->stride_h;
                if (t < 0 || t % s->stride_h || oh >= s->oh)
                    continue;
                at.dy[at.count] = dy + oh * s->ow;
                at.w[at.count++] = w + k * s->kw;
            }
            REAL *dx = job->to + (plane * s->h + ih) * s->w;
            if (s->stride_w == 2 && s->kw == 3 && job->depth == 1)
                FN(gather_row)(job, 3, 2, 1, &at, dx);
            else if (s->stride_w == 2)
                FN(gather_row)(job, s->kw, 2, job->depth, &at, dx);
            else
                FN(gather_row)(job, s->kw, s->stride_w, job->depth, &at, dx);
        }
    }
    pydl_block_free(copy);
}

static int FN(depthwise_backward_input)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *w,
                                        REAL *dx)
{
    depthwise_job job = {.s = s, .from = dy, .groups = s->n * s->c, .depth = s->oc / s->c,
                         .weight = w, .to = dx, .w_step = 1};
    if (s->stride_h == 1 && s->stride_w == 1) { /* the convolution of dy with the taps turned */
        pydl_conv2d_shape turned = *s;
        turned.c = s->oc, turned.h = s->oh, turned.w = s->ow;
        turned.oc = s->c, turned.oh = s->h, turned.ow = s->w;
        turned.pad_h = (s->kh - 1) * s->dilation_h - s->pad_h;
        turned.pad_w = (s->kw - 1) * s->dilation_w - s->pad_w;
        job.s = &turned, job.w_first = s->kh * s->kw - 1, job.w_step = -1;
        FN(depthwise_windows)(&job);
        return FN(depthwise_run)(&job, s->n * s->c, s->h * s->w, FN(convolve_task));
    }
    job.h = s->oh, job.w = s->ow, job.step = 1;
    job.outputs = (s->w + s->stride_w - 1) / s->stride_w;
    for (idx k = 0; k < s->kw; k++)
        job.shift[k] = ceil_div(s->pad_w - k * s->dilation_w, s->stride_w);
    return FN(depthwise_run)(&job, s->n * s->c, s->h * s->w, FN(gather_task));
}

/* Adds a plane's share to the taps' sums: lane i belongs to the outputs that fall on it. */
INLINE void FN(weight_plane)(const depthwise_job *job, idx rows, idx kh, idx kw, idx step,
                             idx tap_step, const REAL *x, const REAL *dy, vec acc[])
{
    const pydl_conv2d_shape *s = job->s;
    const idx oh = s->oh, ow = s->ow, row_step = job->row_step;
    for (idx phase = 0; phase < FN(min)(row_step, oh); phase++)
        for (idx first = phase; first < oh; first += rows * row_step)
            for (idx v = 0; v < job->vectors; v++) {
                const idx at = FN(first_output)(job, v), top = first * s->stride_h - s->pad_h;
                const lanes *mask = job->mask + v * (s->kw + 1), own = mask[s->kw];
                vec g[8];
#pragma GCC unroll 8
                for (idx r = 0; r < rows; r++) {
                    const idx row = first + r * row_step;
                    g[r] = row < oh ? FN(load_part)(dy + row * ow + at, ow - at, 0) : (vec){0};
                    g[r] = (vec)((lanes)g[r] & own);
                }
#pragma GCC unroll 16
                for (idx i = 0; i < (rows - 1) * tap_step + kh; i++) {
                    const REAL *row = FN(plane_row)(job, x, top + i * s->dilation_h) + at * step;
#pragma GCC unroll 8
                    for (idx k = 0; k < kw; k++) {
                        const vec pixels = FN(load_strided)(row + job->shift[k], step, ow - at);
                        const vec inside = (vec)((lanes)pixels & mask[k] & own);
#pragma GCC unroll 8
                        for (idx r = 0; r < rows; r++) {
                            const idx tap = i - r * tap_step;
                            if (tap >= 0 && tap < kh)
                                acc[tap * kw + k] += g[r] * inside;
                        }
                    }
                }
            }
}

INLINE void FN(weight_channel)(const depthwise_job *job, idx rows, idx kh, idx kw, idx step,
                               idx tap_step, idx oc, REAL *copy)
{
    const pydl_conv2d_shape *s = job->s;
    const idx taps = kh * kw, multiplier = s->oc / s->c;
    vec acc[FN(MOST_TAPS)];
#pragma GCC unroll 32
    for (idx tap = 0; tap < taps; tap++)
        acc[tap] = (vec){0};
    for (idx n = 0; n < s->n; n++)
        FN(weight_plane)(job, rows, kh, kw, step, tap_step,
                         FN(readable_group)(job, n * s->c + oc / multiplier, copy),
                         job->dy + (n * s->oc + oc) * s->oh * s->ow, acc);
#pragma GCC unroll 16
    for (idx tap = 0; tap < taps; tap += VLEN) {
        vec part[VECTOR_BYTES / sizeof(REAL)];
#pragma GCC unroll 16
        for (idx i = 0; i < VLEN; i++)
            part[i] = tap + i < taps ? acc[tap + i] : (vec){0};
        FN(store_part)(job->to + oc * taps + tap, taps - tap, FN(sum_each)(part));
    }
}

INLINE void FN(weight_constant)(const depthwise_job *job, idx rows, idx size, idx step, idx oc,
                                REAL *copy)
{
    FN(weight_channel)(job, rows, size, size, step, step, oc, copy);
}

static void FN(weight_any)(const depthwise_job *job, idx oc, REAL *copy)
{
    FOR_CONSTANT(weight_constant, oc, copy)
    if (job->step == 1)
        FN(weight_channel)(job, 4, filter->kh, filter->kw, 1, job->tap_step, oc, copy);
    else
        FN(weight_channel)(job, 4, filter->kh, filter->kw, job->step, job->tap_step, oc, copy);
}

static void FN(depthwise_weight_task)(void *context, idx task)
{
    depthwise_job *job = context;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes);
    REAL *copy = FN(copy_alloc)(job);
    if (!copy)
        return;
    for (idx oc = task * job->task_planes; oc < end; oc++)
        FN(weight_any)(job, oc, copy);
    pydl_block_free(copy);
}

static int FN(depthwise_backward_weight)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x,
                                         REAL *dw)
{
    depthwise_job job = {.s = s, .from = x, .groups = s->n * s->c, .depth = 1, .dy = dy, .to = dw};
    FN(depthwise_windows)(&job);
    return FN(depthwise_run)(&job, s->oc, s->n * s->oh * s->ow, FN(depthwise_weight_task));
}
#undef FOR_CONSTANT
#undef CONSTANT
