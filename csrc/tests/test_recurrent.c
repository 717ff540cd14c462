/* Recurrent layers and the embedding against their equations, sample by sample and step by step.
 *
 * An element is a sum of products through t steps; errors of earlier steps come in again, damped
 * by the weights, which are small. Hence the bound: that of a sum of all the products. */
#include "check.h"

typedef enum { RELU, TANH, LSTM, GRU_AFTER, GRU_BEFORE } kind;

/* t, b, in, h, and whether the samples differ in length; the last one is worth two threads. */
static const idx sizes[][5] = {{0, 2, 3, 4, 0}, {2, 0, 3, 4, 0}, {1, 1, 1, 1, 0},  {3, 2, 5, 3, 1},
                               {7, 5, 2, 17, 1}, {2, 1, 3, 65, 0}, {4, 33, 3, 40, 1},
                               {3, 20, 4, 100, 1}};
enum { SIZES = sizeof sizes / sizeof *sizes };

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static array shrunk(idx count, double factor)
{
    array a = randoms(count);
    for (idx i = 0; i < count; i++)
        a.value[i] = (double)(float)(a.value[i] * factor);
    return a;
}

/* Sums from here on may differ by the rounding of so many products. */
static void bound(array *a, double products)
{
    for (idx i = 0; i < a->count; i++) {
        a->scale[i] = fabs(a->value[i]) + 1;
        a->terms[i] = (idx)products;
    }
}

typedef struct {
    kind kind;
    pydl_recurrent_shape s;
    idx gates;
    array x, h0, c0, w_ih, w_hh, b_ih, b_hh, dy, dh_n, dc_n;
    /* expected */
    array y, h_n, c_n, saved, second; /* saved: the gates; second: cells or hidden */
    array dx, dh0, dc0, dw_ih, dw_hh, db_ih, db_hh;
} layer;

static idx length_of(const layer *l, idx b) { return l->s.lengths ? l->s.lengths[b] : l->s.t; }

/* The time of sample b's step, and its state h before it. */
static idx time_at(const layer *l, idx b, idx step)
{
    return l->s.reverse ? length_of(l, b) - 1 - step : step;
}
static const double *before(const layer *l, const array *states, const array *first, idx b,
                            idx step)
{
    const idx h = l->s.h;
    return step ? states->value + (time_at(l, b, step - 1) * l->s.b + b) * h : first->value + b * h;
}

