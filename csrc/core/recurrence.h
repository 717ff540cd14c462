/* The products of a recurrence: at every step, state (b,depth) times weights (depth, gates x
 * units), and behind each tile of it, while it is hot, whatever the cell does with the sums
 * (LIBXSMM's cells, Banerjee et al. 2019).
 *
 * The weights are packed once for all steps, in panels of `gates x unit_vectors` vectors: row k
 * of a panel holds the weights of state k for the same units of every gate, so that a tile's
 * sums are all that its units need. The threads share the panels and wait for each other after
 * every product; each keeps its panels in its own cache, which it walks to and fro so that the last
 * ones are still there when the next step begins. Where every cache holds all panels, the threads
 * share the samples instead: then none needs what another made, and they never wait. */
/* sums that the registers hold, in tiles of 2, 3 or 4 vectors */
#define TILE_VECTORS (MR * NR_VECTORS / 12 * 12)

enum {
    FN(TILE_ROWS) = 8,              /* of the state at most */
    FN(GROUP_TILES) = 12,           /* whose sums stay in L1 while a panel passes */
    /* bytes of a panel that stay in L1 while the tiles of a group pass */
    FN(PANEL_BLOCK) = 24576,
    FN(STEP_WORK) = 1 << 18,        /* operations of a step that are worth more than one thread */
    FN(SHARE_WORK) = 1 << 19,       /* ... of panels that one thread may do in another's place */
    FN(SHARED_WEIGHTS) = 1 << 20,   /* bytes of panels that may be in every thread's L2 */
    FN(STRIP) = 16,                 /* panels that are finished together */
    FN(FEW_STEPS) = 2,              /* for which packing the weights does not pay */
    /* of weights that pass once in a step; 0: as far ahead as of others */
    FN(STREAM_AHEAD) = VECTOR_BYTES == 32 ? 1024 / sizeof(REAL) : 0,
};

/* What a product multiplies at a step: rows `row` apart, NULL if they are zeros. Those of
 * samples that end before time t are zeros, or not needed. */
typedef struct {
    const REAL *data;
    idx row, t;
} FN(operand);
#define operand FN(operand)

/* The sums of some vectors of units, of which the first `count` exist. Vector i is of row + i*down
 * of the state and of units from unit + i*across on; its sums for gate g are at
 * sums[i*stride + g*gate_stride]. They may be overwritten. */
typedef struct {
    idx step, row, unit, vectors, down, across, count;
    REAL *sums;
    idx stride, gate_stride, next; /* the units of the next panel are so far from these */
} FN(tile);
#define tile FN(tile)

/* For the vectors of a tile: the sample b, the first unit, and the sums */
#define FOR_VECTORS_OF_TILE                                                                   \
    REAL *sums = of->sums;                                                                    \
    idx b = of->row, unit = of->unit;                                                         \
    for (idx i_ = 0; i_ < of->vectors;                                                        \
         i_++, b += of->down, unit += of->across, sums += of->stride)

/* name(cell, tile) out of INLINE name_rows(cell, tile, count), compiled for whole vectors and
 * for parts. The tile is copied, since stores of REAL could change the original as far as the
 * compiler knows. */
