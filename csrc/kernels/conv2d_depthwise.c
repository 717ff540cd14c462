/* Depthwise convolution (groups = channels): every plane has its own filters, so there is no matrix
 * product to speak of and loads are the limit. x (n,c,h,w), w (oc,1,kh,kw) with oc a multiple of c,
 * y (n,oc,oh,ow).
 * Planes are read where they lie, a vector of a row at each tap's shift; lanes that fall outside
 * the row are left out by a mask: with AVX-512. Without its registers of masks they become zeros,
 * as a padded row has them, whose product with an infinite tap is NaN. For common filters a strip
 * of columns is walked down, so that a row is loaded once for all outputs that it belongs to; of
 * narrow planes two are computed at once, in the halves of a vector. For others a few rows of
 * outputs are computed together. */
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
    int common, pair;           /* a common filter; two planes at once */
    int whole;                  /* rows that a vector holds, of conv2d_depthwise_3x3.c */
    FN(walk) ahead, ahead_to;   /* of planes that are read, and of outputs */
    int far;                    /* dx leaves the caches, in rows of whole lines */
    int failed;
} FN(depthwise_job);
#define depthwise_job FN(depthwise_job)

static int FN(is_depthwise)(const pydl_conv2d_shape *s)
{
    return s->groups == s->c && s->c > 1 && s->kh * s->kw <= FN(MOST_TAPS);
}

INLINE idx FN(first_output)(const depthwise_job *job, idx v)
{
    return FN(vector_at)(job->outputs, v);
}

/* Whether there is a function for just this filter, which adds no residual. */
INLINE int FN(is_common)(const depthwise_job *job)
{
    const pydl_conv2d_shape *s = job->s;
    return s->kh == s->kw && (s->kh == 3 || s->kh == 5) && job->depth == 1 &&
           s->dilation_h == 1 && s->dilation_w == 1 && job->step <= 2 &&
           s->stride_h == job->step && s->stride_w == job->step && !job->last.residual;
}

/* Fills in what follows from the planes, the shifts and the number of outputs in a row; each plane
 * stands for so many elements of work. */
static int FN(depthwise_ready)(depthwise_job *job, idx planes, idx size)
{
    const pydl_conv2d_shape *s = job->s;
    idx least = 0, most = 0;
    for (idx k = 0; k < s->kw; k++) {
        least = FN(min)(least, job->shift[k]);
        most = FN(max)(most, job->shift[k]);
    }
    job->vectors = (job->outputs + VLEN - 1) / VLEN;
    job->common = FN(is_common)(job);
    job->pair = FN(HALVES) && job->common && job->outputs <= VLEN / 2;
    job->whole = FN(HALVES) && job->common && FN(is_plain_3x3)(s) && job->vectors == 1 &&
                 job->h > FN(ROWS_TOGETHER);
    job->ahead = FN(walk_of)((1 + job->pair) * job->h * job->w, job->vectors);
    job->ahead_to = FN(walk_of)((1 + job->pair) * s->oh * s->ow, job->vectors);
    const idx period = job->pair ? VLEN / 2 : VLEN;
    const int mixed = job->common && job->step == 2 && !job->pair;
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
                const idx output = first + (mixed ? FN(mixed_lane)(i) : i % period);
                const idx column = k < s->kw ? output * job->step + job->shift[k] : 0;
                const int within = k < s->kw ? column >= 0 && column < job->w
                                             : output >= v * VLEN && output < job->outputs;
                mask[k][i] = -within;
            }
    }
    job->planes = planes;
    job->task_planes = FN(round_up)(FN(max)(FN(DEPTHWISE_TASK) / size, 1), 1 + job->pair);
    return PYDL_OK;
}

/* Runs the tasks of a job that is ready, `passes` times its multiply-adds; context begins with it.
 */
