/* Depthwise convolution by 3x3 taps of stride 1 in an image padded by 1, and its gradients: shapes
 * and names as in conv2d_depthwise.c, which calls this.
 *
 * With AVX-512, of planes whose row a vector holds, the pixels to the left and right of a row are
 * its own lanes, moved.
 *
 * Without it, where masks take instructions, it walks down the strips of larger planes: just those
 * at an edge of the rows need a mask, for one of three columns of taps. Of a small plane a copy is
 * made, among zeros that stand for what lies around it. Rows of the copy take whole vectors and a
 * zero at least, which is also what the next row has to its left. The next plane is copied before
 * the last copy is read: loads across two fresh stores would wait. */
enum {
    FN(ROWS_TOGETHER) = 4,                             /* of results */
    FN(PADDED_MOST) = 4 * VECTOR_BYTES / sizeof(REAL), /* more than a small plane's rows, columns */
    FN(PADDED_TASK) = 16384,                           /* elements of a task */
    FN(PADDED_SUMS) = 32,                              /* channels whose sums stay in L1 */
    FN(PADDED_AHEAD) = 2048 / sizeof(REAL),
};

/* Whether this is such a convolution. */
INLINE int FN(is_plain_3x3)(const pydl_conv2d_shape *s)
{
    return s->kh == 3 && s->kw == 3 && s->stride_h == 1 && s->stride_w == 1 && s->pad_h == 1 &&
           s->pad_w == 1 && s->dilation_h == 1 && s->dilation_w == 1 && s->oc == s->c;
}

/* ---- whole rows ---- */
/* The left and right columns of taps: where their pixels lie in a vector, and of which lanes they
 * are in the image. */
typedef struct {
    idx w;
    lanes from[2];
    FN(chosen) mask[2];
} FN(whole_row);
#define whole_row FN(whole_row)

INLINE whole_row FN(whole_row_of)(idx w, lanes left, lanes right)
{
    whole_row of = {.w = w, .mask = {FN(choose)(left), FN(choose)(right)}};
    for (int i = 0; i < VLEN; i++)
        of.from[0][i] = i - 1, of.from[1][i] = i + 1;
    return of;
}

/* A row of the plane x[0], or in the halves of a vector those of both planes. */
INLINE vec FN(load_whole)(const REAL *const x[2], int pair, idx at, idx w)
{
    return pair ? FN(load_part_halves)(x[0] + at, x[1] + at, w) : FN(load_masked)(x[0] + at, w, 0);
}

/* sum + a * b of column k of taps, b being a row of pixels. */
INLINE vec FN(add_column)(const whole_row *of, int k, vec sum, vec a, vec b)
{
    return k == 1 ? sum + a * b : FN(add_product)(sum, a, b, of->mask[k / 2]);
}

INLINE vec FN(column_of)(const whole_row *of, int k, vec row)
{
    return k == 1 ? row : FN(lanes_from)(row, of->from[k / 2]);
}

/* Some rows of results from element `at` of their plane on, which has rows above them and below if
 * it is said. */
