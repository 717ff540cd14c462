/* Pooling under windows (kh,kw): x (planes,h,w), y and argmax (planes,oh,ow); the window of y[i][j]
 * begins at row i stride_h - pad_h and column j stride_w - pad_w, its taps are dilation apart (1
 * for means).
 *   max          y = the largest element, padding left out; argmax its index in the plane: of equal
 *                ones the first, of NaNs the last (NaN counts as largest);  dx[argmax] += dy
 *   avg          y = sum / count, count the places of the window within the padded image, or within
 *                the image;  dx = the sum of dy / count over the windows that hold the place
 *   global_avg   y (planes,) = mean of the plane;  dx = dy / (h w)
 * A row of outputs is computed a vector at a time, its borders too: where windows leave the image,
 * or vectors would leave x, its rows are copied into wider ones, filled up with the neutral
 * element. */
#define POOL_CEIL_DIV(a, b) (((a) + (b) - 1) / (b))

#if REAL_IS_FLOAT
typedef int32_t FN(lane);
#else
typedef int64_t FN(lane);
#endif
#define lane FN(lane)

enum { FN(POOL_MAX), FN(POOL_ARGMAX), FN(POOL_AVG), FN(POOL_TASK) = 65536,
       FN(PLANES_TASK) = 16384 };

typedef struct {
    const pydl_pool2d_shape *s;
    const REAL *x;
    REAL *y;
    int32_t *argmax;
    /* max (ow,): column of each window's first tap, and of its first one within the image */
    lane *column, *first_column;
    REAL *count_w;               /* avg (ow,): places of each window along w */
    int include_pad, failed;
    idx width, ring;             /* copied rows: their length, how many are kept */
    idx direct_end;              /* x's elements before which a row needs no copy */
    idx task_rows;
} FN(pool_job);
#define pool_job FN(pool_job)

/* Places along one axis of the window that begins at start. */
static idx FN(window_count)(idx start, idx extent, idx size, idx pad, int include_pad)
{
    const idx end = FN(min)(start + extent, size + pad);
    return include_pad ? end - start : FN(min)(end, size) - FN(max)(start, 0);
}

