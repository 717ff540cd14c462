/* The gradients of depthwise convolution by 3x3 taps of stride 1 in an image padded by 1, in one
 * walk down the planes: with AVX-512. Shapes and names as in conv2d_depthwise.c.
 *
 * A vector of a row of dy, moved as one of three columns of taps meets it, is a factor of vectors
 * of three rows of dx, and with those of x of three sums of dw. So each is read once for 18
 * products, whose sums, and the taps, registers hold. */

/* Whether there is one. */
static int FN(is_walked)(const pydl_conv2d_shape *s)
{
    return FN(HALVES) && FN(is_plain_3x3)(s) && s->h > 1;
}

/* ---- sums of the taps ---- */
/* What becomes of the sums of a plane's taps, and of dy after them; of two planes in the halves of
 * vectors. */
typedef struct {
    vec *sums;    /* so far */
    int is_first; /* they begin here */
    idx count;    /* planes */
    REAL *dw;     /* NULL if further images follow */
    REAL *db;     /* NULL: not wanted */
} FN(tap_sums);
#define tap_sums FN(tap_sums)

INLINE void FN(begin_sums)(const tap_sums *to, idx count, vec sums[])
{
#pragma GCC unroll 32
    for (idx tap = 0; tap < count; tap++)
        sums[tap] = to->is_first ? (vec){0} : to->sums[tap];
}

INLINE void FN(end_sums)(const tap_sums *to, int pair, idx count, const vec sums[])
{
    const idx taps = count - 1;
    if (!to->dw) {
#pragma GCC unroll 32
        for (idx tap = 0; tap < count; tap++)
            to->sums[tap] = sums[tap];
    } else if (pair) {
        FN(store_half_sums)(taps, sums, to->dw, to->count == 2 ? taps : 0, to->db);
    } else {
        FN(store_sums)(taps, sums, to->dw, to->db);
    }
}

/* ---- the walk ---- */
/* Planes, or two in the halves of vectors. */
typedef struct {
    const REAL *x[2], *dy[2];
    const REAL *w[2]; /* with dx alone */
    REAL *dx[2];
    int far; /* dx is, in whole lines */
    const tap_sums *to;
} FN(walked_planes);
#define walked_planes FN(walked_planes)

/* A vector of a row, with the pixels of it that a column of taps meets. */
typedef struct {
    whole_row row;
    FN(chosen) own[3]; /* of these the vector's, not its neighbour's */
    vec taps[9];
} FN(walked_row);
#define walked_row FN(walked_row)

/* Row `at` of dy: x[0] to x[2] are the rows of x around it, dx those of dx so far. Their last ones
 * begin here, and the first ones end. */
INLINE void FN(walk_row)(const walked_row *of, int pair, int whole, int wants_dx, int above,
                         int below, const walked_planes *p, idx at, vec x[3], vec dx[3],
                         vec sums[10])
{
    const idx w = of->row.w, next = at + w;
    const vec row = whole ? FN(load_whole)(p->dy, pair, at, w) : (vec){0};
    dx[2] = (vec){0};
    if (below)
        x[2] = whole ? FN(load_whole)(p->x, pair, next, w) : FN(kept)(FN(load)(p->x[0] + next));
#pragma GCC unroll 3
    for (int column = 0; column < 3; column++) { /* of pixels, which tap k meets */
        const int k = 2 - column;
        const vec g = whole ? FN(column_of)(&of->row, column, row)
                            : FN(kept)(FN(load)(p->dy[0] + at + column - 1));
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) {
            const int tap = i * 3 + k;
            if (i == 0 ? !above : i == 2 && !below)
                continue;
            if (wants_dx)
                dx[i] = FN(add_column)(&of->row, column, dx[i], of->taps[tap], g);
            sums[tap] = FN(add_product)(sums[tap], x[i], g, of->own[column]);
        }
        if (k == 1)
            sums[9] += FN(blend)(of->own[1], g, (vec){0});
    }
    for (int i = above ? 0 : 1; wants_dx && i < (below ? 1 : 2); i++) {
        const idx to = at + (i - 1) * w;
        if (pair)
            FN(store_halves)(p->dx[0] + to, p->dx[1] + to, w, dx[i]);
        else if (whole)
            FN(store_masked)(p->dx[0] + to, w, dx[i]);
        else if (p->far)
            FN(store_far)(p->dx[0] + to, VLEN, dx[i]);
        else
            FN(store)(p->dx[0] + to, dx[i]);
    }
    x[0] = x[1], x[1] = x[2];
    dx[0] = dx[1], dx[1] = dx[2];
}

