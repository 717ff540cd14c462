/* The gradient of a convolution's weight as implicit GEMM, dw (oc,c/g,kh,kw)^T = patches of x .
 * dy^T, summed over fixed chunks of the pixels, then over the chunks. One operand's rows lie along
 * the columns, as both do in memory, the other one is turned round: dy, which gives dw^T, or the
 * patches, which give dw. */
enum {
    FN(TURNED_DY) = 32 << 20,              /* bytes at most of dy^T that tasks share */
    FN(TURN_COLUMNS) = 256 / sizeof(REAL), /* of it, for a task */
    FN(REDUCE_ROWS) = 8 * VECTOR_BYTES / sizeof(REAL), /* of dw's sums */
};

typedef struct {
    patches from, dy;   /* of the current group; dy has one tap */
    REAL *dw, *partial; /* partial (chunks, depth, rows), or (chunks, rows, depth) if direct */
    REAL *turned;       /* dy^T of all columns, for all tasks; NULL: each makes its own */
    idx images, rows, depth;
    int direct; /* the patches are turned round */
    idx chunks, chunk_columns, depth_blocks, depth_piece;
    int failed;
} FN(weight_job);
#define weight_job FN(weight_job)

/* Panels of rows first .. first + rows of a patch matrix, that of row i at panels + i * columns.
 * Block and scratch are for pack_columns, MC rows at most. */
static void FN(pack_panels)(const patches *from, idx first, idx rows, idx column, idx columns,
                            REAL *panels, REAL *block, idx stride, REAL *scratch)
{
    const idx pixels = from->grid_w;
    if (FN(is_matrix)(from)) {
        for (idx r = 0; r < rows; r += MR, panels += MR * columns)
            for (idx done = 0, count; done < columns; done += count) {
                const idx at = column + done, pixel = at % pixels;
                count = FN(min)(columns - done, pixels - pixel);
                FN(pack_panel)(FN(min)(MR, rows - r), count,
                               from->src + at / pixels * from->image + (first + r) * pixels + pixel,
                               pixels, 1, panels + done * MR);
            }
        return;
    }
    FN(pack_columns)(from, first, rows, column, columns, columns, block, stride, scratch);
    for (idx r = 0; r < rows; r += MR)
        FN(pack_panel)(FN(min)(MR, rows - r), columns, block + r * stride, stride, 1,
                       panels + r * columns);
}

/* dst (columns, rows; row stride stride) = the transpose of rows first .. first + rows of a patch
 * matrix, with zeros up to whole tiles of them. Block and scratch are for pack_columns, MC rows. */
static void FN(pack_turned)(const patches *from, idx first, idx rows, idx column, idx columns,
                            REAL *dst, idx stride, REAL *block, idx block_stride, REAL *scratch)
{
    const idx pixels = from->grid_w, padded = FN(round_up)(rows, NR);
    if (FN(is_matrix)(from))
        for (idx done = 0, count; done < columns; done += count) {
            const idx at = column + done, pixel = at % pixels;
            count = FN(min)(columns - done, pixels - pixel);
            FN(transpose)(rows, count,
                          from->src + at / pixels * from->image + first * pixels + pixel, pixels,
                          dst + done * stride, stride);
        }
    else
        for (idx r = 0; r < rows; r += FN(MC)) {
            const idx count = FN(min)(FN(MC), rows - r);
            FN(pack_columns)(from, first + r, count, column, columns, columns, block, block_stride,
                             scratch);
            FN(transpose)(count, columns, block, block_stride, dst + r, stride);
        }
    if (padded > rows)
        for (idx q = 0; q < columns; q++)
            FN(zero_run)(dst + q * stride + rows, padded - rows);
}

INLINE idx FN(weight_columns)(const weight_job *job)
{
    return job->images * job->from.grid_h * job->from.grid_w;
}

static void FN(turn_dy)(void *context, idx task)
{
    const weight_job *job = context;
    const idx stride = FN(block_stride)(job->rows), column = task * FN(TURN_COLUMNS);
    const idx columns = FN(min)(FN(TURN_COLUMNS), FN(weight_columns)(job) - column);
    FN(pack_turned)(&job->dy, 0, job->rows, column, columns, job->turned + column * stride, stride,
                    NULL, 0, NULL);
}