INLINE lanes FN(load_lanes)(const lane *p)
{
    lanes v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void FN(store_indices)(int32_t *p, idx count, lanes index)
{
    int32_t narrow[VECTOR_BYTES / sizeof(REAL)];
    for (idx i = 0; i < VLEN; i++)
        narrow[i] = (int32_t)index[i];
    if (count >= VLEN)
        memcpy(p, narrow, sizeof narrow);
    else
        for (idx i = 0; i < count; i++)
            p[i] = narrow[i];
}

/* The window rows of one row of outputs that lie in the image: rows[k] in memory, the first being
 * image row ih. */
typedef struct {
    const REAL **rows;
    idx count, ih;
    REAL count_h; /* avg: places along h */
} FN(pool_rows);

/* A row of outputs. Row offsets are such that window j begins at j stride. */
INLINE void FN(pool_row)(const pool_job *job, int kind, idx stride, const FN(pool_rows) *at,
                         REAL *y, int32_t *argmax)
{
    const pydl_pool2d_shape *s = job->s;
    const idx step = s->dilation_w, kw = s->kw, ow = s->ow;
    for (idx next = 0; next < ow; next += VLEN) {
        const idx j = FN(max)(FN(min)(next, ow - VLEN), 0), count = ow - j;
        vec best = kind == FN(POOL_AVG) ? (vec){0} : FN(splat)(-INFINITY);
        lanes index = {0}, place = {0};
        if (kind == FN(POOL_ARGMAX)) {
            index = FN(load_lanes)(job->first_column + j) + (lane)(at->ih * s->w);
            place = FN(load_lanes)(job->column + j) + (lane)(at->ih * s->w);
        }
        for (idx k = 0; k < at->count; k++) {
            const REAL *row = at->rows[k] + j * stride;
            lanes tap = place;
            for (idx l = 0; l < kw; l++) {
                const vec v = FN(load_strided)(row + l * step, stride, count);
                if (kind == FN(POOL_AVG)) {
                    best += v;
                } else {
                    const lanes larger = (lanes)(v > best) | (lanes)(v != v);
                    best = FN(select)(larger, v, best);
                    if (kind == FN(POOL_ARGMAX)) {
                        index = (larger & tap) | (~larger & index);
                        tap += (lane)step;
                    }
                }
            }
            place += (lane)(s->dilation_h * s->w);
        }
        if (kind == FN(POOL_AVG))
            best /= at->count_h * FN(load)(job->count_w + j);
        FN(store_part)(y + j, count, best);
        if (kind == FN(POOL_ARGMAX))
            FN(store_indices)(argmax + j, count, index);
    }
}

/* Finds the window rows of output row i of a plane in x, or copies those that are not yet in the
 * ring; copied is the next image row that has not been. */
static void FN(find_rows)(const pool_job *job, idx plane, idx i, REAL *ring, idx *copied,
                          FN(pool_rows) *at)
{
    const pydl_pool2d_shape *s = job->s;
    const REAL *x = job->x + plane * s->h * s->w;
    const idx top = i * s->stride_h - s->pad_h;
    const idx first = top < 0 ? POOL_CEIL_DIV(-top, s->dilation_h) : 0;
    const idx end = top < s->h ? FN(min)(s->kh, POOL_CEIL_DIV(s->h - top, s->dilation_h)) : 0;
    at->ih = top + first * s->dilation_h;
    at->count = FN(max)(end - first, 0);
    at->count_h = (REAL)FN(window_count)(top, s->kh, s->h, s->pad_h, job->include_pad);
    if ((plane + 1) * s->h * s->w <= job->direct_end) {
        for (idx k = 0; k < at->count; k++)
            at->rows[k] = x + (at->ih + k * s->dilation_h) * s->w;
        return;
    }
    /* from the window's top: with dilation the windows below may take rows that this one leaves
     * out */
    const idx columns = FN(min)(s->w, job->width - s->pad_w);
    const idx last = at->ih + (at->count - 1) * s->dilation_h;
    for (idx ih = FN(max)(*copied, FN(max)(top, 0)); ih <= last; ih++) {
        FN(copy_run)(ring + ih % job->ring * job->width + s->pad_w, x + ih * s->w, columns);
        *copied = ih + 1;
    }
    for (idx k = 0; k < at->count; k++)
        at->rows[k] = ring + (at->ih + k * s->dilation_h) % job->ring * job->width;
}

INLINE void FN(pool_task)(pool_job *job, idx task, int kind, idx stride)
{
    const pydl_pool2d_shape *s = job->s;
    const size_t pointers = ((size_t)s->kh * sizeof(REAL *) + 63) / 64 * 64;
    const size_t kept = (size_t)(job->ring * job->width);
    char *scratch = pydl_block_alloc(pointers + kept * sizeof(REAL));
    if (!scratch) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    REAL *ring = (REAL *)(scratch + pointers);
    FN(pool_rows) at = {.rows = (const REAL **)scratch};
    const idx end = FN(min)((task + 1) * job->task_rows, s->planes * s->oh);
    if ((end - 1) / s->oh * s->h * s->w + s->h * s->w > job->direct_end)
        for (size_t i = 0; i < kept; i++)
            ring[i] = kind == FN(POOL_AVG) ? 0 : -(REAL)INFINITY;
    for (idx row = task * job->task_rows; row < end;) {
        const idx plane = row / s->oh, last = FN(min)((plane + 1) * s->oh, end);
        idx copied = 0;
        for (; row < last; row++) {
            FN(find_rows)(job, plane, row - plane * s->oh, ring, &copied, &at);
            FN(pool_row)(job, kind, stride, &at, job->y + row * s->ow,
                         kind == FN(POOL_ARGMAX) ? job->argmax + row * s->ow : NULL);
        }
    }
    pydl_block_free(scratch);
}

#define POOL_BODY(name, kind)                                                    \
    static void FN(name)(void *context, idx task)                                \
    {                                                                            \
        pool_job *job = context;                                                 \
        if (job->s->stride_w == 1)                                               \
            FN(pool_task)(job, task, FN(kind), 1);                               \
        else if (job->s->stride_w == 2)                                          \
            FN(pool_task)(job, task, FN(kind), 2);                               \
        else                                                                     \
            FN(pool_task)(job, task, FN(kind), job->s->stride_w);                \
    }
POOL_BODY(pool_max, POOL_MAX)
POOL_BODY(pool_argmax, POOL_ARGMAX)
POOL_BODY(pool_avg, POOL_AVG)
#undef POOL_BODY

static int FN(pool_forward)(pool_job *job, pydl_body body)
{
    const pydl_pool2d_shape *s = job->s;
    const idx whole = FN(max)(s->ow, VLEN), last_tap = (s->kw - 1) * s->dilation_w;
    const idx needed = (s->ow - 1) * s->stride_w + last_tap + 1;
    job->width = s->stride_w <= 2 ? whole * s->stride_w + last_tap : needed;
    job->ring = FN(min)((s->kh - 1) * s->dilation_h + 1, s->h);
    if (!s->pad_w && needed <= s->w)
        job->direct_end = s->planes * s->h * s->w - FN(max)(job->width - s->w, 0);
    lane *tables = pydl_block_alloc((size_t)(2 * whole) * sizeof(lane) +
                                    (size_t)whole * sizeof(REAL));
    if (!tables)
        return PYDL_NO_MEMORY;
    job->column = tables;
    job->first_column = tables + whole;
    job->count_w = (REAL *)(tables + 2 * whole);
    for (idx j = 0; j < whole; j++) {
        const idx start = FN(min)(j, s->ow - 1) * s->stride_w - s->pad_w;
        job->column[j] = (lane)start;
        const idx outside = start < 0 ? POOL_CEIL_DIV(-start, s->dilation_w) : 0;
        job->first_column[j] = (lane)(start + outside * s->dilation_w);
        job->count_w[j] = (REAL)FN(window_count)(start, s->kw, s->w, s->pad_w, job->include_pad);
    }
    const idx row_work = s->ow * s->kh * s->kw, rows = s->planes * s->oh;
    job->task_rows = FN(max)(FN(POOL_TASK) / row_work, 1);
    if (job->task_rows > s->oh)
        job->task_rows = job->task_rows / s->oh * s->oh;
    pydl_parallel_for(POOL_CEIL_DIV(rows, job->task_rows), (double)rows * (double)row_work, body,
                      job);
    pydl_block_free(tables);
    return job->failed ? PYDL_NO_MEMORY : PYDL_OK;
}

static int FN(max_pool2d_forward)(const pydl_pool2d_shape *s, const REAL *x, REAL *y,
                                  int32_t *argmax)
{
    pool_job job = {.s = s, .x = x, .y = y, .argmax = argmax};
    return FN(pool_forward)(&job, argmax ? FN(pool_argmax) : FN(pool_max));
}

static int FN(avg_pool2d_forward)(const pydl_pool2d_shape *s, int include_pad, const REAL *x,
                                  REAL *y)
{
    pool_job job = {.s = s, .x = x, .y = y, .include_pad = include_pad};
    return FN(pool_forward)(&job, FN(pool_avg));
}
#undef pool_job

/* Kernels whose task is a number of whole planes: in has in_size elements per plane, out has
 * out_size. */
typedef struct {
    idx planes, in_size, out_size, task_planes;
    const REAL *in;
    const int32_t *argmax;
    REAL *out;
    int bad_index;
} FN(planes_job);
#define planes_job FN(planes_job)

static void FN(run_planes)(planes_job *job, pydl_body body)
{
    const idx size = FN(max)(job->in_size, job->out_size);
    job->task_planes = FN(round_up)(FN(max)(FN(PLANES_TASK) / size, 1),
                                    size < FN(PLANES_TASK) / VLEN ? VLEN : 1);
    pydl_parallel_for(POOL_CEIL_DIV(job->planes, job->task_planes),
                      (double)job->planes * (double)size, body, job);
}

static int FN(indices_within)(const int32_t *index, idx count, idx size)
{
    const uint32_t last = (uint32_t)(size - 1);
    uint32_t bad = 0;
    for (idx i = 0; i < count; i++)
        bad |= (uint32_t)index[i] > last;
    return !bad;
}

/* Neighbouring windows often share their maximum, and an addition must wait for the one before it
 * at the same place: so the quarters of a plane take turns. */
static void FN(max_pool2d_backward_body)(void *context, idx task)
{
    planes_job *job = context;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes);
    const idx size = job->out_size, quarter = job->in_size / 4;
    for (idx plane = task * job->task_planes; plane < end; plane++) {
        REAL *dx = job->out + plane * size;
        const REAL *dy = job->in + plane * job->in_size;
        const int32_t *argmax = job->argmax + plane * job->in_size;
        if (!FN(indices_within)(argmax, job->in_size, size)) {
            __atomic_store_n(&job->bad_index, 1, __ATOMIC_RELAXED);
            return;
        }
        memset(dx, 0, (size_t)size * sizeof(REAL));
        for (idx i = 0; i < quarter; i++) {
            dx[argmax[i]] += dy[i];
            dx[argmax[i + quarter]] += dy[i + quarter];
            dx[argmax[i + 2 * quarter]] += dy[i + 2 * quarter];
            dx[argmax[i + 3 * quarter]] += dy[i + 3 * quarter];
        }
        for (idx i = 4 * quarter; i < job->in_size; i++)
            dx[argmax[i]] += dy[i];
    }
}

