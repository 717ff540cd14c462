/* The gradients of depthwise convolution: shapes and names as in conv2d_depthwise.c. */
/* Any stride: a row of dx gathers the rows of dy whose windows hold it. Column j * stride + e of dx
 * is reached by the taps with kw * dilation - pad congruent to e, output j + shift. */
typedef struct {
    idx count;
    const REAL *dy[FN(MOST_TAPS)], *w[FN(MOST_TAPS)]; /* rows of the first of the depth planes */
} FN(reaching_rows);

INLINE vec FN(gather_taps)(const depthwise_job *job, idx kw, idx stride, idx pad, idx dilation,
                           idx depth, const FN(reaching_rows) *at, idx v, idx e, vec *other)
{
    const lanes *masks = job->mask + v * (kw + 1);
    const idx j = FN(first_output)(job, v);
    FN(chosen) mask[FN(MOST_TAPS)];
    vec sum = {0}, odd = {0};
#pragma GCC unroll 8
    for (idx k = 0; k < kw; k++)
        mask[k] = FN(choose)(masks[k]);
    for (idx m = 0; m < depth; m++)
        for (idx i = 0; i < at->count; i++) {
            const REAL *row = at->dy[i] + m * job->h * job->w + j;
            const REAL *w = at->w[i] + m * job->s->kh * kw;
#pragma GCC unroll 8
            for (idx k = 0; k < kw; k++) {
                const idx shift = ceil_div(pad - k * dilation, stride);
                const idx place = k * dilation - pad + shift * stride;
                const vec tap = FN(splat)(w[k]);
                const vec pixels = FN(factor)(FN(load)(row + shift), mask[k]);
                if (place == e)
                    sum = FN(add_product)(sum, tap, pixels, mask[k]);
                else if (stride == 2)
                    odd = FN(add_product)(odd, tap, pixels, mask[k]);
            }
        }
    *other = odd;
    return sum;
}

INLINE void FN(gather_row)(const depthwise_job *job, idx kw, idx stride, idx pad, idx dilation,
                           idx depth, const FN(reaching_rows) *at, REAL *dx)
{
    const idx w = job->s->w;
    vec odd;
    for (idx v = 0; v < job->vectors; v++) {
        const idx j = FN(first_output)(job, v);
        if (stride == 2) {
            const vec even =
                FN(gather_taps)(job, kw, stride, pad, dilation, depth, at, v, 0, &odd);
            FN(ask_ahead)(dx + 2 * j);
            FN(store_part)(dx + 2 * j, FN(max)(w - 2 * j, 0), FN(zip_low)(even, odd));
            if (w - 2 * j > VLEN)
                FN(store_part)(dx + 2 * j + VLEN, w - 2 * j - VLEN, FN(zip_high)(even, odd));
            continue;
        }
        for (idx e = 0; e < stride; e++) {
            const vec sum =
                FN(gather_taps)(job, kw, stride, pad, dilation, depth, at, v, e, &odd);
            for (idx i = 0; i < VLEN && (j + i) * stride + e < w; i++)
                dx[(j + i) * stride + e] = sum[i];
        }
    }
}

INLINE void FN(gather_plane)(const depthwise_job *job, idx kh, idx kw, idx stride_h, idx stride_w,
                             idx pad, idx dilation, idx depth, const REAL *dy, const REAL *w,
                             REAL *dx)
{
    const pydl_conv2d_shape *s = job->s;
    for (idx ih = 0; ih < s->h; ih++) {
        FN(reaching_rows) at;
        at.count = 0;
        for (idx k = 0; k < kh; k++) {
            const idx t = ih + s->pad_h - k * s->dilation_h, oh = t / stride_h;
            if (t < 0 || t % stride_h || oh >= s->oh)
                continue;
            at.dy[at.count] = dy + oh * s->ow;
            at.w[at.count++] = w + k * kw;
        }
        FN(gather_row)(job, kw, stride_w, pad, dilation, depth, &at, dx + ih * s->w);
    }
}

/* A vector of a row of dy, and the one a column on, for each of which there is a mask. */
typedef struct {
    vec here, next;
} FN(row_pair);