static void FN(weight_chunk)(void *context, idx task)
{
    weight_job *job = context;
    const idx chunk = task / job->depth_blocks, first = task % job->depth_blocks * job->depth_piece;
    const idx depth = FN(min)(job->depth_piece, job->depth - first);
    const idx begin = chunk * job->chunk_columns,
              end = FN(min)(begin + job->chunk_columns, FN(weight_columns)(job));
    const idx most = FN(even_piece)(end - begin, FN(KC), VLEN), stride = FN(block_stride)(most);
    /* Rows of the result, from the plain operand, and its columns, from the turned one. */
    const patches *plain = job->direct ? &job->dy : &job->from;
    const idx m0 = job->direct ? 0 : first, m = job->direct ? job->rows : depth;
    const idx n0 = job->direct ? first : 0, n = job->direct ? depth : job->rows;
    const idx row = job->direct ? job->depth : job->rows, n_stride = FN(block_stride)(n);
    const idx own = job->turned ? 0 : most * n_stride, piece = FN(MC);
    /* Whole cache lines, lest the turned rows behind them lie across two each. */
    const idx line = 64 / (idx)sizeof(REAL);
    const int gathers = !FN(is_matrix)(&job->from);
    const idx block_size = gathers ? FN(round_up)(piece * stride + VLEN, line) : 0,
              scratch_size = gathers ? FN(patch_scratch)(&job->from, most) : 0;
    REAL *block = pydl_block_alloc((size_t)(block_size + piece * most + own + scratch_size) *
                                   sizeof(REAL));
    if (!block) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    REAL *panels = block + block_size, *made = panels + piece * most, *scratch = made + own;
    sink to = {.row = row};
    for (idx column = begin; column < end; column += most) {
        const idx columns = FN(min)(most, end - column);
        const REAL *turned = job->turned ? job->turned + column * n_stride : made;
        if (!job->turned)
            FN(pack_turned)(job->direct ? &job->from : &job->dy, n0, n, column, columns, made,
                            n_stride, block, stride, scratch);
        for (idx i = 0; i < m; i += piece) {
            const idx count = FN(min)(piece, m - i);
            FN(pack_panels)(plain, m0 + i, count, column, columns, panels, block, stride, scratch);
            to.c = job->partial + chunk * job->depth * job->rows + (m0 + i) * row + n0;
            FN(multiply_panels)(count, n, columns, panels, columns, turned, n_stride, NULL, &to);
        }
        to.accumulate = 1;
    }
    pydl_block_free(block);
}

/* dw (rows, depth) = the sum of the chunks: REDUCE_ROWS of the depth, transposed, or as many
 * rows. */
static void FN(weight_reduce)(void *context, idx task)
{
    const weight_job *job = context;
    const idx height = job->direct ? job->rows : job->depth,
              width = job->direct ? job->depth : job->rows;
    const idx first = task * FN(REDUCE_ROWS), count = FN(min)(FN(REDUCE_ROWS), height - first);
    REAL *sum = job->partial + first * width;
    for (idx chunk = 1; chunk < job->chunks; chunk++) {
        const REAL *other = sum + chunk * height * width;
        for (idx i = 0; i < count * width; i++)
            sum[i] += other[i];
    }
    if (job->direct)
        FN(copy_run)(job->dw + first * width, sum, count * width);
    else
        FN(transpose)(count, width, sum, width, job->dw + first, height);
}

/* Cuts the depth into so many pieces of whole tiles: rows of the result, or its columns where the
 * patches are turned round. Returns the cycles that a column of all then takes, estimated and
 * fitted to measurements: tiles; reading the turned operand again for every MC rows where it
 * exceeds L2; panels of dy, which each piece makes anew; dw, which is turned at last. */
static double FN(cut_depth)(weight_job *job, int direct, idx pieces, idx columns)
{
    const idx multiple = direct ? NR : MR;
    const idx piece = FN(even_piece)(job->depth, (job->depth + pieces - 1) / pieces, multiple);
    const double rows = (double)job->rows, depth = (double)job->depth;
    job->direct = direct;
    job->depth_piece = piece;
    job->depth_blocks = (job->depth + piece - 1) / piece;
    const idx m = direct ? job->rows : piece, n = direct ? piece : job->rows;
    const double blocks = (double)job->depth_blocks;
    const double tiles =
        direct ? (double)FN(round_up)(job->rows, MR) * FN(vectors_of_tiles)(job->depth)
               : (double)FN(round_up)(job->depth, MR) * FN(vectors_of_tiles)(job->rows);
    const idx turned = n * FN(even_piece)(job->chunk_columns, FN(KC), VLEN) * (idx)sizeof(REAL);
    const double again =
        turned > FN(L2_BYTES) ? 0.15 * blocks * (double)n * ceil((double)m / FN(MC)) : 0;
    return 0.55 * tiles + again +
           (direct ? 0.4 * rows * (blocks - 1) : 0.2 * rows * depth / (double)columns);
}