static int FN(max_pool2d_backward)(idx planes, idx out_size, idx in_size, const REAL *dy,
                                   const int32_t *argmax, REAL *dx)
{
    planes_job job = {.planes = planes, .in_size = out_size, .out_size = in_size, .in = dy,
                      .argmax = argmax, .out = dx};
    FN(run_planes)(&job, FN(max_pool2d_backward_body));
    return job.bad_index ? PYDL_BAD_INDEX : PYDL_OK;
}

/* The lanes' sums of one plane; rest: the lanes of its last VLEN elements that are not in a vector
 * before. */
INLINE vec FN(plane_sums)(const REAL *x, idx size, lanes rest)
{
    vec sum[4] = {{0}};
    idx i = 0;
    for (; i + 4 * VLEN <= size; i += 4 * VLEN)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            sum[k] += FN(load)(x + i + k * VLEN);
    for (; i + VLEN <= size; i += VLEN)
        sum[0] += FN(load)(x + i);
    if (i < size)
        sum[1] += size < VLEN ? FN(load_part)(x, size, 0)
                              : (vec)((lanes)FN(load)(x + size - VLEN) & rest);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* VLEN planes at a time: the transposed block of their lanes' sums is added up by rows. */
static void FN(global_avg_pool2d_forward_body)(void *context, idx task)
{
    const planes_job *job = context;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes), size = job->in_size;
    const lanes rest = FN(last_lanes)(size % VLEN);
    REAL sums[VECTOR_BYTES / sizeof(REAL) * (VECTOR_BYTES / sizeof(REAL))] = {0};
    REAL transposed[sizeof sums / sizeof sums[0]];
    for (idx plane = task * job->task_planes; plane < end; plane += VLEN) {
        const idx count = FN(min)(VLEN, end - plane);
        for (idx k = 0; k < count; k++)
            FN(store)(sums + k * VLEN, FN(plane_sums)(job->in + (plane + k) * size, size, rest));
        FN(transpose_block)(sums, VLEN, transposed, VLEN);
        vec total = {0};
        for (idx k = 0; k < VLEN; k++)
            total += FN(load)(transposed + k * VLEN);
        FN(store_part)(job->out + plane, count, total / (REAL)size);
    }
}

