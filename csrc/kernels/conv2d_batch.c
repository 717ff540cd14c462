/* Convolution with an image in each lane: for many small images of few channels, whose patches cost
 * more to pack than to multiply. With x as (c, h, w, images), a pixel (i, j) of the result is a
 * product of its own,
 *
 *   y (oc, images) = W (oc, kh*c*kw) . the rows of x that the pixel reads (kh*c*kw, images)
 *
 * whose right operand is read where it is (b_rows in core/gemm.h). dx is the same of dy, with the
 * filters turned round. dw adds up products of dy and of x at a distance, then their lanes. Some
 * images at a time are turned so, and results turned back. */
enum {
    FN(BATCH_IMAGES) = 512 / sizeof(REAL), /* at a time, at most */
    FN(BATCH_BYTES) = 1 << 20,             /* of the turned images, at most */
    FN(BATCH_BLOCK) = 1 << 19,             /* of what a task has beside them */
    FN(BATCH_RUN) = 1024 / sizeof(REAL),   /* elements of an image that a task turns */
    FN(BATCH_ROWS) = 3,                    /* of dy, times so many taps: the sums that dw has in */
    FN(BATCH_TAPS) = MR > 6 ? 9 : 4,       /* registers at a time */
};

/* ---- images innermost ---- */
typedef struct {
    const REAL *src; /* (images, channels, h, w), image elements from one to the next */
    idx image, channels, h, w;
    REAL *dst; /* (channels, height, width, span): a plane begins with top rows and a row with left
                  pixels of zeros; what is not written is 0 */
    idx top, left, height, width, span;
    idx images; /* at most span, a multiple of VLEN */
} FN(batch);
#define batch FN(batch)

/* Elements e .. end of every image. */
static void FN(batch_turn_run)(const batch *of, idx e, idx end)
{
    for (; e < end; e += VLEN) {
        const idx here = FN(min)(end - e, VLEN), line = e / of->w, first = e % of->w;
        const idx row = line / of->h * of->height + of->top + line % of->h;
        for (idx n = 0; n < of->span; n += VLEN) {
            vec rows[VECTOR_BYTES / sizeof(REAL)];
#pragma GCC unroll 16
            for (idx i = 0; i < VLEN; i++)
                rows[i] = n + i < of->images
                              ? FN(load_part)(of->src + (n + i) * of->image + e, here, 0)
                              : (vec){0};
            FN(transpose_vectors)(rows);
            idx place = row * of->width + of->left + first;
            idx left = of->w - first, below = of->h - line % of->h;
            for (idx i = 0; i < here; i++, place++) {
                FN(store)(of->dst + place * of->span + n, rows[i]);
                if (!--left) {
                    left = of->w;
                    place += of->width - of->w;
                    if (!--below) {
                        below = of->h;
                        place += (of->height - of->h) * of->width;
                    }
                }
            }
        }
    }
}

static void FN(batch_turn)(void *context, idx task)
{
    const batch *of = context;
    const idx size = of->channels * of->h * of->w, begin = task * FN(BATCH_RUN);
    FN(batch_turn_run)(of, begin, FN(min)(begin + FN(BATCH_RUN), size));
}

static void FN(turn_batch)(batch *of)
{
    const idx size = of->channels * of->h * of->w;
    pydl_parallel_for((size + FN(BATCH_RUN) - 1) / FN(BATCH_RUN), (double)(size * of->span),
                      FN(batch_turn), of);
}

INLINE idx FN(batch_size)(const batch *of)
{
    return of->channels * of->height * of->width * of->span;
}

/* What is turned: dy for dx, or x, with the zeros around it that the taps read. Its span is 0 where
 * too few images fit. */
static batch FN(batch_of)(const pydl_conv2d_shape *s, FN(winograd_direction) direction,
                          const REAL *src)
{
    const idx reach_h = (s->kh - 1) * s->dilation_h, reach_w = (s->kw - 1) * s->dilation_w;
    batch of = {.src = src, .channels = s->c, .h = s->h, .w = s->w};
    if (direction == FN(TO_DX)) {
        of = (batch){.src = src, .channels = s->oc, .h = s->oh, .w = s->ow};
        of.left = reach_w - s->pad_w;
        of.height = of.h;
        of.width = s->w + reach_w;
    } else {
        of.left = s->pad_w;
        of.height = of.h;
        of.width = FN(max)((s->ow - 1) * s->stride_w + reach_w + 1, of.left + of.w);
        if (direction == FN(TO_DW)) {
            of.top = s->pad_h;
            of.height = FN(max)((s->oh - 1) * s->stride_h + reach_h + 1, of.top + of.h);
        }
    }
    of.image = of.channels * of.h * of.w;
    idx fit = FN(BATCH_BYTES) / (idx)sizeof(REAL) / (of.channels * of.height * of.width);
    if (direction == FN(TO_DW)) /* and some rows of dy in a task's block */
        fit = FN(min)(fit, FN(BATCH_BLOCK) / (idx)sizeof(REAL) / (FN(BATCH_ROWS) * s->oh * s->ow));
    fit = fit / VLEN * VLEN;
    if (s->n >= NR && fit >= NR)
        of.span = FN(even_piece)(s->n, FN(min)(fit, FN(BATCH_IMAGES)), VLEN);
    return of;
}

