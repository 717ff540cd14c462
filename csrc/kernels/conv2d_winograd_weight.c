/* Winograd's weight gradient: a tile of dy (m,m) takes the place of the filter, the filter (r,r)
 * that of the result.
 *
 *   dw = A^T [sum over tiles of (G dy G^T) . V] A,  V = B^T x B
 *
 * 36 products (c,tiles) (tiles,oc). Where L2 is large, a task makes six at a time, those of one
 * point of the first axis, from tiles that it transforms for itself; elsewhere tasks share a block
 * of transformed tiles, and each has some channels and rows of all 36, whose dw follows at once.
 * Scratch: the sums, 36 (c,oc) for each of at most eight chunks of the tiles, or one where they are
 * large; six times a block of tiles of x and dy for each thread. Or the sums once and 36 times a
 * block of tiles. */
enum {
    FN(SUM_BYTES) = 800 << 10,              /* sums that stay in L2 from tile to tile */
    FN(WEIGHT_TILES) = 4 * FN(TILE_PIECE),  /* tiles of a block */
    FN(WEIGHT_CHANNELS) = 256 / MR * MR,    /* channels of a task */
    FN(RESULT_CHANNELS) = 8,                /* channels of a task of the last transform */
    FN(SHARED_TILE_BYTES) = 2 << 20,        /* transformed tiles of x and dy that tasks share, */
    FN(LEAST_TILES) = 128,                  /* but so many: each block reads and writes all sums */
    FN(GROUP_ROWS) = 32,                    /* of such a task: 36 times 72x32 sums stay in L2 */
    FN(GROUP_CHANNELS) = 72 / MR * MR,
    FN(DY_PIECE) = 32,                      /* tiles of dy transformed at a time */
};

typedef struct {
    patches from, dy_from; /* the tiles of x, and the same of dy, which do not overlap */
    int step;
    idx images, channels, rows;
    REAL *dw, *sums; /* sums[chunk][k][channel][row], so long a row and a plane (channel, row) */
    idx sum_row, sum_plane, tiles, block, piece, pieces, chunk, chunks;
    int points; /* of the first axis that a task covers */
    /* where tasks share the transformed tiles: those of the block, x (36,channel,tile) and dy
     * (36,panel of NR rows,tile,row), so that a panel is read as one piece of memory; the sums of a
     * task, and how many such groups there are along the rows */
    REAL *x, *y;
    idx x_stride, x_plane, y_panel, y_plane, first, count, group_channels, group_rows, row_groups;
    int failed;
} FN(winograd_weight_job);
#define winograd_weight_job FN(winograd_weight_job)

/* out[j*plane + tile*stride + row] = (G dy G^T) (point, j), vectors along rows rows of dy, whose
 * padded pixels are pad apart. */
INLINE void FN(winograd_dy)(int step, int point, const tile_run *run, idx rows, const REAL *padded,
                            idx pad, REAL *out, idx stride, idx plane, REAL *lines)
{
    const idx length = FN(line_length)(step);
    REAL *pixels = lines + VLEN * length, power[4];
    for (int a = 0; a < step; a++)
        power[a] = FN(winograd_power)(step, point, a);
    for (idx r = 0; r < rows; r++) {
        const REAL *src = padded + r * pad;
        REAL *dst = lines + r * length;
        for (int s = 0; s < run->segments; s++) {
            const idx width = run->list[s].count * step;
            for (idx row = 0; row < run->list[s].rows; row++, src += step * width, dst += width)
                for (idx pixel = 0; pixel < width; pixel += VLEN) {
                    vec sum = power[0] * FN(load)(src + pixel);
#pragma GCC unroll 4
                    for (int a = 1; a < step; a++)
                        sum += power[a] * FN(load)(src + a * width + pixel);
                    FN(store)(dst + pixel, sum);
                }
        }
    }
    FN(transpose)(VLEN, run->count * step, lines, length, pixels, VLEN);
    for (idx t = 0; t < run->count; t++) {
        vec in[4], six[6];
#pragma GCC unroll 4
        for (int b = 0; b < step; b++)
            in[b] = FN(load)(pixels + (t * step + b) * VLEN);
        FN(winograd_filter)(step, in, six);
#pragma GCC unroll 6
        for (int j = 0; j < 6; j++)
            FN(store)(out + j * plane + t * stride, six[j]);
    }
}

/* A task's scratch: the tiles of x (6,channel,tile) and of dy (6,tile,row) at one point of the
 * first axis, their padded pixels (one channel's, or kept for all channels and rows where the task
 * has all points), and lines. */
