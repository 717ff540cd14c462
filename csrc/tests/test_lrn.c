/* Local response normalisation across channels. */
#include "check.h"

typedef struct {
    idx n, c, inner, size;
    double alpha, beta, k;
} lrn_shape;

static const lrn_shape shapes[] = {
    {0, 3, 9, 5, 1, 0.75, 1},      {1, 1, 1, 1, 1, 0.75, 1},    {2, 7, 15, 5, 1e-4, 0.75, 2},
    {1, 33, 17, 4, 2, 0.75, 1},    {3, 5, 33, 3, 1, 0.5, 1},    {1, 4, 2, 9, 3, 1.25, 0.5},
    {1, 5, 2680, 2, 1, 0.75, 1},   {1, 700, 45, 6, 1, 0.75, 1}, {2, 3, 7, 3, 1, 0, 1},
    {1, 40, 3025, 5, 1, 0.75, 2},
};

/* sum over the channels i of the window of c: of(image, channel, pixel) */
static double window_sum(const lrn_shape *s, const double *of, idx at, idx before, idx after)
{
    const idx c = at / s->inner % s->c;
    double sum = 0;
    for (idx i = c - before < 0 ? 0 : c - before; i <= c + after && i < s->c; i++)
        sum += of[at + (i - c) * s->inner];
    return sum;
}

static void test_shape(const lrn_shape *s)
{
    const idx count = s->n * s->c * s->inner, lower = s->size / 2, upper = (s->size - 1) / 2;
    array x = randoms(count), dy = randoms(count), terms = zeros(count);
    array want_y = zeros(count), want_scale = zeros(count), want_dx = zeros(count);
    for (idx i = 0; i < count; i++)
        terms.value[i] = x.value[i] * x.value[i];
    for (idx i = 0; i < count; i++) {
        want_scale.value[i] = s->k + s->alpha / (double)s->size *
                                         window_sum(s, terms.value, i, lower, upper);
        want_scale.scale[i] = want_scale.value[i];
        want_y.value[i] = x.value[i] * pow(want_scale.value[i], -s->beta);
        want_y.scale[i] = fabs(want_y.value[i]);
        want_y.terms[i] = want_scale.terms[i] = s->size;
    }
    for (idx i = 0; i < count; i++)
        terms.value[i] = dy.value[i] * x.value[i] * pow(want_scale.value[i], -s->beta - 1);
    for (idx i = 0; i < count; i++) {
        const double own = dy.value[i] * pow(want_scale.value[i], -s->beta);
        const double slope = 2 * s->alpha * s->beta / (double)s->size * x.value[i];
        want_dx.value[i] = own - slope * window_sum(s, terms.value, i, upper, lower);
        terms.scale[i] = fabs(terms.value[i]);
    }
    for (idx i = 0; i < count; i++) {
        const double slope = fabs(2 * s->alpha * s->beta / (double)s->size * x.value[i]);
        want_dx.scale[i] = fabs(dy.value[i] * pow(want_scale.value[i], -s->beta)) +
                           slope * window_sum(s, terms.scale, i, upper, lower);
        want_dx.terms[i] = s->size;
    }
    void *tx = typed(x), *tdy = typed(dy), *y = blank(count), *scale = blank(count);
    RUN_OK(local_response_norm_forward, s->n, s->c, s->inner, s->size, s->alpha, s->beta, s->k, tx,
           y, scale);
    expect("local_response_norm_forward", y, want_y, 4);
    expect("local_response_norm_forward: scale", scale, want_scale, 2);
    discard(y);
    y = blank(count);
    RUN_OK(local_response_norm_forward, s->n, s->c, s->inner, s->size, s->alpha, s->beta, s->k, tx,
           y, NULL);
    expect("local_response_norm_forward without scale", y, want_y, 4);
    void *dx = blank(count);
    RUN_OK(local_response_norm_backward, s->n, s->c, s->inner, s->size, s->alpha, s->beta, tdy, tx,
           scale, dx);
    expect("local_response_norm_backward", dx, want_dx, 4);
    release(x), release(dy), release(terms);
    release(want_y), release(want_scale), release(want_dx);
    discard(tx), discard(tdy), discard(y), discard(scale), discard(dx);
}

void test_lrn(void)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        test_shape(&shapes[i]);
}
