/* Pooling forward under the common windows, 2x2 and 3x3 of stride 1 and 2: as pool2d.c has it, but
 * strips of columns are walked down, and what a row gives for the windows along it is found once
 * for all windows that hold the row. */
#if REAL_IS_FLOAT
typedef int32_t FN(lane);
#else
typedef int64_t FN(lane);
#endif
#define lane FN(lane)

enum { FN(POOL_MAX), FN(POOL_ARGMAX), FN(POOL_AVG), FN(POOL_TASK) = 65536 };

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
    if (REAL_IS_FLOAT) {
        FN(store_part)((REAL *)p, count, (vec)index);
        return;
    }
    int32_t narrow[VECTOR_BYTES / sizeof(REAL)];
    for (idx i = 0; i < VLEN; i++)
        narrow[i] = (int32_t)index[i];
    if (count >= VLEN)
        memcpy(p, narrow, sizeof narrow);
    else
        for (idx i = 0; i < count; i++)
            p[i] = narrow[i];
}

typedef struct {
    const pydl_pool2d_shape *s;
    const REAL *x;
    REAL *y;
    int32_t *argmax;
    /* max (ow,): column of each window's first tap, and of its first one within the image */
    lane *column, *first_column;
    REAL *count_w;               /* avg (ow,): places of each window along w */
    lanes *mask;                 /* strips: (vectors, kw), each tap's lanes in the image */
    int include_pad, failed;
    idx width, ring;             /* copied rows: their length, how many are kept (h: the plane) */
    idx direct_end;              /* x's elements before which a row needs no copy */
    idx task_rows;
    idx vectors, before, after;  /* strips: in a row, and readable elements around a plane */
    idx task_planes;
    FN(walk) ahead, ahead_to;
} FN(pool_job);
#define pool_job FN(pool_job)

/* The largest so far and its index, or a sum. */
typedef struct {
    vec value;
    lanes index;
} FN(pooled);
#define pooled FN(pooled)

INLINE pooled FN(pool_with)(int kind, pooled so_far, pooled next)
{
    if (kind == FN(POOL_AVG))
        return (pooled){so_far.value + next.value, so_far.index};
    const FN(chosen) kept = FN(not_above)(next.value, so_far.value);
    return (pooled){FN(blend)(kept, so_far.value, next.value),
                    kind == FN(POOL_ARGMAX)
                        ? (lanes)FN(blend)(kept, (vec)so_far.index, (vec)next.index)
                        : so_far.index};
}

/* What a row gives for the windows along it: their first taps begin at x. Those of step 2 are mixed
 * as even_mixed leaves them. */
INLINE pooled FN(pool_along)(int kind, idx size, idx step, const REAL *x, const FN(chosen) mask[],
                             int masked, lanes first_index, lanes index)
{
    const vec outside = FN(splat)(kind == FN(POOL_AVG) ? 0 : -(REAL)INFINITY);
    vec taps[4];
    if (step == 2) {
        const vec low = FN(kept)(FN(load)(x)), high = FN(kept)(FN(load)(x + VLEN));
        taps[0] = FN(even_mixed)(low, high);
        taps[1] = FN(odd_mixed)(low, high);
        if (size == 3)
            taps[2] = FN(even_mixed)(FN(load)(x + 2), FN(load)(x + 2 + VLEN));
    } else {
#pragma GCC unroll 4
        for (idx k = 0; k < size; k++)
            taps[k] = FN(load)(x + k);
    }
    if (VECTOR_BYTES == 64 || masked)
#pragma GCC unroll 4
        for (idx k = 0; k < size; k++)
            taps[k] = FN(blend)(mask[k], taps[k], outside);
    pooled all = {taps[0], first_index};
#pragma GCC unroll 4
    for (idx k = 1; k < size; k++) {
        const pooled tap = {taps[k], index + (lane)k};
        all = FN(pool_with)(kind, all, tap);
    }
    return all;
}

/* A strip of a plane: x points to the row that the windows of row q of outputs begin with, y and
 * argmax to row q - live + 1 of the outputs, whose windows end where those begin. */
typedef struct {
    const REAL *x, *next_x, *next_y, *end; /* of the plane of y */
    REAL *y;
    int32_t *argmax;
    lanes first_column;       /* of each window, as in the job's table */
    lanes first_index, index; /* of that and of its first tap, in the row of x */
    vec share;
    FN(chosen) mask[4];
    int masked; /* some taps leave the image */
    idx top, count;
} FN(pool_strip);
#define pool_strip FN(pool_strip)

