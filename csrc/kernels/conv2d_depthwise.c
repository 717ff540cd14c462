/* Depthwise convolution (groups = channels): every plane has its own filters, so there is no matrix product to speak of and
 * memory is the limit. A band of padded rows is kept in L1, one vector of output pixels in a register.
 * x (n,c,h,w), w (oc,1,kh,kw) with oc a multiple of c, y (n,oc,oh,ow). */
enum { FN(BAND_BYTES) = 24 << 10, FN(MOST_TAPS) = 64 };

typedef struct {
    const pydl_conv2d_shape *s;
    const REAL *x, *w, *b, *dy;
    REAL *y, *dx, *dw;
    idx length, row_length, lines, taps; /* of a padded row of one residue, of all; output rows of a band */
    idx offset[FN(MOST_TAPS)];           /* where a tap reads in the band, from the pixel's own place */
    int failed;
} FN(depthwise_job);
#define depthwise_job FN(depthwise_job)

static int FN(is_depthwise)(const pydl_conv2d_shape *s)
{
    return s->groups == s->c && s->c > 1 && s->kh * s->kw <= FN(MOST_TAPS);
}

static idx FN(band_rows)(const depthwise_job *job, idx lines)
{
    return (lines - 1) * job->s->stride_h + (job->s->kh - 1) * job->s->dilation_h + 1;
}

static void FN(depthwise_plan)(depthwise_job *job)
{
    const pydl_conv2d_shape *s = job->s;
    job->length = s->ow + (s->kw - 1) * s->dilation_w / s->stride_w;
    job->row_length = job->length * s->stride_w;
    const idx rows = FN(BAND_BYTES) / (idx)sizeof(REAL) / job->row_length;
    job->lines = FN(min)(FN(max)((rows - (s->kh - 1) * s->dilation_h - 1) / s->stride_h + 1, 4), s->oh);
    job->taps = s->kh * s->kw;
    for (idx kh = 0; kh < s->kh; kh++)
        for (idx kw = 0; kw < s->kw; kw++) {
            const idx shift = kw * s->dilation_w;
            job->offset[kh * s->kw + kw] =
                kh * s->dilation_h * job->row_length + shift % s->stride_w * job->length + shift / s->stride_w;
        }
}

static REAL *FN(band_alloc)(depthwise_job *job)
{
    REAL *band = pydl_block_alloc((size_t)(FN(band_rows)(job, job->lines) * job->row_length + 4 * VLEN) * sizeof(REAL));
    if (!band)
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
    return band;
}

static void FN(fill_band)(const depthwise_job *job, const REAL *plane, idx line, idx lines, REAL *band)
{
    const pydl_conv2d_shape *s = job->s;
    FN(pad_rows)(plane, s->h, s->w, line * s->stride_h - s->pad_h, FN(band_rows)(job, lines), -s->pad_w, job->length,
                 s->stride_w, band);
}

/* count (at most 4) vectors of a row of y from the band's row, the last one cut to `last` elements. */
INLINE void FN(depthwise_pixels)(const depthwise_job *job, const REAL *band, const REAL *w, REAL bias, idx count, idx last,
                                 int accumulate, REAL *y)
{
    vec acc[4];
#pragma GCC unroll 4
    for (idx v = 0; v < count; v++)
        acc[v] = FN(splat)(bias);
    for (idx tap = 0; tap < job->taps; tap++) {
        const REAL *src = band + job->offset[tap];
        const vec weight = FN(splat)(w[tap]);
#pragma GCC unroll 4
        for (idx v = 0; v < count; v++)
            acc[v] += weight * FN(load)(src + v * VLEN);
    }
#pragma GCC unroll 4
    for (idx v = 0; v < count; v++) {
        if (v < count - 1 || last == VLEN) {
            FN(store)(y + v * VLEN, accumulate ? FN(load)(y + v * VLEN) + acc[v] : acc[v]);
        } else {
            for (idx i = 0; i < last; i++)
                y[v * VLEN + i] = accumulate ? y[v * VLEN + i] + acc[v][i] : acc[v][i];
        }
    }
}

