/* Winograd convolution, stride 1, kernels 3x3 by F(4x4,3x3) and 5x5 by F(2x2,5x5); core/winograd.h has the transforms.
 *
 *   forward          y = A^T [sum over c of U . V] A + b,  U = G w G^T (36,oc,c), V = B^T x B (36,c,tiles)
 *   backward_input   the same of dy, with the filters rotated and their axes exchanged, padded by k - 1 - pad
 *   backward_weight  dw = A^T [sum over tiles of (G dy G^T) . V] A: dy's tiles take the place of the filter, the filter that of Y
 */
enum {
    FN(TILE_BYTES) = 1 << 20,      /* transformed tiles of a block, and as much again for its products: about L2 */
    FN(SHARED_BYTES) = 32 << 20,   /* transformed tiles shared by all tasks where blocks are few */
    FN(FILTER_CHANNELS) = 32,      /* channels of the filters transformed at a time */
};

typedef struct {
    patches from;                  /* the tiles of the source */
    int step;                      /* m: 4 or 2 */
    idx images, channels, rows, taps;
    const REAL *weight;            /* element (row, channel, tap) at row*row_step + channel*channel_step + tap */
    idx row_step, channel_step;
    int rotated;                   /* taps in reverse order */
    const REAL *bias;
    REAL *dst;                     /* (images, rows, h, w) */
    idx h, w;
    REAL *u;                       /* 36 matrices (rows, channels) in panels, u_plane apart */
    REAL *v;                       /* the transformed tiles, where tasks share them */
    idx u_plane, tiles, block, blocks, task_rows;
    int failed;
} FN(winograd_job);
#define winograd_job FN(winograd_job)

/* Planes that are written or read together must not fall on the same cache sets. */
INLINE idx FN(plane_of)(idx size)
{
    const idx line = 64 / (idx)sizeof(REAL);
    return ((size + line - 1) / line | 1) * line;
}

/* U of one panel's rows and some channels, from the taps in the panel's order: in[(channel*taps + tap)*MR + i]. Vectors are stored
 * whole; what they carry too much is overwritten by the next channel. */
INLINE void FN(winograd_filter_panel)(int side, int rotated, const REAL *in, idx channels, REAL *u, idx plane)
{
    const int taps = side * side;
    for (idx at = 0; at < channels * MR; at += VLEN < MR && at % MR + VLEN < MR ? VLEN : MR - at % MR) {
        const REAL *src = in + at / MR * taps * MR + at % MR;
        vec half[6][5], row[5], out[6];
#pragma GCC unroll 5
        for (int b = 0; b < side; b++) {
#pragma GCC unroll 5
            for (int a = 0; a < side; a++) {
                const int tap = a * side + b;
                row[a] = FN(load)(src + (rotated ? taps - 1 - tap : tap) * MR);
            }
            FN(winograd_filter)(side, row, out);
#pragma GCC unroll 6
            for (int i = 0; i < 6; i++)
                half[i][b] = out[i];
        }
        const idx room = channels * MR - at;
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) {
            FN(winograd_filter)(side, half[i], out);
#pragma GCC unroll 6
            for (int j = 0; j < 6; j++)
                FN(store_part)(u + (i * 6 + j) * plane + at, room, out[j]);
        }
    }
}

/* One panel of the 36 matrices U. */
static void FN(winograd_filters)(void *context, idx panel)
{
    winograd_job *job = context;
    const idx first = panel * MR, rows = FN(min)(MR, job->rows - first), most = FN(FILTER_CHANNELS);
    REAL *taps = pydl_block_alloc((size_t)(job->taps * most * MR + 2 * VLEN) * sizeof(REAL));
    if (!taps) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    for (idx channel = 0; channel < job->channels; channel += most) {
        const idx channels = FN(min)(most, job->channels - channel);
        const REAL *weight = job->weight + first * job->row_step + channel * job->channel_step;
        REAL *u = job->u + first * job->channels + channel * MR;
        if (job->channel_step == job->taps)
            FN(pack_panel)(rows, channels * job->taps, weight, job->row_step, 1, taps);
        else
            for (idx c = 0; c < channels; c++)
                FN(pack_panel)(rows, job->taps, weight + c * job->channel_step, job->row_step, 1, taps + c * job->taps * MR);
        if (job->step == 4 && job->rotated)
            FN(winograd_filter_panel)(3, 1, taps, channels, u, job->u_plane);
        else if (job->step == 4)
            FN(winograd_filter_panel)(3, 0, taps, channels, u, job->u_plane);
        else
            FN(winograd_filter_panel)(5, job->rotated, taps, channels, u, job->u_plane);
    }
    pydl_block_free(taps);
}

