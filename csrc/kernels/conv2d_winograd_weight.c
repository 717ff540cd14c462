/* Winograd's weight gradient: a tile of dy (m,m) takes the place of the filter, the filter (r,r)
 * that of the result.
 *
 *   dw = A^T [sum over tiles of (G dy G^T) . V] A,  V = B^T x B
 *
 * 36 products (c,tiles) (tiles,oc), six at a time: those of one point of the first axis.
 * Scratch: the sums, 36 (c,oc) for each of at most eight chunks of the tiles, or one where they are
 * large; six times a block of tiles of x and dy for each thread. */
enum {
    FN(SUM_BYTES) = 800 << 10,              /* sums that stay in L2 from tile to tile */
    FN(WEIGHT_TILES) = 4 * FN(TILE_PIECE),  /* tiles of a block */
    FN(WEIGHT_CHANNELS) = 256 / MR * MR,    /* channels of a task */
    FN(RESULT_CHANNELS) = 8,                /* channels of a task of the last transform */
};

typedef struct {
    patches from, dy_from; /* the tiles of x, and the same of dy, which do not overlap */
    int step;
    idx images, channels, rows;
    REAL *dw, *sums; /* sums[chunk][k][channel][row], so long a row and a plane (channel, row) */
    idx sum_row, sum_plane, tiles, block, piece, pieces, chunk, chunks;
    int points; /* of the first axis that a task covers */
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

/* dw of some channels from the sums of the chunks: the transform along the rows, then the rows'
 * turn. */
INLINE void FN(winograd_weight_result)(int side, winograd_weight_job *job, idx task)
{
    const idx first = task * FN(RESULT_CHANNELS);
    const idx channels = FN(min)(FN(RESULT_CHANNELS), job->channels - first);
    const idx taps = side * side, filter = job->channels * taps, group = channels * taps * VLEN;
    REAL *found = pydl_block_alloc((size_t)(job->sum_row * channels * taps) * sizeof(REAL));
    if (!found) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    for (idx c = 0; c < channels; c++)
        for (idx row = 0; row < job->rows; row += VLEN) {
            const REAL *sums = job->sums + (first + c) * job->sum_row + row;
            REAL *dst = found + row / VLEN * group + c * taps * VLEN;
            vec half[6][5], in[6], out[5];
#pragma GCC unroll 6
            for (int i = 0; i < 6; i++) {
#pragma GCC unroll 6
                for (int j = 0; j < 6; j++) {
                    const REAL *sum = sums + (i * 6 + j) * job->sum_plane;
                    in[j] = FN(load)(sum);
                    for (idx chunk = 1; chunk < job->chunks; chunk++)
                        in[j] += FN(load)(sum + chunk * FN(PRODUCTS) * job->sum_plane);
                }
                FN(winograd_result)(side, in, half[i]);
            }
#pragma GCC unroll 5
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
    for (idx row = 0; row < job->rows; row += VLEN)
        FN(transpose)(channels * taps, FN(min)(VLEN, job->rows - row), found + row / VLEN * group,
                      VLEN, job->dw + row * filter + first * taps, filter);
    pydl_block_free(found);
}

static void FN(winograd_weight_last)(void *context, idx task)
{
    winograd_weight_job *job = context;
    if (job->step == 4)
        FN(winograd_weight_result)(3, job, task);
    else
        FN(winograd_weight_result)(5, job, task);
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
