/* A convolution and an LSTM, forward and backward, in plain C. Each gradient is compared with the slope of
 *     loss = sum of y * dy
 *
 *     cc -std=c11 layers.c $(pkg-config --cflags --libs pydl) -lm -o layers && ./layers */
#include <math.h>
#include <pydl.h>
#include <stdio.h>
#include <stdlib.h>

static double *numbers(pydl_idx count) /* between -1 and 1; the caller frees them */
{
    static uint64_t state = 1;
    double *p = malloc((size_t)count * sizeof *p);
    if (!p)
        exit(EXIT_FAILURE);
    for (pydl_idx i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        p[i] = (double)(state >> 11) / (double)(1ull << 52) - 1;
    }
    return p;
}

static void must(int status)
{
    if (status != PYDL_OK) {
        fprintf(stderr, "pydl: status %d\n", status);
        exit(EXIT_FAILURE);
    }
}

static double dot(pydl_idx count, const double *a, const double *b)
{
    double sum = 0;
    for (pydl_idx i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Whether the gradient with respect to *value is not the slope of the loss. */
static int wrong(const char *name, double (*loss)(void *), void *layer, double *value, double gradient)
{
    const double step = 1e-5, before = *value;
    *value = before + step;
    const double above = loss(layer);
    *value = before - step;
    const double below = loss(layer);
    *value = before;
    const double slope = (above - below) / (2 * step);
    printf("%-24s slope %12.8f  gradient %12.8f\n", name, slope, gradient);
    return fabs(slope - gradient) > 1e-7 * (1 + fabs(slope));
}

/* ---- x (2,3,20,17) * w (4,3,3,3) + b (4,), padding 1 -> y (2,4,20,17) ---- */
enum { N = 2, C = 3, H = 20, W = 17, OC = 4, K = 3 };
enum { X = N * C * H * W, FILTERS = OC * C * K * K, Y = N * OC * H * W };
static const pydl_conv2d_shape conv = {
    .n = N, .c = C, .h = H, .w = W, .oc = OC, .oh = H, .ow = W, .kh = K, .kw = K, .stride_h = 1, .stride_w = 1,
    .pad_h = 1, .pad_w = 1, .dilation_h = 1, .dilation_w = 1, .groups = 1, .algorithm = PYDL_AUTO,
};
typedef struct {
    double *x, *w, *b, *y, *dy;
} conv_layer;

static double conv_loss(void *layer)
{
    const conv_layer *l = layer;
    must(pydl_conv2d_forward(PYDL_F64, &conv, l->x, l->w, l->b, NULL, 0, PYDL_AS_GIVEN, l->y));
    return dot(Y, l->y, l->dy);
}

static int convolution(void)
{
    conv_layer l = {numbers(X), numbers(FILTERS), numbers(OC), numbers(Y), numbers(Y)};
    double *dx = numbers(X), *dw = numbers(FILTERS), *db = numbers(OC);
    must(pydl_conv2d_backward_input(PYDL_F64, &conv, l.dy, l.w, dx));
    must(pydl_conv2d_backward_weight(PYDL_F64, &conv, l.dy, l.x, dw));
    must(pydl_conv2d_backward_bias(PYDL_F64, N, OC, H * W, l.dy, db));
    const int bad = wrong("convolution, input", conv_loss, &l, &l.x[100], dx[100]) +
                    wrong("convolution, weight", conv_loss, &l, &l.w[40], dw[40]) +
                    wrong("convolution, bias", conv_loss, &l, &l.b[2], db[2]);
    double *all[] = {l.x, l.w, l.b, l.y, l.dy, dx, dw, db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    return bad;
}

/* ---- x (T,B,I) -> y (T,B,S), a state of S numbers ---- */
enum { T = 5, B = 2, I = 3, S = 4 };
static const pydl_recurrent_shape sequence = {.t = T, .b = B, .in = I, .h = S, .reverse = 0, .lengths = NULL};
typedef struct {
    double *x, *h0, *c0, *w_ih, *w_hh, *bias, *y, *h_n, *c_n, *gates, *cells, *dy;
} lstm_layer;

static double lstm_loss(void *layer)
{
    const lstm_layer *l = layer;
    must(pydl_lstm_forward(PYDL_F64, &sequence, l->x, l->h0, l->c0, l->w_ih, l->w_hh, l->bias, l->y, l->h_n, l->c_n,
                           l->gates, l->cells));
    return dot(T * B * S, l->y, l->dy);
}

static int lstm(void)
{
    lstm_layer l = {
        numbers(T * B * I), numbers(B * S),     numbers(B * S), numbers(4 * S * I), numbers(4 * S * S),     numbers(4 * S),
        numbers(T * B * S), numbers(B * S),     numbers(B * S), numbers(T * B * 4 * S), numbers(T * B * S), numbers(T * B * S),
    };
    double *dx = numbers(T * B * I), *dh0 = numbers(B * S), *dc0 = numbers(B * S), *dw_ih = numbers(4 * S * I),
           *dw_hh = numbers(4 * S * S), *db = numbers(4 * S);
    lstm_loss(&l); /* fills y, gates and cells, which backward reads */
    must(pydl_lstm_backward(PYDL_F64, &sequence, l.dy, NULL, NULL, l.x, l.h0, l.c0, l.w_ih, l.w_hh, l.y, l.gates, l.cells,
                            dx, dh0, dc0, dw_ih, dw_hh, db));
    const int bad = wrong("LSTM, input", lstm_loss, &l, &l.x[7], dx[7]) +
                    wrong("LSTM, first state", lstm_loss, &l, &l.h0[3], dh0[3]) +
                    wrong("LSTM, recurrent weight", lstm_loss, &l, &l.w_hh[20], dw_hh[20]) +
                    wrong("LSTM, bias", lstm_loss, &l, &l.bias[9], db[9]);
    double *all[] = {l.x, l.h0, l.c0, l.w_ih, l.w_hh, l.bias, l.y, l.h_n, l.c_n, l.gates, l.cells, l.dy,
                     dx,  dh0,  dc0,  dw_ih,  dw_hh,  db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    return bad;
}

int main(void)
{
    if (pydl_abi_version() != PYDL_ABI_VERSION)
        return EXIT_FAILURE;
    pydl_set_num_threads(2);
    printf("pydl %s, %s, %d threads\n", pydl_version(), pydl_isas()[0], pydl_get_num_threads());
    const int bad = convolution() + lstm();
    pydl_cache_empty();
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
