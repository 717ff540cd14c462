/* The gradients of depthwise convolution: shapes and names as in conv2d_depthwise.c. */

/* dx, dw and db, those that are wanted, of some channels of all images: a plane of dy is in the
 * cache for all of them, and so are the sums of that many channels. Large planes are faster taken a
 * channel after the other, from all images. */
enum { FN(SUMMED_AT_ONCE) = 32, FN(LARGE_PLANE) = 2048 };
typedef struct FN(depthwise_gradients) {
    depthwise_job dw, dx; /* the latter reads dy; to NULL: not wanted */
    REAL *db;
    /* those of `to->count` planes of image n, of channels from oc on */
    void (*of_planes)(const struct FN(depthwise_gradients) *all, idx n, idx oc, REAL *copies,
                      const tap_sums *to);
} FN(depthwise_gradients);
#define depthwise_gradients FN(depthwise_gradients)

/* Whether dx leaves the caches, in rows of whole lines. */
INLINE int FN(is_far_input)(const pydl_conv2d_shape *s)
{
    return VECTOR_BYTES == 64 && s->w % VLEN == 0 &&
           FN(leaves_caches)(s->n * s->c * s->h * s->w);
}

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

/* Stores even and odd places of a row of dx. */
INLINE void FN(store_gathered)(REAL *to, idx left, idx room, int far, vec even, vec odd)
{
    if (far) {
        FN(store_far)(to, left, FN(zip_low)(even, odd));
        FN(store_far)(to + VLEN, left - VLEN, FN(zip_high)(even, odd));
    } else {
        FN(store_zipped)(to, left, room, even, odd);
    }
}

/* The same for 3x3 taps of stride 2 in an image padded by 1: two rows of dx of two rows of dy. An
 * even place is met by the middle tap along its axis, an odd one by the others, of which one is a
 * column on, where the row may end. */
INLINE void FN(gather_3x3)(const depthwise_job *job, const REAL *dy, const REAL *w, REAL *dx)
{
    const pydl_conv2d_shape *s = job->s;
    const int far = job->far;
    const REAL *const end = dx + s->h * s->w;
    vec tap[9];
#pragma GCC unroll 9
    for (int k = 0; k < 9; k++)
        tap[k] = FN(splat)(w[k]);
    for (idx i = 0; 2 * i < s->h; i++, dy += s->ow, dx += 2 * s->w)
        for (idx v = 0; v < job->vectors; v++) {
            const idx j = FN(first_output)(job, v), left = s->w - 2 * j;
            const FN(chosen) within = FN(choose)(job->mask[v * 4]);
            const vec a = FN(load)(dy + j), a_next = FN(factor)(FN(load)(dy + j + 1), within);
            REAL *to = dx + 2 * j;
            FN(store_gathered)(to, left, job->vectors == 1 ? end - to : left, far, tap[4] * a,
                               FN(add_product)(tap[5] * a, tap[3], a_next, within));
            if (2 * i + 1 == s->h)
                continue;
            vec even = tap[7] * a, odd = FN(add_product)(tap[8] * a, tap[6], a_next, within);
            if (i + 1 < s->oh) {
                const REAL *below = dy + s->ow + j;
                const vec b = FN(load)(below), b_next = FN(factor)(FN(load)(below + 1), within);
                even += tap[1] * b;
                odd = FN(add_product)(odd + tap[2] * b, tap[0], b_next, within);
            }
            to += s->w;
            FN(store_gathered)(to, left, job->vectors == 1 ? end - to : left, far, even, odd);
        }
}

/* Of plane `plane` of dx, from a readable group of dy's. */
static void FN(gather_any)(const depthwise_job *job, idx plane, const REAL *dy)
{
    const pydl_conv2d_shape *s = job->s;
    const idx taps = s->kh * s->kw, pad = s->pad_w, dilation = s->dilation_w, depth = job->depth;
    const REAL *w = job->weight + plane % s->c * depth * taps;
    REAL *dx = job->to + plane * s->h * s->w;
    if (s->stride_h == 2 && s->stride_w == 2 && s->kh == 3 && s->kw == 3 && s->pad_h == 1 &&
        pad == 1 && s->dilation_h == 1 && dilation == 1 && depth == 1)
        FN(gather_3x3)(job, dy, w, dx);
    else if (s->stride_w == 2)
        FN(gather_plane)(job, s->kh, s->kw, s->stride_h, 2, pad, dilation, depth, dy, w, dx);
    else
        FN(gather_plane)(job, s->kh, s->kw, s->stride_h, s->stride_w, pad, dilation, depth, dy, w,
                         dx);
}