/* Planes whose rows a vector holds are a strip. */
INLINE void FN(walk_strip)(const depthwise_job *job, walked_row *of, int pair, int whole,
                           int wants_dx, const walked_planes *p, idx v, vec sums[10])
{
    const idx w = job->w, first = FN(first_output)(job, v), last = first + (job->h - 1) * w;
    const idx by = job->ahead.by + job->ahead.share * v;
    const REAL *next_x = p->x[0] + by, *next_dy = p->dy[0] + by;
    const REAL *next_dx = wants_dx ? p->dx[0] + by : NULL;
    const lanes *mask = job->mask + v * 4;
    vec x[3] = {{0}}, dx[3] = {{0}};
    of->row = FN(whole_row_of)(w, mask[0], mask[2]);
#pragma GCC unroll 3
    for (int column = 0; column < 3; column++)
        of->own[column] = FN(choose)(mask[column] & mask[3]);
    x[1] = whole ? FN(load_whole)(p->x, pair, first, w) : FN(load)(p->x[0] + first);
    FN(walk_row)(of, pair, whole, wants_dx, 0, 1, p, first, x, dx, sums);
    for (idx at = first + w; at < last; at += w) {
        next_x = FN(ask_strip)(next_x, 1, 0);
        next_dy = FN(ask_strip)(next_dy, 1, 0);
        if (wants_dx && !p->far)
            next_dx = FN(ask_strip)(next_dx, 1, 1);
        FN(walk_row)(of, pair, whole, wants_dx, 1, 1, p, at, x, dx, sums);
    }
    FN(walk_row)(of, pair, whole, wants_dx, 1, 0, p, last, x, dx, sums);
}

INLINE void FN(walk_down)(const depthwise_job *job, int pair, int whole, int wants_dx,
                          const walked_planes *p)
{
    vec sums[10];
    walked_row of;
#pragma GCC unroll 9
    for (int k = 0; wants_dx && k < 9; k++)
        of.taps[k] = FN(splat_pair)(p->w, pair, k);
    FN(begin_sums)(p->to, 10, sums);
    for (idx v = 0; v < (whole ? 1 : job->vectors); v++)
        FN(walk_strip)(job, &of, pair, whole, wants_dx, p, v, sums);
    FN(end_sums)(p->to, pair, 10, sums);
}

/* Functions apart, as the compiler runs short of registers where it makes one of all. */
#define WALK(name, pair, whole)                                                                    \
    static __attribute__((noinline)) void FN(name)(const depthwise_job *job,                       \
                                                   const walked_planes *p)                         \
    {                                                                                              \
        FN(walk_down)(job, pair, whole, 1, p);                                                     \
    }                                                                                              \
    static __attribute__((noinline)) void FN(name##_dw)(const depthwise_job *job,                  \
                                                        const walked_planes *p)                    \
    {                                                                                              \
        FN(walk_down)(job, pair, whole, 0, p);                                                     \
    }
WALK(walk_strips, 0, 0)
WALK(walk_rows, 0, 1)
WALK(walk_pair, 1, 1)
#undef WALK

typedef void FN(walker)(const depthwise_job *job, const walked_planes *p);
INLINE FN(walker) *FN(walker_of)(const depthwise_job *job, int wants_dx)
{
    static FN(walker) *const of[3][2] = {{FN(walk_strips_dw), FN(walk_strips)},
                                         {FN(walk_rows_dw), FN(walk_rows)},
                                         {FN(walk_pair_dw), FN(walk_pair)}};
    return of[job->vectors > 1 ? 0 : 1 + job->pair][wants_dx];
}