/* v[k][channel][tile] for the tiles first .. first + count. */
INLINE void FN(winograd_tiles)(int step, const winograd_job *job, idx first, idx count, idx channel, idx channels, REAL *v,
                               idx stride, idx plane, REAL *scratch)
{
    const idx length = FN(line_length)(step), piece = FN(even_piece)(count, FN(TILE_PIECE), VLEN);
    REAL *lines = scratch + FN(padded_size)(step);
    for (idx t = 0; t < count; t += piece) {
        const tile_run run = FN(tiles_of)(&job->from, first + t, FN(min)(piece, count - t));
        for (idx c = channel; c < channel + channels; c++) {
            FN(winograd_lines)(step, &job->from, c, &run, -1, scratch, lines);
            for (int i = 0; i < 6; i++)
                FN(winograd_columns)(step, lines + i * length, 6 * length, run.count, v + i * 6 * plane + c * stride + t, plane);
        }
    }
}

/* The rows row .. row + rows of the result's tiles first .. first + count, from v[k][channel][tile]. */
INLINE void FN(winograd_products)(int step, const winograd_job *job, idx first, idx count, idx row, idx rows, const REAL *v,
                                  idx stride, idx plane, REAL *scratch)
{
    const idx depth = FN(even_piece)(job->channels, FN(KC), 1), m_stride = FN(block_stride)(count);
    const idx m_row = FN(plane_of)(FN(PRODUCTS) * m_stride), length = FN(line_length)(step);
    REAL *m = scratch, *lines = scratch + rows * m_row;
    for (idx k = 0; k < FN(PRODUCTS); k++) {
        sink to = {.c = m + k * m_stride, .row = m_row};
        for (idx channel = 0; channel < job->channels; channel += depth) {
            FN(multiply_panels)(rows, count, FN(min)(depth, job->channels - channel),
                                job->u + k * job->u_plane + row * job->channels + channel * MR, job->channels,
                                v + k * plane + channel * stride, stride, NULL, &to);
            to.accumulate = 1;
        }
    }
    const idx piece = FN(even_piece)(count, FN(TILE_PIECE), VLEN);
    for (idx t = 0; t < count; t += piece) {
        const tile_run run = FN(tiles_of)(&job->from, first + t, FN(min)(piece, count - t));
        for (idx r = 0; r < rows; r++) {
            FN(winograd_outputs)(step, m + r * m_row + t, m_stride, run.count, job->bias ? job->bias[row + r] : 0, lines, length);
            FN(winograd_scatter)(step, &run, lines, length, job->dst + (row + r) * job->h * job->w,
                                 job->rows * job->h * job->w, job->h, job->w);
        }
    }
}

INLINE idx FN(winograd_scratch)(int step)
{
    return FN(padded_size)(step) + 18 * FN(line_length)(step);
}

/* A block of tiles: transformed, multiplied and transformed back, task_rows at a time. */
INLINE void FN(winograd_block_of)(int step, winograd_job *job, idx task)
{
    const idx first = task * job->block, count = FN(min)(job->block, job->tiles - first);
    const idx stride = FN(block_stride)(job->block), plane = FN(plane_of)(job->channels * stride);
    const idx products = job->task_rows * FN(plane_of)(FN(PRODUCTS) * stride);
    REAL *v = pydl_block_alloc((size_t)(FN(PRODUCTS) * plane + products + FN(winograd_scratch)(step)) * sizeof(REAL));
    if (!v) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    REAL *scratch = v + FN(PRODUCTS) * plane;
    FN(winograd_tiles)(step, job, first, count, 0, job->channels, v, stride, plane, scratch);
    for (idx row = 0; row < job->rows; row += job->task_rows)
        FN(winograd_products)(step, job, first, count, row, FN(min)(job->task_rows, job->rows - row), v, stride, plane, scratch);
    pydl_block_free(v);
}

static void FN(winograd_block)(void *context, idx task)
{
    winograd_job *job = context;
    if (job->step == 4)
        FN(winograd_block_of)(4, job, task);
    else
        FN(winograd_block_of)(2, job, task);
}

enum { FN(CHANNEL_PIECE) = 8 };