/* ---- forward and dx ---- */
typedef struct {
    batch from;
    const REAL *weight; /* element (row, channel, tap) at weight[row*row_step +
                           channel*channel_step + first_tap + tap*tap_step] */
    idx row_step, channel_step, first_tap, tap_step;
    idx kh, kw, step_h, step_w, dilation_h, dilation_w, pad_h;
    idx rows, h, w; /* of the result */
    const REAL *bias;
    ending last;
    REAL *dst; /* (images, rows, h, w) */
    idx task_rows, task_lines, depth;
    REAL *packed;
    idx *place; /* of the product's rows, (kh, channels, kw), from the first one on */
    int failed;
} FN(batch_job);
#define batch_job FN(batch_job)

static void FN(batch_pack_weight)(void *context, idx panel)
{
    const batch_job *job = context;
    const idx row = panel * MR, rows = FN(min)(MR, job->rows - row);
    REAL *to = job->packed + row * job->depth;
    for (idx ky = 0; ky < job->kh; ky++)
        for (idx c = 0; c < job->from.channels; c++, to += job->kw * MR)
            FN(pack_panel)(rows, job->kw,
                           job->weight + row * job->row_step + c * job->channel_step +
                               job->first_tap + ky * job->kw * job->tap_step,
                           job->row_step, job->tap_step, to);
}

/* Finishes a task's results, (rows, pixels, span), and stores them to their images. */
static void FN(batch_store)(const batch_job *job, const REAL *results, idx row, idx rows, idx pixel,
                            idx pixels)
{
    const idx span = job->from.span, plane = job->h * job->w, image = job->rows * plane;
    for (idx r = 0; r < rows; r++, results += pixels * span)
        for (idx q = 0; q < pixels; q += VLEN) {
            const idx count = FN(min)(pixels - q, VLEN);
            for (idx n = 0; n < job->from.images; n += VLEN) {
                vec lines[VECTOR_BYTES / sizeof(REAL)];
#pragma GCC unroll 16
                for (idx i = 0; i < VLEN; i++)
                    lines[i] =
                        i < count ? FN(load)(results + (q + i) * span + n) : (vec){0};
                FN(transpose_vectors)(lines);
                idx at = n * image + (row + r) * plane + pixel + q;
                for (idx i = 0; i < FN(min)(job->from.images - n, VLEN); i++, at += image)
                    FN(store_part)(job->dst + at, count,
                                   FN(finished)(lines[i], job->last, at, count));
            }
        }
}

static void FN(batch_lines)(void *context, idx task)
{
    batch_job *job = context;
    const batch *from = &job->from;
    const idx blocks = (job->h + job->task_lines - 1) / job->task_lines, span = from->span;
    const idx row = task / blocks * job->task_rows, line = task % blocks * job->task_lines;
    const idx rows = FN(min)(job->task_rows, job->rows - row),
              lines = FN(min)(job->task_lines, job->h - line), pixels = lines * job->w;
    const idx of_tap_row = from->channels * job->kw;
    REAL *results = pydl_block_alloc((size_t)(rows * pixels * span) * sizeof(REAL));
    if (!results) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    sink to = {.c = results,
               .row = pixels * span,
               .bias_of_row = job->bias ? job->bias + row : NULL};
    for (idx i = line; i < line + lines; i++) {
        const idx above = i * job->step_h - job->pad_h; /* the row that tap row 0 reads */
        const idx below = ceil_div(from->h - above, job->dilation_h);
        const idx first = FN(min)(FN(max)(ceil_div(-above, job->dilation_h), 0), job->kh);
        const idx end = FN(max)(FN(min)(below, job->kh), first);
        const idx source = end > first ? (above + first * job->dilation_h) * from->width : 0;
        for (idx j = 0; j < job->w; j++, to.c += span)
            FN(multiply_panels)(rows, span, (end - first) * of_tap_row,
                                job->packed + row * job->depth + first * of_tap_row * MR,
                                job->depth, from->dst + (source + j * job->step_w) * span, 0,
                                job->place, &to);
    }
    FN(batch_store)(job, results, row, rows, line * job->w, pixels);
    pydl_block_free(results);
}