#define FINISH(name)                                                                          \
    static void FN(name)(void *cell, const tile *of)                                          \
    {                                                                                         \
        const tile copy = *of;                                                                \
        if (of->count == VLEN)                                                                \
            FN(name##_rows)(cell, &copy, VLEN);                                               \
        else                                                                                  \
            FN(name##_rows)(cell, &copy, copy.count);                                         \
    }

typedef struct {
    idx depth, units;
    int gates, unit_vectors;
    /* (t,b,inputs): multiplies the first rows of the panels; NULL: none, inputs = 0 */
    const REAL *x;
    idx inputs;
    operand (*state)(const void *cell, idx step);
    void (*finish)(void *cell, const tile *of);
    /* (gates x units, depth): read where they lie, not packed; NULL: packed */
    const REAL *plain;
    REAL *panels;
} FN(product);
#define product FN(product)

typedef struct {
    const pydl_recurrent_shape *shape;
    void *cell;
    int products;
    product product[2];   /* of each step, one after the other */
    int far;              /* whether what the cells read and write of all steps is far */
    idx first, end;       /* the steps to do */
    int by_samples;       /* what the tasks share: samples or else panels */
    idx shares;           /* tasks of a product */
    idx strip;            /* panels whose units are finished together, row by row */
    REAL *sums;           /* of a strip, member_sums for each thread */
    idx member_sums;
} FN(recurrence);
#define recurrence FN(recurrence)

/* The time of a step forward, and whether sample b has not ended at time t. */
INLINE idx FN(time_of)(const pydl_recurrent_shape *s, idx step)
{
    return s->reverse ? s->t - 1 - step : step;
}
INLINE int FN(lives)(const pydl_recurrent_shape *s, idx t, idx b)
{
    return !s->lengths || t < s->lengths[b];
}

/* ---- packing ---- */
typedef struct {
    const product *to;
    const REAL *weights, *input_weights;
} FN(panel_job);

enum { FN(PACK_ROWS) = 64 }; /* of weights that a task copies into all panels */

INLINE idx FN(panel_span)(const product *w) { return w->unit_vectors * VLEN; }
INLINE idx FN(panel_count)(const product *w)
{
    return (w->units + FN(panel_span)(w) - 1) / FN(panel_span)(w);
}

/* A panel from weights (gates x units, depth), those of the inputs (gates x units, inputs)
 * before the others. */
static void FN(pack_units)(void *context, idx panel)
{
    const FN(panel_job) *job = context;
    const product *w = job->to;
    const idx width = w->gates * FN(panel_span)(w);
    REAL *to = w->panels + panel * width * w->depth;
    for (int g = 0; g < w->gates; g++)
        for (int v = 0; v < w->unit_vectors; v++, to += VLEN) {
            const idx unit = panel * FN(panel_span)(w) + v * VLEN;
            const idx count = FN(max)(FN(min)(VLEN, w->units - unit), 0);
            if (count < VLEN)
                for (idx k = 0; k < w->depth; k++)
                    FN(store)(to + k * width, (vec){0});
            if (!count)
                continue;
            const idx row = g * w->units + unit, depth = w->depth - w->inputs;
            FN(transpose)(count, w->inputs, job->input_weights + row * w->inputs, w->inputs, to,
                          width);
            FN(transpose)(count, depth, job->weights + row * depth, depth, to + w->inputs * width,
                          width);
        }
}

/* Some rows of all panels from weights (depth, units), of one gate. */
static void FN(pack_depths)(void *context, idx task)
{
    const FN(panel_job) *job = context;
    const product *w = job->to;
    const idx width = FN(panel_span)(w), first = task * FN(PACK_ROWS),
        end = FN(min)(w->depth, first + FN(PACK_ROWS));
    for (idx unit = 0; unit < w->units; unit += width)
        for (idx k = first; k < end; k++) {
            REAL *to = w->panels + unit * w->depth + k * width;
            const REAL *from = job->weights + k * w->units + unit;
            for (idx j = 0; j < width; j += VLEN)
                FN(store)(to + j, unit + j < w->units
                          ? FN(load_part)(from + j, w->units - unit - j, 0) : (vec){0});
        }
}

/* Packs weights (gates x units, depth), after those of the inputs if there are any; or,
 * transposed, (depth, units) of one gate. For few steps they are read where they lie. */
static int FN(prepare_product)(product *w, idx steps, const REAL *input_weights,
                               const REAL *weights, int transposed)
{
    if (steps <= FN(FEW_STEPS) && !transposed) {
        w->plain = weights;
        return PYDL_OK;
    }
    const idx size = FN(panel_count)(w) * w->gates * FN(panel_span)(w) * w->depth;
    w->panels = pydl_block_alloc((size_t)FN(max)(size, 1) * sizeof(REAL));
    if (!w->panels)
        return PYDL_NO_MEMORY;
    FN(panel_job) job = {w, weights, input_weights};
    if (transposed)
        pydl_parallel_for((w->depth + FN(PACK_ROWS) - 1) / FN(PACK_ROWS), (double)size,
                          FN(pack_depths), &job);
    else
        pydl_parallel_for(FN(panel_count)(w), (double)size, FN(pack_units), &job);
    return PYDL_OK;
}

/* Vectors of units per panel where there is one gate: as many as waste the fewest sums. */
static int FN(unit_vectors_for)(idx units)
{
    int best = 4;
    for (int v = 3; v >= 2; v--)
        if (FN(round_up)(units, v * VLEN) < FN(round_up)(units, best * VLEN))
            best = v;
    return best;
}

/* Vectors of units of a panel of two gates. */
INLINE int FN(gate_vectors_for)(idx units) { return units > VLEN ? 2 : 1; }

/* ---- tiles ---- */
/* As in gemm.h, four steps at a time save the loop's own instructions. */
#define FOUR_STEPS (VECTOR_BYTES == 32)

/* sums[i][j] (+)= sum over k of a[i*a_row + k] * panel[k*vectors + j], `rows` and `vectors`
 * being constants. A tile of few sums makes each of them in several chains, since one
 * multiply-add must wait for the one before it in its chain. The cache line at ahead is fetched,
 * and at each k that ahead_step further on. */
INLINE void FN(recurrent_tile)(const int rows, const int vectors, idx depth, const REAL *a,
                               idx a_row, const REAL *panel,
                               const REAL *ahead, idx ahead_step, int add, REAL *sums)
{
    const int size = rows * vectors;
    const int chains = 4 * size <= TILE_VECTORS ? 4 : 2 * size <= TILE_VECTORS ? 2 : 1;
    const int steps = FOUR_STEPS && chains < 4 ? 4 : chains;
    vec acc[TILE_VECTORS];
#pragma GCC unroll 32
    for (int i = 0; i < chains * size; i++)
        acc[i] = i < size && add ? FN(load)(sums + i * VLEN) : (vec){0};
    idx k = 0;
    for (; k + steps <= depth; k += steps) {
#pragma GCC unroll 4
        for (int step = 0; step < steps; step++) {
            vec *sum = acc + step % chains * size, weights[4], value[FN(TILE_ROWS)];
            if (steps == chains || step % 2 == 0)
                __builtin_prefetch(ahead, 0, 2);
            ahead += ahead_step;
            /* the smaller side stays in registers */
            if (rows < vectors) {
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++)
                    value[i] = FN(splat)(a[i * a_row + k + step]);
#pragma GCC unroll 4
                for (int j = 0; j < vectors; j++) {
                    const vec weight = FN(load)(panel + j * VLEN);
#pragma GCC unroll 8
                    for (int i = 0; i < rows; i++)
                        sum[i * vectors + j] += value[i] * weight;
                    if (rows > 1)
                        STILL_WANTED(weight);
                }
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++)
                    STILL_WANTED(value[i]);
            } else {
#pragma GCC unroll 4
                for (int j = 0; j < vectors; j++)
                    weights[j] = FN(load)(panel + j * VLEN);
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++) {
                    const vec splat = FN(splat)(a[i * a_row + k + step]);
#pragma GCC unroll 4
                    for (int j = 0; j < vectors; j++)
                        sum[i * vectors + j] += splat * weights[j];
                    STILL_WANTED(splat);
                }
#pragma GCC unroll 4
                for (int j = 0; j < vectors; j++)
                    STILL_WANTED(weights[j]);
            }
            panel += vectors * VLEN;
        }
    }
    for (; k < depth; k++) {
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++)
                acc[i * vectors + j] += a[i * a_row + k] * FN(load)(panel + j * VLEN);
        panel += vectors * VLEN;
    }
