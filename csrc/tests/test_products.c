/* matmul and linear. */
#include "check.h"

static const idx product_sizes[][3] = {
    {1, 1, 1}, {1, 17, 5},  {3, 1, 9},    {2, 3, 1},     {5, 7, 0},    {0, 3, 4},
    {13, 31, 7}, {33, 65, 9}, {70, 50, 40}, {17, 35, 300}, {150, 49, 3},
    {11, 70, 35}, {70, 12, 40},
};
enum { PRODUCTS = sizeof product_sizes / sizeof product_sizes[0] };

/* layout: 0 row-major, 1 column-major, 2 row-major with every row backwards. */
static pydl_strides layout_strides(int layout, idx rows, idx columns)
{
    return layout == 1 ? (pydl_strides){1, rows} : (pydl_strides){columns, layout ? -1 : 1};
}

static void test_matmul_layout(idx batch, idx m, idx n, idx k, int a_layout, int b_layout)
{
    array a = randoms(batch * m * k), b = randoms(batch * k * n), want = zeros(batch * m * n);
    const pydl_strides a_strides = layout_strides(a_layout, m, k);
    const pydl_strides b_strides = layout_strides(b_layout, k, n);
    const idx a_start = a_layout == 2 && k ? k - 1 : 0, b_start = b_layout == 2 && n ? n - 1 : 0;
    for (idx g = 0; g < batch; g++)
        for (idx i = 0; i < m; i++)
            for (idx j = 0; j < n; j++)
                for (idx p = 0; p < k; p++) {
                    const idx at_a = i * a_strides.row_stride + p * a_strides.column_stride;
                    const idx at_b = p * b_strides.row_stride + j * b_strides.column_stride;
                    add(&want, (g * m + i) * n + j,
                        a.value[g * m * k + a_start + at_a] * b.value[g * k * n + b_start + at_b]);
                }
    void *ta = typed(a), *tb = typed(b), *got = blank(want.count);
    const void *from_a = (char *)ta + a_start * (idx)item_size();
    const void *from_b = (char *)tb + b_start * (idx)item_size();
    RUN_OK(matmul, batch, m, n, k, from_a, a_strides, m * k, from_b, b_strides, k * n, got);
    expect("matmul", got, want, 1);
    release(a), release(b), release(want);
    discard(ta), discard(tb), discard(got);
}

void test_matmul(void)
{
    for (int i = 0; i < PRODUCTS; i++)
        for (int layout = 0; layout < 9; layout++)
            test_matmul_layout(layout % 2 + 1, product_sizes[i][0], product_sizes[i][1],
                               product_sizes[i][2], layout / 3, layout % 3);
}

void test_linear(void)
{
    for (int i = 0; i < PRODUCTS; i++) {
        const idx n = product_sizes[i][0], out = product_sizes[i][1], in = product_sizes[i][2];
        array x = randoms(n * in), w = randoms(out * in), b = randoms(out), dy = randoms(n * out);
        array want_y = zeros(n * out), want_plain = zeros(n * out);
        array want_dx = zeros(n * in), want_dw = zeros(out * in), want_db = zeros(out);
        for (idx r = 0; r < n; r++)
            for (idx o = 0; o < out; o++) {
                add(&want_y, r * out + o, b.value[o]);
                add(&want_db, o, dy.value[r * out + o]);
                for (idx j = 0; j < in; j++) {
                    add(&want_y, r * out + o, x.value[r * in + j] * w.value[o * in + j]);
                    add(&want_plain, r * out + o, x.value[r * in + j] * w.value[o * in + j]);
                    add(&want_dx, r * in + j, dy.value[r * out + o] * w.value[o * in + j]);
                    add(&want_dw, o * in + j, dy.value[r * out + o] * x.value[r * in + j]);
                }
            }
        void *tx = typed(x), *tw = typed(w), *tb = typed(b), *tdy = typed(dy);
        void *y = blank(n * out), *dx = blank(n * in), *dw = blank(out * in), *db = blank(out);
        RUN_OK(linear_forward, n, in, out, tx, tw, tb, 0, y);
        expect("linear_forward", y, want_y, 1);
        for (idx i = 0; i < n * out; i++)
            want_y.value[i] = want_y.value[i] < 0 ? 0 : want_y.value[i];
        RUN_OK(linear_forward, n, in, out, tx, tw, tb, 1, y);
        expect("linear_forward with ReLU", y, want_y, 1);
        RUN_OK(linear_forward, n, in, out, tx, tw, NULL, 0, y);
        expect("linear_forward without bias", y, want_plain, 1);
        RUN_OK(linear_backward_input, n, in, out, tdy, tw, dx);
        expect("linear_backward_input", dx, want_dx, 1);
        RUN_OK(linear_backward_weight, n, in, out, tdy, tx, dw);
        expect("linear_backward_weight", dw, want_dw, 1);
        RUN_OK(linear_backward_bias, n, out, tdy, db);
        expect("linear_backward_bias", db, want_db, 1);
        release(x), release(w), release(b), release(dy);
        release(want_y), release(want_plain), release(want_dx), release(want_dw), release(want_db);
        discard(tx), discard(tw), discard(tb), discard(tdy), discard(y), discard(dx), discard(dw), discard(db);
    }
}
