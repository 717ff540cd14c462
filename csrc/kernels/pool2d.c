/* Pooling under windows (kh,kw): x (planes,h,w), y and argmax (planes,oh,ow); the window of y[i][j]
 * begins at row i stride_h - pad_h and column j stride_w - pad_w, its taps are dilation apart (1
 * for means).
 *   max          y = the largest element, padding left out; argmax its index in the plane: of equal
 *                ones the first, of NaNs the last (NaN counts as largest);  dx[argmax] += dy
 *   avg          y = sum / count, count the places of the window within the padded image, or within
 *                the image; backward in pool2d_avg.c
 * Common windows are pool2d_strip.c's. For others a row of outputs is computed a vector at a time,
 * its borders too: where windows leave the image, or vectors would leave x, its rows are copied
 * into wider ones, filled up with the neutral element. */
#define POOL_CEIL_DIV(a, b) (((a) + (b) - 1) / (b))
enum { FN(PLANES_TASK) = 16384, FN(POOL_KEPT) = 2048 };

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
    const idx below = top + s->kh * s->dilation_h - s->h;
    const idx end = top >= s->h  ? 0
                    : below <= 0 ? s->kh
                                 : FN(min)(s->kh, POOL_CEIL_DIV(s->h - top, s->dilation_h));
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
    const idx whole = job->ring == s->h, last = at->ih + (at->count - 1) * s->dilation_h;
    const idx until = whole ? s->h : last + 1; /* all at once: a row should not be read too soon */
    for (idx ih = FN(max)(*copied, FN(max)(top, 0)); ih < until; ih++) {
        REAL *row = ring + (whole ? ih : ih % job->ring) * job->width + s->pad_w;
        for (idx j = 0; j < columns; j += VLEN)
            FN(store_part)(row + j, columns - j, FN(load_part)(x + ih * s->w + j, columns - j, 0));
        *copied = ih + 1;
    }
    idx slot = whole ? at->ih : at->ih % job->ring;
    for (idx k = 0; k < at->count; k++, slot += s->dilation_h) {
        slot -= slot >= job->ring ? job->ring : 0;
        at->rows[k] = ring + slot * job->width;
    }
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

static int FN(pool_forward)(pool_job *job, pydl_body body, pydl_body strips)
{
    const pydl_pool2d_shape *s = job->s;
    const idx whole = FN(max)(s->ow, VLEN), last_tap = (s->kw - 1) * s->dilation_w;
    const idx needed = (s->ow - 1) * s->stride_w + last_tap + 1;
    job->width = s->stride_w <= 2 ? whole * s->stride_w + last_tap : needed;
    job->ring = s->h * job->width <= FN(POOL_KEPT)
                    ? s->h
                    : FN(min)((s->kh - 1) * s->dilation_h + 1, s->h);
    if (!s->pad_w && needed <= s->w)
        job->direct_end = s->planes * s->h * s->w - FN(max)(job->width - s->w, 0);
    job->vectors = (s->ow + VLEN - 1) / VLEN;
    const size_t masks = (size_t)(job->vectors * s->kw);
    job->mask = pydl_block_alloc(masks * sizeof(lanes) + (size_t)(2 * whole) * sizeof(lane) +
                                 (size_t)whole * sizeof(REAL));
    if (!job->mask)
        return PYDL_NO_MEMORY;
    lane *tables = (lane *)(job->mask + masks);
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
    if (FN(is_common_window)(s))
        FN(pool_strips)(job, strips);
    else
        pydl_parallel_for(POOL_CEIL_DIV(rows, job->task_rows), (double)rows * (double)row_work,
                          body, job);
    pydl_block_free(job->mask);
    return job->failed ? PYDL_NO_MEMORY : PYDL_OK;
}

static int FN(max_pool2d_forward)(const pydl_pool2d_shape *s, const REAL *x, REAL *y,
                                  int32_t *argmax)
{
    pool_job job = {.s = s, .x = x, .y = y, .argmax = argmax};
    return argmax ? FN(pool_forward)(&job, FN(pool_argmax), FN(strips_argmax))
                  : FN(pool_forward)(&job, FN(pool_max), FN(strips_max));
}

static int FN(avg_pool2d_forward)(const pydl_pool2d_shape *s, int include_pad, const REAL *x,
                                  REAL *y)
{
    pool_job job = {.s = s, .x = x, .y = y, .include_pad = include_pad};
    return FN(pool_forward)(&job, FN(pool_avg), FN(strips_avg));
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
 * at the same place: so the quarters of a plane take turns. Meanwhile what the next planes will
 * read and overwrite is asked for. */
static void FN(max_pool2d_backward_body)(void *context, idx task)
{
    planes_job *job = context;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes);
    const idx size = job->out_size, quarter = job->in_size / 4;
    const idx ahead_in = FN(max)(job->in_size, FN(LEAST_AHEAD));
    const idx ahead = FN(max)(size, FN(LEAST_AHEAD)), share = size / FN(max)(quarter, 1);
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
            __builtin_prefetch(dx + ahead + i * share, 1, 2);
            __builtin_prefetch(dy + ahead_in + 4 * i, 0, 2);
            __builtin_prefetch(argmax + ahead_in + 4 * i, 0, 2);
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
#undef lane