static int FN(conv2d_backward_weight)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x,
                                      REAL *dw)
{
    const idx taps = s->kh * s->kw, channels = s->c / s->groups, rows = s->oc / s->groups;
    if (!s->n) {
        FN(zero_run)(dw, s->oc * channels * taps);
        return PYDL_OK;
    }
    if (FN(is_depthwise)(s))
        return FN(depthwise_backward_weight)(s, dy, x, dw);
    if (FN(winograd_pays)(s, FN(TO_DW), 0))
        return FN(winograd_backward_weight)(s, dy, x, dw);
    if (FN(batch_pays)(s, FN(TO_DW)))
        return FN(batch_backward_weight)(s, dy, x, dw);
    idx *tap_h = pydl_block_alloc((size_t)(2 * taps) * sizeof(idx)), *tap_w = tap_h + taps;
    if (!tap_h)
        return PYDL_NO_MEMORY;
    FN(forward_taps)(s, tap_h, tap_w);
    const idx pixels = s->oh * s->ow, zero = 0;
    weight_job job = {
        .from = {x, s->c * s->h * s->w, s->h, s->w, s->stride_h, s->stride_w, s->oh, s->ow, taps,
                 tap_h, tap_w},
        .dy = {dy, s->oc * pixels, 1, pixels, 1, 1, 1, pixels, 1, &zero, &zero},
        .images = s->n,
        .rows = rows,
        .depth = channels * taps,
    };
    FN(merge_rows)(&job.from);
    /* Chunks of pixels while their partial sums stay small, then pieces of the depth: eight tasks
     * at least if possible. */
    const idx columns = s->n * pixels, most = 8, size = job.depth * rows,
              affordable = ((idx)1 << 20) / FN(max)(size, 1);
    const idx blocks = (columns + FN(KC) - 1) / FN(KC);
    job.chunks = FN(max)(FN(min)(FN(min)(blocks, affordable), most), 1);
    job.chunk_columns = FN(round_up)((columns + job.chunks - 1) / job.chunks, VLEN);
    job.chunks = (columns + job.chunk_columns - 1) / job.chunk_columns;
    const idx wanted = (most + job.chunks - 1) / job.chunks,
              pieces = FN(max)(FN(min)(wanted, job.depth / FN(MC)), 1);
    const double patches_turned = FN(cut_depth)(&job, 1, pieces, columns);
    if (FN(cut_depth)(&job, 0, pieces, columns) >= patches_turned)
        FN(cut_depth)(&job, 1, pieces, columns);
    const int in_place = job.direct && job.chunks == 1;
    const idx stride = FN(block_stride)(rows), turned = columns * stride * (idx)sizeof(REAL);
    REAL *const partial =
        in_place ? NULL : pydl_block_alloc((size_t)(job.chunks * size) * sizeof(REAL));
    if (!job.direct && job.depth_blocks > 1 && turned <= FN(TURNED_DY))
        job.turned = pydl_block_alloc((size_t)turned);
    job.failed = !in_place && !partial;
    for (idx group = 0; group < s->groups && !job.failed; group++) {
        job.dw = dw + group * size;
        job.partial = in_place ? job.dw : partial;
        if (job.turned)
            pydl_parallel_for((columns + FN(TURN_COLUMNS) - 1) / FN(TURN_COLUMNS),
                              2.0 * (double)columns * (double)rows, FN(turn_dy), &job);
        pydl_parallel_for(job.chunks * job.depth_blocks, 2.0 * (double)columns * (double)size,
                          FN(weight_chunk), &job);
        if (!in_place)
            pydl_parallel_for(((job.direct ? rows : job.depth) + FN(REDUCE_ROWS) - 1) /
                                  FN(REDUCE_ROWS),
                              (double)job.chunks * (double)size, FN(weight_reduce), &job);
        job.from.src += channels * s->h * s->w;
        job.dy.src += rows * pixels;
    }
    pydl_block_free(job.turned);
    pydl_block_free(partial);
    pydl_block_free(tap_h);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}
