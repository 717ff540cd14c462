/* The gradient of a convolution's input as implicit GEMM, dx (n,c,h,w) = W^T . patches of dy; for
 * each residue of the pixel modulo the stride, the taps that reach it, so that no product with an
 * inserted zero is computed. */

/* The taps that reach the input pixels first + step * (0, 1, ...) along one axis, and where in dy
 * they read. */
static idx FN(taps_of_residue)(idx first, idx kernel, idx stride, idx pad, idx dilation, idx *tap,
                               idx *shift)
{
    idx count = 0;
    for (idx k = 0; k < kernel; k++)
        if ((first + pad - k * dilation) % stride == 0) {
            tap[count] = k;
            shift[count++] = (first + pad - k * dilation) / stride;
        }
    return count;
}

/* Few input channels: the patches of dx, W^T dy, are computed for some output rows at a time and
 * added up (col2im). */
typedef struct {
    const pydl_conv2d_shape *s;
    const REAL *dy, *w;
    REAL *dx;
    idx piece; /* channels of a task */
    idx lines; /* output rows at a time */
    int failed;
} FN(adjoint_job);

static void FN(adjoint_task)(void *context, idx task)
{
    FN(adjoint_job) *job = context;
    const pydl_conv2d_shape *s = job->s;
    const idx taps = s->kh * s->kw, channels = s->c / s->groups, rows = s->oc / s->groups,
              pixels = s->oh * s->ow;
    const idx pieces = (channels + job->piece - 1) / job->piece;
    const idx n = task / (s->groups * pieces), group = task / pieces % s->groups,
              channel = task % pieces * job->piece;
    const idx count = FN(min)(job->piece, channels - channel), m = count * taps;
    const idx lines = job->lines, columns = FN(min)(lines, s->oh) * s->ow;
    const idx stride = FN(block_stride)(columns), depth = FN(even_piece)(rows, FN(KC), 1),
              panels = FN(round_up)(m, MR);
    REAL *block = pydl_block_alloc((size_t)((depth + m) * stride + panels * rows) * sizeof(REAL));
    if (!block) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    REAL *patch = block + depth * stride, *packed = patch + m * stride;
    const REAL *w = job->w + (group * rows * channels + channel) * taps,
               *dy = job->dy + (n * s->oc + group * rows) * pixels;
    REAL *plane = job->dx + (n * s->c + group * channels + channel) * s->h * s->w;
    for (idx i = 0; i < m; i += MR)
        FN(pack_panel)(FN(min)(MR, m - i), rows, w + i, 1, channels * taps, packed + i * rows);
    FN(zero_run)(plane, count * s->h * s->w);
    for (idx line = 0; line < s->oh; line += lines) {
        const idx here = FN(min)(lines, s->oh - line), width = here * s->ow;
        sink to = {.c = patch, .row = stride};
        for (idx k = 0; k < rows; k += depth) {
            const idx deep = FN(min)(depth, rows - k);
            const REAL *const here_dy = dy + k * pixels + line * s->ow;
            const int packs = width % NR || !FN(rows_spread)(pixels);
            if (packs)
                FN(pack_block)(deep, width, here_dy, pixels, 1, block, stride);
            FN(multiply_panels)(m, width, deep, packed + k * MR, rows, packs ? block : here_dy,
                                packs ? stride : pixels, NULL, &to);
            to.accumulate = 1;
        }
        for (idx c = 0; c < count; c++)
            FN(add_patches)(s, line, here, patch + c * taps * stride, stride,
                            plane + c * s->h * s->w);
    }
    pydl_block_free(block);
}

/* Rows of so many pixels at a time, at most WIDEST of them, that leave the least of the tiles'
 * columns empty. */
static idx FN(whole_lines)(idx rows, idx pixels)
{
    const idx most = FN(min)(FN(max)(FN(WIDEST) / pixels, 1), rows);
    idx best = 1, least = 0;
    for (idx lines = 1; lines <= most; lines++) {
        const idx columns = rows / lines * FN(round_up)(lines * pixels, NR) +
                            FN(round_up)(rows % lines * pixels, NR);
        if (!least || columns <= least) {
            best = lines;
            least = columns;
        }
    }
    return best;
}

static int FN(backward_input_adjoint)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *w,
                                      REAL *dx)
{
    const idx taps = s->kh * s->kw, channels = s->c / s->groups;
    FN(adjoint_job) job = {.s = s, .dy = dy, .w = w, .dx = dx};
    job.piece = FN(even_piece)(channels, FN(max)(FN(MC) / taps, 1), 1);
    job.lines = FN(whole_lines)(s->oh, s->ow);
    const idx pieces = (channels + job.piece - 1) / job.piece;
    pydl_parallel_for(s->n * s->groups * pieces,
                      2.0 * (double)(s->n * s->oh * s->ow) * (double)(s->oc * channels * taps),
                      FN(adjoint_task), &job);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}