static void FN(gather_task)(void *context, idx task)
{
    depthwise_job *job = context;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes);
    REAL *copy = FN(copy_alloc)(job);
    if (!copy)
        return;
    for (idx plane = task * job->task_planes; plane < end; plane++)
        FN(gather_any)(job, plane, FN(readable_group)(job, plane, copy));
    if (job->far)
        FN(finish_far_stores)();
    pydl_block_free(copy);
}

/* The job of dx, without its masks; of stride 1 it is the convolution of dy with the taps turned,
 * whose shape goes to `turned`. */
static depthwise_job FN(depthwise_gather)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *w,
                                          REAL *dx, pydl_conv2d_shape *turned)
{
    depthwise_job job = {.s = s, .from = dy, .groups = s->n * s->c, .depth = s->oc / s->c,
                         .weight = w, .to = dx, .w_step = 1,
                         .far = FN(is_far_input)(s)};
    if (s->stride_h == 1 && s->stride_w == 1) {
        *turned = *s;
        turned->c = s->oc, turned->h = s->oh, turned->w = s->ow;
        turned->oc = s->c, turned->oh = s->h, turned->ow = s->w;
        turned->pad_h = (s->kh - 1) * s->dilation_h - s->pad_h;
        turned->pad_w = (s->kw - 1) * s->dilation_w - s->pad_w;
        job.s = turned, job.w_first = s->kh * s->kw - 1, job.w_step = -1;
        FN(depthwise_windows)(&job);
        return job;
    }
    job.h = s->oh, job.w = s->ow, job.step = 1;
    job.outputs = (s->w + s->stride_w - 1) / s->stride_w;
    for (idx k = 0; k < s->kw; k++)
        job.shift[k] = ceil_div(s->pad_w - k * s->dilation_w, s->stride_w);
    return job;
}

/* dx of small planes: the convolution of dy with the taps turned. */
INLINE padded_job FN(padded_gather)(const REAL *dy, const REAL *w, REAL *dx)
{
    return (padded_job){.from = dy, .to = dx, .weight = w, .first_tap = 8, .tap_step = -1,
                        .least = -INFINITY};
}

/* Adds a plane's share to the taps' sums, after which comes that of dy: lane i belongs to the
 * outputs that fall on it. */
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
                    acc[kh * kw] += g[r];
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
        acc[size * size] += (vec)((lanes)g[live - 1] & masks[size]);
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
            const int deals = FN(is_dealt)(pair, step);
            FN(dealt_row) dealt;
            if (deals)
                dealt = FN(deal_row)(x[0] + from + size / 2);