static int FN(batch_product)(batch_job *job, idx images)
{
    batch *from = &job->from;
    const idx channels = from->channels, most = 8;
    job->depth = job->kh * channels * job->kw;
    const idx size = FN(batch_size)(from), panels = FN(round_up)(job->rows, MR) * job->depth;
    from->dst = pydl_block_alloc((size_t)(size + panels) * sizeof(REAL) +
                                 (size_t)job->depth * sizeof(idx) + 64);
    if (!from->dst)
        return PYDL_NO_MEMORY;
    FN(zero_run)(from->dst, size);
    job->packed = from->dst + size;
    job->place = (idx *)(from->dst + FN(round_up)(size + panels, 64 / (idx)sizeof(REAL)));
    for (idx ky = 0, p = 0; ky < job->kh; ky++)
        for (idx c = 0; c < channels; c++)
            for (idx kx = 0; kx < job->kw; kx++)
                job->place[p++] =
                    ((c * from->h + ky * job->dilation_h) * from->width + kx * job->dilation_w) *
                    from->span;
    /* Tasks whose results stay in L2, eight at least if possible. */
    const idx line = job->w * from->span * (idx)sizeof(REAL);
    job->task_rows = FN(even_piece)(job->rows, 2 * MR, MR);
    job->task_lines = FN(max)(FN(min)(FN(BATCH_BLOCK) / (line * job->task_rows), job->h), 1);
    const idx row_blocks = (job->rows + job->task_rows - 1) / job->task_rows,
              wanted = (most + row_blocks - 1) / row_blocks;
    job->task_lines = FN(even_piece)(job->h, FN(min)(job->task_lines, ceil_div(job->h, wanted)), 1);
    const idx tasks = row_blocks * ((job->h + job->task_lines - 1) / job->task_lines);
    const double work = FN(product_work)(job->rows, job->h * job->w * from->span, job->depth);
    const ending last = job->last;
    REAL *const dst = job->dst;
    pydl_parallel_for((job->rows + MR - 1) / MR, (double)(job->rows * job->depth),
                      FN(batch_pack_weight), job);
    for (idx done = 0; done < images && !job->failed; done += from->images) {
        from->images = FN(min)(from->span, images - done);
        const idx place = done * job->rows * job->h * job->w;
        job->dst = dst + place;
        job->last = FN(ending_at)(last, place);
        FN(turn_batch)(from);
        pydl_parallel_for(tasks, work, FN(batch_lines), job);
        from->src += from->images * from->image;
    }
    pydl_block_free(from->dst);
    return job->failed ? PYDL_NO_MEMORY : PYDL_OK;
}

static int FN(batch_forward)(const pydl_conv2d_shape *s, const REAL *x, const REAL *w,
                             const REAL *b, ending last, REAL *y)
{
    batch_job job = {
        .from = FN(batch_of)(s, FN(TO_Y), x),
        .weight = w,
        .row_step = s->c * s->kh * s->kw,
        .channel_step = s->kh * s->kw,
        .tap_step = 1,
        .kh = s->kh,
        .kw = s->kw,
        .step_h = s->stride_h,
        .step_w = s->stride_w,
        .dilation_h = s->dilation_h,
        .dilation_w = s->dilation_w,
        .pad_h = s->pad_h,
        .rows = s->oc,
        .h = s->oh,
        .w = s->ow,
        .bias = b,
        .last = last,
        .dst = y,
    };
    return FN(batch_product)(&job, s->n);
}

static int FN(batch_backward_input)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *w,
                                    REAL *dx)
{
    const idx taps = s->kh * s->kw;
    batch_job job = {
        .from = FN(batch_of)(s, FN(TO_DX), dy),
        .weight = w,
        .row_step = taps,
        .channel_step = s->c * taps,
        .first_tap = taps - 1,
        .tap_step = -1,
        .kh = s->kh,
        .kw = s->kw,
        .step_h = 1,
        .step_w = 1,
        .dilation_h = s->dilation_h,
        .dilation_w = s->dilation_w,
        .pad_h = (s->kh - 1) * s->dilation_h - s->pad_h,
        .rows = s->c,
        .h = s->h,
        .w = s->w,
        .dst = dx,
    };
    return FN(batch_product)(&job, s->n);
}