INLINE FN(row_pair) FN(load_pair)(const REAL *dy, lanes here, lanes next)
{
    return (FN(row_pair)){(vec)((lanes)FN(load)(dy) & here), (vec)((lanes)FN(load)(dy + 1) & next)};
}

/* The same for 3x3 taps of stride 2 in an image padded by 1, without registers of masks: two rows
 * of dx of two rows of dy. An even place is met by the middle tap along its axis, an odd one by
 * the others. */
INLINE void FN(gather_3x3)(const depthwise_job *job, const REAL *dy, const REAL *w, REAL *dx)
{
    const pydl_conv2d_shape *s = job->s;
    const REAL *const end = dx + s->h * s->w;
    vec tap[9];
#pragma GCC unroll 9
    for (int k = 0; k < 9; k++)
        tap[k] = FN(splat)(w[k]);
    for (idx i = 0; 2 * i < s->h; i++, dy += s->ow, dx += 2 * s->w)
        for (idx v = 0; v < job->vectors; v++) {
            const idx j = FN(first_output)(job, v), left = s->w - 2 * j;
            const lanes *mask = job->mask + v * 4;
            REAL *to = dx + 2 * j;
            const FN(row_pair) a = FN(load_pair)(dy + j, mask[1], mask[0]);
            FN(store_zipped)(to, left, job->vectors == 1 ? end - to : left, tap[4] * a.here,
                             tap[3] * a.next + tap[5] * a.here);
            if (2 * i + 1 == s->h)
                continue;
            vec even = tap[7] * a.here, odd = tap[6] * a.next + tap[8] * a.here;
            if (i + 1 < s->oh) {
                const FN(row_pair) b = FN(load_pair)(dy + s->ow + j, mask[1], mask[0]);
                even += tap[1] * b.here;
                odd += tap[0] * b.next + tap[2] * b.here;
            }
            to += s->w;
            FN(store_zipped)(to, left, job->vectors == 1 ? end - to : left, even, odd);
        }
}

