/* Winograd's weight gradient: a tile of dy (4,4) takes the place of the filter, the filter (r,r)
 * that of the result.
 *
 *   dw = A^T [sum over tiles of (G dy G^T) . V] A,  V = B^T x B
 *
 * P products (c,tiles) (tiles,oc), P = edge*edge. Tasks share a block of transformed tiles, and
 * each has some channels and rows of all of them, whose dw follows at once. Where such groups are
 * few, tasks have some of the tiles for themselves, with sums of their own.
 * Scratch: P times a block of tiles of x and dy, in few groups for each thread, and unless one
 * block is all, the sums (P,c,oc), in few groups at most CHUNKS times. */
enum {
    FN(RESULT_CHANNELS) = 8,         /* channels of the last transform at a time */
    FN(SHARED_TILE_BYTES) = 2 << 20, /* transformed tiles of x and dy in a block, */
    FN(LEAST_TILES) = 128,           /* but so many: each block reads and writes all sums */
    FN(GROUP_ROWS) = 32,             /* of a task: P times 72x32 sums stay in L2 */
    FN(GROUP_CHANNELS) = 72 / MR * MR,
    FN(DY_PIECE) = 32,               /* tiles of dy transformed at a time */
    FN(CHUNKS) = 8,
};

typedef struct {
    patches from, dy_from; /* the tiles of x, and the same of dy, which do not overlap */
    int edge;
    idx channels, rows;
    idx tiles, chunk, chunks;            /* tiles of a task, where not all share them */
    idx begin, end, first, count, block; /* of those summed here, and of the block */
    /* the block's tiles, x (P,channel,tile) and dy (P,panel of NR rows,tile,row), so that a panel
     * is read as one piece of memory */
    REAL *x, *y;
    idx x_stride, x_plane, y_panel, y_plane;
    REAL *dw, *sums; /* sums[group][k][channel][row], so long a row and a plane (channel, row) */
    idx sum_row, sum_plane, group_channels, group_rows, row_groups, groups;
    int failed;
} FN(winograd_weight_job);
#define winograd_weight_job FN(winograd_weight_job)

/* dw of some channels (at most RESULT_CHANNELS) and rows from sums[k][channel][row]: the transform
 * along the rows, then the rows' turn. */
INLINE void FN(winograd_weight_result)(int edge, int side, const winograd_weight_job *job,
                                       idx channel, idx channels, idx first, idx rows,
                                       const REAL *sums, REAL *found)
{
    const idx taps = side * side, filter = job->channels * taps, group = channels * taps * VLEN;
    for (idx c = 0; c < channels; c++)
        for (idx row = 0; row < rows; row += VLEN) {
            const REAL *src = sums + c * job->sum_row + row;
            REAL *dst = found + row / VLEN * group + c * taps * VLEN;
            vec half[FN(MOST_EDGE)][5], in[FN(MOST_EDGE)], out[5];
            for (int i = 0; i < edge; i++) {
#pragma GCC unroll 8
                for (int j = 0; j < edge; j++)
                    in[j] = FN(load)(src + (i * edge + j) * job->sum_plane);
                FN(winograd_result)(edge, side, in, half[i]);
            }
            for (int b = 0; b < side; b++) {
#pragma GCC unroll 8
                for (int i = 0; i < edge; i++)
                    in[i] = half[i][b];
                FN(winograd_result)(edge, side, in, out);
#pragma GCC unroll 5
                for (int a = 0; a < side; a++)
                    FN(store)(dst + (a * side + b) * VLEN, out[a]);
            }
        }
    for (idx row = 0; row < rows; row += VLEN)
        FN(transpose)(channels * taps, FN(min)(VLEN, rows - row), found + row / VLEN * group, VLEN,
                      job->dw + (first + row) * filter + channel * taps, filter);
}

static void FN(winograd_weight_results)(const winograd_weight_job *job, idx channel, idx channels,
                                        idx first, idx rows, const REAL *sums, REAL *found)
{
    if (job->edge == 6)
        FN(winograd_weight_result)(6, 3, job, channel, channels, first, rows, sums, found);
    else
        FN(winograd_weight_result)(8, 5, job, channel, channels, first, rows, sums, found);
}