/* ---- dw ---- */
typedef struct {
    const pydl_conv2d_shape *s;
    batch x;
    const REAL *dy;
    REAL *dw;
    idx task_rows; /* of dw, of a task */
    idx *place;    /* of the taps in x, from the first one on */
    int add;       /* to what earlier images gave */
    int failed;
} FN(batch_weight_job);
#define batch_weight_job FN(batch_weight_job)

/* sums[r][t] = the sum over lines of runs of row r of dy times x at tap t. Those of dy begin at
 * dy[r], of x at x[t]; lines are dy_line and x_line apart, each has so many runs of so many
 * elements, in x x_run apart. */
static void FN(batch_sums)(const REAL *const dy[FN(BATCH_ROWS)],
                           const REAL *const x[FN(BATCH_TAPS)], idx lines, idx dy_line, idx x_line,
                           idx runs, idx run, idx x_run,
                           REAL sums[FN(BATCH_ROWS)][FN(BATCH_TAPS)])
{
    vec sum[FN(BATCH_ROWS)][FN(BATCH_TAPS)];
#pragma GCC unroll 3
    for (int r = 0; r < FN(BATCH_ROWS); r++)
#pragma GCC unroll 9
        for (int t = 0; t < FN(BATCH_TAPS); t++)
            sum[r][t] = (vec){0};
    for (idx line = 0; line < lines; line++)
        for (idx j = 0; j < runs; j++) {
            const idx at = line * dy_line + j * run, other = line * x_line + j * x_run - at;
            for (idx q = at; q < at + run; q += VLEN) {
                vec factor[FN(BATCH_ROWS)];
#pragma GCC unroll 3
                for (int r = 0; r < FN(BATCH_ROWS); r++)
                    factor[r] = FN(load)(dy[r] + q);
#pragma GCC unroll 9
                for (int t = 0; t < FN(BATCH_TAPS); t++) {
                    const vec value = FN(load)(x[t] + other + q);
#pragma GCC unroll 3
                    for (int r = 0; r < FN(BATCH_ROWS); r++)
                        sum[r][t] += factor[r] * value;
                }
            }
        }
#pragma GCC unroll 3
    for (int r = 0; r < FN(BATCH_ROWS); r++)
#pragma GCC unroll 9
        for (int t = 0; t < FN(BATCH_TAPS); t++)
            sums[r][t] = FN(sum_lanes)(sum[r][t]);
}

/* Some rows of dw: their rows of dy are turned by the task that needs them. */
static void FN(batch_weight)(void *context, idx task)
{
    batch_weight_job *job = context;
    const pydl_conv2d_shape *s = job->s;
    const batch *x = &job->x;
    const idx taps = s->kh * s->kw, plane = s->oh * s->ow, first = task * job->task_rows;
    const idx rows = FN(min)(job->task_rows, s->oc - first);
    const idx line = s->ow * x->span, x_line = s->stride_h * x->width * x->span;
    const int whole = s->stride_w == 1; /* a line is one run */
    batch dy = {.src = job->dy + first * plane, .image = s->oc * plane, .channels = rows,
                .h = s->oh, .w = s->ow, .height = s->oh, .width = s->ow, .span = x->span,
                .images = x->images};
    if (!(dy.dst = pydl_block_alloc((size_t)FN(batch_size)(&dy) * sizeof(REAL)))) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    FN(batch_turn_run)(&dy, 0, rows * plane);
    for (idx c = 0; c < s->c; c++)
        for (idx r = 0; r < rows; r += FN(BATCH_ROWS))
            for (idx tap = 0; tap < taps; tap += FN(BATCH_TAPS)) {
                const REAL *of[FN(BATCH_ROWS)], *at[FN(BATCH_TAPS)];
                REAL sums[FN(BATCH_ROWS)][FN(BATCH_TAPS)];
                /* Those too many are the last one again. */
                for (idx i = 0; i < FN(BATCH_ROWS); i++)
                    of[i] = dy.dst + FN(min)(r + i, rows - 1) * plane * x->span;
                for (idx t = 0; t < FN(BATCH_TAPS); t++)
                    at[t] = x->dst + c * x->height * x->width * x->span +
                            job->place[FN(min)(tap + t, taps - 1)];
                FN(batch_sums)(of, at, s->oh, line, x_line, whole ? 1 : s->ow,
                               whole ? line : x->span, s->stride_w * x->span, sums);
                for (idx i = 0; i < FN(min)(FN(BATCH_ROWS), rows - r); i++) {
                    REAL *dw = job->dw + ((first + r + i) * s->c + c) * taps + tap;
                    for (idx t = 0; t < FN(min)(FN(BATCH_TAPS), taps - tap); t++)
                        dw[t] = job->add ? dw[t] + sums[i][t] : sums[i][t];
                }
            }
    pydl_block_free(dy.dst);
}