INLINE void FN(whole_rows_3x3)(const whole_row *of, const vec taps[9], vec bias, REAL least,
                               int pair, int rows, int above, int below, const REAL *const x[2],
                               REAL *const y[2], idx at)
{
    const idx w = of->w;
    vec sum[FN(ROWS_TOGETHER)];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        sum[i] = bias;
#pragma GCC unroll 8
    for (int i = -above; i < rows + below; i++) {
        const vec row = FN(load_whole)(x, pair, at + i * w, w);
#pragma GCC unroll 3
        for (int k = 0; k < 3; k++) {
            const vec pixels = FN(column_of)(of, k, row);
#pragma GCC unroll 8
            for (int to = rows - 1; to >= 0; to--)
                if (i >= to - 1 && i <= to + 1)
                    sum[to] = FN(add_column)(of, k, sum[to], taps[(i - to + 1) * 3 + k], pixels);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++, at += w) {
        const vec v = FN(at_least)(sum[i], least);
        if (pair)
            FN(store_halves)(y[0] + at, y[1] + at, w, v);
        else
            FN(store_masked)(y[0] + at, w, v);
    }
}

/* Runs a statement for the rows of a plane of so many: `rows` from row `first` on, constants being
 * how many, and whether there are rows above and below. The plane has more than ROWS_TOGETHER. */
#define FOR_WHOLE_ROWS(h, ...)                                                                    \
    do {                                                                                          \
        enum { most = FN(ROWS_TOGETHER) };                                                        \
        idx first = 0, left = (h);                                                                \
        WHOLE_ROWS(most, 0, 1, __VA_ARGS__);                                                      \
        for (first += most, left -= most; left > most; first += most, left -= most)               \
            WHOLE_ROWS(most, 1, 1, __VA_ARGS__);                                                  \
        if (left == 4)                                                                            \
            WHOLE_ROWS(4, 1, 0, __VA_ARGS__);                                                     \
        else if (left == 3)                                                                       \
            WHOLE_ROWS(3, 1, 0, __VA_ARGS__);                                                     \
        else if (left == 2)                                                                       \
            WHOLE_ROWS(2, 1, 0, __VA_ARGS__);                                                     \
        else                                                                                      \
            WHOLE_ROWS(1, 1, 0, __VA_ARGS__);                                                     \
    } while (0)
#define WHOLE_ROWS(count, has_above, has_below, ...)                                              \
    do {                                                                                          \
        enum { rows = count, above = has_above, below = has_below };                              \
        __VA_ARGS__;                                                                              \
    } while (0)

/* ---- strips and copies ---- */
/* What a vector of rows of results is made with. */
typedef struct {
    vec taps[9], bias, least;
    lanes within;         /* of the pixels of one column of taps, at an edge of the image */
    idx row, down, count; /* between rows of the image and of results; of which so many exist */
} FN(filter_3x3);
#define filter_3x3 FN(filter_3x3)

/* The column of taps that meets an edge. */
enum { FN(NO_EDGE) = -1, FN(LEFT_EDGE) = 0, FN(RIGHT_EDGE) = 2 };

/* Pixels at a tap's column, from x on. */
INLINE vec FN(pixels_3x3)(int edge, lanes within, const REAL *x, int k)
{
    const vec pixels = FN(kept)(FN(load)(x + k - 1));
    return k == edge ? (vec)((lanes)pixels & within) : pixels;
}

/* A vector of some rows of results, from y on: x is the same place of the image, which has rows
 * above it and below if it is said. Whole vectors are stored but to the last row if that ends the
 * plane, as further rows overwrite what is too much. */
INLINE void FN(rows_3x3)(const filter_3x3 *f, int edge, int rows, int above, int below, int ends,
                         const REAL *x, REAL *y)
{
    vec sum[FN(ROWS_TOGETHER)];
    x = FN(from_memory)(x);
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        sum[i] = f->bias;
#pragma GCC unroll 8
    for (int i = -above; i < rows + below; i++)
#pragma GCC unroll 3
        for (int k = 0; k < 3; k++) {
            const vec pixels = FN(pixels_3x3)(edge, f->within, x + i * f->row, k);
#pragma GCC unroll 8
            for (int to = rows - 1; to >= 0; to--)
                if (i >= to - 1 && i <= to + 1)
                    sum[to] += f->taps[(i - to + 1) * 3 + k] * pixels;
        }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++, y += f->down)
        if (ends && i + 1 == rows)
            FN(store_part)(y, f->count, FN(larger)(f->least, sum[i]));
        else
            FN(store)(y, FN(larger)(f->least, sum[i]));
}

/* The same for the last rows of a plane, of which there are so many. */
INLINE void FN(last_rows_3x3)(const filter_3x3 *f, int edge, idx left, int below, int ends,
                              const REAL *x, REAL *y)
{
    switch (left) {
    case 1:
        FN(rows_3x3)(f, edge, 1, 1, below, ends, x, y);
        break;
    case 2:
        FN(rows_3x3)(f, edge, 2, 1, below, ends, x, y);
        break;
    case 3:
        FN(rows_3x3)(f, edge, 3, 1, below, ends, x, y);
        break;
    default:
        FN(rows_3x3)(f, edge, FN(ROWS_TOGETHER), 1, below, ends, x, y);
    }
}

/* Adds the share of a vector of some rows of x to the taps' sums, dy's rows lying as x's, and of dy
 * to the one after them. */
INLINE void FN(weigh_3x3)(int edge, lanes within, int rows, int above, int below, idx row,
                          const REAL *x, const REAL *dy, vec acc[10])
{
    x = FN(from_memory)(x), dy = FN(from_memory)(dy);
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
        vec here[3];
#pragma GCC unroll 3
        for (int k = 0; k < 3; k++)
            here[k] = FN(pixels_3x3)(edge, within, x + r * row, k);
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) {
            if (i == 0 ? !below : i == 2 && !above)
                continue;
            const vec g = FN(load)(dy + (r + 1 - i) * row);
            if (i == 1)
                acc[9] += g;
#pragma GCC unroll 3
            for (int k = 0; k < 3; k++)
                acc[i * 3 + k] += g * here[k];
        }
    }
}