/* out[k*plane + tile*NR + row] = G dy G^T, vectors along VLEN rows whose padded pixels are pad
 * apart. */
INLINE void FN(winograd_dy_block)(int edge, const tile_run *run, const REAL *padded, idx pad,
                                  REAL *out, idx plane, REAL *pixels)
{
    const int step = FN(TILE_STEP);
    FN(transpose)(VLEN, run->count * step * step, padded, pad, pixels, VLEN);
    for (int s = 0; s < run->segments; s++) {
        const segment piece = run->list[s];
        const idx width = piece.count * step * VLEN;
        for (idx row = 0; row < piece.rows; row++, pixels += step * width)
            for (idx t = 0; t < piece.count; t++, out += NR) {
                vec half[FN(MOST_EDGE)][FN(TILE_STEP)], in[FN(TILE_STEP)], along[FN(MOST_EDGE)];
#pragma GCC unroll 4
                for (int b = 0; b < step; b++) {
#pragma GCC unroll 4
                    for (int a = 0; a < step; a++)
                        in[a] = FN(load)(pixels + a * width + (t * step + b) * VLEN);
                    FN(winograd_filter)(edge, step, in, along);
#pragma GCC unroll 8
                    for (int i = 0; i < edge; i++)
                        half[i][b] = along[i];
                }
                for (int i = 0; i < edge; i++) {
                    FN(winograd_filter)(edge, step, half[i], along);
#pragma GCC unroll 8
                    for (int j = 0; j < edge; j++)
                        FN(store)(out + (i * edge + j) * plane, along[j]);
                }
            }
    }
}

/* The block's tiles of dy, of VLEN rows from row on. */
INLINE void FN(winograd_dy_tiles)(int edge, const winograd_weight_job *job, idx row, REAL *scratch)
{
    const idx piece = FN(even_piece)(job->count, FN(DY_PIECE), 1);
    const idx pad = FN(padded_size)(FN(TILE_STEP));
    const idx rows = FN(min)(VLEN, job->rows - row);
    for (idx t = 0; t < job->count; t += piece) {
        const tile_run run =
            FN(tiles_of)(&job->dy_from, job->first + t, FN(min)(piece, job->count - t));
        for (idx r = 0; r < rows; r++)
            FN(pad_tiles)(&job->dy_from, row + r, &run, FN(TILE_STEP), scratch + r * pad);
        FN(winograd_dy_block)(edge, &run, scratch, pad,
                              job->y + row / NR * job->y_panel + t * NR + row % NR, job->y_plane,
                              scratch + VLEN * pad);
    }
}

/* Some channels of x, or some rows of dy. */
static void FN(winograd_weight_tiles)(void *context, idx task)
{
    winograd_weight_job *job = context;
    const idx size = VLEN * (FN(padded_size)(FN(TILE_STEP)) +
                             FN(DY_PIECE) * FN(TILE_STEP) * FN(TILE_STEP) + 1);
    REAL *scratch = pydl_block_alloc((size_t)FN(max)(size, FN(winograd_scratch)(job->edge)) *
                                     sizeof(REAL));
    if (!scratch) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    const idx pieces = (job->channels + FN(CHANNEL_PIECE) - 1) / FN(CHANNEL_PIECE);
    const idx first = task * FN(CHANNEL_PIECE), row = (task - pieces) * VLEN;
    if (task < pieces)
        FN(winograd_tiles)(job->edge, &job->from, job->first, job->count, first,
                           FN(min)(FN(CHANNEL_PIECE), job->channels - first), job->x, job->x_stride,
                           job->x_plane, scratch);
    else if (job->edge == 6)
        FN(winograd_dy_tiles)(6, job, row, scratch);
    else
        FN(winograd_dy_tiles)(8, job, row, scratch);
    pydl_block_free(scratch);
}

/* The channels and rows of a group. */
typedef struct {
    idx channel, channels, row, rows;
} FN(weight_group);