static int FN(depthwise_tasks)(depthwise_job *job, double passes, pydl_body body, void *context)
{
    const pydl_conv2d_shape *s = job->s;
    pydl_parallel_for((job->planes + job->task_planes - 1) / job->task_planes,
                      2.0 * passes * (double)(s->n * s->oc) *
                          (double)(s->oh * s->ow * s->kh * s->kw),
                      body, context);
    pydl_block_free(job->mask);
    return job->failed ? PYDL_NO_MEMORY : PYDL_OK;
}

static int FN(depthwise_run)(depthwise_job *job, idx planes, idx size, pydl_body body)
{
    const int status = FN(depthwise_ready)(job, planes, size);
    return status ? status : FN(depthwise_tasks)(job, 1, body, job);
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

/* Room for copies of the groups that are read at once, for a task's use. */
INLINE idx FN(copy_size)(const depthwise_job *job)
{
    return job->before + job->depth * job->h * job->w + job->after;
}

static REAL *FN(copy_alloc)(depthwise_job *job)
{
    const idx size = (1 + job->pair) * FN(copy_size)(job);
    REAL *copy = pydl_block_alloc((size_t)size * sizeof(REAL));
    if (!copy)
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
    return copy;
}

INLINE const REAL *FN(readable_group)(const depthwise_job *job, idx group, REAL *copy)
{
    return FN(readable_plane)(job->from, job->groups, job->depth * job->h * job->w, group,
                              job->before, job->after, copy);
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
                              vec bias, idx first, idx v, vec acc[])
{
    const pydl_conv2d_shape *s = job->s;
    const idx at = FN(first_output)(job, v), top = first * s->stride_h - s->pad_h;
    const lanes *mask = job->mask + v * (s->kw + 1);
#pragma GCC unroll 8
    for (idx r = 0; r < rows; r++)
        acc[r] = bias;
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

/* The plane of results at the place of all of them. */
INLINE void FN(convolve_plane)(const depthwise_job *job, idx rows, idx kh, idx kw, idx step,
                               idx tap_step, idx depth, const REAL *x, const REAL *w, idx w_step,
                               vec bias, idx place, REAL *y)
{
    const idx oh = job->s->oh, ow = job->s->ow, row_step = job->row_step;
    const ending last = FN(ending_at)(job->last, place);
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

/* Two planes that are computed at once, or one twice. */
typedef struct {
    const REAL *x[2], *w[2];
    REAL *y[2];
} FN(plane_pair);
#define plane_pair FN(plane_pair)

/* Every step-th column from tap k on of the two from x + at, or of the first; lanes of step 2 are
 * mixed there. Odd columns come out of the vectors that hold even ones, as tap k - 1 has them. */
INLINE vec FN(load_columns)(const REAL *const x[2], int pair, idx at, idx k, idx step)
{
    const REAL *first = x[0] + at + k;
    if (!pair && step == 2 && VECTOR_BYTES < 64 && k % 2)
        return FN(odd_mixed)(FN(load)(first - 1), FN(load)(first - 1 + VLEN));
    if (!pair && step == 2)
        return FN(even_mixed)(FN(load)(first), FN(load)(first + VLEN));
    if (!pair)
        return FN(load)(first);
    at += k;
    if (step == 2)
        return FN(even_lanes)(FN(load)(x[0] + at), FN(load)(x[1] + at));
    return FN(load_halves)(x[0] + at, x[1] + at);
}

/* The same of step 2 with AVX-512, for which shuffles are cheaper than loads across cache lines: a
 * row is loaded from its middle tap on, whose places are even; the other taps' are these or the odd
 * ones, moved. */
typedef struct {
    const REAL *middle;
    vec even, odd;
} FN(dealt_row);

INLINE int FN(is_dealt)(int pair, idx step) { return FN(HALVES) && step == 2 && !pair; }

INLINE FN(dealt_row) FN(deal_row)(const REAL *middle)
{
    const vec low = FN(load)(middle), high = FN(load)(middle + VLEN);
    return (FN(dealt_row)){middle, FN(even_lanes)(low, high), FN(odd_lanes)(low, high)};
}

INLINE vec FN(dealt_column)(const FN(dealt_row) *row, idx from_middle)
{
    switch (from_middle) {
    case -2:
        return FN(moved_up)(row->even, row->middle[-2]);
    case -1:
        return FN(moved_up)(row->odd, row->middle[-1]);
    case 0:
        return row->even;
    case 1:
        return row->odd;
    default:
        return FN(moved_down)(row->even, row->middle[2 * VLEN]);
    }
}

INLINE vec FN(splat_pair)(const REAL *const value[2], int pair, idx i)
{
    const vec first = FN(splat)(value[0][i]);
    const FN(chosen) half = FN(choose)(FN(first_lanes)(VLEN / 2));
    return pair ? FN(blend)(half, first, FN(splat)(value[1][i])) : first;
}

/* A strip of columns that is walked down, one or two vectors wide: at most `live` rows of outputs
 * are begun, not finished. The outputs of row q begin with row q * step + top of the image, which x
 * points to; y points to row q - live + 1 of the outputs. */
typedef struct {
    const REAL *x[2], *next_x, *next_y, *end; /* of the plane of y[0] */
    REAL *y[2];
    idx w, ow, count; /* outputs of a row from the vector on */
    idx other;        /* the second vector's outputs begin so many further on */
    idx top, h, oh;
    REAL least; /* of an output: 0 with ReLU */
    FN(chosen) mask[2][8];
} FN(column_strip);
#define column_strip FN(column_strip)

INLINE column_strip FN(column_strip_of)(const depthwise_job *job, int wide, idx size, idx step,
                                        const plane_pair *p, idx v)
{
    const pydl_conv2d_shape *s = job->s;
    const idx live = (size + step - 1) / step, at = FN(first_output)(job, v);
    const lanes *mask = job->mask + v * (size + 1);
    column_strip of = {.next_x = p->x[0] + job->ahead.by + job->ahead.share * v,
                .next_y = p->y[0] + job->ahead_to.by + job->ahead_to.share * v,
                .end = p->y[0] + s->oh * s->ow, .w = job->w, .ow = s->ow, .count = s->ow - at,
                .other = wide == 2 ? FN(first_output)(job, v + 1) - at : 0,
                .top = -s->pad_h, .h = job->h, .oh = s->oh,
                .least = job->last.relu ? 0 : -INFINITY};
    for (int i = 0; i < 2; i++) {
        of.x[i] = p->x[i] + at * step + job->shift[0] + of.top * of.w;
        of.y[i] = p->y[i] + at + (1 - live) * of.ow;
    }
#pragma GCC unroll 2
    for (int u = 0; u < wide; u++)
#pragma GCC unroll 8
        for (idx k = 0; k < size; k++)
            of.mask[u][k] = FN(choose)(mask[u * (size + 1) + k]);
    return of;
}

/* Begins the outputs of row q, and finishes those of row q - live + 1. */
INLINE void FN(slide_on)(column_strip *of, int pair, int wide, int inside, idx size, idx step,
                         const vec taps[], vec bias, idx q, vec acc[][2])
{
    const idx live = (size + step - 1) / step;
#pragma GCC unroll 2
    for (idx e = 0; e < step; e++, of->x[0] += of->w, of->x[1] += of->w) {
        const idx row = of->top + q * step + e;
        of->next_x = FN(ask_strip)(of->next_x, step * wide, 0);
        if (!inside && (row < 0 || row >= of->h))
            continue;
        const int deals = FN(is_dealt)(pair, step);
        FN(dealt_row) dealt;
        if (deals)
            dealt = FN(deal_row)(of->x[0] + size / 2);
#pragma GCC unroll 8
        for (idx k = 0; k < size; k++) {
            vec pixels[2];
            if (deals)
                pixels[0] = FN(dealt_column)(&dealt, k - size / 2);
#pragma GCC unroll 2
            for (int u = 0; !deals && u < wide; u++)
                pixels[u] = FN(factor)(
                    FN(load_columns)(of->x, pair, u * of->other * step, k, step), of->mask[u][k]);
#pragma GCC unroll 8
            for (idx d = 0; d < live; d++)
#pragma GCC unroll 2
                for (int u = 0; u < wide; u++)
                    if (e + d * step < size)
                        acc[live - 1 - d][u] =
                            FN(add_product)(acc[live - 1 - d][u], taps[(e + d * step) * size + k],
                                            pixels[u], of->mask[u][k]);
        }
    }
#pragma GCC unroll 2
    for (int u = 0; u < wide; u++) {
        if (!inside && q < live - 1)
            continue;
        vec sum = step == 2 && !pair ? FN(unmixed)(acc[0][u]) : acc[0][u];
        const idx other = u * of->other;
        sum = FN(at_least)(sum, of->least);
        if (pair)
            FN(store_halves)(of->y[0], of->y[1], of->ow, sum);
        else if (wide == 2)
            FN(store)(of->y[0] + other, sum);
        else
            FN(store_row)(of->y[0], of->count, of->end - of->y[0], sum);
    }
    of->next_y = FN(ask_strip)(of->next_y, wide, 1);
    of->y[0] += of->ow, of->y[1] += of->ow;
#pragma GCC unroll 2
    for (int u = 0; u < wide; u++) {
#pragma GCC unroll 8
        for (idx d = 0; d + 1 < live; d++)
            acc[d][u] = acc[d + 1][u];
        acc[live - 1][u] = bias;
    }
}

INLINE void FN(slide)(const depthwise_job *job, int pair, int wide, idx size, idx step,
                      const plane_pair *p, const vec taps[], vec bias, idx v)
{
    const idx live = (size + step - 1) / step;
    column_strip of = FN(column_strip_of)(job, wide, size, step, p, v);
    /* rows of the image are read without a look at where they lie from `first` to `within` */
    const idx end = of.oh + live - 1, within = FN(min)((of.h - of.top) / step, end);
    const idx first = FN(max)(live - 1, (step - 1 - of.top) / step);
    vec acc[8][2];
#pragma GCC unroll 8
    for (idx d = 0; d < live; d++)
        acc[d][0] = acc[d][1] = bias;
    for (idx q = 0; q < end; q++) {
        if (q == first && q < within) { /* counted by x alone, which has a register */
            const REAL *const stop = of.x[0] + (within - q) * step * of.w;
            while (of.x[0] != stop)
                FN(slide_on)(&of, pair, wide, 1, size, step, taps, bias, q, acc);
            q = within;
        }
        if (q < end)
            FN(slide_on)(&of, pair, wide, 0, size, step, taps, bias, q, acc);
    }
}

/* Whether strips are two vectors wide where they can be: with AVX2, whose vectors are half a cache
 * line, where its registers are enough. */
#define TWO_WIDE(size, step) (VECTOR_BYTES == 32 && (size) == 3 && (step) == 2)

/* Whether strips are those of conv2d_depthwise_3x3.c. */
INLINE int FN(is_strip_3x3)(const depthwise_job *job, int pair, idx size, idx step)
{
    return VECTOR_BYTES < 64 && !pair && size == 3 && step == 1 && FN(is_plain_3x3)(job->s) &&
           job->vectors > 1 && job->h > FN(ROWS_TOGETHER);
}

/* Whether planes are those of that file whose rows a vector holds. */
INLINE int FN(is_whole)(const depthwise_job *job, idx size, idx step)
{
    return FN(HALVES) && size == 3 && step == 1 && job->whole;
}

/* A strip of that file, at an edge of the rows or at none. */
INLINE void FN(convolve_strip_3x3)(const depthwise_job *job, int edge, const plane_pair *p,
                                   const filter_3x3 *f, idx v)
{
    const idx some = FN(ROWS_TOGETHER) * job->w, at = FN(first_output)(job, v);
    const REAL *x = p->x[0] + at, *next_x = p->x[0] + job->ahead.by + job->ahead.share * v;
    const REAL *next_y = p->y[0] + job->ahead_to.by + job->ahead_to.share * v;
    REAL *y = p->y[0] + at;
    FN(rows_3x3)(f, edge, FN(ROWS_TOGETHER), 0, 1, 0, x, y);
    for (idx left = job->h - FN(ROWS_TOGETHER);; left -= FN(ROWS_TOGETHER)) {
        x += some, y += some;
        next_x = FN(ask_strip)(next_x, FN(ROWS_TOGETHER), 0);
        next_y = FN(ask_strip)(next_y, FN(ROWS_TOGETHER), 1);
        if (left <= FN(ROWS_TOGETHER)) {
            FN(last_rows_3x3)(f, edge, left, 0, 0, x, y);
            return;
        }
        FN(rows_3x3)(f, edge, FN(ROWS_TOGETHER), 1, 1, 0, x, y);
    }
}

/* All strips of a plane. */
INLINE void FN(convolve_strips)(const depthwise_job *job, const plane_pair *p, const vec taps[9],
                                vec bias)
{
    const idx last = job->vectors - 1;
    filter_3x3 f = {.bias = bias, .least = FN(splat)(job->last.relu ? 0 : -INFINITY),
                    .within = job->mask[0], .row = job->w, .down = job->w, .count = VLEN};
#pragma GCC unroll 9
    for (int k = 0; k < 9; k++)
        f.taps[k] = taps[k];
    FN(convolve_strip_3x3)(job, FN(LEFT_EDGE), p, &f, 0);
    for (idx v = 1; v < last; v++)
        FN(convolve_strip_3x3)(job, FN(NO_EDGE), p, &f, v);
    f.within = job->mask[last * 4 + 2];
    FN(convolve_strip_3x3)(job, FN(RIGHT_EDGE), p, &f, last);
}

/* A plane or two whose rows a vector holds. */
INLINE void FN(convolve_whole)(const depthwise_job *job, int pair, const plane_pair *p,
                               const vec taps[9], vec bias)
{
    const whole_row of = FN(whole_row_of)(job->w, job->mask[0], job->mask[2]);
    const REAL least = job->last.relu ? 0 : -INFINITY;
    const REAL *next_x = p->x[0] + job->ahead.by, *next_y = p->y[0] + job->ahead_to.by;
    FOR_WHOLE_ROWS(job->h, {
        FN(whole_rows_3x3)(&of, taps, bias, least, pair, rows, above, below, p->x, p->y,
                           first * job->w);
        next_x = FN(ask_strip)(next_x, rows, 0);
        next_y = FN(ask_strip)(next_y, rows, 1);
    });
}

/* The results of a filter of constant size and stride, whose taps stay in registers. */
INLINE void FN(convolve_constant)(const depthwise_job *job, int pair, idx size, idx step,
                                  const plane_pair *p, idx w_step, vec bias)
{
    vec taps[FN(MOST_TAPS)];
    idx v = 0;
#pragma GCC unroll 32
    for (idx i = 0; i < size * size; i++)
        taps[i] = FN(splat_pair)(p->w, pair, i * w_step);
    if (FN(is_whole)(job, size, step)) {
        FN(convolve_whole)(job, pair, p, taps, bias);
        return;
    }
    for (; TWO_WIDE(size, step) && v + 2 <= job->vectors; v += 2)
        FN(slide)(job, pair, 2, size, step, p, taps, bias, v);
    if (FN(is_strip_3x3)(job, pair, size, step)) {
        FN(convolve_strips)(job, p, taps, bias);
        return;
    }
    for (; v < job->vectors; v++)
        FN(slide)(job, pair, 1, size, step, p, taps, bias, v);
}

/* The common filters; a function for each, as the compiler runs short of registers where it makes
 * one of all. */
#define FOR_COMMON(define) define(3, 1) define(3, 2) define(5, 1) define(5, 2)
#define IF_COMMON(function, size, stride, ...)                                                     \
    if (job->common && job->s->kh == size && job->step == stride) {                                \
        FN(function##_##size##_##stride)(job, __VA_ARGS__);                                        \
        return;                                                                                    \
    }
#define CONVOLVE(size, stride)                                                                     \
    static __attribute__((noinline)) void FN(convolve_##size##_##stride)(                          \
        const depthwise_job *job, const plane_pair *p, idx w_step, vec bias)                       \
    {                                                                                              \
        if (FN(HALVES) && job->pair)                                                               \
            FN(convolve_constant)(job, 1, size, stride, p, w_step, bias);                          \
        else                                                                                       \
            FN(convolve_constant)(job, 0, size, stride, p, w_step, bias);                          \
    }
FOR_COMMON(CONVOLVE)
#undef CONVOLVE

static void FN(convolve_any)(const depthwise_job *job, const plane_pair *p, idx w_step, vec bias,
                             idx place)
{
#define CALL(size, stride) IF_COMMON(convolve, size, stride, p, w_step, bias)
    FOR_COMMON(CALL)
#undef CALL
    const pydl_conv2d_shape *s = job->s;
    if (job->step == 1)
        FN(convolve_plane)(job, 4, s->kh, s->kw, 1, job->tap_step, job->depth, p->x[0], p->w[0],
                           w_step, bias, place, p->y[0]);
    else
        FN(convolve_plane)(job, 4, s->kh, s->kw, job->step, job->tap_step, job->depth, p->x[0],
                           p->w[0], w_step, bias, place, p->y[0]);
}

/* One plane or two, with their biases, from this place on. */
static void FN(convolve_planes)(const depthwise_job *job, idx count, plane_pair *p, REAL bias[2],
                                idx place)
{
    const REAL *both[2] = {bias, bias + 1};
    if (count == 1)
        p->x[1] = p->x[0], p->w[1] = p->w[0], p->y[1] = p->y[0], bias[1] = bias[0];
    FN(convolve_any)(job, p, job->w_step, FN(splat_pair)(both, job->pair, 0), place);
}

static void FN(convolve_task)(void *context, idx task)
{
    depthwise_job *job = context;
    const pydl_conv2d_shape *s = job->s;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes), size = s->oh * s->ow;
    const idx share = job->planes / job->groups, taps = job->depth * s->kh * s->kw;
    REAL *copies = FN(copy_alloc)(job);
    if (!copies)
        return;
    idx plane = task * job->task_planes, channel = plane % s->oc;
    idx group = plane / share, of_group = plane % share;
    while (plane < end) {
        const idx first = plane;
        plane_pair p;
        REAL bias[2] = {0};
        for (idx i = 0; i <= job->pair && plane < end; i++, plane++) {
            p.x[i] = FN(readable_group)(job, group, copies + i * FN(copy_size)(job));
            p.w[i] = job->weight + channel * taps + job->w_first;
            p.y[i] = job->to + plane * size;
            if (job->bias)
                bias[i] = job->bias[channel];
            channel = channel + 1 < s->oc ? channel + 1 : 0;
            of_group = of_group + 1 < share ? of_group + 1 : 0;
            group += !of_group;
        }
        FN(convolve_planes)(job, plane - first, &p, bias, first * size);
    }
    pydl_block_free(copies);
}

static int FN(depthwise_forward)(const pydl_conv2d_shape *s, const REAL *x, const REAL *w,
                                 const REAL *b, ending last, REAL *y)
{
    if (FN(is_padded)(s) && !last.residual) {
        padded_job padded = {.from = x, .to = y, .weight = w, .bias = b, .tap_step = 1,
                             .least = last.relu ? 0 : -INFINITY};
        return FN(padded_run)(&padded, s, 1);
    }
    depthwise_job job = {.s = s, .from = x, .groups = s->n * s->c, .depth = 1, .weight = w,
                         .bias = b, .last = last, .to = y, .w_step = 1};
    FN(depthwise_windows)(&job);
    return FN(depthwise_run)(&job, s->n * s->oc, s->oh * s->ow, FN(convolve_task));
}
#undef column_strip
