/* Winograd convolution, stride 1, kernels 3x3 by F(4x4,3x3) and 5x5 by F(4x4,5x5); core/winograd.h
 * has the transforms, conv2d_winograd_weight.c the third direction. Of P = edge*edge
 * products, 36 or 64:
 *
 *   forward          y = A^T [sum over c of U . V] A + b, finished (gemm.h),
 *                    U = G w G^T (P,oc,c), V = B^T x B (P,c,tiles)
 *   backward_input   the same of dy, the filters rotated, their axes exchanged, padding k - 1 - pad
 *
 * Scratch: U or a part of it, and for each thread two times TILE_BYTES or, where channels are many,
 * V and M of NR tiles; where tasks share V, up to SHARED_BYTES more. */
enum {
    FN(TILE_BYTES) = 512 << 10,  /* V of a block, and as much again for its products: half of L2 */
    FN(SHARED_BYTES) = 32 << 20, /* V of all tiles where they make but a few blocks */
    FN(SMALL_U_BYTES) = 5 << 19, /* U that every block may as well read for itself */
    FN(FILTER_CHANNELS) = 32,    /* channels of the filters transformed at a time */
    FN(CHANNEL_PIECE) = 8,       /* channels of a task that transforms tiles for all */
    /* U of more bytes is not stored where there are so few tiles: each task makes its own, so many
     * channels at a time, in so much memory with its products */
    FN(OWN_U_BYTES) = 2 << 20,
    FN(OWN_TILES) = 64,
    FN(OWN_DEPTH) = 64,
    FN(OWN_BYTES) = 768 << 10,
};

typedef struct {
    patches from; /* the tiles of the source */
    int edge; /* of a tile */
    idx images, channels, rows, taps;
    /* Element (row, channel, tap) at weight[row*row_step + channel*channel_step + tap], the taps in
     * reverse order if rotated. */
    const REAL *weight;
    idx row_step, channel_step;
    int rotated;
    const REAL *bias;
    ending last;
    REAL *dst; /* (images, rows, h, w) */
    idx h, w;
    const REAL *u; /* P matrices (rows, channels) in panels, u_plane apart; NULL: not made yet */
    REAL *made_u;
    REAL *v; /* the transformed tiles, where tasks share them */
    idx u_plane, tiles, block, blocks, task_rows;
    int own; /* each task makes U for its rows alone */
    int failed;
} FN(winograd_job);
#define winograd_job FN(winograd_job)

/* The edge of the tiles of a convolution. */
INLINE int FN(edge_of)(const pydl_conv2d_shape *s) { return (int)s->kh + FN(TILE_STEP) - 1; }

/* Planes that are written or read together must not fall on the same cache sets. */
INLINE idx FN(plane_of)(idx size)
{
    const idx line = 64 / (idx)sizeof(REAL);
    return ((size + line - 1) / line | 1) * line;
}

/* U of one panel's rows and some channels, from the taps in the panel's order: in[(channel*taps +
 * tap)*MR + i]. Vectors are stored whole; what they carry too much is overwritten by the next
 * channel. */
INLINE void FN(winograd_filter_panel)(int edge, int side, int rotated, const REAL *in,
                                      idx channels, REAL *u, idx plane)
{
    const int taps = side * side;
    for (idx at = 0; at < channels * MR;
         at += VLEN < MR && at % MR + VLEN < MR ? VLEN : MR - at % MR) {
        const REAL *src = in + at / MR * taps * MR + at % MR;
        vec half[FN(MOST_EDGE)][5], row[5], out[FN(MOST_EDGE)];
#pragma GCC unroll 5
        for (int b = 0; b < side; b++) {
#pragma GCC unroll 5
            for (int a = 0; a < side; a++) {
                const int tap = a * side + b;
                row[a] = FN(load)(src + (rotated ? taps - 1 - tap : tap) * MR);
            }
            FN(winograd_filter)(edge, side, row, out);
#pragma GCC unroll 8
            for (int i = 0; i < edge; i++)
                half[i][b] = out[i];
        }
        const idx room = channels * MR - at;
#pragma GCC unroll 8
        for (int i = 0; i < edge; i++) {
            FN(winograd_filter)(edge, side, half[i], out);
#pragma GCC unroll 8
            for (int j = 0; j < edge; j++)
                FN(store_part)(u + (i * edge + j) * plane + at, room, out[j]);
        }
    }
}