#pragma GCC unroll 32
    for (int i = 0; i < size; i++) {
        vec sum = acc[i];
#pragma GCC unroll 4
        for (int chain = 1; chain < chains; chain++)
            sum += acc[chain * size + i];
        FN(store)(sums + i * VLEN, sum);
    }
}

/* A function per width of a panel, in which every number of rows whose sums fit the registers
 * has its own tile. */
#define TILE_CASE(rows, vectors)                                                              \
    case rows:                                                                                \
        FN(recurrent_tile)(rows, vectors, depth, a, a_row, panel, ahead, ahead_step, add,     \
                           sums);                                                             \
        break;
#define TILE_FUNCTION(vectors, ...)                                                           \
    static __attribute__((noinline)) void FN(recurrent_tile_##vectors)(                       \
        idx rows, idx depth, const REAL *a, idx a_row, const REAL *panel, const REAL *ahead,  \
        idx ahead_step, int add, REAL *sums)                                                  \
    {                                                                                         \
        switch (rows) { __VA_ARGS__ }                                                         \
    }
#if TILE_VECTORS >= 24
TILE_FUNCTION(2, TILE_CASE(1, 2) TILE_CASE(2, 2) TILE_CASE(3, 2) TILE_CASE(4, 2)
                 TILE_CASE(5, 2) TILE_CASE(6, 2) TILE_CASE(7, 2) TILE_CASE(8, 2))