INLINE FN(weight_group) FN(weight_group_of)(const winograd_weight_job *job, idx group)
{
    const idx channel = group / job->row_groups * job->group_channels;
    const idx row = group % job->row_groups * job->group_rows;
    return (FN(weight_group)){channel, FN(min)(job->group_channels, job->channels - channel), row,
                              FN(min)(job->group_rows, job->rows - row)};
}

/* dw of a group from its sums. */
static void FN(winograd_weight_finish)(const winograd_weight_job *job, FN(weight_group) of,
                                       const REAL *sums, REAL *found)
{
    for (idx c = 0; c < of.channels; c += FN(RESULT_CHANNELS))
        FN(winograd_weight_results)(job, of.channel + c,
                                    FN(min)(FN(RESULT_CHANNELS), of.channels - c), of.row, of.rows,
                                    sums + c * job->sum_row, found);
}

INLINE idx FN(weight_results_size)(const winograd_weight_job *job)
{
    return FN(RESULT_CHANNELS) * job->sum_row * (job->edge == 6 ? 9 : 25);
}

/* The block's part of a group's sums; and if it is the last, dw, while they are in L2. */
static void FN(winograd_weight_group)(void *context, idx task)
{
    winograd_weight_job *job = context;
    const FN(weight_group) of = FN(weight_group_of)(job, task);
    const idx size = FN(tile_products)(job->edge) * job->sum_plane;
    const int once = job->count == job->tiles;
    const int last = job->chunks == 1 && job->first + job->count == job->end;
    REAL *scratch = NULL;
    if (last) {
        scratch = pydl_block_alloc((size_t)(FN(weight_results_size)(job) + once * size) *
                                   sizeof(REAL));
        if (!scratch) {
            __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
            return;
        }
    }
    REAL *sums = once ? scratch + FN(weight_results_size)(job) : job->sums + task * size;
    sink to = {.row = job->sum_row, .accumulate = job->first > job->begin};
    for (idx k = 0; k < FN(tile_products)(job->edge); k++) {
        const REAL *x = job->x + k * job->x_plane + of.channel * job->x_stride;
        const REAL *y = job->y + k * job->y_plane + of.row / NR * job->y_panel;
        for (idx r = 0; r < of.rows; r += NR, y += job->y_panel) {
            to.c = sums + k * job->sum_plane + r;
            FN(multiply_rows)(of.channels, FN(min)(NR, of.rows - r), job->count, x, job->x_stride,
                              y, NR, &to);
        }
    }
    if (last)
        FN(winograd_weight_finish)(job, of, sums, scratch);
    pydl_block_free(scratch);
}

/* The sums over the tiles begin .. end, a block after the other; within a task this is serial. */
static void FN(winograd_weight_sum)(winograd_weight_job *job)
{
    const idx pieces = (job->channels + FN(CHANNEL_PIECE) - 1) / FN(CHANNEL_PIECE) +
                       (job->rows + VLEN - 1) / VLEN;
    const idx products = FN(tile_products)(job->edge);
    job->x = pydl_block_alloc((size_t)(products * (job->x_plane + job->y_plane)) * sizeof(REAL));
    if (!job->x) {
        job->failed = 1;
        return;
    }
    job->y = job->x + products * job->x_plane;
    const double planes = (double)(job->channels + job->rows);
    const double pairs = (double)job->channels * (double)job->rows;
    for (job->first = job->begin; job->first < job->end && !job->failed; job->first += job->count) {
        job->count = FN(min)(job->block, job->end - job->first);
        pydl_parallel_for(pieces, 300.0 * (double)job->count * planes, FN(winograd_weight_tiles),
                          job);
        if (!job->failed)
            pydl_parallel_for(job->groups, 2.0 * (double)products * (double)job->count * pairs,
                              FN(winograd_weight_group), job);
    }
    pydl_block_free(job->x);
}

static void FN(winograd_weight_chunk)(void *context, idx task)
{
    winograd_weight_job *all = context, job = *all;
    job.begin = task * job.chunk;
    job.end = FN(min)(job.begin + job.chunk, job.tiles);
    job.sums += task * job.groups * FN(tile_products)(job.edge) * job.sum_plane;
    FN(winograd_weight_sum)(&job);
    if (job.failed)
        __atomic_store_n(&all->failed, 1, __ATOMIC_RELAXED);
}