/* At most FILTER_CHANNELS channels of a panel of the matrices U, which are plane apart. */
static void FN(winograd_panel)(const winograd_job *job, idx first, idx channel, idx channels,
                               REAL *u, idx plane, REAL *taps)
{
    const idx rows = FN(min)(MR, job->rows - first);
    const REAL *weight = job->weight + first * job->row_step + channel * job->channel_step;
    if (job->channel_step == job->taps)
        FN(pack_panel)(rows, channels * job->taps, weight, job->row_step, 1, taps);
    else
        for (idx c = 0; c < channels; c++)
            FN(pack_panel)(rows, job->taps, weight + c * job->channel_step, job->row_step, 1,
                           taps + c * job->taps * MR);
    if (job->edge == 6 && job->rotated)
        FN(winograd_filter_panel)(6, 3, 1, taps, channels, u, plane);
    else if (job->edge == 6)
        FN(winograd_filter_panel)(6, 3, 0, taps, channels, u, plane);
    else
        FN(winograd_filter_panel)(8, 5, job->rotated, taps, channels, u, plane);
}

INLINE idx FN(taps_size)(const winograd_job *job)
{
    return job->taps * FN(FILTER_CHANNELS) * MR + 2 * VLEN;
}

/* One panel of U. */
static void FN(winograd_filters)(void *context, idx panel)
{
    winograd_job *job = context;
    REAL *taps = pydl_block_alloc((size_t)FN(taps_size)(job) * sizeof(REAL));
    if (!taps) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    for (idx channel = 0; channel < job->channels; channel += FN(FILTER_CHANNELS))
        FN(winograd_panel)(job, panel * MR, channel,
                           FN(min)(FN(FILTER_CHANNELS), job->channels - channel),
                           job->made_u + panel * MR * job->channels + channel * MR, job->u_plane,
                           taps);
    pydl_block_free(taps);
}

/* v[k][channel][tile] for the tiles first .. first + count. */
INLINE void FN(winograd_tiles_of)(int edge, const patches *from, idx first, idx count, idx channel,
                                  idx channels, REAL *v, idx stride, idx plane, REAL *scratch)
{
    const idx length = FN(LINE_LENGTH), piece = FN(even_piece)(count, FN(TILE_PIECE), VLEN);
    REAL *lines = scratch + FN(padded_size)(edge);
    for (idx t = 0; t < count; t += piece) {
        const tile_run run = FN(tiles_of)(from, first + t, FN(min)(piece, count - t));
        for (idx c = channel; c < channel + channels; c++) {
            FN(pad_tiles)(from, c, &run, edge, scratch);
            FN(winograd_lines)(edge, &run, scratch, lines);
            for (int i = 0; i < edge; i++)
                FN(winograd_columns)(edge, lines + i * length, edge * length, run.count,
                                     v + i * edge * plane + c * stride + t, plane);
        }
    }
}

static void FN(winograd_tiles)(int edge, const patches *from, idx first, idx count, idx channel,
                               idx channels, REAL *v, idx stride, idx plane, REAL *scratch)
{
    if (edge == 6)
        FN(winograd_tiles_of)(6, from, first, count, channel, channels, v, stride, plane, scratch);
    else
        FN(winograd_tiles_of)(8, from, first, count, channel, channels, v, stride, plane, scratch);
}

INLINE idx FN(own_plane)(idx rows)
{
    return FN(plane_of)(FN(round_up)(rows, MR) * FN(OWN_DEPTH));
}