#pragma GCC unroll 8
            for (idx k = 0; k < size; k++) {
                const vec pixels =
                    deals ? FN(dealt_column)(&dealt, k - size / 2)
                          : FN(factor)(FN(load_columns)(x, pair, from, k, step), here[k]);
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

/* The same of a strip as in convolve_strip_3x3. */
INLINE void FN(weight_strip_3x3)(const depthwise_job *job, int edge, const REAL *x, const REAL *dy,
                            const REAL *const next[2], idx v, vec acc[10])
{
    const idx w = job->w, at = FN(first_output)(job, v);
    const REAL *const last = x + (job->h - 1) * w + at;
    const REAL *next_x = next[0] + job->ahead.share * v;
    const REAL *next_dy = next[1] + job->ahead_to.share * v;
    const lanes within = job->mask[v * 4 + FN(max)(edge, 0)];
    x += at, dy += at;
    FN(weigh_3x3)(edge, within, 1, 0, 1, w, x, dy, acc);
    for (x += w, dy += w; x + w < last; x += 2 * w, dy += 2 * w) {
        next_x = FN(ask_strip)(next_x, 2, 0);
        next_dy = FN(ask_strip)(next_dy, 2, 0);
        FN(weigh_3x3)(edge, within, 2, 1, 1, w, x, dy, acc);
    }
    for (; x != last; x += w, dy += w)
        FN(weigh_3x3)(edge, within, 1, 1, 1, w, x, dy, acc);
    FN(weigh_3x3)(edge, within, 1, 1, 0, w, x, dy, acc);
}

/* A plane or two of an image and of dy, and their share of dw and db. */
typedef struct {
    const REAL *x[2], *dy[2];
    tap_sums to;
} FN(weight_share);
#define weight_share FN(weight_share)

INLINE void FN(weight_constant)(const depthwise_job *job, int pair, idx size, idx step,
                                const weight_share *p)
{
    const REAL *const x[2] = {p->x[0], p->x[1]}, *const dy[2] = {p->dy[0], p->dy[1]};
    const REAL *const next[2] = {x[0] + job->ahead.by, dy[0] + job->ahead_to.by};
    const idx count = size * size + 1;
    vec acc[FN(MOST_TAPS)];
    idx v = 0;
    FN(begin_sums)(&p->to, count, acc);
    if (FN(is_strip_3x3)(job, pair, size, step)) {
        FN(weight_strip_3x3)(job, FN(LEFT_EDGE), x[0], dy[0], next, v++, acc);
        for (; v + 1 < job->vectors; v++)
            FN(weight_strip_3x3)(job, FN(NO_EDGE), x[0], dy[0], next, v, acc);
        if (job->outputs % VLEN == 0)
            FN(weight_strip_3x3)(job, FN(RIGHT_EDGE), x[0], dy[0], next, v++, acc);
    }
    for (; v < job->vectors; v++)
        FN(weight_slide)(job, pair, size, step, x, dy, next, v, acc);
    FN(end_sums)(&p->to, pair, count, acc);
}

#define WEIGHT(size, stride)                                                                       \
    static __attribute__((noinline)) void FN(weight_##size##_##stride)(const depthwise_job *job,   \
                                                                       const weight_share *p)      \
    {                                                                                              \
        if (FN(HALVES) && job->pair)                                                               \
            FN(weight_constant)(job, 1, size, stride, p);                                          \
        else                                                                                       \
            FN(weight_constant)(job, 0, size, stride, p);                                          \
    }
FOR_COMMON(WEIGHT)
#undef WEIGHT

static void FN(weight_any)(const depthwise_job *job, const weight_share *p)
{
#define CALL(size, stride) IF_COMMON(weight, size, stride, p)
    FOR_COMMON(CALL)
#undef CALL
    const pydl_conv2d_shape *s = job->s;
    const idx count = s->kh * s->kw + 1;
    vec *sums = p->to.sums;
    if (p->to.is_first)
        memset(sums, 0, (size_t)count * sizeof(vec));
    if (job->step == 1)
        FN(weight_plane)(job, 4, s->kh, s->kw, 1, job->tap_step, p->x[0], p->dy[0], sums);
    else
        FN(weight_plane)(job, 4, s->kh, s->kw, job->step, job->tap_step, p->x[0], p->dy[0], sums);
    if (p->to.dw)
        FN(store_sums)(count - 1, sums, p->to.dw, p->to.db);
}

static void FN(walk_gradients)(const depthwise_gradients *all, idx n, idx oc, REAL *copy,
                               const tap_sums *to)
{
    const depthwise_job *job = &all->dw;
    const idx size = job->h * job->w, plane = n * job->s->c + oc;
    walked_planes p; /* nor is this cleared */
    for (idx i = 0; i < 2; i++) {
        const idx k = i < to->count ? i : 0, place = (plane + k) * size;
        p.x[i] = job->from + place;
        p.dy[i] = job->dy + place;
        if (all->dx.to) {
            p.dx[i] = all->dx.to + place;
            p.w[i] = all->dx.weight + (oc + k) * 9;
        }
    }
    p.far = all->dx.far;
    p.to = to;
    if (job->vectors > 1) /* which are read beyond */
        p.dy[0] = FN(readable_plane)(job->dy, job->groups, size, plane, 1, 1, copy);
    FN(walker_of)(job, all->dx.to != NULL)(job, &p);
}

/* dx of one plane or two. */
INLINE void FN(gather_planes)(const depthwise_job *job, int turned, idx plane, idx count,
                              const REAL *const dy[2])
{
    const pydl_conv2d_shape *s = job->s;
    const idx taps = s->kh * s->kw, size = s->oh * s->ow, some = job->pair ? count : 1;
    for (idx i = 0; i < count; i += some) {
        if (!turned) {
            FN(gather_any)(job, plane + i, dy[i]);
            continue;
        }
        plane_pair p;
        REAL bias[2] = {0};
        for (idx k = 0; k < some; k++) {
            p.x[k] = dy[i + k];
            p.w[k] = job->weight + (plane + i + k) % s->oc * taps + job->w_first;
            p.y[k] = job->to + (plane + i + k) * size;
        }
        FN(convolve_planes)(job, some, &p, bias, (plane + i) * size);
    }
}

static void FN(gradients_of_planes)(const depthwise_gradients *all, idx n, idx oc, REAL *copies,
                                    const tap_sums *to)
{
    const depthwise_job *job = &all->dw, *input = &all->dx;
    const pydl_conv2d_shape *s = job->s;
    const idx copy = FN(copy_size)(job), depth = s->oc / s->c;
    weight_share p = {.to = *to};
    for (idx i = 0; i < to->count; i++) {
        p.x[i] = FN(readable_group)(job, n * s->c + (oc + i) / depth, copies + i * copy);
        p.dy[i] = job->dy + (n * s->oc + oc + i) * s->oh * s->ow;
    }
    if (to->count == 1)
        p.x[1] = p.x[0], p.dy[1] = p.dy[0];
    FN(weight_any)(job, &p);
    if (!input->to)
        return;
    copies += 2 * copy;
    for (idx i = 0; i < to->count; i++)
        p.dy[i] = FN(readable_group)(input, n * s->oc + oc + i,
                                     copies + i * FN(copy_size)(input));
    FN(gather_planes)(input, input->s != s, n * s->c + oc, to->count, p.dy);
}

INLINE int FN(by_channel)(const pydl_conv2d_shape *s)
{
    return s->n > 1 && s->oh * s->ow >= FN(LARGE_PLANE);
}

static void FN(depthwise_gradients_task)(void *context, idx task)
{
    depthwise_gradients *all = context;
    depthwise_job *job = &all->dw;
    const pydl_conv2d_shape *s = job->s;
    const idx begin = task * job->task_planes, taps = s->kh * s->kw;
    const idx end = FN(min)(job->planes, begin + job->task_planes), count = end - begin;
    const idx copies = 2 * (FN(copy_size)(job) + FN(copy_size)(&all->dx));
    vec *const sums = pydl_block_alloc((size_t)(count * (taps + 1)) * sizeof(vec) +
                                       (size_t)copies * sizeof(REAL));
    if (!sums) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    const idx width = FN(by_channel)(s) ? 1 + job->pair : count;
    const idx blocks = (count + width - 1) / width;
    for (idx block = 0; block < blocks * s->n; block++) {
        const idx n = block % s->n, from = begin + block / s->n * width;
        for (idx oc = from; oc < FN(min)(from + width, end); oc += 1 + job->pair) {
            tap_sums to; /* not cleared first, which waits for the last plane's stores */
            to.sums = sums + (oc - begin) * (taps + 1);
            to.is_first = !n;
            to.count = FN(min)(1 + job->pair, end - oc);
            to.dw = n + 1 == s->n ? job->to + oc * taps : NULL;
            to.db = all->db ? all->db + oc : NULL;
            all->of_planes(all, n, oc, (REAL *)(sums + count * (taps + 1)), &to);
        }
    }
    if (all->dx.far)
        FN(finish_far_stores)();
    pydl_block_free(sums);
}

/* Runs the tasks of gradients that are ready but for the job of dw, `passes` times its
 * multiply-adds. */
static int FN(gradients_run)(depthwise_gradients *all, double passes)
{
    depthwise_job *job = &all->dw;
    const pydl_conv2d_shape *s = job->s;
    const idx size = FN(max)(s->n * s->oh * s->ow, FN(DEPTHWISE_TASK) / FN(SUMMED_AT_ONCE));
    FN(depthwise_windows)(job);
    const int status = FN(depthwise_ready)(job, s->oc, size);
    if (status)
        return status;
    if (FN(by_channel)(s)) { /* the next image's planes are next */
        job->ahead.by = all->dx.ahead_to.by = s->c * s->h * s->w;
        job->ahead_to.by = all->dx.ahead.by = s->oc * s->oh * s->ow;
    }
    return FN(depthwise_tasks)(job, passes, FN(depthwise_gradients_task), all);
}

/* dw, and where they are wanted dx and db, in one walk. */
static int FN(walk_run)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x, const REAL *w,
                        REAL *dx, REAL *dw, REAL *db)
{
    depthwise_gradients all = {.dw = {.s = s, .from = x, .groups = s->n * s->c, .depth = 1,
                                      .dy = dy, .to = dw},
                               .dx = {.weight = w, .to = dx, .far = FN(is_far_input)(s)}, .db = db,
                               .of_planes = FN(walk_gradients)};
    return FN(gradients_run)(&all, dx ? 2 : 1);
}