/* dw of a group from the chunks' sums. */
static void FN(winograd_weight_last)(void *context, idx group)
{
    winograd_weight_job *job = context;
    const idx size = FN(tile_products)(job->edge) * job->sum_plane;
    REAL *sums = job->sums + group * size;
    REAL *found = pydl_block_alloc((size_t)FN(weight_results_size)(job) * sizeof(REAL));
    if (!found) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    for (idx i = 0; i < size; i += VLEN) {
        vec sum = FN(load)(sums + i);
        for (idx chunk = 1; chunk < job->chunks; chunk++)
            sum += FN(load)(sums + chunk * job->groups * size + i);
        FN(store)(sums + i, sum);
    }
    FN(winograd_weight_finish)(job, FN(weight_group_of)(job, group), sums, found);
    pydl_block_free(found);
}

static int FN(winograd_backward_weight)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x,
                                        REAL *dw)
{
    const idx step = FN(TILE_STEP);
    const idx pad_h = -s->pad_h, pad_w = -s->pad_w, none = 0;
    const idx grid_h = ceil_div(s->oh, step), grid_w = ceil_div(s->ow, step);
    const idx products = FN(tile_products)(FN(edge_of)(s));
    const idx tile = products * (s->c + s->oc) * (idx)sizeof(REAL);
    winograd_weight_job job = {
        .from = {x, s->c * s->h * s->w, s->h, s->w, step, step, grid_h, grid_w, 1, &pad_h, &pad_w},
        .dy_from = {dy, s->oc * s->oh * s->ow, s->oh, s->ow, step, step, grid_h, grid_w, 1, &none,
                    &none},
        .edge = FN(edge_of)(s),
        .channels = s->c,
        .rows = s->oc,
        .tiles = s->n * grid_h * grid_w,
        .end = s->n * grid_h * grid_w,
        .dw = dw,
    };
    job.block = FN(even_piece)(job.tiles,
                               FN(max)(FN(SHARED_TILE_BYTES) / tile, FN(LEAST_TILES)), VLEN);
    job.x_stride = FN(plane_of)(job.block);
    job.y_panel = job.block * NR;
    job.x_plane = FN(plane_of)(s->c * job.x_stride);
    job.y_plane = FN(plane_of)(job.block * FN(round_up)(s->oc, NR));
    job.group_rows = FN(even_piece)(s->oc, FN(GROUP_ROWS), NR);
    job.group_channels = FN(even_piece)(s->c, FN(GROUP_CHANNELS), MR);
    job.row_groups = (s->oc + job.group_rows - 1) / job.group_rows;
    job.groups = (s->c + job.group_channels - 1) / job.group_channels * job.row_groups;
    job.sum_row = FN(round_up)(job.group_rows, VLEN);
    job.sum_plane = FN(plane_of)(job.group_channels * job.sum_row);
    const idx blocks = (job.tiles + job.block - 1) / job.block;
    job.chunks = job.groups < FN(CHUNKS) ? FN(max)(FN(min)(FN(CHUNKS), blocks / 2), 1) : 1;
    job.chunk = (blocks + job.chunks - 1) / job.chunks * job.block;
    job.chunks = (job.tiles + job.chunk - 1) / job.chunk;
    if (blocks > 1) {
        const idx sums = job.chunks * job.groups * products * job.sum_plane;
        job.sums = pydl_block_alloc((size_t)sums * sizeof(REAL));
        if (!job.sums)
            return PYDL_NO_MEMORY;
    }
    if (job.chunks == 1) {
        FN(winograd_weight_sum)(&job);
    } else {
        const double pairs = (double)s->c * (double)s->oc;
        pydl_parallel_for(job.chunks, 2.0 * (double)products * (double)job.tiles * pairs,
                          FN(winograd_weight_chunk), &job);
        if (!job.failed)
            pydl_parallel_for(job.groups, (double)products * (double)job.chunks * pairs,
                              FN(winograd_weight_last), &job);
    }
    pydl_block_free(job.sums);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}