/* m[row][k][tile] of some rows, whose U is made in scratch, OWN_DEPTH channels at a time. */
static void FN(winograd_own_products)(const winograd_job *job, idx count, idx row, idx rows,
                                      const REAL *v, idx stride, idx plane, REAL *m, idx m_stride,
                                      idx m_row, REAL *scratch)
{
    const idx u_plane = FN(own_plane)(rows);
    const idx products = FN(tile_products)(job->edge);
    REAL *u = scratch, *taps = scratch + products * u_plane;
    sink to = {.row = m_row};
    for (idx channel = 0; channel < job->channels; channel += FN(OWN_DEPTH)) {
        const idx depth = FN(min)(FN(OWN_DEPTH), job->channels - channel);
        for (idx r = 0; r < rows; r += MR)
            for (idx c = 0; c < depth; c += FN(FILTER_CHANNELS))
                FN(winograd_panel)(job, row + r, channel + c,
                                   FN(min)(FN(FILTER_CHANNELS), depth - c), u + r * depth + c * MR,
                                   u_plane, taps);
        for (idx k = 0; k < products; k++) {
            to.c = m + k * m_stride;
            FN(multiply_panels)(rows, count, depth, u + k * u_plane, depth,
                                v + k * plane + channel * stride, stride, NULL, &to);
        }
        to.accumulate = 1;
    }
}

/* The rows row .. row + rows of the result's tiles first .. first + count, from
 * v[k][channel][tile]. */
INLINE void FN(winograd_products)(int edge, const winograd_job *job, idx first, idx count, idx row,
                                  idx rows, const REAL *v, idx stride, idx plane, REAL *scratch)
{
    const idx depth = FN(even_piece)(job->channels, FN(KC), 1), m_stride = FN(block_stride)(count);
    const idx products = FN(tile_products)(edge), m_row = FN(plane_of)(products * m_stride);
    REAL *m = scratch, *lines = scratch + rows * m_row;
    if (job->own)
        FN(winograd_own_products)(job, count, row, rows, v, stride, plane, m, m_stride, m_row,
                                  lines);
    for (idx k = 0; k < products && !job->own; k++) {
        sink to = {.c = m + k * m_stride, .row = m_row};
        for (idx channel = 0; channel < job->channels; channel += depth) {
            FN(multiply_panels)(rows, count, FN(min)(depth, job->channels - channel),
                                job->u + k * job->u_plane + row * job->channels + channel * MR,
                                job->channels, v + k * plane + channel * stride, stride, NULL, &to);
            to.accumulate = 1;
        }
    }
    const idx piece = FN(even_piece)(count, FN(TILE_PIECE), VLEN);
    for (idx t = 0; t < count; t += piece) {
        const tile_run run = FN(tiles_of)(&job->from, first + t, FN(min)(piece, count - t));
        for (idx r = 0; r < rows; r++) {
            FN(winograd_outputs)(edge, m + r * m_row + t, m_stride, run.count,
                                 job->bias ? job->bias[row + r] : 0, lines);
            FN(winograd_scatter)(&run, lines, job->dst, job->last, (row + r) * job->h * job->w,
                                 job->rows * job->h * job->w, job->h, job->w);
        }
    }
}

INLINE idx FN(winograd_scratch)(int edge)
{
    return FN(padded_size)(edge) + FN(TILE_SHIFTS) * edge * FN(LINE_LENGTH);
}

/* A block of tiles: transformed, multiplied and transformed back, task_rows at a time. */
INLINE void FN(winograd_block_of)(int edge, winograd_job *job, idx task)
{
    const idx first = task * job->block, count = FN(min)(job->block, job->tiles - first);
    const idx stride = FN(block_stride)(job->block), plane = FN(plane_of)(job->channels * stride);
    const idx products = job->task_rows * FN(plane_of)(FN(tile_products)(edge) * stride);
    REAL *v = pydl_block_alloc(
        (size_t)(FN(tile_products)(edge) * plane + products + FN(winograd_scratch)(edge)) *
        sizeof(REAL));
    if (!v) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    REAL *scratch = v + FN(tile_products)(edge) * plane;
    FN(winograd_tiles)(edge, &job->from, first, count, 0, job->channels, v, stride, plane, scratch);
    for (idx row = 0; row < job->rows; row += job->task_rows)
        FN(winograd_products)(edge, job, first, count, row,
                              FN(min)(job->task_rows, job->rows - row), v, stride, plane, scratch);
    pydl_block_free(v);
}