static int FN(depthwise_backward_input)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *w,
                                        REAL *dx)
{
    if (FN(is_padded)(s)) {
        padded_job padded = FN(padded_gather)(dy, w, dx);
        return FN(padded_run)(&padded, s, 1);
    }
    pydl_conv2d_shape turned;
    depthwise_job job = FN(depthwise_gather)(s, dy, w, dx, &turned);
    return FN(depthwise_run)(&job, s->n * s->c, s->h * s->w,
                             job.s == s ? FN(gather_task) : FN(convolve_task));
}

static int FN(depthwise_backward_weight)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x,
                                         REAL *dw)
{
    if (FN(is_padded)(s)) {
        padded_job padded = {.from = dy, .x = x, .dw = dw};
        return FN(padded_run)(&padded, s, 1);
    }
    if (FN(is_walked)(s))
        return FN(walk_run)(s, dy, x, NULL, NULL, dw, NULL);
    depthwise_gradients all = {.dw = {.s = s, .from = x, .groups = s->n * s->c, .depth = 1,
                                      .dy = dy, .to = dw},
                               .of_planes = FN(gradients_of_planes)};
    return FN(gradients_run)(&all, 1);
}

/* All three, of as many channels as x has. */
static int FN(depthwise_backward)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x,
                                  const REAL *w, REAL *dx, REAL *dw, REAL *db)
{
    if (FN(is_padded)(s)) {
        padded_job padded = FN(padded_gather)(dy, w, dx);
        padded.x = x, padded.dw = dw, padded.db = db;
        return FN(padded_run)(&padded, s, 2);
    }
    if (FN(is_walked)(s))
        return FN(walk_run)(s, dy, x, w, dx, dw, db);
    pydl_conv2d_shape turned;
    depthwise_gradients all = {.dw = {.s = s, .from = x, .groups = s->n * s->c, .depth = 1,
                                      .dy = dy, .to = dw},
                               .db = db, .of_planes = FN(gradients_of_planes)};
    all.dx = FN(depthwise_gather)(s, dy, w, dx, &turned);
    if (FN(depthwise_ready)(&all.dx, s->n * s->c, s->h * s->w))
        return PYDL_NO_MEMORY;
    const int status = FN(gradients_run)(&all, 2);
    pydl_block_free(all.dx.mask);
    return status;
}
#undef FOR_COMMON
#undef IF_COMMON
#undef plane_pair
#undef weight_share
#undef tap_sums
#undef depthwise_gradients
#undef padded_job
#undef walked_planes
#undef walked_row
#undef whole_row
#undef filter_3x3
