/* Pooling. */
#include "check.h"

/* planes h w, oh ow, kh kw, then stride, pad and dilation (height, width); some windows hang over
 * the lower and the right edge, as they do with ceil_mode. */
static const pydl_pool2d_shape shapes[] = {
    {0, 6, 6, 3, 3, 2, 2, 2, 2, 0, 0, 1, 1},    {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1},
    {3, 6, 10, 3, 5, 2, 2, 2, 2, 0, 0, 1, 1},   {5, 7, 9, 4, 5, 2, 2, 2, 2, 0, 0, 1, 1},
    {2, 13, 37, 7, 19, 3, 3, 2, 2, 1, 1, 1, 1}, {2, 9, 35, 9, 35, 3, 3, 1, 1, 1, 1, 1, 1},
    {3, 11, 17, 4, 8, 3, 2, 3, 2, 1, 0, 1, 1},  {2, 5, 5, 1, 1, 5, 5, 1, 1, 0, 0, 1, 1},
    {2, 17, 70, 8, 34, 3, 3, 2, 2, 0, 0, 1, 1}, {9, 40, 66, 20, 33, 2, 2, 2, 2, 0, 0, 1, 1},
};
static const pydl_pool2d_shape dilated[] = {
    {2, 11, 23, 7, 19, 3, 3, 1, 1, 0, 0, 2, 2},
    {3, 10, 33, 4, 17, 3, 2, 2, 2, 1, 1, 2, 3},
};
#define COUNT(table) ((idx)(sizeof table / sizeof *table))

static idx overlap(idx start, idx size, idx limit)
{
    const idx first = start < 0 ? 0 : start, end = start + size < limit ? start + size : limit;
    return end - first;
}

/* PyTorch's rule: a later element wins if it is greater or NaN. */
static idx max_of_window(const pydl_pool2d_shape *s, const double *plane, idx oh, idx ow)
{
    idx best = -1;
    for (idx kh = 0; kh < s->kh; kh++)
        for (idx kw = 0; kw < s->kw; kw++) {
            const idx ih = oh * s->stride_h - s->pad_h + kh * s->dilation_h;
            const idx iw = ow * s->stride_w - s->pad_w + kw * s->dilation_w;
            if (ih < 0 || iw < 0 || ih >= s->h || iw >= s->w)
                continue;
            const idx at = ih * s->w + iw;
            if (best < 0 || plane[at] > plane[best] || isnan(plane[at]))
                best = at;
        }
    return best;
}

static void expect_indices(const int32_t *got, const int32_t *want, idx count)
{
    check(!memcmp(got, want, (size_t)count * sizeof *got), "max_pool2d_forward: argmax");
}

static void test_max(const pydl_pool2d_shape *s, int special)
{
    const idx in = s->h * s->w, out = s->oh * s->ow;
    array x = randoms(s->planes * in), dy = randoms(s->planes * out);
    if (special)
        for (idx i = 0; i < x.count; i++)
            x.value[i] = i % 11 == 0 ? NAN : i % 7 == 0 ? -INFINITY : floor(3 * x.value[i]);
    array want_y = zeros(dy.count), want_dx = zeros(x.count);
    const size_t bytes = (size_t)dy.count * sizeof(int32_t);
    int32_t *want_argmax = room(bytes), *argmax = room(bytes);
    memset(argmax, 0xff, bytes);
    for (idx i = 0; i < dy.count; i++) {
        const idx plane = i / out * in;
        const idx at = max_of_window(s, x.value + plane, i % out / s->ow, i % s->ow);
        want_y.value[i] = x.value[plane + at];
        want_argmax[i] = (int32_t)at;
        add(&want_dx, plane + at, dy.value[i]);
    }
    void *tx = typed(x), *tdy = typed(dy), *y = blank(dy.count), *dx = blank(x.count);
    RUN_OK(max_pool2d_forward, s, tx, y, argmax);
    expect("max_pool2d_forward", y, want_y, 1);
    expect_indices(argmax, want_argmax, dy.count);
    discard(y);
    y = blank(dy.count);
    RUN_OK(max_pool2d_forward, s, tx, y, NULL);
    expect("max_pool2d_forward without argmax", y, want_y, 1);
    RUN_OK(max_pool2d_backward, s->planes, out, in, tdy, want_argmax, dx);
    expect("max_pool2d_backward", dx, want_dx, 1);
    const int32_t wrong[] = {-1, (int32_t)in, INT32_MIN, INT32_MAX};
    for (int i = 0; dy.count && i < 4; i++) {
        want_argmax[dy.count - 1] = wrong[i];
        check(RUN(max_pool2d_backward, s->planes, out, in, tdy, want_argmax, dx) == PYDL_BAD_INDEX,
              "max_pool2d_backward: an index out of range");
    }
    release(x), release(dy), release(want_y), release(want_dx);
    discard(tx), discard(tdy), discard(y), discard(dx), discard(argmax), discard(want_argmax);
}