static void FN(winograd_block)(void *context, idx task)
{
    winograd_job *job = context;
    if (job->edge == 6)
        FN(winograd_block_of)(6, job, task);
    else
        FN(winograd_block_of)(8, job, task);
}

/* Where tiles are few, tasks share the channels of the transform ... */
static void FN(winograd_shared_tiles)(void *context, idx task)
{
    winograd_job *job = context;
    const idx first = task * FN(CHANNEL_PIECE);
    const idx channels = FN(min)(FN(CHANNEL_PIECE), job->channels - first);
    const idx stride = FN(block_stride)(job->tiles), plane = FN(plane_of)(job->channels * stride);
    REAL *scratch = pydl_block_alloc((size_t)FN(winograd_scratch)(job->edge) * sizeof(REAL));
    if (!scratch) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    FN(winograd_tiles)(job->edge, &job->from, 0, job->tiles, first, channels, job->v, stride, plane,
                       scratch);
    pydl_block_free(scratch);
}

/* ... and then the rows of the result's blocks. */
static void FN(winograd_shared_block)(void *context, idx task)
{
    winograd_job *job = context;
    const idx first = task % job->blocks * job->block;
    const idx count = FN(min)(job->block, job->tiles - first);
    const idx row = task / job->blocks * job->task_rows;
    const idx rows = FN(min)(job->task_rows, job->rows - row);
    const idx stride = FN(block_stride)(job->tiles), plane = FN(plane_of)(job->channels * stride);
    const idx products =
        rows * FN(plane_of)(FN(tile_products)(job->edge) * FN(block_stride)(count));
    const idx own =
        job->own ? FN(tile_products)(job->edge) * FN(own_plane)(rows) + FN(taps_size)(job) : 0;
    REAL *scratch = pydl_block_alloc(
        (size_t)(products + FN(max)(own, FN(winograd_scratch)(job->edge))) * sizeof(REAL));
    if (!scratch) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    if (job->edge == 6)
        FN(winograd_products)(6, job, first, count, row, rows, job->v + first, stride, plane,
                              scratch);
    else
        FN(winograd_products)(8, job, first, count, row, rows, job->v + first, stride, plane,
                              scratch);
    pydl_block_free(scratch);
}

/* At least eight blocks where their matrix products stay wide; 1 where there would be so few that
 * tasks had better share the transformed tiles and each compute some rows: V then goes from core to
 * core, but every core reads only a part of U. */
static int FN(winograd_plan)(winograd_job *job)
{
    const idx tile = FN(tile_products)(job->edge) * (idx)sizeof(REAL), most = 8;
    const idx fit = FN(TILE_BYTES) / (tile * job->channels) / NR * NR;
    const idx evened = job->tiles / most / NR * NR;
    job->block = FN(even_piece)(job->tiles, FN(max)(FN(min)(fit, evened), NR), NR);
    job->blocks = (job->tiles + job->block - 1) / job->block;
    const idx least = job->rows * job->channels * tile <= FN(SMALL_U_BYTES) ? 2 : 4;
    const int shared =
        job->blocks < least && job->tiles * job->channels * tile <= FN(SHARED_BYTES);
    idx bytes = FN(TILE_BYTES), rows = job->rows;
    if (shared) {
        job->block = FN(even_piece)(job->tiles, FN(max)(192 / NR, 1) * NR, NR);
        job->blocks = (job->tiles + job->block - 1) / job->block;
        bytes = 2 * FN(TILE_BYTES);
        rows = (job->rows * job->blocks + most - 1) / most;
    }
    job->own = shared && !job->u && job->tiles <= FN(OWN_TILES) &&
               job->rows * job->channels * tile > FN(OWN_U_BYTES);
    const idx room = job->own ? FN(OWN_BYTES) / (tile * (job->block + FN(OWN_DEPTH)))
                              : bytes / (tile * job->block);
    const idx limit = FN(min)(room, rows);
    job->task_rows = FN(even_piece)(job->rows, FN(max)(limit / MR, 1) * MR, MR);
    return shared;
}