INLINE void FN(pool_on)(const pydl_pool2d_shape *s, int include_pad, const REAL *count_w,
                        pool_strip *of, int kind, int inside, idx size, idx step, idx q,
                        pooled acc[])
{
    const idx live = (size + step - 1) / step, w = s->w;
    const idx top = of->top + q * step;
    acc[live - 1] = (pooled){FN(splat)(kind == FN(POOL_AVG) ? 0 : -(REAL)INFINITY),
                             of->first_column + (lane)(FN(max)(top, 0) * w)};
#pragma GCC unroll 2
    for (idx e = 0; e < step; e++, of->x += w) {
        const idx row = top + e;
        const lanes first_index = of->first_index, index = of->index;
        of->first_index += (lane)w, of->index += (lane)w;
#pragma GCC unroll 2
        for (idx i = 0; i < step; i++) /* lines of two vectors twice: it pays */
            of->next_x = FN(ask_strip)(of->next_x, 1, 0);
        if (!inside && (row < 0 || row >= s->h))
            continue;
        const pooled along =
            FN(pool_along)(kind, size, step, of->x, of->mask, of->masked, first_index, index);
#pragma GCC unroll 4
        for (idx d = 0; d < live; d++)
            if (inside && e == 0 && d == 0)
                acc[live - 1] = along;
            else if (e + d * step < size)
                acc[live - 1 - d] = FN(pool_with)(kind, acc[live - 1 - d], along);
    }
    if (inside || q >= live - 1) {
        if (kind == FN(POOL_AVG) && !inside)
            of->share = 1 / (FN(load)(count_w) *
                             (REAL)FN(window_count)(top - (live - 1) * step, size, s->h, s->pad_h,
                                                    include_pad));
        const vec value = step == 2 ? FN(unmixed)(acc[0].value) : acc[0].value;
        const lanes at = step == 2 ? (lanes)FN(unmixed)((vec)acc[0].index) : acc[0].index;
        FN(store_row)(of->y, of->count, of->end - of->y,
                      kind == FN(POOL_AVG) ? value * of->share : value);
        if (kind == FN(POOL_ARGMAX))
            FN(store_indices)(of->argmax,
                              VECTOR_BYTES < 64 && of->end - of->y >= VLEN ? VLEN : of->count, at);
    }
    of->next_y = FN(ask_strip)(of->next_y, 1, 1);
    of->y += s->ow;
    if (kind == FN(POOL_ARGMAX))
        of->argmax += s->ow;
#pragma GCC unroll 4
    for (idx d = 0; d + 1 < live; d++)
        acc[d] = acc[d + 1];
}

INLINE lanes FN(load_columns_of)(const lane *p, idx step)
{
    const lanes columns = FN(load_lanes)(p);
    return step == 2 ? (lanes)FN(unmixed)((vec)columns) : columns;
}

INLINE void FN(pool_plane)(const pool_job *job, int kind, idx size, idx step, const REAL *x,
                           idx plane)
{
    const pydl_pool2d_shape s = *job->s;
    const idx live = (size + step - 1) / step, end = s.oh + live - 1;
    /* from `first` to `within` all rows of windows lie in the image, begun or finished */
    const idx first = live - 1 + (s.pad_h + step - 1) / step;
    const idx within = FN(min)((s.h + s.pad_h) / step, end);
    REAL *y = job->y + plane * s.oh * s.ow;
    for (idx v = 0; v < job->vectors; v++) {
        const idx at = FN(vector_at)(s.ow, v), to = at - (live - 1) * s.ow;
        pool_strip of = {
            .x = x + at * step - s.pad_w - s.pad_h * s.w,
            .next_x = x + job->ahead.by + job->ahead.share * v,
            .next_y = y + job->ahead_to.by + job->ahead_to.share * v,
            .end = y + s.oh * s.ow,
            .y = y + to,
            .argmax = kind == FN(POOL_ARGMAX) ? job->argmax + plane * s.oh * s.ow + to : NULL,
            .first_column = FN(load_columns_of)(job->first_column + at, step),
            .index = FN(load_columns_of)(job->column + at, step), .top = -s.pad_h,
            .count = s.ow - at};
        of.first_index = of.first_column + (lane)(of.top * s.w);
        of.index += (lane)(of.top * s.w);
        of.masked = at * step < s.pad_w || (at + VLEN - 1) * step - s.pad_w + size > s.w;
#pragma GCC unroll 4
        for (idx k = 0; k < size; k++)
            of.mask[k] = FN(choose)(job->mask[v * size + k]);
        pooled acc[4] = {{{0}, {0}}};
        for (idx q = 0; q < end; q++) {
            if (q == first) {
                if (kind == FN(POOL_AVG))
                    of.share = 1 / (FN(load)(job->count_w + at) * (REAL)size);
                for (; q < within; q++)
                    FN(pool_on)(&s, job->include_pad, job->count_w + at, &of, kind, 1, size, step,
                                q, acc);
            }
            if (q < end)
                FN(pool_on)(&s, job->include_pad, job->count_w + at, &of, kind, 0, size, step, q,
                            acc);
        }
    }
}