/* Where tiles are few, tasks share the channels of the transform ... */
static void FN(winograd_shared_tiles)(void *context, idx task)
{
    winograd_job *job = context;
    const idx first = task * FN(CHANNEL_PIECE), channels = FN(min)(FN(CHANNEL_PIECE), job->channels - first);
    const idx stride = FN(block_stride)(job->tiles), plane = FN(plane_of)(job->channels * stride);
    REAL *scratch = pydl_block_alloc((size_t)FN(winograd_scratch)(job->step) * sizeof(REAL));
    if (!scratch) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    if (job->step == 4)
        FN(winograd_tiles)(4, job, 0, job->tiles, first, channels, job->v, stride, plane, scratch);
    else
        FN(winograd_tiles)(2, job, 0, job->tiles, first, channels, job->v, stride, plane, scratch);
    pydl_block_free(scratch);
}

/* ... and then the rows of the result's blocks. */
static void FN(winograd_shared_block)(void *context, idx task)
{
    winograd_job *job = context;
    const idx first = task % job->blocks * job->block, count = FN(min)(job->block, job->tiles - first);
    const idx row = task / job->blocks * job->task_rows, rows = FN(min)(job->task_rows, job->rows - row);
    const idx stride = FN(block_stride)(job->tiles), plane = FN(plane_of)(job->channels * stride);
    REAL *scratch = pydl_block_alloc((size_t)(rows * FN(plane_of)(FN(PRODUCTS) * FN(block_stride)(count)) +
                                              FN(winograd_scratch)(job->step)) * sizeof(REAL));
    if (!scratch) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    if (job->step == 4)
        FN(winograd_products)(4, job, first, count, row, rows, job->v + first, stride, plane, scratch);
    else
        FN(winograd_products)(2, job, first, count, row, rows, job->v + first, stride, plane, scratch);
    pydl_block_free(scratch);
}

static int FN(winograd_run)(winograd_job *job)
{
    const idx tile = FN(PRODUCTS) * (idx)sizeof(REAL), most = 8;
    const idx panels = (job->rows + MR - 1) / MR;
    job->tiles = job->images * job->from.grid_h * job->from.grid_w;
    const double work = 2.0 * FN(PRODUCTS) * (double)job->tiles * (double)job->rows * (double)job->channels;
    job->u_plane = FN(plane_of)(panels * MR * job->channels);
    job->u = pydl_block_alloc((size_t)(FN(PRODUCTS) * job->u_plane) * sizeof(REAL));
    if (!job->u)
        return PYDL_NO_MEMORY;
    pydl_parallel_for(panels, 150.0 * (double)job->rows * (double)job->channels, FN(winograd_filters), job);
    const idx fit = FN(max)(FN(TILE_BYTES) / (tile * job->channels) / NR, 1) * NR;
    job->block = FN(even_piece)(job->tiles, fit, NR);
    job->blocks = (job->tiles + job->block - 1) / job->block;
    const idx stride = FN(block_stride)(job->tiles), plane = FN(plane_of)(job->channels * stride);
    const int shared = job->blocks < most && FN(PRODUCTS) * plane * (idx)sizeof(REAL) <= FN(SHARED_BYTES);
    if (shared) {
        job->v = pydl_block_alloc((size_t)(FN(PRODUCTS) * plane) * sizeof(REAL));
        if (!job->v) {
            pydl_block_free(job->u);
            return PYDL_NO_MEMORY;
        }
        job->block = FN(even_piece)(job->tiles, FN(max)(192 / NR, 1) * NR, NR);
        job->blocks = (job->tiles + job->block - 1) / job->block;
    }
    idx rows = FN(max)(FN(TILE_BYTES) / (tile * job->block) / MR, 1) * MR;
    if (shared)
        rows = FN(min)(rows, FN(round_up)((job->rows * job->blocks + most - 1) / most, MR));
    job->task_rows = FN(even_piece)(job->rows, rows, MR);
    if (shared) {
        pydl_parallel_for((job->channels + FN(CHANNEL_PIECE) - 1) / FN(CHANNEL_PIECE),
                          300.0 * (double)job->tiles * (double)job->channels, FN(winograd_shared_tiles), job);
        pydl_parallel_for(job->blocks * ((job->rows + job->task_rows - 1) / job->task_rows), work, FN(winograd_shared_block), job);
        pydl_block_free(job->v);
    } else {
        pydl_parallel_for(job->blocks, work, FN(winograd_block), job);
    }
    pydl_block_free(job->u);
    return job->failed ? PYDL_NO_MEMORY : PYDL_OK;
}