static int FN(global_avg_pool2d_forward)(idx planes, idx size, const REAL *x, REAL *y)
{
    planes_job job = {.planes = planes, .in_size = size, .out_size = 1, .in = x, .out = y};
    FN(run_planes)(&job, FN(global_avg_pool2d_forward_body));
    return PYDL_OK;
}

static void FN(global_avg_pool2d_backward_body)(void *context, idx task)
{
    const planes_job *job = context;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes), size = job->out_size;
    for (idx plane = task * job->task_planes; plane < end; plane++) {
        REAL *dx = job->out + plane * size;
        const vec share = FN(splat)(job->in[plane] / (REAL)size);
        for (idx i = 0; i < size; i += VLEN) {
            const idx at = FN(max)(FN(min)(i, size - VLEN), 0);
            FN(store_part)(dx + at, size - at, share);
        }
    }
}

static int FN(global_avg_pool2d_backward)(idx planes, idx size, const REAL *dy, REAL *dx)
{
    planes_job job = {.planes = planes, .in_size = 1, .out_size = size, .in = dy, .out = dx};
    FN(run_planes)(&job, FN(global_avg_pool2d_backward_body));
    return PYDL_OK;
}
#undef planes_job

/* Backward of the mean, separable: a row of dx is the sum of the rows of dy / count whose windows
 * hold it, spread along w. */
typedef struct {
    const pydl_pool2d_shape *s;
    const REAL *dy;
    REAL *dx;
    REAL *count_w;
    int include_pad, failed;
    idx left, width, ring; /* rows of shares: zeros before, length with zeros, rows kept */
    idx task_rows;
} FN(share_job);
#define share_job FN(share_job)

/* dx[t - pad] = sum over j of shares[(t - j) / stride], j < kw congruent to t: t counts the places
 * of the padded row. */