typedef struct {
    REAL *x, *y, *padded, *lines;
    idx x_stride, x_plane, y_stride, y_plane, pad;
} FN(weight_scratch);
#define weight_scratch FN(weight_scratch)

static weight_scratch FN(weight_scratch_alloc)(winograd_weight_job *job)
{
    const idx kept = job->points == 6 ? job->piece + job->sum_row : VLEN;
    const idx pad = FN(padded_size)(job->step);
    weight_scratch at = {.pad = pad};
    at.x_stride = FN(plane_of)(job->block);
    at.y_stride = FN(block_stride)(job->rows);
    at.x_plane = FN(plane_of)(job->piece * at.x_stride);
    at.y_plane = FN(plane_of)(job->block * at.y_stride);
    at.x = pydl_block_alloc((size_t)(6 * (at.x_plane + at.y_plane) + kept * pad +
                                     2 * VLEN * FN(line_length)(job->step)) *
                            sizeof(REAL));
    if (!at.x)
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
    at.y = at.x + 6 * at.x_plane;
    at.padded = at.y + 6 * at.y_plane;
    at.lines = at.padded + kept * pad;
    return at;
}

/* The tiles first .. first + count at one point, of channels of x and all rows of dy. */
INLINE void FN(winograd_weight_tiles)(int step, const winograd_weight_job *job, int point,
                                      int again, idx channel, idx channels, idx first, idx count,
                                      const weight_scratch *at)
{
    const idx piece = FN(even_piece)(count, FN(TILE_PIECE), VLEN), length = FN(line_length)(step);
    const int kept = job->points == 6;
    for (idx t = 0; t < count; t += piece) {
        const tile_run run = FN(tiles_of)(&job->from, first + t, FN(min)(piece, count - t));
        for (idx c = 0; c < channels; c++) {
            REAL *padded = at->padded + (kept ? c * at->pad : 0);
            if (!again || !kept)
                FN(pad_tiles)(&job->from, channel + c, &run, 6, padded);
            FN(winograd_lines)(step, &run, point, padded, at->lines);
            FN(winograd_columns)(step, at->lines, length, run.count, at->x + c * at->x_stride + t,
                                 at->x_plane);
        }
        for (idx row = 0; row < job->rows; row += VLEN) {
            REAL *padded = at->padded + (kept ? (job->piece + row) * at->pad : 0);
            const idx rows = FN(min)(VLEN, job->rows - row);
            for (idx r = 0; r < rows && !(again && kept); r++)
                FN(pad_tiles)(&job->dy_from, row + r, &run, step, padded + r * at->pad);
            FN(winograd_dy)(step, point, &run, rows, padded, at->pad,
                            at->y + t * at->y_stride + row, at->y_stride, at->y_plane, at->lines);
        }
    }
}

/* The sums of some points and channels over a chunk of the tiles. */
INLINE void FN(winograd_weight_sums)(int step, winograd_weight_job *job, idx task)
{
    const int parts = 6 / job->points, begin = (int)(task % parts) * job->points;
    const idx channel = task / parts % job->pieces * job->piece;
    const idx channels = FN(min)(job->piece, job->channels - channel);
    const idx chunk = task / parts / job->pieces;
    const idx end = FN(min)((chunk + 1) * job->chunk, job->tiles);
    const weight_scratch at = FN(weight_scratch_alloc)(job);
    if (!at.x)
        return;
    sink to = {.row = job->sum_row};
    for (idx first = chunk * job->chunk; first < end; first += job->block) {
        const idx count = FN(min)(job->block, end - first);
        for (int point = begin; point < begin + job->points; point++) {
            FN(winograd_weight_tiles)(step, job, point, point > begin, channel, channels, first,
                                      count, &at);
            for (idx j = 0; j < 6; j++) {
                to.c = job->sums + (chunk * FN(PRODUCTS) + point * 6 + j) * job->sum_plane +
                       channel * job->sum_row;
                FN(multiply_rows)(channels, job->rows, count, at.x + j * at.x_plane, at.x_stride,
                                  at.y + j * at.y_plane, at.y_stride, &to);
            }
        }
        to.accumulate = 1;
    }
    pydl_block_free(at.x);
}

static void FN(winograd_weight_task)(void *context, idx task)
{
    winograd_weight_job *job = context;
    if (job->step == 4)
        FN(winograd_weight_sums)(4, job, task);
    else
        FN(winograd_weight_sums)(2, job, task);
}