/* Planes that are copied. */
typedef struct {
    idx channels, images, h, w; /* planes (images,channels,h,w) */
    const REAL *from;           /* what is convolved; dy */
    REAL *to;                   /* NULL: no convolution */
    const REAL *weight, *bias;  /* of plane % filters; bias NULL: 0 */
    idx filters, first_tap, tap_step; /* tap i is weight[first_tap + i * tap_step] */
    REAL least;                 /* of a result: 0 with ReLU */
    const REAL *x;              /* NULL: no gradients of the weights */
    REAL *dw, *db;              /* db NULL: not wanted */
    idx row, size, copies;      /* of a copy's rows, of the copy, copies of a plane at a time */
    idx vectors;                /* of a row that are not 0 */
    lanes within;               /* the plane's lanes of the last of these */
    idx task_channels;
    int failed;
} FN(padded_job);
#define padded_job FN(padded_job)

/* Elements of a copy's row: constants for the compiler. */
INLINE idx FN(padded_row)(idx w) { return w < VLEN ? VLEN : w < 2 * VLEN ? 2 * VLEN : 4 * VLEN; }

/* Whether planes are copied. Two rows hold a vector, so that one may be read from the last row but
 * one on. */
static int FN(is_padded)(const pydl_conv2d_shape *s)
{
    return VECTOR_BYTES < 64 && FN(is_plain_3x3)(s) && s->w >= VLEN / 2 && s->w < FN(PADDED_MOST) &&
           s->h < FN(PADDED_MOST);
}

/* The inner rows of a copy of plane x; `to` is the place of its first element. */
INLINE void FN(copy_padded)(const padded_job *job, idx row, const REAL *x, REAL *to)
{
    const idx w = job->w, rows = job->h - 1;
    const idx last = row == VLEN ? 0 : (job->vectors - 1) * VLEN;
    const REAL *const end = x + rows * w;
    const lanes within = job->within;
    for (; x != end; x += w, to += row) {
        for (idx j = 0; j < last; j += VLEN)
            FN(store)(to + j, FN(load)(x + j));
        __builtin_prefetch(x + FN(PADDED_AHEAD), 0, 2);
        if (row == 4 * VLEN)
            __builtin_prefetch(x + FN(PADDED_AHEAD) + 2 * VLEN, 0, 2);
        FN(store)(to + last, (vec)((lanes)FN(load)(x + last) & within));
    }
    for (idx j = 0; j < last; j += VLEN)
        FN(store)(to + j, FN(load)(x + j));
    FN(store)(to + last, FN(load_part)(x + last, w - last, 0));
}

/* The results of a plane, out of its copy. */
INLINE void FN(padded_convolve)(const padded_job *job, idx row, const REAL *x, idx plane,
                                idx filter)
{
    const idx h = job->h, w = job->w, vectors = row == VLEN ? 1 : job->vectors;
    const REAL *weight = job->weight + filter * 9 + job->first_tap;
    filter_3x3 f = {.bias = FN(splat)(job->bias ? job->bias[filter] : 0),
                    .least = FN(splat)(job->least), .row = row, .down = w};
#pragma GCC unroll 9
    for (int k = 0; k < 9; k++)
        f.taps[k] = FN(splat)(weight[k * job->tap_step]);
    for (idx v = 0; v < vectors; v++) {
        const idx at = row == VLEN ? 0 : FN(vector_at)(w, v);
        const REAL *from = x + at;
        REAL *to = job->to + plane * h * w + at;
        f.count = w - at;
        idx left = h;
        for (; left > FN(ROWS_TOGETHER); left -= FN(ROWS_TOGETHER)) {
            FN(rows_3x3)(&f, FN(NO_EDGE), FN(ROWS_TOGETHER), 1, 1, 0, from, to);
            if (row == 4 * VLEN)
#pragma GCC unroll 4
                for (int i = 0; i < FN(ROWS_TOGETHER); i++)
                    __builtin_prefetch(to + i * w + FN(LEAST_AHEAD), 1, 2);
            from += FN(ROWS_TOGETHER) * row, to += FN(ROWS_TOGETHER) * w;
        }
        FN(last_rows_3x3)(&f, FN(NO_EDGE), left, 1, 1, from, to);
    }
}

/* Adds a plane's share to the taps' sums, out of the copies of x and dy. */
INLINE void FN(padded_weight)(const padded_job *job, idx row, const REAL *x, const REAL *dy,
                              vec sums[10])
{
    vec acc[10];
#pragma GCC unroll 10
    for (int k = 0; k < 10; k++)
        acc[k] = sums[k];
    const idx columns = row == VLEN ? VLEN : job->vectors * VLEN;
    for (idx j = 0; j < columns; j += VLEN) {
        const REAL *from = dy + j, *const end = from + job->h * row;
        for (x += j; from + row < end; x += 2 * row, from += 2 * row)
            FN(weigh_3x3)(FN(NO_EDGE), (lanes){0}, 2, 1, 1, row, x, from, acc);
        if (from < end) {
            FN(weigh_3x3)(FN(NO_EDGE), (lanes){0}, 1, 1, 1, row, x, from, acc);
            x += row;
        }
        x -= j + job->h * row;
    }
#pragma GCC unroll 10
    for (int k = 0; k < 10; k++)
        sums[k] = acc[k];
}