static void FN(depthwise_row)(const depthwise_job *job, const REAL *band, const REAL *w, REAL bias, int accumulate, REAL *y)
{
    const idx width = job->s->ow;
    idx q = 0;
    for (; q + 4 * VLEN <= width; q += 4 * VLEN)
        FN(depthwise_pixels)(job, band + q, w, bias, 4, VLEN, accumulate, y + q);
    const idx rest = width - q, vectors = (rest + VLEN - 1) / VLEN, last = rest - (vectors - 1) * VLEN;
    if (vectors == 4)
        FN(depthwise_pixels)(job, band + q, w, bias, 4, last, accumulate, y + q);
    else if (vectors == 3)
        FN(depthwise_pixels)(job, band + q, w, bias, 3, last, accumulate, y + q);
    else if (vectors == 2)
        FN(depthwise_pixels)(job, band + q, w, bias, 2, last, accumulate, y + q);
    else if (vectors == 1)
        FN(depthwise_pixels)(job, band + q, w, bias, 1, last, accumulate, y + q);
}

static void FN(depthwise_plane)(const depthwise_job *job, const REAL *x, const REAL *w, REAL bias, int accumulate, REAL *band,
                                REAL *y)
{
    const pydl_conv2d_shape *s = job->s;
    for (idx line = 0; line < s->oh; line += job->lines) {
        const idx lines = FN(min)(job->lines, s->oh - line);
        FN(fill_band)(job, x, line, lines, band);
        for (idx r = 0; r < lines; r++)
            FN(depthwise_row)(job, band + r * s->stride_h * job->row_length, w, bias, accumulate, y + (line + r) * s->ow);
    }
}

static void FN(depthwise_forward_task)(void *context, idx task)
{
    depthwise_job *job = context;
    const pydl_conv2d_shape *s = job->s;
    const idx n = task / s->oc, oc = task % s->oc;
    REAL *band = FN(band_alloc)(job);
    if (!band)
        return;
    FN(depthwise_plane)(job, job->x + (n * s->c + oc / (s->oc / s->c)) * s->h * s->w, job->w + oc * job->taps,
                        job->b ? job->b[oc] : 0, 0, band, job->y + task * s->oh * s->ow);
    pydl_block_free(band);
}

static double FN(depthwise_work)(const pydl_conv2d_shape *s)
{
    return 2.0 * (double)(s->n * s->oc) * (double)(s->oh * s->ow) * (double)(s->kh * s->kw);
}

static int FN(depthwise_forward)(const pydl_conv2d_shape *s, const REAL *x, const REAL *w, const REAL *b, REAL *y)
{
    depthwise_job job = {.s = s, .x = x, .w = w, .b = b, .y = y};
    FN(depthwise_plan)(&job);
    pydl_parallel_for(s->n * s->oc, FN(depthwise_work)(s), FN(depthwise_forward_task), &job);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}

/* Stride 1: dx is the convolution of dy with the taps turned around. s here is that convolution's shape. */
static void FN(depthwise_turned_task)(void *context, idx task)
{
    depthwise_job *job = context;
    const pydl_conv2d_shape *s = job->s;
    const idx multiplier = s->c / s->oc, n = task / s->oc, channel = task % s->oc;
    REAL turned[FN(MOST_TAPS)], *band = FN(band_alloc)(job);
    if (!band)
        return;
    for (idx m = 0; m < multiplier; m++) {
        const idx from = channel * multiplier + m;
        for (idx tap = 0; tap < job->taps; tap++)
            turned[tap] = job->w[from * job->taps + job->taps - 1 - tap];
        FN(depthwise_plane)(job, job->x + (n * s->c + from) * s->h * s->w, turned, 0, m > 0, band,
                            job->y + task * s->oh * s->ow);
    }
    pydl_block_free(band);
}