/* dw of some channels (at most RESULT_CHANNELS) and rows from sums[chunk][k][channel][row], the
 * chunks chunk_step apart: the transform along the rows, then the rows' turn. */
INLINE void FN(winograd_weight_result)(int side, const winograd_weight_job *job, idx channel,
                                       idx channels, idx first, idx rows, const REAL *sums,
                                       idx chunks, idx chunk_step, REAL *found)
{
    const idx taps = side * side, filter = job->channels * taps, group = channels * taps * VLEN;
    for (idx c = 0; c < channels; c++)
        for (idx row = 0; row < rows; row += VLEN) {
            const REAL *src = sums + c * job->sum_row + row;
            REAL *dst = found + row / VLEN * group + c * taps * VLEN;
            vec half[6][5], in[6], out[5];
            for (int i = 0; i < 6; i++) {
#pragma GCC unroll 6
                for (int j = 0; j < 6; j++)
                    in[j] = FN(load)(src + (i * 6 + j) * job->sum_plane);
                for (idx chunk = 1; chunk < chunks; chunk++)
#pragma GCC unroll 6
                    for (int j = 0; j < 6; j++)
                        in[j] += FN(load)(src + chunk * chunk_step + (i * 6 + j) * job->sum_plane);
                FN(winograd_result)(side, in, half[i]);
            }
            for (int b = 0; b < side; b++) {
#pragma GCC unroll 6
                for (int i = 0; i < 6; i++)
                    in[i] = half[i][b];
                FN(winograd_result)(side, in, out);
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
                                        idx first, idx rows, const REAL *sums, idx chunks,
                                        idx chunk_step, REAL *found)
{
    if (job->step == 4)
        FN(winograd_weight_result)(3, job, channel, channels, first, rows, sums, chunks, chunk_step,
                                   found);
    else
        FN(winograd_weight_result)(5, job, channel, channels, first, rows, sums, chunks, chunk_step,
                                   found);
}

static void FN(winograd_weight_last)(void *context, idx task)
{
    winograd_weight_job *job = context;
    const idx first = task * FN(RESULT_CHANNELS), taps = job->step == 4 ? 9 : 25;
    const idx channels = FN(min)(FN(RESULT_CHANNELS), job->channels - first);
    REAL *found = pydl_block_alloc((size_t)(job->sum_row * channels * taps) * sizeof(REAL));
    if (!found) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    FN(winograd_weight_results)(job, first, channels, 0, job->rows,
                                job->sums + first * job->sum_row, job->chunks,
                                FN(PRODUCTS) * job->sum_plane, found);
    pydl_block_free(found);
}

/* ---- tasks that share the transformed tiles, a block of them after the other ---- */

/* out[k*plane + tile*NR + row] = G dy G^T, vectors along VLEN rows whose padded pixels are pad
 * apart. */
INLINE void FN(winograd_dy_block)(int step, const tile_run *run, const REAL *padded, idx pad,
                                  REAL *out, idx plane, REAL *pixels)
{
    FN(transpose)(VLEN, run->count * step * step, padded, pad, pixels, VLEN);
    for (int s = 0; s < run->segments; s++) {
        const segment piece = run->list[s];
        const idx width = piece.count * step * VLEN;
        for (idx row = 0; row < piece.rows; row++, pixels += step * width)
            for (idx t = 0; t < piece.count; t++, out += NR) {
                vec half[6][4], in[4], six[6];
#pragma GCC unroll 4
                for (int b = 0; b < step; b++) {
#pragma GCC unroll 4
                    for (int a = 0; a < step; a++)
                        in[a] = FN(load)(pixels + a * width + (t * step + b) * VLEN);
                    FN(winograd_filter)(step, in, six);
#pragma GCC unroll 6
                    for (int i = 0; i < 6; i++)
                        half[i][b] = six[i];
                }
                for (int i = 0; i < 6; i++) {
                    FN(winograd_filter)(step, half[i], six);
#pragma GCC unroll 6
                    for (int j = 0; j < 6; j++)
                        FN(store)(out + (i * 6 + j) * plane, six[j]);
                }
            }
    }
}

/* The block's tiles of dy, of VLEN rows from row on. */
INLINE void FN(winograd_dy_tiles)(int step, const winograd_weight_job *job, idx row, REAL *scratch)
{
    const idx piece = FN(even_piece)(job->count, FN(DY_PIECE), 1), pad = FN(padded_size)(step);
    const idx rows = FN(min)(VLEN, job->rows - row);
    for (idx t = 0; t < job->count; t += piece) {
        const tile_run run =
            FN(tiles_of)(&job->dy_from, job->first + t, FN(min)(piece, job->count - t));
        for (idx r = 0; r < rows; r++)
            FN(pad_tiles)(&job->dy_from, row + r, &run, step, scratch + r * pad);
        FN(winograd_dy_block)(step, &run, scratch, pad,
                              job->y + row / NR * job->y_panel + t * NR + row % NR, job->y_plane,
                              scratch + VLEN * pad);
    }
}

/* Some channels of x, or some rows of dy. */
static void FN(winograd_weight_shared_tiles)(void *context, idx task)
{
    winograd_weight_job *job = context;
    const idx size = VLEN * FN(padded_size)(job->step) +
                     (FN(DY_PIECE) * job->step * job->step + 1) * VLEN;
    REAL *scratch = pydl_block_alloc((size_t)FN(max)(size, FN(winograd_scratch)(job->step)) *
                                     sizeof(REAL));
    if (!scratch) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    const idx first = task * FN(CHANNEL_PIECE);
    const idx row = first - FN(round_up)(job->channels, FN(CHANNEL_PIECE));
    if (row < 0)
        FN(winograd_tiles)(&job->from, job->first, job->count, first,
                           FN(min)(FN(CHANNEL_PIECE), job->channels - first), job->x, job->x_stride,
                           job->x_plane, scratch);
    else
        for (idx r = row; r < FN(min)(row + FN(CHANNEL_PIECE), job->rows); r += VLEN)
            if (job->step == 4)
                FN(winograd_dy_tiles)(4, job, r, scratch);
            else
                FN(winograd_dy_tiles)(2, job, r, scratch);
    pydl_block_free(scratch);
}

/* The sums of some channels and rows, whose results follow while they are in L2. */
static void FN(winograd_weight_group)(void *context, idx task)
{
    winograd_weight_job *job = context;
    const idx channel = task / job->row_groups * job->group_channels;
    const idx row = task % job->row_groups * job->group_rows;
    const idx channels = FN(min)(job->group_channels, job->channels - channel);
    const idx rows = FN(min)(job->group_rows, job->rows - row);
    const idx size = FN(PRODUCTS) * job->sum_plane, taps = job->step == 4 ? 9 : 25;
    const int once = job->count == job->tiles, last = job->first + job->count == job->tiles;
    REAL *scratch = pydl_block_alloc(
        (size_t)(FN(RESULT_CHANNELS) * taps * job->sum_row + once * size) * sizeof(REAL));
    if (!scratch) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    REAL *sums = once ? scratch + FN(RESULT_CHANNELS) * taps * job->sum_row
                      : job->sums + task * size;
    sink to = {.row = job->sum_row, .accumulate = job->first > 0};
    for (idx k = 0; k < FN(PRODUCTS); k++) {
        const REAL *x = job->x + k * job->x_plane + channel * job->x_stride;
        const REAL *y = job->y + k * job->y_plane + row / NR * job->y_panel;
        for (idx r = 0; r < rows; r += NR, y += job->y_panel) {
            to.c = sums + k * job->sum_plane + r;
            FN(multiply_rows)(channels, FN(min)(NR, rows - r), job->count, x, job->x_stride, y, NR,
                              &to);
        }
    }
    for (idx c = 0; last && c < channels; c += FN(RESULT_CHANNELS))
        FN(winograd_weight_results)(job, channel + c, FN(min)(FN(RESULT_CHANNELS), channels - c),
                                    row, rows, sums + c * job->sum_row, 1, 0, scratch);
    pydl_block_free(scratch);
}

static int FN(winograd_weight_shared)(winograd_weight_job *job)
{
    const idx tile = FN(PRODUCTS) * (job->channels + job->rows) * (idx)sizeof(REAL);
    const idx most = FN(max)(FN(SHARED_TILE_BYTES) / tile, FN(LEAST_TILES));
    job->block = FN(even_piece)(job->tiles, most, VLEN);
    job->x_stride = FN(plane_of)(job->block);
    job->y_panel = job->block * NR;
    job->x_plane = FN(plane_of)(job->channels * job->x_stride);
    job->y_plane = FN(plane_of)(job->block * FN(round_up)(job->rows, NR));
    job->group_rows = FN(even_piece)(job->rows, FN(GROUP_ROWS), NR);
    job->group_channels = FN(even_piece)(job->channels, FN(GROUP_CHANNELS), MR);
    job->row_groups = (job->rows + job->group_rows - 1) / job->group_rows;
    const idx groups =
        (job->channels + job->group_channels - 1) / job->group_channels * job->row_groups;
    job->sum_row = FN(round_up)(job->group_rows, VLEN);
    job->sum_plane = FN(plane_of)(job->group_channels * job->sum_row);
    const idx sums = job->block < job->tiles ? groups * FN(PRODUCTS) * job->sum_plane : 0;
    job->x = pydl_block_alloc(
        (size_t)(FN(PRODUCTS) * (job->x_plane + job->y_plane) + sums) * sizeof(REAL));
    if (!job->x)
        return PYDL_NO_MEMORY;
    job->y = job->x + FN(PRODUCTS) * job->x_plane;
    job->sums = job->y + FN(PRODUCTS) * job->y_plane;
    const idx pieces = (job->channels + FN(CHANNEL_PIECE) - 1) / FN(CHANNEL_PIECE) +
                       (job->rows + FN(CHANNEL_PIECE) - 1) / FN(CHANNEL_PIECE);
    for (job->first = 0; job->first < job->tiles && !job->failed; job->first += job->count) {
        job->count = FN(min)(job->block, job->tiles - job->first);
        pydl_parallel_for(pieces, 300.0 * (double)job->count * (double)(job->channels + job->rows),
                          FN(winograd_weight_shared_tiles), job);
        if (!job->failed)
            pydl_parallel_for(groups, 2.0 * FN(PRODUCTS) * (double)job->count *
                                          (double)job->channels * (double)job->rows,
                              FN(winograd_weight_group), job);
    }
    pydl_block_free(job->x);
    return job->failed ? PYDL_NO_MEMORY : PYDL_OK;
}

static int FN(winograd_backward_weight)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x,
                                        REAL *dw)
{
    const int step = s->kh == 3 ? 4 : 2;
    const idx pad_h = -s->pad_h, pad_w = -s->pad_w, none = 0, most = 8, size = sizeof(REAL);
    const idx grid_h = ceil_div(s->oh, step), grid_w = ceil_div(s->ow, step);
    winograd_weight_job job = {
        .from = {x, s->c * s->h * s->w, s->h, s->w, step, step, grid_h, grid_w, 1, &pad_h, &pad_w},
        .dy_from = {dy, s->oc * s->oh * s->ow, s->oh, s->ow, step, step, grid_h, grid_w, 1, &none,
                    &none},
        .step = step,
        .images = s->n,
        .channels = s->c,
        .rows = s->oc,
        .dw = dw,
        .tiles = s->n * grid_h * grid_w,
        .sum_row = FN(round_up)(s->oc, VLEN),
    };
    if (VECTOR_BYTES < 64) /* as measured with AVX2 and 512 KiB of L2 */
        return FN(winograd_weight_shared)(&job);
    job.piece = FN(even_piece)(s->c, FN(WEIGHT_CHANNELS), MR);
    job.pieces = (s->c + job.piece - 1) / job.piece;
    /* As many points as their sums leave room for: each one reads x and dy again. */
    const idx affordable = FN(SUM_BYTES) / (6 * s->c * job.sum_row * size);
    job.points = affordable >= 6 ? 6 : affordable >= 3 ? 3 : affordable >= 2 ? 2 : 1;
    const idx limit = job.points == 1 ? FN(WEIGHT_TILES) : FN(TILE_PIECE);
    job.block = FN(even_piece)(job.tiles, limit, VLEN);
    const idx blocks = (job.tiles + job.block - 1) / job.block, tasks = 6 / job.points * job.pieces;
    const idx wanted = (most + tasks - 1) / tasks;
    job.chunk = (blocks + wanted - 1) / wanted * job.block;
    job.chunks = (job.tiles + job.chunk - 1) / job.chunk;
    job.sum_plane = FN(plane_of)(s->c * job.sum_row);
    job.sums = pydl_block_alloc((size_t)(job.chunks * FN(PRODUCTS) * job.sum_plane) * sizeof(REAL));
    if (!job.sums)
        return PYDL_NO_MEMORY;
    const double products = 2.0 * FN(PRODUCTS) * (double)s->c * (double)s->oc;
    pydl_parallel_for(tasks * job.chunks, products * (double)job.tiles, FN(winograd_weight_task),
                      &job);
    pydl_parallel_for((s->c + FN(RESULT_CHANNELS) - 1) / FN(RESULT_CHANNELS), products,
                      FN(winograd_weight_last), &job);
    pydl_block_free(job.sums);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}