INLINE idx FN(winograd_u_plane)(idx rows, idx channels)
{
    return FN(plane_of)(FN(round_up)(rows, MR) * channels);
}

/* Makes U at u. */
static void FN(winograd_make_u)(winograd_job *job, REAL *u)
{
    job->u_plane = FN(winograd_u_plane)(job->rows, job->channels);
    job->made_u = u;
    pydl_parallel_for((job->rows + MR - 1) / MR, 150.0 * (double)job->rows * (double)job->channels,
                      FN(winograd_filters), job);
}

static int FN(winograd_run)(winograd_job *job)
{
    const double pairs = (double)job->rows * (double)job->channels;
    job->tiles = job->images * job->from.grid_h * job->from.grid_w;
    job->u_plane = FN(winograd_u_plane)(job->rows, job->channels);
    const int shared = FN(winograd_plan)(job);
    const idx plane = FN(plane_of)(job->channels * FN(block_stride)(job->tiles));
    REAL *made = NULL;
    if (!job->u && !job->own)
        job->u = made =
            pydl_block_alloc((size_t)(FN(tile_products)(job->edge) * job->u_plane) * sizeof(REAL));
    const size_t v_size = (size_t)(FN(tile_products)(job->edge) * plane);
    job->v = shared ? pydl_block_alloc(v_size * sizeof(REAL)) : NULL;
    job->failed = !(job->u || job->own) || (shared && !job->v);
    const double work = 2.0 * (double)FN(tile_products)(job->edge) * (double)job->tiles * pairs;
    if (made && !job->failed)
        FN(winograd_make_u)(job, made);
    if (!job->failed && shared) {
        const idx pieces = (job->channels + FN(CHANNEL_PIECE) - 1) / FN(CHANNEL_PIECE);
        const idx parts = (job->rows + job->task_rows - 1) / job->task_rows;
        pydl_parallel_for(pieces, 300.0 * (double)job->tiles * (double)job->channels,
                          FN(winograd_shared_tiles), job);
        pydl_parallel_for(job->blocks * parts, work, FN(winograd_shared_block), job);
    } else if (!job->failed) {
        pydl_parallel_for(job->blocks, work, FN(winograd_block), job);
    }
    pydl_block_free(job->v);
    pydl_block_free(made);
    return job->failed ? PYDL_NO_MEMORY : PYDL_OK;
}

/* U, for calls of winograd_forward with transformed weights. */
static int FN(winograd_pack)(const pydl_conv2d_shape *s, const REAL *w, REAL *u)
{
    const idx taps = s->kh * s->kw;
    winograd_job job = {.edge = FN(edge_of)(s), .channels = s->c, .rows = s->oc, .taps = taps,
                        .weight = w, .row_step = s->c * taps, .channel_step = taps};
    FN(winograd_make_u)(&job, u);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}

static int FN(winograd_forward)(const pydl_conv2d_shape *s, const REAL *x, const REAL *w,
                                int transformed, const REAL *b, ending last, REAL *y)
{
    const idx step = FN(TILE_STEP);
    const idx pad_h = -s->pad_h, pad_w = -s->pad_w, taps = s->kh * s->kw;
    winograd_job job = {
        .from = {x, s->c * s->h * s->w, s->h, s->w, step, step, ceil_div(s->oh, step),
                 ceil_div(s->ow, step), 1, &pad_h, &pad_w},
        .edge = FN(edge_of)(s),
        .images = s->n,
        .channels = s->c,
        .rows = s->oc,
        .taps = taps,
        .weight = w,
        .row_step = s->c * taps,
        .channel_step = taps,
        .u = transformed ? w : NULL,
        .bias = b,
        .last = last,
        .dst = y,
        .h = s->oh,
        .w = s->ow,
    };
    return FN(winograd_run)(&job);
}