/* Any stride: every tap's share of dy is added to the pixels that it read. */
static void FN(depthwise_scatter_task)(void *context, idx task)
{
    depthwise_job *job = context;
    const pydl_conv2d_shape *s = job->s;
    const idx multiplier = s->oc / s->c, n = task / s->c, channel = task % s->c;
    REAL *plane = job->dx + task * s->h * s->w;
    FN(zero_run)(plane, s->h * s->w);
    for (idx m = 0; m < multiplier; m++) {
        const idx oc = channel * multiplier + m;
        const REAL *dy = job->dy + (n * s->oc + oc) * s->oh * s->ow, *w = job->w + oc * job->taps;
        for (idx oh = 0; oh < s->oh; oh++)
            for (idx kh = 0; kh < s->kh; kh++) {
                const idx ih = oh * s->stride_h + kh * s->dilation_h - s->pad_h;
                if (ih < 0 || ih >= s->h)
                    continue;
                for (idx kw = 0; kw < s->kw; kw++) {
                    const idx shift = kw * s->dilation_w - s->pad_w;
                    const idx first = FN(max)(0, ceil_div(-shift, s->stride_w));
                    const idx end = FN(min)(s->ow, ceil_div(s->w - shift, s->stride_w));
                    const REAL weight = w[kh * s->kw + kw], *src = dy + oh * s->ow;
                    REAL *row = plane + ih * s->w + shift;
                    for (idx ow = first; ow < end; ow++)
                        row[ow * s->stride_w] += weight * src[ow];
                }
            }
    }
}

static int FN(depthwise_backward_input)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *w, REAL *dx)
{
    if (s->stride_h == 1 && s->stride_w == 1) {
        pydl_conv2d_shape turned = *s;
        turned.c = s->oc, turned.h = s->oh, turned.w = s->ow;
        turned.oc = s->c, turned.oh = s->h, turned.ow = s->w;
        turned.pad_h = (s->kh - 1) * s->dilation_h - s->pad_h;
        turned.pad_w = (s->kw - 1) * s->dilation_w - s->pad_w;
        depthwise_job job = {.s = &turned, .x = dy, .w = w, .y = dx};
        FN(depthwise_plan)(&job);
        pydl_parallel_for(s->n * s->c, FN(depthwise_work)(s), FN(depthwise_turned_task), &job);
        return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
    }
    depthwise_job job = {.s = s, .dy = dy, .w = w, .dx = dx, .taps = s->kh * s->kw};
    pydl_parallel_for(s->n * s->c, FN(depthwise_work)(s), FN(depthwise_scatter_task), &job);
    return PYDL_OK;
}

static void FN(depthwise_weight_task)(void *context, idx oc)
{
    depthwise_job *job = context;
    const pydl_conv2d_shape *s = job->s;
    const idx whole = s->ow / VLEN * VLEN, rest = s->ow - whole;
    lanes inside;
    for (idx i = 0; i < VLEN; i++)
        inside[i] = i < rest ? -1 : 0;
    vec acc[FN(MOST_TAPS)];
    for (idx tap = 0; tap < job->taps; tap++)
        acc[tap] = (vec){0};
    REAL *band = FN(band_alloc)(job);
    if (!band)
        return;
    for (idx n = 0; n < s->n; n++) {
        const REAL *dy = job->dy + (n * s->oc + oc) * s->oh * s->ow;
        for (idx line = 0; line < s->oh; line += job->lines) {
            const idx lines = FN(min)(job->lines, s->oh - line);
            FN(fill_band)(job, job->x + (n * s->c + oc / (s->oc / s->c)) * s->h * s->w, line, lines, band);
            for (idx r = 0; r < lines; r++) {
                const REAL *gradient = dy + (line + r) * s->ow, *row = band + r * s->stride_h * job->row_length;
                for (idx q = 0; q < whole; q += VLEN) {
                    const vec g = FN(load)(gradient + q);
                    for (idx tap = 0; tap < job->taps; tap++)
                        acc[tap] += g * FN(load)(row + job->offset[tap] + q);
                }
                if (!rest)
                    continue;
                const vec g = FN(load_part)(gradient + whole, rest, 0);
                for (idx tap = 0; tap < job->taps; tap++) {
                    const vec pixels = FN(load)(row + job->offset[tap] + whole);
                    acc[tap] += g * (vec)(inside & (lanes)pixels); /* beyond the row there may be NaN */
                }
            }
        }
    }
    for (idx tap = 0; tap < job->taps; tap++)
        job->dw[oc * job->taps + tap] = FN(sum_lanes)(acc[tap]);
    pydl_block_free(band);
}

static int FN(depthwise_backward_weight)(const pydl_conv2d_shape *s, const REAL *dy, const REAL *x, REAL *dw)
{
    depthwise_job job = {.s = s, .x = x, .dy = dy, .dw = dw};
    FN(depthwise_plan)(&job);
    pydl_parallel_for(s->oc, FN(depthwise_work)(s), FN(depthwise_weight_task), &job);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}