static int FN(batch_backward_weight)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x,
                                     REAL *dw)
{
    batch_weight_job job = {.s = s, .x = FN(batch_of)(s, FN(TO_DW), x), .dy = dy, .dw = dw};
    batch *of = &job.x;
    const idx size = FN(batch_size)(of), taps = s->kh * s->kw;
    const idx fit = FN(BATCH_BLOCK) / (idx)sizeof(REAL) / (s->oh * s->ow * of->span);
    of->dst = pydl_block_alloc((size_t)size * sizeof(REAL) + (size_t)taps * sizeof(idx));
    if (!of->dst)
        return PYDL_NO_MEMORY;
    FN(zero_run)(of->dst, size);
    job.place = (idx *)(of->dst + size);
    for (idx tap = 0; tap < taps; tap++)
        job.place[tap] = (tap / s->kw * s->dilation_h * of->width + tap % s->kw * s->dilation_w) *
                         of->span;
    job.task_rows = FN(even_piece)(s->oc, FN(min)(fit, (s->oc + 3) / 4), FN(BATCH_ROWS));
    const double work = FN(product_work)(s->oc, s->c * taps, s->oh * s->ow * of->span);
    for (idx done = 0; done < s->n && !job.failed; done += of->images, job.add = 1) {
        of->images = FN(min)(of->span, s->n - done);
        FN(turn_batch)(of);
        pydl_parallel_for((s->oc + job.task_rows - 1) / job.task_rows, work, FN(batch_weight),
                          &job);
        of->src += of->images * of->image;
        job.dy += of->images * s->oc * s->oh * s->ow;
    }
    pydl_block_free(of->dst);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}

/* ---- the choice ---- */
/* Whether to compute it so. Estimated cycles of a core for each pixel of the result, fitted to
 * measurements: the products, what is turned there and the results' way back; elsewhere products,
 * patches or padded rows, which cost more where they are short, or col2im's sums. */
static int FN(batch_pays)(const pydl_conv2d_shape *s, FN(winograd_direction) direction)
{
    const int dx = direction == FN(TO_DX);
    const idx taps = s->kh * s->kw;
    if (s->groups > 1 || taps == 1 ||
        (dx && (s->stride_h > 1 || s->stride_w > 1 || s->pad_h > (s->kh - 1) * s->dilation_h ||
                s->pad_w > (s->kw - 1) * s->dilation_w)))
        return 0;
    const batch of = FN(batch_of)(s, direction, NULL);
    if (!of.span)
        return 0;
    const idx h = dx ? s->h : s->oh, w = dx ? s->w : s->ow;
    const double fill = (double)FN(round_up)(s->n, of.span) / (double)s->n;
    const double rows = dx ? (double)s->c : (double)s->oc, tile = 1 / (double)(2 * VLEN);
    const double depth = (double)(of.channels * taps), width = (double)w;
    const double turned = (double)of.image / (double)(h * w);
    if (direction == FN(TO_DW)) {
        const double sums = (double)(FN(round_up)(s->oc, FN(BATCH_ROWS)) *
                                     FN(round_up)(taps, FN(BATCH_TAPS)) * s->c);
        const double other = 1.3 * tile * depth * (double)FN(round_up)(s->oc, NR) +
                             (0.1 + 3 / width) * depth + 0.7 * rows;
        return fill * (1.1 * tile * sums + rows + turned) < 0.8 * other;
    }
    const double tiles = 1.1 * tile * depth * FN(rows_of_tiles)(dx ? s->c : s->oc);
    const double here = fill * (tiles + 2.2 * rows + 1.2 * turned);
    const double other = tiles + (0.1 + 2.5 / width) * depth + 0.9 * rows;
    if (!dx)
        return here < 0.91 * other;
    const double sum = (double)s->oc * tile + 0.9 + 12 / (double)s->ow;
    return here < 0.85 * other && here < 0.85 * (double)taps * rows * sum;
}