static void test_avg(const pydl_pool2d_shape *s, int count_include_pad)
{
    const idx in = s->h * s->w, out = s->oh * s->ow;
    array x = randoms(s->planes * in), dy = randoms(s->planes * out);
    array want_y = zeros(dy.count), want_dx = zeros(x.count);
    for (idx i = 0; i < dy.count; i++) {
        const idx top = i % out / s->ow * s->stride_h - s->pad_h;
        const idx left = i % s->ow * s->stride_w - s->pad_w;
        idx cells = overlap(top, s->kh, s->h) * overlap(left, s->kw, s->w);
        if (count_include_pad)
            cells = overlap(top + s->pad_h, s->kh, s->h + 2 * s->pad_h) *
                    overlap(left + s->pad_w, s->kw, s->w + 2 * s->pad_w);
        for (idx at = 0; at < s->kh * s->kw; at++) {
            const idx ih = top + at / s->kw, iw = left + at % s->kw;
            if (ih < 0 || iw < 0 || ih >= s->h || iw >= s->w)
                continue;
            add(&want_y, i, x.value[i / out * in + ih * s->w + iw] / (double)cells);
            add(&want_dx, i / out * in + ih * s->w + iw, dy.value[i] / (double)cells);
        }
    }
    void *tx = typed(x), *tdy = typed(dy), *y = blank(dy.count), *dx = blank(x.count);
    RUN_OK(avg_pool2d_forward, s, count_include_pad, tx, y);
    expect("avg_pool2d_forward", y, want_y, 2);
    RUN_OK(avg_pool2d_backward, s, count_include_pad, tdy, dx);
    expect("avg_pool2d_backward", dx, want_dx, 2);
    release(x), release(dy), release(want_y), release(want_dx);
    discard(tx), discard(tdy), discard(y), discard(dx);
}

static void test_global_avg(idx planes, idx pixels)
{
    array x = randoms(planes * pixels), dy = randoms(planes);
    array want_y = zeros(planes), want_dx = zeros(planes * pixels);
    for (idx i = 0; i < x.count; i++) {
        add(&want_y, i / pixels, x.value[i] / (double)pixels);
        add(&want_dx, i, dy.value[i / pixels] / (double)pixels);
    }
    void *tx = typed(x), *tdy = typed(dy), *y = blank(planes), *dx = blank(x.count);
    RUN_OK(global_avg_pool2d_forward, planes, pixels, tx, y);
    expect("global_avg_pool2d_forward", y, want_y, 2);
    RUN_OK(global_avg_pool2d_backward, planes, pixels, tdy, dx);
    expect("global_avg_pool2d_backward", dx, want_dx, 2);
    release(x), release(dy), release(want_y), release(want_dx);
    discard(tx), discard(tdy), discard(y), discard(dx);
}

/* h w, oh ow */
static const idx adaptive[][4] = {
    {7, 5, 3, 4}, {13, 37, 6, 5}, {9, 35, 9, 35}, {10, 8, 7, 7}, {3, 2, 7, 17}, {1, 1, 2, 3},
    {6, 12, 2, 3}, {40, 70, 1, 1},
};

static void test_adaptive_avg(idx planes, const idx sizes[4])
{
    const idx h = sizes[0], w = sizes[1], oh = sizes[2], ow = sizes[3];
    array x = randoms(planes * h * w), dy = randoms(planes * oh * ow);
    array want_y = zeros(dy.count), want_dx = zeros(x.count);
    for (idx i = 0; i < dy.count; i++) {
        const idx plane = i / (oh * ow), row = i / ow % oh, column = i % ow;
        const idx top = row * h / oh, bottom = ((row + 1) * h + oh - 1) / oh;
        const idx left = column * w / ow, right = ((column + 1) * w + ow - 1) / ow;
        for (idx ih = top; ih < bottom; ih++)
            for (idx iw = left; iw < right; iw++) {
                const idx at = (plane * h + ih) * w + iw;
                const double count = (double)((bottom - top) * (right - left));
                add(&want_y, i, x.value[at] / count);
                add(&want_dx, at, dy.value[i] / count);
            }
    }
    void *tx = typed(x), *tdy = typed(dy), *y = blank(dy.count), *dx = blank(x.count);
    RUN_OK(adaptive_avg_pool2d_forward, planes, h, w, oh, ow, tx, y);
    expect("adaptive_avg_pool2d_forward", y, want_y, 2);
    RUN_OK(adaptive_avg_pool2d_backward, planes, h, w, oh, ow, tdy, dx);
    expect("adaptive_avg_pool2d_backward", dx, want_dx, 2);
    release(x), release(dy), release(want_y), release(want_dx);
    discard(tx), discard(tdy), discard(y), discard(dx);
}

void test_pool2d(void)
{
    for (idx i = 0; i < COUNT(adaptive); i++)
        test_adaptive_avg(3, adaptive[i]);
    test_adaptive_avg(0, adaptive[0]);
    test_adaptive_avg(500, adaptive[0]);
    for (idx i = 0; i < COUNT(shapes); i++) {
        test_max(&shapes[i], 0);
        test_max(&shapes[i], 1);
        test_avg(&shapes[i], 0);
        test_avg(&shapes[i], 1);
    }
    for (idx i = 0; i < COUNT(dilated); i++) {
        test_max(&dilated[i], 0);
        test_max(&dilated[i], 1);
    }
    for (idx pixels = 1; pixels < 70; pixels += 4)
        test_global_avg(5, pixels);
    test_global_avg(0, 9);
    test_global_avg(3, 40000);
}