static int FN(winograd_forward)(const pydl_conv2d_shape *s, const REAL *x, const REAL *w, const REAL *b, REAL *y)
{
    const int step = s->kh == 3 ? 4 : 2;
    const idx pad_h = -s->pad_h, pad_w = -s->pad_w, taps = s->kh * s->kw;
    winograd_job job = {
        .from = {x, s->c * s->h * s->w, s->h, s->w, step, step, ceil_div(s->oh, step), ceil_div(s->ow, step), 1, &pad_h, &pad_w},
        .step = step, .images = s->n, .channels = s->c, .rows = s->oc, .taps = taps,
        .weight = w, .row_step = s->c * taps, .channel_step = taps, .bias = b, .dst = y, .h = s->oh, .w = s->ow,
    };
    return FN(winograd_run)(&job);
}

static int FN(winograd_backward_input)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *w, REAL *dx)
{
    const int step = s->kh == 3 ? 4 : 2;
    const idx pad_h = s->pad_h + 1 - s->kh, pad_w = s->pad_w + 1 - s->kw, taps = s->kh * s->kw;
    winograd_job job = {
        .from = {dy, s->oc * s->oh * s->ow, s->oh, s->ow, step, step, ceil_div(s->h, step), ceil_div(s->w, step), 1, &pad_h, &pad_w},
        .step = step, .images = s->n, .channels = s->oc, .rows = s->c, .taps = taps,
        .weight = w, .row_step = taps, .channel_step = s->c * taps, .rotated = 1, .dst = dx, .h = s->h, .w = s->w,
    };
    return FN(winograd_run)(&job);
}

/* ---- backward_weight ---- */
enum {
    FN(SUM_BYTES) = 800 << 10,     /* sums that stay in L2 while a task goes from tile to tile */
    FN(WEIGHT_TILES) = 4 * FN(TILE_PIECE),
    FN(WEIGHT_CHANNELS) = 256 / MR * MR,
};

typedef struct {
    patches from, dy_from;         /* the tiles of x, and the same of dy, which do not overlap */
    int step;
    idx images, channels, rows;
    REAL *dw, *sums;               /* sums[chunk][k][channel][row], a row sum_row elements long */
    idx sum_row, tiles, block, piece, pieces, chunk, chunks;
    int points;                    /* of the first axis that a task covers */
    int failed;
} FN(winograd_weight_job);
#define winograd_weight_job FN(winograd_weight_job)

