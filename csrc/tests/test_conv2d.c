/* Convolution in its three directions, im2col and col2im. */
#include "check.h"

static idx output_size(idx size, idx kernel, idx stride, idx pad, idx dilation)
{
    return (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

/* The row (column) of the input under row kh (column kw) of the filter, -1 in the padding. */
static idx input_row(const pydl_conv2d_shape *s, idx oh, idx kh)
{
    const idx ih = oh * s->stride_h - s->pad_h + kh * s->dilation_h;
    return ih < s->h ? ih : -1;
}

static idx input_column(const pydl_conv2d_shape *s, idx ow, idx kw)
{
    const idx iw = ow * s->stride_w - s->pad_w + kw * s->dilation_w;
    return iw < s->w ? iw : -1;
}

typedef enum { FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT } direction;

/* One loop over every product of the convolution; each direction sums them for another of the
 * three arrays. */
static array conv_expected(const pydl_conv2d_shape *s, direction towards, array x, array w, array y,
                           const double *bias)
{
    const idx c_group = s->c / s->groups, oc_group = s->oc / s->groups;
    const array results[] = {[FORWARD] = y, [BACKWARD_INPUT] = x, [BACKWARD_WEIGHT] = w};
    array want = zeros(results[towards].count);
    for (idx n = 0; n < s->n; n++)
        for (idx oc = 0; oc < s->oc; oc++)
            for (idx oh = 0; oh < s->oh; oh++)
                for (idx ow = 0; ow < s->ow; ow++) {
                    const idx at_y = ((n * s->oc + oc) * s->oh + oh) * s->ow + ow;
                    if (towards == FORWARD && bias)
                        add(&want, at_y, bias[oc]);
                    for (idx c = 0; c < c_group; c++)
                        for (idx kh = 0; kh < s->kh; kh++)
                            for (idx kw = 0; kw < s->kw; kw++) {
                                const idx ih = input_row(s, oh, kh), iw = input_column(s, ow, kw);
                                if (ih < 0 || iw < 0)
                                    continue;
                                const idx channel = oc / oc_group * c_group + c;
                                const idx at_x = ((n * s->c + channel) * s->h + ih) * s->w + iw;
                                const idx at_w = ((oc * c_group + c) * s->kh + kh) * s->kw + kw;
                                if (towards == FORWARD)
                                    add(&want, at_y, x.value[at_x] * w.value[at_w]);
                                else if (towards == BACKWARD_INPUT)
                                    add(&want, at_x, y.value[at_y] * w.value[at_w]);
                                else
                                    add(&want, at_w, y.value[at_y] * x.value[at_x]);
                            }
                }
    return want;
}

/* Winograd's results mix a tile's pixels: an error of one element is bounded by the largest elements, here 1, of all that its tile
 * reads. A sum of so many tiles or channels, times the transforms' largest row sums of magnitudes, of 20 roundings more. */
static array widened(array want, const pydl_conv2d_shape *s, idx sums, double small, double large)
{
    for (idx i = 0; i < want.count && s->algorithm == PYDL_WINOGRAD; i++) {
        want.scale[i] = (double)sums * (s->kh == 3 ? small : large);
        want.terms[i] = sums + 20;
    }
    return want;
}

static void test_conv2d_shape(const pydl_conv2d_shape *s)
{
    const idx pixels = s->oh * s->ow;
    array x = randoms(s->n * s->c * s->h * s->w), y = randoms(s->n * s->oc * pixels);
    array w = randoms(s->oc * (s->c / s->groups) * s->kh * s->kw), b = randoms(s->oc);
    void *tx = typed(x), *tw = typed(w), *tb = typed(b), *ty = typed(y);

    void *got = blank(y.count);
    array want =
        widened(conv_expected(s, FORWARD, x, w, y, b.value), s, s->c + 1, 620, 7531);
    RUN_OK(conv2d_forward, s, tx, tw, tb, NULL, 0, PYDL_AS_GIVEN, got);
    expect("conv2d_forward", got, want, 1);
    for (idx i = 0; i < y.count; i++)
        add(&want, i, y.value[i]);
    RUN_OK(conv2d_forward, s, tx, tw, tb, ty, 0, PYDL_AS_GIVEN, got);
    expect("conv2d_forward with a residual", got, want, 1);
    for (idx i = 0; i < y.count; i++)
        want.value[i] = want.value[i] < 0 ? 0 : want.value[i];
    RUN_OK(conv2d_forward, s, tx, tw, tb, ty, 1, PYDL_AS_GIVEN, got);
    expect("conv2d_forward with a residual and ReLU", got, want, 1);
    pydl_weight_form form;
    idx packed_size;
    RUN_OK(conv2d_weight_form, s, &form, &packed_size);
    if (form != PYDL_AS_GIVEN) {
        void *packed = blank(packed_size);
        RUN_OK(conv2d_pack_weight, s, form, tw, packed);
        RUN_OK(conv2d_forward, s, tx, packed, tb, ty, 1, form, got);
        if (form == PYDL_TRANSFORMED && s->algorithm == PYDL_AUTO) { /* more tolerance than direct */
            pydl_conv2d_shape transformed = *s;
            transformed.algorithm = PYDL_WINOGRAD;
            want = widened(want, &transformed, s->c + 2, 620, 7531);
        }
        expect("conv2d_forward with packed weights", got, want, 1);
        discard(packed);
    }
    release(want);
    want = widened(conv_expected(s, FORWARD, x, w, y, NULL), s, s->c, 620, 7531);
    RUN_OK(conv2d_forward, s, tx, tw, NULL, NULL, 0, PYDL_AS_GIVEN, got);
    expect("conv2d_forward without bias", got, want, 1);
    release(want);
    discard(got);

    void *dx = blank(x.count), *dw = blank(w.count), *db = blank(b.count);
    const idx tiles = s->n * ((s->oh + 3) / 4) * ((s->ow + 3) / 4);
    array want_dx = widened(conv_expected(s, BACKWARD_INPUT, x, w, y, NULL), s, s->oc, 620, 7531);
    array want_dw = widened(conv_expected(s, BACKWARD_WEIGHT, x, w, y, NULL), s, tiles, 944, 5964);
    array want_db = zeros(b.count);
    for (idx i = 0; i < y.count; i++)
        add(&want_db, i / pixels % s->oc, y.value[i]);
    RUN_OK(conv2d_backward_input, s, ty, tw, dx);
    expect("conv2d_backward_input", dx, want_dx, 1);
    RUN_OK(conv2d_backward_weight, s, ty, tx, dw);
    expect("conv2d_backward_weight", dw, want_dw, 1);
    RUN_OK(conv2d_backward_bias, s->n, s->oc, pixels, ty, db);
    expect("conv2d_backward_bias", db, want_db, 1);
    discard(dx), discard(dw), discard(db);

    dx = blank(x.count), dw = blank(w.count), db = blank(b.count);
    RUN_OK(conv2d_backward, s, ty, tx, tw, dx, dw, db);
    expect("conv2d_backward, dx", dx, want_dx, 1);
    expect("conv2d_backward, dw", dw, want_dw, 1);
    expect("conv2d_backward, db", db, want_db, 1);
    discard(dx), discard(dw), discard(db);
    dx = blank(x.count), dw = blank(w.count);
    RUN_OK(conv2d_backward, s, ty, tx, tw, dx, dw, NULL);
    expect("conv2d_backward without db, dx", dx, want_dx, 1);
    expect("conv2d_backward without db, dw", dw, want_dw, 1);
    discard(dx), discard(dw);
    release(want_dx), release(want_dw), release(want_db);

    release(x), release(w), release(b), release(y);
    discard(tx), discard(tw), discard(tb), discard(ty);
}

/* n c h w, oc kh kw, then stride, pad and dilation (height, width), groups */
#define SHAPE(n, c, h, w, oc, kh, kw, sh, sw, ph, pw, dh, dw, groups)                              \
    {n, c, h, w, oc, 0, 0, kh, kw, sh, sw, ph, pw, dh, dw, groups, PYDL_AUTO}
static const pydl_conv2d_shape conv_shapes[] = {
    SHAPE(2, 3, 7, 5, 4, 3, 3, 1, 1, 1, 1, 1, 1, 1),
    SHAPE(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1),
    SHAPE(0, 3, 7, 5, 4, 3, 3, 1, 1, 1, 1, 1, 1, 1),
    SHAPE(2, 5, 13, 11, 7, 1, 1, 1, 1, 0, 0, 1, 1, 1),
    SHAPE(2, 3, 14, 19, 9, 5, 3, 2, 3, 2, 1, 1, 2, 1),
    SHAPE(1, 6, 9, 12, 4, 3, 2, 1, 2, 1, 0, 2, 1, 2),
    SHAPE(2, 5, 10, 21, 5, 3, 3, 1, 1, 1, 1, 1, 1, 5),
    SHAPE(2, 9, 7, 7, 9, 3, 3, 1, 1, 1, 1, 1, 1, 9),
    SHAPE(3, 2, 1, 9, 2, 3, 3, 1, 1, 1, 1, 1, 1, 2),
    SHAPE(2, 33, 14, 14, 33, 3, 3, 1, 1, 1, 1, 1, 1, 33),
    SHAPE(2, 3, 5, 64, 3, 3, 3, 1, 1, 1, 1, 1, 1, 3),
    SHAPE(1, 4, 8, 37, 4, 3, 3, 1, 1, 1, 1, 1, 1, 4),
    SHAPE(45, 4, 8, 7, 16, 5, 5, 1, 1, 0, 0, 1, 1, 1),
    SHAPE(64, 5, 9, 12, 6, 5, 3, 2, 3, 1, 2, 1, 2, 1),
    SHAPE(46, 2, 9, 11, 3, 3, 5, 1, 1, 1, 4, 2, 2, 1),
    SHAPE(150, 1, 6, 5, 4, 4, 3, 1, 1, 1, 0, 1, 1, 1),
    SHAPE(1, 3, 12, 35, 6, 3, 5, 2, 1, 0, 2, 1, 1, 3),
    SHAPE(1, 33, 8, 9, 35, 3, 3, 1, 1, 1, 1, 1, 1, 1),
    SHAPE(3, 16, 17, 23, 24, 3, 3, 1, 1, 1, 1, 1, 1, 1),
    SHAPE(1, 3, 29, 31, 17, 11, 7, 4, 4, 2, 3, 1, 1, 1),
    SHAPE(1, 2, 4, 4, 3, 3, 3, 1, 1, 4, 5, 1, 1, 1),
    SHAPE(7, 4, 3, 3, 6, 3, 3, 1, 1, 1, 1, 1, 1, 1),
    SHAPE(5, 3, 6, 5, 8, 3, 3, 2, 2, 1, 1, 1, 1, 1),
    SHAPE(3, 9, 11, 10, 13, 1, 1, 2, 2, 0, 0, 1, 1, 1),
    SHAPE(4, 2, 9, 13, 5, 2, 2, 3, 4, 0, 0, 1, 1, 1),
    SHAPE(3, 7, 11, 40, 7, 3, 3, 2, 2, 1, 1, 1, 1, 7),
    SHAPE(2, 4, 12, 19, 4, 3, 3, 1, 1, 2, 2, 2, 2, 4),
    SHAPE(2, 4, 9, 70, 4, 5, 5, 1, 1, 2, 2, 1, 1, 4),
    SHAPE(2, 45, 7, 9, 6, 3, 3, 1, 1, 1, 1, 1, 1, 1),
    SHAPE(1, 3, 40, 60, 8, 7, 7, 2, 2, 3, 3, 1, 1, 1),
    SHAPE(1, 300, 7, 7, 70, 1, 1, 1, 1, 0, 0, 1, 1, 1),
    SHAPE(1, 19, 18, 16, 31, 1, 1, 1, 1, 0, 0, 1, 1, 1),
    SHAPE(1, 38, 18, 16, 34, 1, 1, 1, 1, 0, 0, 1, 1, 2),
    SHAPE(2, 40, 9, 8, 150, 3, 3, 2, 2, 1, 1, 1, 1, 1),
#define WINOGRAD(n, c, h, w, oc, k, ph, pw)                                                        \
    {n, c, h, w, oc, 0, 0, k, k, 1, 1, ph, pw, 1, 1, 1, PYDL_WINOGRAD}
    WINOGRAD(2, 17, 13, 11, 33, 3, 1, 1),
    WINOGRAD(1, 1, 3, 3, 1, 3, 0, 0),
    WINOGRAD(3, 5, 7, 70, 4, 3, 2, 0),
    WINOGRAD(1, 2, 4, 4, 3, 3, 4, 5),
    WINOGRAD(9, 33, 4, 4, 17, 3, 1, 1),
    WINOGRAD(1, 4, 90, 86, 3, 3, 1, 1),
    WINOGRAD(0, 3, 7, 5, 4, 3, 1, 1),
    WINOGRAD(1, 270, 5, 6, 15, 3, 1, 1),
    WINOGRAD(2, 3, 14, 15, 9, 5, 2, 2),
    WINOGRAD(1, 17, 6, 41, 33, 5, 1, 6),
    WINOGRAD(70, 2, 2, 2, 3, 5, 2, 2),
    WINOGRAD(66, 2, 4, 3, 3, 5, 2, 2),
    WINOGRAD(68, 2, 3, 4, 3, 3, 1, 1),
    WINOGRAD(1, 70, 9, 10, 80, 5, 2, 2),
};
enum { CONV_SHAPES = sizeof conv_shapes / sizeof conv_shapes[0] };

static pydl_conv2d_shape with_output(pydl_conv2d_shape s)
{
    s.oh = output_size(s.h, s.kh, s.stride_h, s.pad_h, s.dilation_h);
    s.ow = output_size(s.w, s.kw, s.stride_w, s.pad_w, s.dilation_w);
    return s;
}

void test_conv2d(void)
{
    for (int i = 0; i < CONV_SHAPES; i++) {
        const pydl_conv2d_shape s = with_output(conv_shapes[i]);
        snprintf(shape_now, sizeof shape_now, "x (%td,%td,%td,%td) w (%td,%td,%td,%td) groups %td",
                 s.n, s.c, s.h, s.w, s.oc, s.c / s.groups, s.kh, s.kw, s.groups);
        test_conv2d_shape(&s);
    }
    shape_now[0] = 0;
}

void test_im2col(void)
{
    for (int i = 0; i < CONV_SHAPES; i++) {
        const pydl_conv2d_shape s = with_output(conv_shapes[i]);
        const idx rows = s.c * s.kh * s.kw, pixels = s.oh * s.ow;
        array x = randoms(s.n * s.c * s.h * s.w), cols = randoms(s.n * rows * pixels);
        array want_cols = zeros(cols.count), want_x = zeros(x.count);
        for (idx at = 0; at < cols.count; at++) {
            const idx ow = at % s.ow, oh = at / s.ow % s.oh;
            const idx row = at / pixels % rows, n = at / (pixels * rows);
            const idx ih = input_row(&s, oh, row / s.kw % s.kh);
            const idx iw = input_column(&s, ow, row % s.kw);
            if (ih < 0 || iw < 0)
                continue;
            const idx at_x = ((n * s.c + row / (s.kh * s.kw)) * s.h + ih) * s.w + iw;
            want_cols.value[at] = x.value[at_x];
            add(&want_x, at_x, cols.value[at]);
        }
        void *tx = typed(x), *tcols = typed(cols);
        void *got_cols = blank(cols.count), *got_x = blank(x.count);
        RUN_OK(im2col, &s, tx, got_cols);
        expect("im2col", got_cols, want_cols, 1);
        RUN_OK(col2im, &s, tcols, got_x);
        expect("col2im", got_x, want_x, 1);
        release(x), release(cols), release(want_cols), release(want_x);
        discard(tx), discard(tcols), discard(got_cols), discard(got_x);
    }
}