INLINE void FN(spread_row)(const share_job *job, const REAL *shares, REAL *dx)
{
    const pydl_pool2d_shape *s = job->s;
    const idx stride = s->stride_w, pad = s->pad_w, w = s->w, kw = s->kw;
    if (stride > 2) {
        FN(zero_run)(dx, w);
        for (idx j = 0; j < s->ow; j++)
            for (idx t = FN(max)(j * stride - pad, 0); t < FN(min)(j * stride - pad + kw, w); t++)
                dx[t] += shares[j];
        return;
    }
    for (idx q = pad / stride; q * stride < w + pad; q += VLEN) {
        vec even = {0}, odd = {0};
        for (idx j = 0; j * stride < kw; j++)
            even += FN(load)(shares + q - j);
        if (stride == 1) {
            FN(store_part)(dx + q - pad, w + pad - q, even);
            continue;
        }
        for (idx j = 0; 2 * j + 1 < kw; j++)
            odd += FN(load)(shares + q - j);
        REAL pairs[2 * VECTOR_BYTES / sizeof(REAL)];
        const vec low = FN(zip_low)(even, odd), high = FN(zip_high)(even, odd);
        const idx at = 2 * q - pad;
        if (at >= 0 && at + 2 * VLEN <= w) {
            FN(store)(dx + at, low);
            FN(store)(dx + at + VLEN, high);
        } else {
            FN(store)(pairs, low);
            FN(store)(pairs + VLEN, high);
            const idx skip = at < 0;
            FN(copy_run)(dx + at + skip, pairs + skip, FN(min)(2 * VLEN, w - at) - skip);
        }
    }
}

static void FN(avg_pool2d_backward_body)(void *context, idx task)
{
    share_job *job = context;
    const pydl_pool2d_shape *s = job->s;
    const size_t kept = (size_t)((job->ring + 1) * job->width);
    REAL *ring = pydl_block_alloc(kept * sizeof(REAL)), *sums = ring + job->ring * job->width;
    if (!ring) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    memset(ring, 0, kept * sizeof(REAL));
    const idx end = FN(min)((task + 1) * job->task_rows, s->planes * s->h);
    for (idx row = task * job->task_rows; row < end;) {
        const idx plane = row / s->h, last = FN(min)((plane + 1) * s->h, end);
        idx shared = 0; /* the next row of dy that is not yet in the ring */
        for (; row < last; row++) {
            const idx t = row - plane * s->h + s->pad_h;
            const idx first = t < s->kh ? 0 : (t - s->kh) / s->stride_h + 1;
            const idx most = FN(min)(t / s->stride_h, s->oh - 1);
            for (idx i = FN(max)(shared, first); i <= most; i++, shared = i) {
                const REAL *dy = job->dy + (plane * s->oh + i) * s->ow;
                REAL *share = ring + i % job->ring * job->width + job->left;
                const REAL count_h = (REAL)FN(window_count)(i * s->stride_h - s->pad_h, s->kh,
                                                            s->h, s->pad_h, job->include_pad);
                for (idx j = 0; j < s->ow; j++)
                    share[j] = dy[j] / (count_h * job->count_w[j]);
            }
            const REAL *shares = sums;
            if (first == most) {
                shares = ring + first % job->ring * job->width;
            } else {
                memset(sums, 0, (size_t)job->width * sizeof(REAL));
                for (idx i = first; i <= most; i++) {
                    const REAL *share = ring + i % job->ring * job->width;
                    for (idx j = job->left; j < job->left + s->ow; j++)
                        sums[j] += share[j];
                }
            }
            FN(spread_row)(job, shares + job->left, job->dx + row * s->w);
        }
    }
    pydl_block_free(ring);
}

static int FN(avg_pool2d_backward)(const pydl_pool2d_shape *s, int include_pad, const REAL *dy,
                                   REAL *dx)
{
    share_job job = {.s = s, .dy = dy, .dx = dx, .include_pad = include_pad};
    job.left = POOL_CEIL_DIV(s->kw, s->stride_w);
    const idx places = s->stride_w <= 2 ? (s->w + s->pad_w) / s->stride_w : 0;
    job.width = job.left + FN(max)(s->ow, places) + VLEN;
    job.ring = FN(min)(POOL_CEIL_DIV(s->kh, s->stride_h), s->oh);
    job.count_w = pydl_block_alloc((size_t)s->ow * sizeof(REAL));
    if (!job.count_w)
        return PYDL_NO_MEMORY;
    for (idx j = 0; j < s->ow; j++)
        job.count_w[j] = (REAL)FN(window_count)(j * s->stride_w - s->pad_w, s->kw, s->w, s->pad_w,
                                                include_pad);
    const idx rows = s->planes * s->h;
    job.task_rows = FN(max)(FN(PLANES_TASK) / s->w, 1);
    if (job.task_rows > s->h)
        job.task_rows = job.task_rows / s->h * s->h;
    const double taps = (double)(job.ring + job.left);
    pydl_parallel_for(POOL_CEIL_DIV(rows, job.task_rows), taps * (double)rows * (double)s->w,
                      FN(avg_pool2d_backward_body), &job);
    pydl_block_free(job.count_w);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}
#undef share_job
#undef lane
#undef POOL_CEIL_DIV
