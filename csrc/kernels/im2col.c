/* im2col: cols (n, c*kh*kw, oh*ow) = the patches of x (n,c,h,w); col2im: its transpose, the sum of
 * overlapping patches. */
typedef struct {
    const pydl_conv2d_shape *s;
    patches from;
    const REAL *src;
    REAL *dst;
    int failed;
} FN(im2col_job);

static void FN(im2col_rows)(void *context, idx task)
{
    FN(im2col_job) *job = context;
    const pydl_conv2d_shape *s = job->s;
    REAL *scratch =
        pydl_block_alloc((size_t)FN(patch_scratch)(&job->from, FN(MOST_COLUMNS)) * sizeof(REAL));
    if (!scratch) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    const idx n = task / s->c, c = task % s->c, taps = s->kh * s->kw, pixels = s->oh * s->ow;
    patches from = job->from;
    from.src += n * from.image;
    for (idx column = 0; column < pixels; column += FN(MOST_COLUMNS)) {
        const idx columns = FN(min)(FN(MOST_COLUMNS), pixels - column);
        FN(pack_patches)(&from, c * taps, taps, column, columns, columns,
                         job->dst + task * taps * pixels + column, pixels, scratch, 1);
    }
    pydl_block_free(scratch);
}

/* plane (h,w) += the patches of output rows first_row .. first_row + rows: tap t's at cols +
 * t*stride. */
static void FN(add_patches)(const pydl_conv2d_shape *s, idx first_row, idx rows, const REAL *cols,
                            idx stride, REAL *plane)
{
    const idx step = s->stride_w;
    for (idx kh = 0; kh < s->kh; kh++)
        for (idx kw = 0; kw < s->kw; kw++, cols += stride) {
            const idx shift_w = kw * s->dilation_w - s->pad_w;
            const idx first = FN(max)(0, ceil_div(-shift_w, s->stride_w));
            const idx end = FN(min)(s->ow, ceil_div(s->w - shift_w, s->stride_w));
            for (idx r = 0; r < rows; r++) {
                const idx ih = (first_row + r) * s->stride_h + kh * s->dilation_h - s->pad_h;
                if (ih < 0 || ih >= s->h)
                    continue;
                REAL *row = plane + ih * s->w + shift_w;
                const REAL *src = cols + r * s->ow;
                if (s->stride_w == 1)
                    for (idx ow = first; ow < end; ow++)
                        row[ow] += src[ow];
                else
#pragma GCC unroll 4
                    for (idx ow = first; ow < end; ow++)
                        row[ow * step] += src[ow];
            }
        }
}

static void FN(col2im_plane)(void *context, idx task)
{
    const FN(im2col_job) *job = context;
    const pydl_conv2d_shape *s = job->s;
    const idx pixels = s->oh * s->ow;
    REAL *plane = job->dst + task * s->h * s->w;
    FN(zero_run)(plane, s->h * s->w);
    FN(add_patches)(s, 0, s->oh, job->src + task * s->kh * s->kw * pixels, pixels, plane);
}

/* The taps of a kernel in the order (kh, kw), as seen from an output pixel. */
static void FN(forward_taps)(const pydl_conv2d_shape *s, idx *tap_h, idx *tap_w)
{
    for (idx kh = 0; kh < s->kh; kh++)
        for (idx kw = 0; kw < s->kw; kw++) {
            *tap_h++ = kh * s->dilation_h - s->pad_h;
            *tap_w++ = kw * s->dilation_w - s->pad_w;
        }
}

static int FN(im2col)(const pydl_conv2d_shape *s, const REAL *x, REAL *cols)
{
    const idx taps = s->kh * s->kw;
    idx *tap_h = pydl_block_alloc((size_t)(2 * taps) * sizeof(idx)), *tap_w = tap_h + taps;
    if (!tap_h)
        return PYDL_NO_MEMORY;
    FN(forward_taps)(s, tap_h, tap_w);
    FN(im2col_job)
    job = {s,
           {x, s->c * s->h * s->w, s->h, s->w, s->stride_h, s->stride_w, s->oh, s->ow, taps, tap_h,
            tap_w},
           NULL,
           cols,
           0};
    pydl_parallel_for(s->n * s->c, (double)(s->n * s->c * taps) * (double)(s->oh * s->ow),
                      FN(im2col_rows), &job);
    pydl_block_free(tap_h);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}

static int FN(col2im)(const pydl_conv2d_shape *s, const REAL *cols, REAL *x)
{
    FN(im2col_job) job = {.s = s, .src = cols, .dst = x};
    pydl_parallel_for(s->n * s->c, (double)(s->n * s->c * s->kh * s->kw) * (double)(s->oh * s->ow),
                      FN(col2im_plane), &job);
    return PYDL_OK;
}