/* A plane of a task, and the number of its channel among the task's. */
typedef struct {
    idx plane, filter, number;
} FN(padded_place);

INLINE void FN(next_place)(const padded_job *job, idx count, FN(padded_place) *at)
{
    at->plane++;
    if (++at->filter == job->filters)
        at->filter = 0;
    if (++at->number < count)
        return;
    at->plane += job->channels - count;
    at->filter = at->plane % job->filters;
    at->number = 0;
}

/* Some channels of all images, through copies from `origin` on. */
INLINE void FN(padded_planes)(const padded_job *job, idx row, idx begin, idx count, REAL *origin,
                              vec *sums)
{
    const idx plane = job->h * job->w, total = count * job->images;
    const idx each = job->copies * job->size;
    FN(padded_place) next = {begin, begin % job->filters, 0}, here = next;
    for (idx i = 0; i <= total; i++) {
        if (i < total) {
            REAL *const to = origin + i % 2 * each;
            FN(copy_padded)(job, row, job->from + next.plane * plane, to);
            if (job->x)
                FN(copy_padded)(job, row, job->x + next.plane * plane, to + job->size);
            FN(next_place)(job, count, &next);
        }
        if (!i)
            continue;
        const REAL *const copy = origin + (i - 1) % 2 * each;
        if (job->x)
            FN(padded_weight)(job, row, copy + job->size, copy, sums + here.number * 10);
        if (job->to)
            FN(padded_convolve)(job, row, copy, here.plane, here.filter);
        FN(next_place)(job, count, &here);
    }
}

#define PADDED(vectors)                                                                           \
    static __attribute__((noinline)) void FN(padded_planes_##vectors)(                            \
        const padded_job *job, idx begin, idx count, REAL *origin, vec *sums)                     \
    {                                                                                             \
        FN(padded_planes)(job, vectors * VLEN, begin, count, origin, sums);                       \
    }
PADDED(1)
PADDED(2)
PADDED(4)
#undef PADDED

static void FN(padded_task)(void *context, idx task)
{
    padded_job *job = context;
    const idx begin = task * job->task_channels;
    const idx count = FN(min)(job->task_channels, job->channels - begin);
    const idx sums_size = job->x ? count * 10 : 0;
    vec *const sums = pydl_block_alloc((size_t)sums_size * sizeof(vec) +
                                       (size_t)(2 * job->copies * job->size) * sizeof(REAL));
    if (!sums) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    REAL *const origin = (REAL *)(sums + sums_size) + VLEN + job->row;
    FN(zero_run)((REAL *)sums, sums_size * VLEN + 2 * job->copies * job->size);
    if (job->row == VLEN)
        FN(padded_planes_1)(job, begin, count, origin, sums);
    else if (job->row == 2 * VLEN)
        FN(padded_planes_2)(job, begin, count, origin, sums);
    else
        FN(padded_planes_4)(job, begin, count, origin, sums);
    for (idx c = 0; job->x && c < count; c++)
        FN(store_sums)(9, sums + c * 10, job->dw + (begin + c) * 9,
                       job->db ? job->db + begin + c : NULL);
    pydl_block_free(sums);
}

/* Runs a job of which everything is known but the copies. */
static int FN(padded_run)(padded_job *job, const pydl_conv2d_shape *s, double passes)
{
    job->channels = job->x ? s->c : s->n * s->c;
    job->images = job->x ? s->n : 1;
    job->h = s->h, job->w = s->w, job->filters = s->c;
    job->row = FN(padded_row)(s->w);
    job->copies = job->x ? 2 : 1;
    job->size = (s->h + 2) * job->row + 2 * VLEN;
    job->vectors = (s->w + VLEN - 1) / VLEN;
    job->within = FN(first_lanes)(s->w - (job->vectors - 1) * VLEN);
    job->task_channels = FN(max)(FN(PADDED_TASK) / (s->h * s->w), 1);
    if (job->x) /* in runs that memory is read in, for eight tasks or more */
        job->task_channels = FN(min)(job->task_channels,
                                     FN(min)(FN(PADDED_SUMS), (s->c + 7) / 8));
    pydl_parallel_for((job->channels + job->task_channels - 1) / job->task_channels,
                      18.0 * passes * (double)(s->n * s->c) * (double)(s->h * s->w),
                      FN(padded_task), job);
    return job->failed ? PYDL_NO_MEMORY : PYDL_OK;
}