static int FN(winograd_backward_input)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *w,
                                       REAL *dx)
{
    const idx step = FN(TILE_STEP);
    const idx pad_h = s->pad_h + 1 - s->kh, pad_w = s->pad_w + 1 - s->kw, taps = s->kh * s->kw;
    winograd_job job = {
        .from = {dy, s->oc * s->oh * s->ow, s->oh, s->ow, step, step, ceil_div(s->h, step),
                 ceil_div(s->w, step), 1, &pad_h, &pad_w},
        .edge = FN(edge_of)(s),
        .images = s->n,
        .channels = s->oc,
        .rows = s->c,
        .taps = taps,
        .weight = w,
        .row_step = taps,
        .channel_step = s->c * taps,
        .rotated = 1,
        .dst = dx,
        .h = s->h,
        .w = s->w,
    };
    return FN(winograd_run)(&job);
}

/* ---- the choice ---- */
typedef enum { FN(TO_Y), FN(TO_DX), FN(TO_DW) } FN(winograd_direction);

static int FN(winograd_fits)(const pydl_conv2d_shape *s)
{
    return s->groups == 1 && s->kh == s->kw && (s->kh == 3 || s->kh == 5) && s->stride_h == 1 &&
           s->stride_w == 1 && s->dilation_h == 1 && s->dilation_w == 1;
}

/* Whether to compute it so. Estimated cycles of a core, fitted to measurements: products at 80 % of
 * the peak, the direct dw's at 70 %; a vector of tiles' way there and back for each channel; and
 * a filter's numbers, which memory limits where they are many: to make them, or only to read them
 * if they are transformed already. All but the direct products are counted for tiles of edge 6. */
static int FN(winograd_pays)(const pydl_conv2d_shape *s, FN(winograd_direction) direction,
                             int transformed)
{
    if (!FN(winograd_fits)(s) || s->algorithm == PYDL_DIRECT)
        return 0;
    if (s->algorithm == PYDL_WINOGRAD)
        return 1;
    if (!REAL_IS_FLOAT || !pydl_get_winograd())
        return 0;
    static const struct {
        double peak, there, back, filter; /* of a filter outside L2; 12 inside */
    } all_costs[] = {
        [FN(TO_Y)] = {0.8, 350, 200, 25},
        [FN(TO_DX)] = {0.8, 350, 200, 27},
        [FN(TO_DW)] = {0.7, 400, 350, 12}, /* results follow in L2 */
    };
    const double peak = all_costs[direction].peak, there = all_costs[direction].there;
    const double back = all_costs[direction].back;
    const int dx = direction == FN(TO_DX);
    const idx channels = dx ? s->oc : s->c, rows = dx ? s->c : s->oc, step = FN(TILE_STEP);
    const double size = (double)FN(tile_products)(FN(edge_of)(s)) / 36;
    const idx h = dx ? s->h : s->oh, w = dx ? s->w : s->ow;
    const idx tiles = s->n * ceil_div(h, step) * ceil_div(w, step);
    const double vectors = (double)((tiles + VLEN - 1) / VLEN);
    const double pairs = (double)channels * (double)rows;
    const int few = pairs * 36 * size * sizeof(REAL) < FN(TILE_BYTES);
    const double filter =
        transformed ? few ? 0 : 30 : few ? 12 : all_costs[direction].filter;
    const double direct = (double)(s->n * h * w) / (double)VLEN * pairs * (double)(s->kh * s->kw);
    const double cost = 0.5 / 0.8 * 36 * vectors * pairs + filter * pairs +
                        vectors * (there * (double)channels + back * (double)rows);
    return size * cost < 0.9 * 0.5 / peak * direct;
}