TILE_FUNCTION(3, TILE_CASE(1, 3) TILE_CASE(2, 3) TILE_CASE(3, 3) TILE_CASE(4, 3)
                 TILE_CASE(5, 3) TILE_CASE(6, 3) TILE_CASE(7, 3) TILE_CASE(8, 3))
TILE_FUNCTION(4, TILE_CASE(1, 4) TILE_CASE(2, 4) TILE_CASE(3, 4) TILE_CASE(4, 4)
                 TILE_CASE(5, 4) TILE_CASE(6, 4))
#else
TILE_FUNCTION(2, TILE_CASE(1, 2) TILE_CASE(2, 2) TILE_CASE(3, 2) TILE_CASE(4, 2)
                 TILE_CASE(5, 2) TILE_CASE(6, 2))
TILE_FUNCTION(3, TILE_CASE(1, 3) TILE_CASE(2, 3) TILE_CASE(3, 3) TILE_CASE(4, 3))
TILE_FUNCTION(4, TILE_CASE(1, 4) TILE_CASE(2, 4) TILE_CASE(3, 4))
#endif
#undef TILE_CASE
#undef TILE_FUNCTION
#undef FOUR_STEPS

/* ---- steps ---- */
/* Whether one of the samples needs what a has for it. */
static int FN(any_lives)(const pydl_recurrent_shape *s, const operand *a, idx row, idx rows)
{
    if (!a->data)
        return 0;
    for (idx b = row; b < row + rows; b++)
        if (FN(lives)(s, a->t, b))
            return 1;
    return 0;
}

typedef void (*FN(tile_function))(idx rows, idx depth, const REAL *a, idx a_row, const REAL *panel,
                                  const REAL *ahead, idx ahead_step, int add,
                                  REAL *sums);

/* The batch is cut into as few tiles as hold it, evened out; how many there are, and the first row
 * of one. */
INLINE idx FN(tile_count)(const recurrence *r, const product *w)
{
    const idx most = FN(min)(TILE_VECTORS / (w->gates * w->unit_vectors), FN(TILE_ROWS));
    return (r->shape->b + most - 1) / most;
}
INLINE idx FN(tile_row)(const recurrence *r, idx tiles, idx number)
{
    return r->shape->b * number / tiles;
}

/* `depth` rows of a panel times the rows of a of so many tiles, tile i from row start[i] on. The
 * panel passes in blocks of its depth that stay in L1 for all the tiles; meanwhile each of these
 * fetches its part of the next block, or of next after the last, as evenly as it can: lines in
 * plenty at a time would keep the tile from what it reads itself. Where one tile is all, the CPU
 * foresees what it reads, and only what is near is fetched. */
static void FN(multiply_panel)(const recurrence *r, const product *w, const operand *a, idx depth,
                               const REAL *panel, const REAL *next, idx tiles, const idx *start,
                               int add, REAL *sums)
{
    const int vectors = w->gates * w->unit_vectors;
    const FN(tile_function) multiply = vectors == 2   ? FN(recurrent_tile_2)
                                       : vectors == 3 ? FN(recurrent_tile_3)
                                                      : FN(recurrent_tile_4);
    const idx width = vectors * VLEN, line = 64 / (idx)sizeof(REAL);
    const idx ahead_step = FN(min)(line, (width + tiles - 1) / tiles);
    const idx limit = FN(PANEL_BLOCK) / (width * (idx)sizeof(REAL));
    /* the same whoever does how many of the tiles, so that the sums are the same bits */
    const int once = FN(tile_count)(r, w) == 1;
    const idx block = once ? depth : FN(even_piece)(depth, limit, 4);
    for (idx k = 0; k < depth; k += block) {
        const idx count = FN(min)(block, depth - k);
        const REAL *weights = panel + k * width, *after = next;
        if (once && FN(STREAM_AHEAD))
            after = weights + FN(STREAM_AHEAD);
        else if (k + count < depth)
            after = weights + count * width;
        REAL *to = sums;
        for (idx i = 0; i < tiles; i++) {
            const idx row = start[i], rows = start[i + 1] - row;
            if (FN(any_lives)(r->shape, a, row, rows))
                multiply(rows, count, a->data + row * a->row + k, a->row, weights,
                         after + i * count * ahead_step, ahead_step, add || k, to);
            else
                memset(to, 0, (size_t)(rows * width) * sizeof(REAL));
            to += rows * width;
        }
    }
}