static double dot(idx n, const double *a, const double *b)
{
    double sum = 0;
    for (idx i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void forward_step(layer *l, idx b, idx step)
{
    const idx h = l->s.h, in = l->s.in, at = time_at(l, b, step) * l->s.b + b;
    const double *state = before(l, &l->y, &l->h0, b, step), *x = l->x.value + at * in;
    double a[400], u[400], reset[100]; /* shares of the input and of the state in each gate */
    for (idx j = 0; j < l->gates * h; j++) {
        a[j] = l->b_ih.value[j] + dot(in, l->w_ih.value + j * in, x);
        u[j] = l->b_hh.value[j] + dot(h, l->w_hh.value + j * h, state);
    }
    double *y = l->y.value + at * h, *saved = l->saved.value + at * l->gates * h,
        *second = l->second.value + at * h;
    for (idx j = 0; j < h; j++) {
        if (l->kind == RELU || l->kind == TANH) {
            y[j] = l->kind == TANH ? tanh(a[j] + u[j]) : fmax(a[j] + u[j], 0);
        } else if (l->kind == LSTM) {
            for (idx g = 0; g < 4; g++)
                saved[g * h + j] = g == 2 ? tanh(a[g * h + j] + u[g * h + j])
                    : sigmoid(a[g * h + j] + u[g * h + j]);
            second[j] = saved[h + j] * before(l, &l->second, &l->c0, b, step)[j] + saved[j] *
                saved[2 * h + j];
            y[j] = saved[3 * h + j] * tanh(second[j]);
        } else {
            saved[j] = sigmoid(a[j] + u[j]);
            saved[h + j] = sigmoid(a[h + j] + u[h + j]);
            reset[j] = saved[j] * state[j];
        }
    }
    for (idx j = 0; l->kind >= GRU_AFTER && j < h; j++) {
        const double *w = l->w_hh.value + (2 * h + j) * h;
        second[j] = l->kind == GRU_AFTER ? u[2 * h + j]
            : l->b_hh.value[2 * h + j] + dot(h, w, reset);
        const double n = tanh(a[2 * h + j] + (l->kind == GRU_AFTER ? saved[j] : 1) * second[j]),
            z = saved[h + j];
        saved[2 * h + j] = n;
        y[j] = (1 - z) * n + z * state[j];
    }
}

/* dh and dc (h,) are the gradients after the step, and then before it. */
static void backward_step(layer *l, idx b, idx step, double *dh, double *dc)
{
    const idx h = l->s.h, in = l->s.in, at = time_at(l, b, step) * l->s.b + b;
    const double *state = before(l, &l->y, &l->h0, b, step), *x = l->x.value + at * in,
        *y = l->y.value + at * h;
    const double *saved = l->saved.value + at * l->gates * h, *second = l->second.value + at * h;
    /* of a and u above, of the state past the weights */
    double da[400], du[400], direct[100], reset[100], dreset[100];
    for (idx j = 0; j < h; j++) {
        const double d = dh[j] + l->dy.value[at * h + j];
        direct[j] = 0;
        if (l->kind == RELU || l->kind == TANH) {
            da[j] = l->kind == TANH ? d * (1 - y[j] * y[j]) : y[j] <= 0 ? 0 : d;
        } else if (l->kind == LSTM) {
            const double i = saved[j], f = saved[h + j], g = saved[2 * h + j], o = saved[3 * h + j],
                c = tanh(second[j]);
            const double e = dc[j] + d * o * (1 - c * c);
            da[j] = e * g * i * (1 - i);
            da[h + j] = e * before(l, &l->second, &l->c0, b, step)[j] * f * (1 - f);
            da[2 * h + j] = e * i * (1 - g * g);
            da[3 * h + j] = d * c * o * (1 - o);
            dc[j] = e * f;
        } else {
            const double r = saved[j], z = saved[h + j], n = saved[2 * h + j];
            da[2 * h + j] = d * (1 - z) * (1 - n * n);
            da[h + j] = d * (state[j] - n) * z * (1 - z);
            da[j] = da[2 * h + j] * second[j] * r * (1 - r);
            direct[j] = d * z;
            reset[j] = r * state[j];
        }
    }
    for (idx j = 0; l->kind == GRU_BEFORE && j < h; j++) {
        dreset[j] = 0;
        for (idx k = 0; k < h; k++)
            dreset[j] += da[2 * h + k] * l->w_hh.value[(2 * h + k) * h + j];
        da[j] = dreset[j] * state[j] * saved[j] * (1 - saved[j]);
        direct[j] += dreset[j] * saved[j];
    }
    for (idx j = 0; j < l->gates * h; j++) {
        const int candidate = l->kind >= GRU_AFTER && j >= 2 * h;
        du[j] = da[j] * (candidate && l->kind == GRU_AFTER ? saved[j - 2 * h] : 1);
        l->db_ih.value[j] += da[j];
        l->db_hh.value[j] += du[j];
        for (idx k = 0; k < in; k++) {
            l->dw_ih.value[j * in + k] += da[j] * x[k];
            l->dx.value[at * in + k] += da[j] * l->w_ih.value[j * in + k];
        }
        for (idx k = 0; k < h; k++) {
            l->dw_hh.value[j * h + k] += du[j] * (candidate && l->kind == GRU_BEFORE ? reset[k]
                                                  : state[k]);
            if (!candidate || l->kind == GRU_AFTER)
                direct[k] += du[j] * l->w_hh.value[j * h + k];
        }
    }
    memcpy(dh, direct, (size_t)h * sizeof *dh);
}

static void expected(layer *l)
{
    const idx h = l->s.h;
    for (idx b = 0; b < l->s.b; b++) {
        const idx steps = length_of(l, b);
        double *dh = l->dh0.value + b * h, *dc = l->dc0.value + b * h;
        for (idx step = 0; step < steps; step++)
            forward_step(l, b, step);
        memcpy(l->h_n.value + b * h, before(l, &l->y, &l->h0, b, steps), (size_t)h * sizeof *dh);
        memcpy(l->c_n.value + b * h, before(l, &l->second, &l->c0, b, steps),
               (size_t)h * sizeof *dh);
        memcpy(dh, l->dh_n.value + b * h, (size_t)h * sizeof *dh);
        memcpy(dc, l->dc_n.value + b * h, (size_t)h * sizeof *dh);
        for (idx step = steps - 1; step >= 0; step--)
            backward_step(l, b, step, dh, dc);
    }
}

static void compare(const layer *l)
{
    const idx t = l->s.t, b = l->s.b, h = l->s.h, rows = t * b;
    const pydl_recurrent_shape *s = &l->s;
    void *x = typed(l->x), *h0 = typed(l->h0), *c0 = typed(l->c0), *w_ih = typed(l->w_ih),
        *w_hh = typed(l->w_hh);
    void *b_ih = typed(l->b_ih), *b_hh = typed(l->b_hh), *dy = typed(l->dy), *dh_n = typed(l->dh_n),
        *dc_n = typed(l->dc_n);
    void *saved = blank(rows * l->gates * h), *second = blank(rows * h), *y = blank(rows * h),
        *alone = blank(rows * h);
    void *h_n = blank(b * h), *c_n = blank(b * h), *dh0 = blank(b * h), *dc0 = blank(b * h),
        *dx = blank(l->x.count);
    void *dw_ih = blank(l->w_ih.count), *dw_hh = blank(l->w_hh.count),
        *db_ih = blank(l->b_ih.count);
    void *db_hh = blank(l->b_hh.count);
    if (l->kind == LSTM) {
        RUN_OK(lstm_forward, s, x, h0, c0, w_ih, w_hh, b_ih, alone, h_n, c_n, NULL, NULL);
        RUN_OK(lstm_forward, s, x, h0, c0, w_ih, w_hh, b_ih, y, h_n, c_n, saved, second);
        RUN_OK(lstm_backward, s, dy, dh_n, dc_n, x, h0, c0, w_ih, w_hh, y, saved, second, dx, dh0,
               dc0, dw_ih, dw_hh, db_ih);
        expect("recurrent: c_n", c_n, l->c_n, 1);
        expect("recurrent: dc0", dc0, l->dc0, 1);
    } else if (l->kind >= GRU_AFTER) {
        const int after = l->kind == GRU_AFTER;
        RUN_OK(gru_forward, s, after, x, h0, w_ih, w_hh, b_ih, b_hh, alone, h_n, NULL, NULL);
        RUN_OK(gru_forward, s, after, x, h0, w_ih, w_hh, b_ih, b_hh, y, h_n, saved, second);
        RUN_OK(gru_backward, s, after, dy, dh_n, x, h0, w_ih, w_hh, y, saved, second, dx, dh0,
               dw_ih, dw_hh, db_ih, db_hh);
        expect("recurrent: db_hh", db_hh, l->db_hh, 1);
    } else {
        RUN_OK(rnn_forward, s, l->kind == RELU, x, h0, w_ih, w_hh, b_ih, y, h_n);
        RUN_OK(rnn_backward, s, l->kind == RELU, dy, dh_n, x, h0, w_ih, w_hh, y, dx, dh0, dw_ih,
               dw_hh, db_ih);
    }
    if (l->kind >= LSTM) {
        expect("recurrent: gates", saved, l->saved, 1);
        expect("recurrent: cells or hidden", second, l->second, 1);
        check(!memcmp(alone, y, (size_t)(rows * h) * item_size()),
              "recurrent: the same y if nothing is saved");
    }
    expect("recurrent: y", y, l->y, 1);
    expect("recurrent: h_n", h_n, l->h_n, 1);
    expect("recurrent: dx", dx, l->dx, 1);
    expect("recurrent: dh0", dh0, l->dh0, 1);
    expect("recurrent: dw_ih", dw_ih, l->dw_ih, 1);
    expect("recurrent: dw_hh", dw_hh, l->dw_hh, 1);
    expect("recurrent: db_ih", db_ih, l->db_ih, 1);
    void *all[] = {x, h0, c0, w_ih, w_hh, b_ih, b_hh, dy, dh_n, dc_n, saved, second, y, alone, h_n,
                   c_n, dh0, dc0, dx, dw_ih, dw_hh, db_ih, db_hh};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        discard(all[i]);
}

static void test_layer(kind kind, const idx size[5], int reverse)
{
    const idx t = size[0], b = size[1], in = size[2], h = size[3];
    int64_t lengths[40];
    for (idx i = 0; i < b; i++)
        lengths[i] = (i * 3 + 1) % (t + 1);
    const idx gates = kind == LSTM ? 4 : kind >= GRU_AFTER ? 3 : 1;
    const double shrink = 1 / sqrt((double)h);
    layer l = {kind, {t, b, in, h, reverse, size[4] ? lengths : NULL}, gates,
               .x = randoms(t * b * in), .h0 = randoms(b * h), .c0 = randoms(b * h),
                   .w_ih = shrunk(gates * h * in, shrink),
               .w_hh = shrunk(gates * h * h, shrink), .b_ih = randoms(gates * h),
               .b_hh = kind >= GRU_AFTER ? randoms(gates * h) : zeros(gates * h),
                   .dy = randoms(t * b * h),
               .dh_n = randoms(b * h), .dc_n = randoms(b * h), .y = zeros(t * b * h),
                   .h_n = zeros(b * h),
               .c_n = zeros(b * h), .saved = zeros(t * b * gates * h), .second = zeros(t * b * h),
                   .dx = zeros(t * b * in),
               .dh0 = zeros(b * h), .dc0 = zeros(b * h), .dw_ih = zeros(gates * h * in),
                   .dw_hh = zeros(gates * h * h),
               .db_ih = zeros(gates * h), .db_hh = zeros(gates * h)};
    array *const all[] = {&l.x, &l.h0, &l.c0, &l.w_ih, &l.w_hh, &l.b_ih, &l.b_hh, &l.dy, &l.dh_n,
                          &l.dc_n,
                          &l.y, &l.h_n, &l.c_n, &l.saved, &l.second,
                          &l.dx, &l.dh0, &l.dc0, &l.dw_ih, &l.dw_hh, &l.db_ih, &l.db_hh};
    enum { INPUTS = 10, ARRAYS = sizeof all / sizeof *all };
    expected(&l);
    for (int i = INPUTS; i < ARRAYS; i++)
        bound(all[i], (double)(t * (gates * h + in + b) + 8));
    /* what lies past the ends is not read */
    for (idx i = 0; i < t * b; i++)
        if (i / b >= length_of(&l, i % b)) {
            for (idx j = 0; j < in; j++)
                l.x.value[i * in + j] = NAN;
            for (idx j = 0; j < h; j++)
                l.dy.value[i * h + j] = NAN;
        }
    snprintf(shape_now, sizeof shape_now, "kind %d, t %td b %td in %td h %td%s%s", kind, t, b, in,
             h,
             reverse ? " reverse" : "", size[4] ? " lengths" : "");
    compare(&l);
    shape_now[0] = 0;
    for (int i = 0; i < ARRAYS; i++)
        release(*all[i]);
}

void test_recurrent(void)
{
    for (kind kind = RELU; kind <= GRU_BEFORE; kind++)
        for (int i = 0; i < SIZES; i++)
            for (int reverse = 0; reverse < 2; reverse++)
                test_layer(kind, sizes[i], reverse);
}

/* lstm_forward and lstm_backward of a layer that several threads share. */
void test_recurrent_same_bits(void)
{
    const idx t = 5, b = 13, in = 20, h = 150, rows = t * b;
    const int64_t lengths[] = {5, 0, 1, 2, 3, 4, 5, 5, 5, 4, 3, 2, 1};
    const pydl_recurrent_shape s = {t, b, in, h, 1, lengths};
    const int before = pydl_get_num_threads();
    array x = randoms(rows * in), w_ih = shrunk(4 * h * in, 0.1), w_hh = shrunk(4 * h * h, 0.1),
        dy = randoms(rows * h);
    void *tx = typed(x), *tw_ih = typed(w_ih), *tw_hh = typed(w_hh), *tdy = typed(dy);
    enum { RESULTS = 11 };
    /* y, h_n, c_n, gates, cells */
    const idx sizes[RESULTS] = {rows * h, b * h, b * h, rows * 4 * h, rows * h,
                                rows * in, b * h, b * h, 4 * h * in, 4 * h * h, 4 * h};
    void *first[RESULTS] = {NULL};
    for (int threads = 1; threads <= 4; threads++) {
        pydl_set_num_threads(threads);
        void *r[RESULTS];
        for (int i = 0; i < RESULTS; i++)
            r[i] = blank(sizes[i]);
        RUN_OK(lstm_forward, &s, tx, NULL, NULL, tw_ih, tw_hh, NULL, r[0], r[1], r[2], r[3], r[4]);
        RUN_OK(lstm_backward, &s, tdy, NULL, NULL, tx, NULL, NULL, tw_ih, tw_hh, r[0], r[3], r[4],
               r[5], r[6], r[7], r[8],
               r[9], r[10]);
        for (int i = 0; i < RESULTS; i++) {
            if (threads == 1) {
                first[i] = r[i];
                continue;
            }
            check(!memcmp(first[i], r[i], (size_t)sizes[i] * item_size()),
                  "lstm: the same bits on every number of threads");
            discard(r[i]);
        }
    }
    for (int i = 0; i < RESULTS; i++)
        discard(first[i]);
    release(x), release(w_ih), release(w_hh), release(dy);
    discard(tx), discard(tw_ih), discard(tw_hh), discard(tdy);
    pydl_set_num_threads(before);
}

void test_embedding(void)
{
    const idx shapes[][3] = {{0, 3, 2}, {1, 1, 1}, {9, 4, 5}, {40, 7, 200}};
    for (int i = 0; i < 4; i++) {
        const idx n = shapes[i][0], rows = shapes[i][1], d = shapes[i][2];
        array w = randoms(rows * d), dy = randoms(n * d), y = zeros(n * d), dw = zeros(rows * d);
        int64_t *indices = room((size_t)n * sizeof *indices);
        for (idx r = 0; r < n; r++) {
            indices[r] = (r * 5 + 1) % rows;
            for (idx j = 0; j < d; j++) {
                y.value[r * d + j] = w.value[indices[r] * d + j];
                if (indices[r] != 1)
                    add(&dw, indices[r] * d + j, dy.value[r * d + j]);
            }
        }
        void *tw = typed(w), *tdy = typed(dy), *got = blank(n * d), *got_dw = blank(rows * d);
        RUN_OK(embedding_forward, n, rows, d, indices, tw, got);
        expect("embedding_forward", got, y, 0);
        RUN_OK(embedding_backward, n, rows, d, tdy, indices, 1, got_dw);
        expect("embedding_backward", got_dw, dw, 1);
        const int64_t wrong[] = {-1, rows, INT64_MIN, INT64_MAX};
        for (int k = 0; n && k < 4; k++) {
            indices[n - 1] = wrong[k];
            check(RUN(embedding_forward, n, rows, d, indices, tw, got) == PYDL_BAD_INDEX &&
                      RUN(embedding_backward, n, rows, d, tdy, indices, -1,
                          got_dw) == PYDL_BAD_INDEX,
                  "embedding: an index out of range");
        }
        release(w), release(dy), release(y), release(dw);
        discard(tw), discard(tdy), discard(got), discard(got_dw), discard(indices);
    }
}