/* A function for each window, as the compiler runs short of registers where it makes one of all. */
#define STRIPS(kind, name, size, step)                                                             \
    static __attribute__((noinline)) void FN(name##_##size##_##step)(const pool_job *job,          \
                                                                     const REAL *x, idx plane)     \
    {                                                                                              \
        FN(pool_plane)(job, FN(kind), size, step, x, plane);                                       \
    }
#define STRIPS_BODY(kind, name)                                                                    \
    STRIPS(kind, name, 2, 2)                                                                       \
    STRIPS(kind, name, 3, 2)                                                                       \
    STRIPS(kind, name, 3, 1)                                                                       \
    static void FN(name)(void *context, idx task)                                                  \
    {                                                                                              \
        pool_job *job = context;                                                                   \
        const pydl_pool2d_shape *s = job->s;                                                       \
        const idx end = FN(min)((task + 1) * job->task_planes, s->planes), size = s->h * s->w;     \
        REAL *copy = pydl_block_alloc((size_t)(job->before + size + job->after) * sizeof(REAL));   \
        if (!copy) {                                                                               \
            __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);                                   \
            return;                                                                                \
        }                                                                                          \
        for (idx plane = task * job->task_planes; plane < end; plane++) {                          \
            const REAL *x = FN(readable_plane)(job->x, s->planes, size, plane, job->before,        \
                                               job->after, copy);                                  \
            if (s->kw == 2)                                                                        \
                FN(name##_2_2)(job, x, plane);                                                     \
            else if (s->stride_w == 2)                                                             \
                FN(name##_3_2)(job, x, plane);                                                     \
            else                                                                                   \
                FN(name##_3_1)(job, x, plane);                                                     \
        }                                                                                          \
        pydl_block_free(copy);                                                                     \
    }
STRIPS_BODY(POOL_MAX, strips_max)
STRIPS_BODY(POOL_ARGMAX, strips_argmax)
STRIPS_BODY(POOL_AVG, strips_avg)
#undef STRIPS
#undef STRIPS_BODY

static int FN(is_common_window)(const pydl_pool2d_shape *s)
{
    const int known = (s->kw == 3 && s->stride_w <= 2) || (s->kw == 2 && s->stride_w == 2);
    return known && s->kh == s->kw && s->stride_h == s->stride_w && s->dilation_h == 1 &&
           s->dilation_w == 1;
}

/* The job's tables of columns are those of max (ow,); its masks have room for (vectors, kw). */
static void FN(pool_strips)(pool_job *job, pydl_body body)
{
    const pydl_pool2d_shape *s = job->s;
    const idx last = FN(vector_at)(s->ow, job->vectors - 1), plane = s->oh * s->ow * s->kh * s->kw;
    for (idx v = 0; v < job->vectors; v++)
        for (idx k = 0; k < s->kw; k++)
            for (idx i = 0; i < VLEN; i++) {
                const idx j = FN(vector_at)(s->ow, v) + (s->stride_w == 2 ? FN(mixed_lane)(i) : i);
                const idx column = j * s->stride_w - s->pad_w + k;
                job->mask[v * s->kw + k][i] = -(column >= 0 && column < s->w);
            }
    job->before = s->pad_w;
    job->after = FN(max)((last + VLEN) * s->stride_w + s->kw - s->w, 0);
    job->ahead = FN(walk_of)(s->h * s->w, job->vectors);
    job->ahead_to = FN(walk_of)(s->oh * s->ow, job->vectors);
    job->task_planes = FN(max)(FN(POOL_TASK) / plane, 1);
    pydl_parallel_for((s->planes + job->task_planes - 1) / job->task_planes,
                      (double)s->planes * (double)plane, body, job);
}
#undef pooled
#undef pool_strip