/* The sums of a panel's units for some rows of a, from weights that are not packed. */
static void FN(multiply_plain)(const product *w, const operand *a, idx row, idx rows, idx unit,
                               REAL *sums)
{
    const idx width = w->gates * FN(panel_span)(w);
    for (idx i = 0; i < rows; i += FN(THIN))
        for (int g = 0; g < w->gates; g++) {
            const idx units = FN(min)(FN(panel_span)(w), w->units - unit);
            thin_job dots = {.thin = FN(min)(FN(THIN), rows - i), .large = units, .piece = units,
                             .k = w->depth, .a = a->data + (row + i) * a->row, .a_row = a->row,
                             .b = w->plain + (g * w->units + unit) * w->depth, .b_row = w->depth,
                             .c = sums + i * width + g * FN(panel_span)(w), .c_thin = width,
                             .c_large = 1};
            FN(thin_dots_task)(&dots, 0);
        }
}

/* Hands the sums of some panels and rows to the cell: down the rows, or where memory is far along
 * each row. */
static void FN(finish_panels)(const recurrence *r, const product *w, idx step, int backwards,
                              idx row, idx rows, idx panel, idx panels, REAL *sums)
{
    const idx span = FN(panel_span)(w), width = w->gates * span;
    if (r->strip == 1) {
        tile of = {step, row, 0, rows, 1, 0, 0, sums, width, span, backwards ? -span : span};
        for (idx v = 0; v < w->unit_vectors; v++, of.sums += VLEN) {
            of.unit = panel * span + v * VLEN;
            of.count = FN(min)(VLEN, w->units - of.unit);
            if (of.count > 0)
                w->finish(r->cell, &of);
        }
        return;
    }
    /* the vectors that lie evenly: those of one panel, or one of each */
    const int each = w->unit_vectors == 1;
    const idx vectors = each ? panels : w->unit_vectors, groups = each ? 1 : panels;
    for (idx b = 0; b < rows; b++)
        for (idx j = 0; j < groups; j++) {
            const idx unit = (panel + j) * span, left = w->units - unit;
            const idx whole = FN(min)(vectors, left / VLEN), stride = each ? rows * width : VLEN;
            tile of = {step, row + b, unit, whole, 0, VLEN, VLEN, sums + (j * rows + b) * width,
                       stride, span, 0};
            if (whole > 0)
                w->finish(r->cell, &of);
            if (whole == vectors || left <= whole * VLEN)
                continue;
            of.unit += whole * VLEN;
            of.sums += whole * stride;
            of.vectors = 1;
            of.count = left - whole * VLEN;
            w->finish(r->cell, &of);
        }
}

/* A share of one product of one step, its panels from the last to the first if backwards. */
static void FN(multiply_step)(const recurrence *r, const product *w, idx step, int backwards,
                              idx share, REAL *sums)
{
    const operand a = w->state(r->cell, step);
    const idx inputs = w->inputs, t = FN(time_of)(r->shape, step);
    const operand x = {inputs ? w->x + t * r->shape->b * inputs : NULL, inputs, t};
    const idx span = FN(panel_span)(w), width = w->gates * span;
    const idx panels = FN(panel_count)(w), tiles = FN(tile_count)(r, w);
    idx first = 0, end = panels, first_tile = 0, end_tile = tiles;
    if (r->by_samples) {
        first_tile = tiles * share / r->shares;
        end_tile = tiles * (share + 1) / r->shares;
    } else {
        first = panels * share / r->shares;
        end = panels * (share + 1) / r->shares;
    }
    const idx group = FN(even_piece)(end_tile - first_tile, FN(GROUP_TILES), 1);
    for (idx i = first; i < end; i += r->strip) {
        const idx count = FN(min)(r->strip, end - i), low = backwards ? first + end - i - count : i;
        for (idx from = first_tile, to; from < end_tile; from = to) {
            to = FN(min)(from + group, end_tile);
            idx start[FN(GROUP_TILES) + 1];
            for (idx n = from; n <= to; n++)
                start[n - from] = FN(tile_row)(r, tiles, n);
            const idx row = start[0], rows = start[to - from] - row;
            for (idx j = 0; j < count; j++) {
                const idx panel = backwards ? low + count - 1 - j : low + j;
                const idx other = backwards ? FN(max)(panel - 1, 0) : panel + 1;
                const REAL *weights = NULL, *of_h = NULL, *next = NULL;
                if (w->panels) {
                    weights = w->panels + panel * width * w->depth;
                    of_h = weights + inputs * width;
                    next = w->panels + other * width * w->depth;
                }
                REAL *of_panel = sums + (panel - low) * rows * width;
                if (w->plain && a.data)
                    FN(multiply_plain)(w, &a, row, rows, panel * span, of_panel);
                else if (inputs)
                    FN(multiply_panel)(r, w, &x, inputs, weights, of_h, to - from, start, 0,
                                       of_panel);
                if (a.data && !w->plain)
                    FN(multiply_panel)(r, w, &a, w->depth - inputs, of_h, next, to - from, start,
                                       inputs > 0, of_panel);
                else if (!a.data)
                    memset(of_panel, 0, (size_t)(rows * width) * sizeof(REAL));
            }
            FN(finish_panels)(r, w, step, backwards, row, rows, low, count, sums);
        }
    }
}

