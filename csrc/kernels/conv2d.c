/* 2-D convolution, each direction by the way that suits the shape: dx in conv2d_input.c, dw in
 * conv2d_weight.c, and here
 *
 *   forward        y (n,oc,oh,ow) = W (oc, c*kh*kw) . patches of x (c*kh*kw, oh*ow) + b, finished
 *                                   (core/gemm.h): the residual, the ReLU
 *   backward_bias  db (oc,)       = sum of dy (n,oc,pixels) */

static int FN(conv2d_weight_form)(const pydl_conv2d_shape *s, pydl_weight_form *form, idx *size)
{
    *form = PYDL_AS_GIVEN;
    *size = 0;
    if (FN(is_depthwise)(s))
        return PYDL_OK;
    const idx depth = s->c / s->groups * s->kh * s->kw;
    if (FN(winograd_pays)(s, FN(TO_Y), 1)) {
        *form = PYDL_TRANSFORMED;
        *size = FN(tile_products)(FN(edge_of)(s)) * FN(winograd_u_plane)(s->oc, s->c);
    } else if (FN(batch_pays)(s, FN(TO_Y))) {
        return PYDL_OK;
    } else if (FN(turned_pays_packed)(s)) {
        *form = PYDL_TURNED;
        *size = FN(round_up)(s->oc, NR) * depth;
    } else {
        *form = PYDL_PANELS;
        *size = s->groups * FN(round_up)(s->oc / s->groups, MR) * depth;
    }
    return PYDL_OK;
}

static int FN(conv2d_pack_weight)(const pydl_conv2d_shape *s, pydl_weight_form form,
                                  const REAL *w, REAL *packed)
{
    if (form == PYDL_TRANSFORMED)
        return FN(winograd_pack)(s, w, packed);
    if (form == PYDL_TURNED)
        return FN(turned_pack_weight)(s, w, packed);
    const idx depth = s->c / s->groups * s->kh * s->kw, rows = s->oc / s->groups;
    conv_job job = {.weight = w, .row_step = depth, .group_step = rows * depth, .rows = rows,
                    .depth = depth};
    for (job.group = 0; job.group < s->groups; job.group++) {
        job.packed = packed + job.group * FN(round_up)(rows, MR) * depth;
        pydl_parallel_for((rows + MR - 1) / MR, (double)rows * (double)depth,
                          FN(conv_pack_weight), &job);
    }
    return PYDL_OK;
}

static int FN(conv2d_forward)(const pydl_conv2d_shape *s, const REAL *x, const REAL *w,
                              const REAL *b, const REAL *residual, int relu, pydl_weight_form form,
                              REAL *y)
{
    const ending last = {residual, relu, 0};
    const idx taps = s->kh * s->kw, channels = s->c / s->groups, rows = s->oc / s->groups;
    if (!s->n)
        return PYDL_OK;
    if (FN(is_depthwise)(s))
        return FN(depthwise_forward)(s, x, w, b, last, y);
    if (form == PYDL_TRANSFORMED ||
        (form == PYDL_AS_GIVEN && FN(winograd_pays)(s, FN(TO_Y), 0)))
        return FN(winograd_forward)(s, x, w, form == PYDL_TRANSFORMED, b, last, y);
    if (form == PYDL_AS_GIVEN && FN(batch_pays)(s, FN(TO_Y)))
        return FN(batch_forward)(s, x, w, b, last, y);
    idx *tap_h = pydl_block_alloc((size_t)(2 * taps) * sizeof(idx)), *tap_w = tap_h + taps;
    if (!tap_h)
        return PYDL_NO_MEMORY;
    FN(forward_taps)(s, tap_h, tap_w);
    conv_job job = {
        .from = {x, s->c * s->h * s->w, s->h, s->w, s->stride_h, s->stride_w, s->oh, s->ow, taps,
                 tap_h, tap_w},
        .group_channels = channels,
        .weight = w,
        .row_step = channels * taps,
        .channel_step = taps,
        .group_step = rows * channels * taps,
        .panels = form == PYDL_PANELS ? w : NULL,
        .images = s->n,
        .groups = s->groups,
        .group_rows = rows,
        .bias = b,
        .last = last,
        .dst = y,
        .dst_image = s->oc * s->oh * s->ow,
        .dst_h = s->oh,
        .dst_w = s->ow,
        .step_h = 1,
        .step_w = 1,
    };
    const int status =
        form == PYDL_TURNED ? FN(conv_turned)(&job, 0) : FN(conv_either)(&job);
    pydl_block_free(tap_h);
    return status;
}

enum { FN(BIAS_TASK) = 16384 };

typedef struct {
    idx n, oc, pixels, channels; /* of a task, at most VLEN */
    const REAL *dy;
    REAL *db;
} FN(bias_job);

/* Small planes are read as one run over some channels of an image. */
static void FN(bias_channels)(void *context, idx task)
{
    const FN(bias_job) *job = context;
    const idx first = task * job->channels, size = job->pixels;
    const idx count = FN(min)(job->channels, job->oc - first);
    const lanes rest = FN(last_lanes)(size % VLEN);
    vec sums[VECTOR_BYTES / sizeof(REAL)] = {{0}};
    for (idx n = 0; n < job->n; n++) {
        const REAL *dy = job->dy + (n * job->oc + first) * size;
        for (idx k = 0; k < count; k++, dy += size)
            sums[k] += FN(plane_lanes)(dy, size, rest);
    }
    FN(store_part)(job->db + first, count, FN(sum_each)(sums));
}

static int FN(conv2d_backward_bias)(idx n, idx oc, idx pixels, const REAL *dy, REAL *db)
{
    const idx channels = FN(max)(FN(min)(FN(BIAS_TASK) / FN(max)(n * pixels, 1), VLEN), 1);
    FN(bias_job) job = {n, oc, pixels, channels, dy, db};
    pydl_parallel_for((oc + channels - 1) / channels, (double)n * (double)oc * (double)pixels,
                      FN(bias_channels), &job);
    return PYDL_OK;
}

/* Any of the three gradients, NULL where it is not wanted. */
static int FN(conv2d_backward)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x,
                               const REAL *w, REAL *dx, REAL *dw, REAL *db)
{
    int status = PYDL_OK;
    if (s->n && dx && dw && FN(is_depthwise)(s) && s->oc == s->c)
        return FN(depthwise_backward)(s, dy, x, w, dx, dw, db);
    if (dx)
        status = FN(conv2d_backward_input)(s, dy, w, dx);
    if (dw && !status)
        status = FN(conv2d_backward_weight)(s, dy, x, dw);
    if (db && !status)
        status = FN(conv2d_backward_bias)(s->n, s->oc, s->oh * s->ow, dy, db);
    return status;
}