/* Estimated cost of the two ways in cycles per tap and pixel: the GEMM's tiles, packing a patch or
 * adding one up, which costs more where rows are short, and packing the weights: here for each
 * image, there for all, but turned round, and tap by tap where the stride parts them. */
static int FN(adjoint_is_cheaper)(const pydl_conv2d_shape *s)
{
    const double channels = (double)(s->c / s->groups), rows = (double)(s->oc / s->groups),
                 width = (double)s->ow;
    const double tile = 1.0 / (double)(2 * VLEN),
                 padded = (double)FN(round_up)(s->c / s->groups, MR);
    const double pack = 0.3 + 2 / width, add = 0.9 + 12 / width;
    const double pixels = (double)(s->oh * s->ow), weights = channels * rows / pixels,
                 turn = s->stride_h * s->stride_w > 1 ? 1.3 : 0.4;
    return s->kh * s->kw > 1 && s->ow <= FN(WIDEST) &&
           channels * (rows * tile + add) + 0.3 * weights <
               rows * (padded * tile + pack) + turn * weights / (double)s->n;
}

static int FN(conv2d_backward_input)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *w,
                                     REAL *dx)
{
    const idx taps = s->kh * s->kw, channels = s->c / s->groups, rows = s->oc / s->groups;
    if (!s->n)
        return PYDL_OK;
    if (FN(is_depthwise)(s))
        return FN(depthwise_backward_input)(s, dy, w, dx);
    if (FN(winograd_pays)(s, FN(TO_DX), 0))
        return FN(winograd_backward_input)(s, dy, w, dx);
    if (FN(batch_pays)(s, FN(TO_DX)))
        return FN(batch_backward_input)(s, dy, w, dx);
    if (FN(adjoint_is_cheaper)(s))
        return FN(backward_input_adjoint)(s, dy, w, dx);
    idx *lists = pydl_block_alloc((size_t)(3 * taps + 2 * s->kh + 2 * s->kw) * sizeof(idx));
    if (!lists)
        return PYDL_NO_MEMORY;
    idx *tap_h = lists, *tap_w = tap_h + taps, *offset = tap_w + taps;
    idx *kh = offset + taps, *shift_h = kh + s->kh, *kw = shift_h + s->kh, *shift_w = kw + s->kw;
    int status = PYDL_OK;
    /* One tap reaches one residue, whose pixels are stored with the zeros that follow them. */
    const int alone = taps == 1 && !s->pad_h && !s->pad_w;
    const idx residues_h = alone ? 1 : FN(min)(s->stride_h, s->h),
              residues_w = alone ? 1 : FN(min)(s->stride_w, s->w);
    for (idx first_h = 0; first_h < residues_h && status == PYDL_OK; first_h++)
        for (idx first_w = 0; first_w < residues_w && status == PYDL_OK; first_w++) {
            const idx count_h = FN(taps_of_residue)(first_h, s->kh, s->stride_h, s->pad_h,
                                                    s->dilation_h, kh, shift_h);
            const idx count_w = FN(taps_of_residue)(first_w, s->kw, s->stride_w, s->pad_w,
                                                    s->dilation_w, kw, shift_w);
            for (idx i = 0; i < count_h; i++)
                for (idx j = 0; j < count_w; j++) {
                    tap_h[i * count_w + j] = shift_h[i];
                    tap_w[i * count_w + j] = shift_w[j];
                    offset[i * count_w + j] = kh[i] * s->kw + kw[j];
                }
            const idx grid_h = ceil_div(s->h - first_h, s->stride_h),
                      grid_w = ceil_div(s->w - first_w, s->stride_w);
            conv_job job = {
                .from = {dy, s->oc * s->oh * s->ow, s->oh, s->ow, 1, 1, grid_h, grid_w,
                         count_h * count_w, tap_h, tap_w},
                .group_channels = rows,
                .weight = w,
                .row_step = taps,
                .channel_step = channels * taps,
                .group_step = rows * channels * taps,
                .tap_offset = offset,
                .images = s->n,
                .groups = s->groups,
                .group_rows = channels,
                .dst = dx,
                .dst_image = s->c * s->h * s->w,
                .dst_h = s->h,
                .dst_w = s->w,
                .step_h = s->stride_h,
                .step_w = s->stride_w,
                .first_h = first_h,
                .first_w = first_w,
                .clear = alone,
            };
            status = FN(conv_either)(&job);
        }
    pydl_block_free(lists);
    return status;
}