/* out[j*plane + tile*stride + row] = (G dy G^T) (point, j), vectors along the rows first .. first + VLEN of dy. */
INLINE void FN(winograd_dy)(int step, const winograd_weight_job *job, int point, const tile_run *run, idx first, REAL *out,
                            idx stride, idx plane, REAL *padded, REAL *lines)
{
    const idx length = FN(line_length)(step), rows = FN(min)(VLEN, job->rows - first);
    const patches *from = &job->dy_from;
    REAL *pixels = lines + VLEN * length;
    REAL power[4];
    for (int a = 0; a < step; a++)
        power[a] = FN(winograd_power)(step, point, a);
    for (idx r = 0; r < rows; r++) {
        REAL *dst = lines + r * length;
        for (int s = 0; s < run->segments; s++) {
            const segment piece = run->list[s];
            const idx width = piece.count * step;
            FN(pad_rows)(from->src + piece.image * from->image + (first + r) * from->h * from->w, from->h, from->w,
                         piece.row * step, piece.rows * step, piece.first * step, width, 1, padded);
            for (idx row = 0; row < piece.rows; row++, dst += width)
                for (idx pixel = 0; pixel < width; pixel += VLEN) {
                    vec sum = {0};
#pragma GCC unroll 4
                    for (int a = 0; a < step; a++)
                        sum += power[a] * FN(load)(padded + (row * step + a) * width + pixel);
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
            FN(store)(out + j * plane + t * stride + first, six[j]);
    }
}

/* A block of tiles' part in the six matrices of one point of the first axis, for some channels. v, y and padded are scratch. */
INLINE void FN(winograd_weight_block)(int step, winograd_weight_job *job, int point, idx channel, idx channels, idx first, idx count,
                                      REAL *v, REAL *y, REAL *padded, sink *to)
{
    const idx x_stride = FN(plane_of)(job->block), x_plane = FN(plane_of)(job->piece * x_stride);
    const idx y_stride = FN(block_stride)(job->rows), y_plane = FN(plane_of)(job->block * y_stride);
    const idx length = FN(line_length)(step), piece = FN(even_piece)(count, FN(TILE_PIECE), VLEN);
    REAL *lines = padded + FN(padded_size)(step), *sums = to->c;
    for (idx t = 0; t < count; t += piece) {
        const tile_run run = FN(tiles_of)(&job->from, first + t, FN(min)(piece, count - t));
        for (idx c = 0; c < channels; c++) {
            FN(winograd_lines)(step, &job->from, channel + c, &run, point, padded, lines);
            FN(winograd_columns)(step, lines, length, run.count, v + c * x_stride + t, x_plane);
        }
        for (idx row = 0; row < job->rows; row += VLEN)
            FN(winograd_dy)(step, job, point, &run, row, y + t * y_stride, y_stride, y_plane, padded, lines);
    }
    for (idx j = 0; j < 6; j++) {
        to->c = sums + (point * 6 + j) * job->channels * job->sum_row;
        FN(multiply_rows)(channels, job->rows, count, v + j * x_plane, x_stride, y + j * y_plane, y_stride, to);
    }
    to->c = sums;
}

/* The sums of some points and channels over a chunk of the tiles. */
INLINE void FN(winograd_weight_sums)(int step, winograd_weight_job *job, idx task)
{
    const int parts = 6 / job->points, point = (int)(task % parts) * job->points;
    const idx channel = task / parts % job->pieces * job->piece, channels = FN(min)(job->piece, job->channels - channel);
    const idx chunk = task / parts / job->pieces, begin = chunk * job->chunk, end = FN(min)(begin + job->chunk, job->tiles);
    const idx x_size = 6 * FN(plane_of)(job->piece * FN(plane_of)(job->block));
    const idx y_size = 6 * FN(plane_of)(job->block * FN(block_stride)(job->rows));
    REAL *v = pydl_block_alloc((size_t)(x_size + y_size + FN(padded_size)(step) + (2 * VLEN + 3) * FN(line_length)(step)) *
                               sizeof(REAL));
    if (!v) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    sink to = {.c = job->sums + (chunk * FN(PRODUCTS) * job->channels + channel) * job->sum_row, .row = job->sum_row};
    for (idx first = begin; first < end; first += job->block) {
        for (int i = point; i < point + job->points; i++)
            FN(winograd_weight_block)(step, job, i, channel, channels, first, FN(min)(job->block, end - first), v, v + x_size,
                                      v + x_size + y_size, &to);
        to.accumulate = 1;
    }
    pydl_block_free(v);
}

static void FN(winograd_weight_task)(void *context, idx task)
{
    winograd_weight_job *job = context;
    if (job->step == 4)
        FN(winograd_weight_sums)(4, job, task);
    else
        FN(winograd_weight_sums)(2, job, task);
}

enum { FN(WEIGHT_PIECE) = 8 };     /* channels of a task of the last transform */

/* dw of some channels from the sums of the chunks, VLEN rows at a time. */
INLINE void FN(winograd_weight_result)(int side, const winograd_weight_job *job, idx task)
{
    const idx first = task * FN(WEIGHT_PIECE), channels = FN(min)(FN(WEIGHT_PIECE), job->channels - first);
    const idx taps = side * side, filter = job->channels * taps, plane = job->channels * job->sum_row;
    REAL found[FN(WEIGHT_PIECE) * 25 * (VECTOR_BYTES / sizeof(REAL))];
    for (idx row = 0; row < job->rows; row += VLEN) {
        for (idx c = 0; c < channels; c++) {
            vec half[6][5], in[6], out[5];
#pragma GCC unroll 6
            for (int i = 0; i < 6; i++) {
#pragma GCC unroll 6
                for (int j = 0; j < 6; j++) {
                    const REAL *sum = job->sums + (i * 6 + j) * plane + (first + c) * job->sum_row + row;
                    in[j] = FN(load)(sum);
                    for (idx chunk = 1; chunk < job->chunks; chunk++)
                        in[j] += FN(load)(sum + chunk * FN(PRODUCTS) * plane);
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
                    FN(store)(found + (c * taps + a * side + b) * VLEN, out[a]);
            }
        }
        FN(transpose)(channels * taps, FN(min)(VLEN, job->rows - row), found, VLEN, job->dw + row * filter + first * taps, filter);
    }
}

static void FN(winograd_weight_last)(void *context, idx task)
{
    const winograd_weight_job *job = context;
    if (job->step == 4)
        FN(winograd_weight_result)(3, job, task);
    else
        FN(winograd_weight_result)(5, job, task);
}

static int FN(winograd_backward_weight)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x, REAL *dw)
{
    const int step = s->kh == 3 ? 4 : 2;
    const idx pad_h = -s->pad_h, pad_w = -s->pad_w, none = 0, most = 8, size = sizeof(REAL);
    const idx grid_h = ceil_div(s->oh, step), grid_w = ceil_div(s->ow, step);
    winograd_weight_job job = {
        .from = {x, s->c * s->h * s->w, s->h, s->w, step, step, grid_h, grid_w, 1, &pad_h, &pad_w},
        .dy_from = {dy, s->oc * s->oh * s->ow, s->oh, s->ow, step, step, grid_h, grid_w, 1, &none, &none},
        .step = step, .images = s->n, .channels = s->c, .rows = s->oc, .dw = dw,
        .tiles = s->n * grid_h * grid_w, .sum_row = FN(round_up)(s->oc, VLEN),
    };
    job.piece = FN(even_piece)(s->c, FN(WEIGHT_CHANNELS), MR);
    job.pieces = (s->c + job.piece - 1) / job.piece;
    /* As many points as their sums leave room for: each one reads x and dy again. */
    const idx affordable = FN(SUM_BYTES) / (6 * s->c * job.sum_row * size);
    job.points = affordable >= 6 ? 6 : affordable >= 3 ? 3 : affordable >= 2 ? 2 : 1;
    const idx fit = FN(TILE_BYTES) / ((step * step + 6) * (job.piece + job.sum_row) * size) / FN(TILE_PIECE) * FN(TILE_PIECE);
    const idx limit = job.points == 1 ? FN(WEIGHT_TILES) : FN(max)(FN(min)(fit, FN(WEIGHT_TILES)), FN(TILE_PIECE));
    job.block = FN(even_piece)(job.tiles, limit, VLEN);
    const idx blocks = (job.tiles + job.block - 1) / job.block, tasks = 6 / job.points * job.pieces;
    job.chunk = (blocks + (most + tasks - 1) / tasks - 1) / ((most + tasks - 1) / tasks) * job.block;
    job.chunks = (job.tiles + job.chunk - 1) / job.chunk;
    job.sums = pydl_block_alloc((size_t)(job.chunks * FN(PRODUCTS) * s->c * job.sum_row) * sizeof(REAL));
    if (!job.sums)
        return PYDL_NO_MEMORY;
    const double products = 2.0 * FN(PRODUCTS) * (double)s->c * (double)s->oc;
    pydl_parallel_for(tasks * job.chunks, products * (double)job.tiles, FN(winograd_weight_task), &job);
    pydl_parallel_for((s->c + FN(WEIGHT_PIECE) - 1) / FN(WEIGHT_PIECE), products, FN(winograd_weight_last), &job);
    pydl_block_free(job.sums);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}

/* ---- the choice ---- */
static int FN(winograd_fits)(const pydl_conv2d_shape *s)
{
    return s->groups == 1 && s->kh == s->kw && (s->kh == 3 || s->kh == 5) && s->stride_h == 1 && s->stride_w == 1 &&
           s->dilation_h == 1 && s->dilation_w == 1;
}

/* Whether to compute it so, where h x w pixels of rows channels are the sum over so many channels. Estimated cycles of a core: the
 * products of either way alike, a vector of tiles' way there and back, and the filters', which memory limits where they are many. */
static int FN(winograd_pays)(const pydl_conv2d_shape *s, idx channels, idx rows, idx h, idx w, int weight)
{
    if (!FN(winograd_fits)(s) || s->algorithm == PYDL_DIRECT)
        return 0;
    if (s->algorithm == PYDL_WINOGRAD)
        return 1;
    if (!REAL_IS_FLOAT || !pydl_get_winograd())
        return 0;
    const idx step = 7 - s->kh, tiles = s->n * ceil_div(h, step) * ceil_div(w, step), vectors = (tiles + VLEN - 1) / VLEN;
    const double pairs = (double)channels * (double)rows, product = 0.5 / 0.8;
    const double direct = product * (double)(s->n * h * w) / (double)VLEN * pairs * (double)(s->kh * s->kw);
    const double there = weight ? 600 : 350, back = weight ? 500 : 200;
    const double filter = pairs * 144 < FN(TILE_BYTES) ? 12 : 40;
    const double cost = product * FN(PRODUCTS) * (double)vectors * pairs + pairs * filter +
                        (double)vectors * (there * (double)channels + back * (double)rows);
    return cost < 0.9 * direct;
}