/* Where the cells' arrays come from memory, a row of several panels' units at a time is finished:
 * a single line of every row is four times as dear as lines that lie together. */
INLINE int FN(lies_far)(const pydl_recurrent_shape *s, idx arrays)
{
    return FN(is_far)(arrays * s->t * s->b * s->h);
}

/* A share of one product, or of all products of all steps if its samples need no other's. */
static void FN(run_share)(void *context, idx stage, idx share, int member)
{
    const recurrence *r = context;
    const idx end = r->by_samples ? (r->end - r->first) * r->products : stage + 1;
    for (; stage < end; stage++) {
        const idx step = stage / r->products;
        FN(multiply_step)(r, &r->product[stage % r->products], r->first + step, step % 2, share,
                          r->sums + member * r->member_sums);
    }
    if (r->far)
        FN(finish_far_stores)();
}

/* Whether so many threads share the samples: every one's cache holds all weights, the products cut
 * the batch alike, and no thread waits for more than a fifth of the time. */
static int FN(share_samples)(const recurrence *r, idx threads)
{
    const idx tiles = FN(tile_count)(r, r->product), most = (tiles + threads - 1) / threads;
    idx bytes = 0;
    for (int i = 0; i < r->products; i++) {
        const product *w = &r->product[i];
        if (w->plain || FN(tile_count)(r, w) != tiles || 4 * most * threads > 5 * tiles)
            return 0;
        bytes += FN(panel_count)(w) * w->gates * FN(panel_span)(w) * w->depth * (idx)sizeof(REAL);
    }
    return bytes <= FN(SHARED_WEIGHTS);
}

static int FN(run_steps)(recurrence *r, idx first, idx end)
{
    const product *w = r->product;
    const idx threads = FN(min)(pydl_get_num_threads(), 256), panels = FN(panel_count)(w);
    const idx by_samples = FN(min)(threads, FN(tile_count)(r, w));
    const double work = 2.0 * (double)r->shape->b * (double)w->units *
        (double)(w->gates * w->depth);
    r->first = first;
    r->end = end;
    /* of one sample, because a vector's gates alone keep the CPU waiting */
    r->strip = r->far || r->shape->b == 1 ? FN(STRIP) : 1;
    r->member_sums = r->strip * FN(GROUP_TILES) * TILE_VECTORS * VLEN;
    r->by_samples = by_samples > 1 && FN(share_samples)(r, by_samples);
    if (r->by_samples) {
        r->shares = by_samples;
    } else if (work < FN(STEP_WORK) || threads < 2) {
        r->shares = 1;
    } else {
        /* each thread's as many as its panels make strips worth a task */
        const idx most = FN(min)(threads, panels);
        const idx strips = (panels / most + r->strip - 1) / r->strip,
            worth = (idx)(work / (double)(FN(SHARE_WORK) * most));
        r->shares = most * FN(max)(FN(min)(strips, worth), 1);
    }
    r->sums = pydl_block_alloc((size_t)(threads * r->member_sums) * sizeof(REAL));
    if (!r->sums)
        return PYDL_NO_MEMORY;
    pydl_parallel_steps(r->by_samples ? 1 : end - first, r->by_samples ? 1 : r->products, r->shares,
                        work * (double)(end - first), FN(run_share), r);
    pydl_block_free(r->sums);
    return PYDL_OK;
}

static void FN(free_products)(recurrence *r)
{
    for (int i = 0; i < r->products; i++)
        pydl_block_free(r->product[i].panels);
}