static void FN(gather_task)(void *context, idx task)
{
    depthwise_job *job = context;
    const pydl_conv2d_shape *s = job->s;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes), taps = s->kh * s->kw;
    const idx size = s->h * s->w, pad = s->pad_w, dilation = s->dilation_w, depth = job->depth;
    REAL *copy = FN(copy_alloc)(job);
    if (!copy)
        return;
    for (idx plane = task * job->task_planes; plane < end; plane++) {
        const REAL *dy = FN(readable_group)(job, plane, copy);
        const REAL *w = job->weight + plane % s->c * depth * taps;
        REAL *dx = job->to + plane * size;
        const int common = s->stride_h == 2 && s->stride_w == 2 && s->kh == 3 && s->kw == 3 &&
                           pad == 1 && dilation == 1 && depth == 1;
        if (VECTOR_BYTES < 64 && common && s->pad_h == 1 && s->dilation_h == 1)
            FN(gather_3x3)(job, dy, w, dx);
        else if (VECTOR_BYTES == 64 && common)
            FN(gather_plane)(job, 3, 3, 2, 2, 1, 1, 1, dy, w, dx);
        else if (s->stride_w == 2)
            FN(gather_plane)(job, s->kh, s->kw, s->stride_h, 2, pad, dilation, depth, dy, w, dx);
        else
            FN(gather_plane)(job, s->kh, s->kw, s->stride_h, s->stride_w, pad, dilation, depth, dy,
                             w, dx);
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

/* The same of a strip, for a filter of constant size and stride: g[0] is the oldest row of dy that
 * still meets rows of x. */
INLINE void FN(weight_slide)(const depthwise_job *job, int pair, idx size, idx step,
                             const REAL *const x[2], const REAL *const dy[2],
                             const REAL *const next[2], idx v, vec acc[])
{
    const pydl_conv2d_shape *s = job->s;
    const idx live = (size + step - 1) / step, at = FN(first_output)(job, v);
    const idx h = job->h, w = job->w, oh = s->oh, ow = s->ow, top = -s->pad_h;
    const lanes *masks = job->mask + v * (size + 1);
    const REAL *next_x = next[0] + job->ahead.share * v;
    const REAL *next_dy = next[1] + job->ahead_to.share * v;
    FN(chosen) mask[8];
    vec g[8] = {{0}};
#pragma GCC unroll 8
    for (idx k = 0; k < size; k++)
        mask[k] = FN(choose)(masks[k] & masks[size]);
    idx from = top * w + at * step + job->shift[0];
    for (idx q = 0; q < oh + live - 1; q++) {
        g[live - 1] = (vec){0};
        if (q < oh && pair)
            g[live - 1] = FN(load_part_halves)(dy[0] + q * ow, dy[1] + q * ow, ow);
        else if (q < oh)
            g[live - 1] = FN(load_part)(dy[0] + q * ow + at, ow - at, 0);
        if (step == 2 && !pair)
            g[live - 1] = FN(unmixed)(g[live - 1]);
        __builtin_prefetch(next_dy, 0, 2);
        next_dy += VLEN;
#pragma GCC unroll 2
        for (idx e = 0; e < step; e++, from += w) {
            const idx row = top + q * step + e;
#pragma GCC unroll 2
            for (idx i = 0; i < step; i++, next_x += VLEN)
                __builtin_prefetch(next_x, 0, 2);
            if (row < 0 || row >= h)
                continue;
            const FN(chosen) *const here = FN(from_memory)(mask);
#pragma GCC unroll 8
            for (idx k = 0; k < size; k++) {
                const vec pixels =
                    FN(factor)(FN(load_columns)(x, pair, from, k, step), here[k]);
#pragma GCC unroll 8
                for (idx d = 0; d < live; d++) {
                    const idx tap = (e + d * step) * size + k;
                    if (e + d * step < size)
                        acc[tap] = FN(add_product)(acc[tap], g[live - 1 - d], pixels, here[k]);
                }
            }
        }
#pragma GCC unroll 8
        for (idx d = 0; d + 1 < live; d++)
            g[d] = g[d + 1];
    }
}

/* dw of a channel: the lanes of which come out of the sums. */
INLINE void FN(store_taps)(idx taps, const vec acc[], lanes of, REAL *dw)
{
#pragma GCC unroll 16
    for (idx tap = 0; tap < taps; tap += VLEN) {
        vec part[VECTOR_BYTES / sizeof(REAL)];
#pragma GCC unroll 16
        for (idx i = 0; i < VLEN; i++)
            part[i] = tap + i < taps ? (vec)((lanes)acc[tap + i] & of) : (vec){0};
        FN(store_part)(dw + tap, FN(min)(taps - tap, VLEN), FN(sum_each)(part));
    }
}

/* Planes of image n of the channels, and of dy. */
INLINE void FN(weight_planes)(const depthwise_job *job, idx n, idx oc, idx count, REAL *copies,
                              const REAL *x[2], const REAL *dy[2])
{
    const pydl_conv2d_shape *s = job->s;
    for (idx i = 0; i < count; i++) {
        x[i] = FN(readable_group)(job, n * s->c + (oc + i) / (s->oc / s->c),
                                  copies + i * FN(copy_size)(job));
        dy[i] = job->dy + (n * s->oc + oc + i) * s->oh * s->ow;
    }
    if (count == 1)
        x[1] = x[0], dy[1] = dy[0];
}

/* What is asked for meanwhile, of x and dy: the next channel's planes; with AVX2, whose L2 caches
 * are small, those that are read next, which are of the next image. */
INLINE void FN(planes_ahead)(const depthwise_job *job, idx n, idx oc, const REAL *x,
                             const REAL *dy, const REAL *next[2])
{
    const pydl_conv2d_shape *s = job->s;
    const idx plane = job->h * job->w, outputs = s->oh * s->ow;
    next[0] = x + job->ahead.by, next[1] = dy + job->ahead_to.by;
    if (VECTOR_BYTES != 32 || outputs < FN(LEAST_AHEAD))
        return;
    if (n + 1 < s->n)
        next[0] = x + s->c * plane, next[1] = dy + s->oc * outputs;
    else
        next[0] = job->from + FN(min)(oc + 1, s->oc - 1) / (s->oc / s->c) * plane,
        next[1] = job->dy + (oc + 1) * outputs;
}

INLINE void FN(weight_constant)(const depthwise_job *job, int pair, idx size, idx step, idx oc,
                                idx count, REAL *copies)
{
    vec acc[FN(MOST_TAPS)];
#pragma GCC unroll 32
    for (idx tap = 0; tap < size * size; tap++)
        acc[tap] = (vec){0};
    for (idx n = 0; n < job->s->n; n++) {
        const REAL *x[2] = {NULL}, *dy[2] = {NULL};
        FN(weight_planes)(job, n, oc, count, copies, x, dy);
        const REAL *next[2];
        FN(planes_ahead)(job, n, oc, x[0], dy[0], next);
        for (idx v = 0; v < job->vectors; v++)
            FN(weight_slide)(job, pair, size, step, x, dy, next, v, acc);
    }
    REAL *dw = job->to + oc * size * size;
    const lanes first = FN(first_lanes)(pair ? VLEN / 2 : VLEN);
    FN(store_taps)(size * size, acc, first, dw);
    if (pair && count == 2)
        FN(store_taps)(size * size, acc, ~first, dw + size * size);
}

INLINE void FN(weight_channel)(const depthwise_job *job, idx rows, idx kh, idx kw, idx step,
                               idx tap_step, idx oc, REAL *copies)
{
    vec acc[FN(MOST_TAPS)];
    for (idx tap = 0; tap < kh * kw; tap++)
        acc[tap] = (vec){0};
    for (idx n = 0; n < job->s->n; n++) {
        const REAL *x[2], *dy[2];
        FN(weight_planes)(job, n, oc, 1, copies, x, dy);
        FN(weight_plane)(job, rows, kh, kw, step, tap_step, x[0], dy[0], acc);
    }
    FN(store_taps)(kh * kw, acc, FN(first_lanes)(VLEN), job->to + oc * kh * kw);
}

#define WEIGHT(size, stride)                                                                       \
    static __attribute__((noinline)) void FN(weight_##size##_##stride)(                            \
        const depthwise_job *job, idx oc, idx count, REAL *copies)                                 \
    {                                                                                              \
        if (FN(HALVES) && job->pair)                                                               \
            FN(weight_constant)(job, 1, size, stride, oc, count, copies);                          \
        else                                                                                       \
            FN(weight_constant)(job, 0, size, stride, oc, count, copies);                          \
    }
FOR_COMMON(WEIGHT)
#undef WEIGHT

static void FN(weight_any)(const depthwise_job *job, idx oc, idx count, REAL *copies)
{
#define CALL(size, stride) IF_COMMON(weight, size, stride, oc, count, copies)
    FOR_COMMON(CALL)
#undef CALL
    const pydl_conv2d_shape *s = job->s;
    if (job->step == 1)
        FN(weight_channel)(job, 4, s->kh, s->kw, 1, job->tap_step, oc, copies);
    else
        FN(weight_channel)(job, 4, s->kh, s->kw, job->step, job->tap_step, oc, copies);
}

static void FN(depthwise_weight_task)(void *context, idx task)
{
    depthwise_job *job = context;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes);
    REAL *copies = FN(copy_alloc)(job);
    if (!copies)
        return;
    for (idx oc = task * job->task_planes; oc < end; oc += 1 + job->pair)
        FN(weight_any)(job, oc, FN(min)(1 + job->pair, end - oc), copies);
    pydl_block_free(copies);
}

static int FN(depthwise_backward_weight)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x,
                                         REAL *dw)
{
    depthwise_job job = {.s = s, .from = x, .groups = s->n * s->c, .depth = 1, .dy = dy, .to = dw};
    FN(depthwise_windows)(&job);
    return FN(depthwise_run)(&job, s->oc, s->n * s->oh * s->ow, FN(depthwise_weight_task));
}
#undef FOR_COMMON
#undef IF_COMMON
