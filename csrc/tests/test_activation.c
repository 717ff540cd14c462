/* Elementwise kernels: activations, sums, dropout; and concatenation. NaN passes through. */
#include "check.h"

/* Sizes from nothing to more than two vectors of every width, and one that threads share. */
static const idx lengths[] = {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 40, 100003};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static array signals(idx count, double reach)
{
    static const double special[] = {NAN, INFINITY, -INFINITY, 0, -0.0, 0x1p-20};
    array x = randoms(count);
    for (idx i = 0; i < count; i++)
        x.value[i] = i % 5 == 4 ? special[i / 5 % 6] : (double)(float)(x.value[i] * reach);
    return x;
}

typedef double (*formula)(double x);
static double relu(double x) { return x < 0 ? 0 : x; }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static array expected(array x, formula f)
{
    array want = zeros(x.count);
    for (idx i = 0; i < x.count; i++)
        add(&want, i, f(x.value[i]));
    return want;
}

static void test_forward(idx n)
{
    array x = signals(n, 12);
    void *tx = typed(x), *y = blank(n);
    array want = expected(x, relu);
    RUN_OK(relu_forward, n, tx, y);
    expect("relu_forward", y, want, 0);
    release(want);
    want = expected(x, sigmoid);
    RUN_OK(sigmoid_forward, n, tx, y);
    expect("sigmoid_forward", y, want, 2);
    release(want);
    want = expected(x, tanh);
    RUN_OK(tanh_forward, n, tx, y);
    expect("tanh_forward", y, want, 2);
    RUN_OK(tanh_forward, n, tx, tx);
    expect("tanh_forward in place", tx, want, 2);
    release(want), release(x);
    discard(tx), discard(y);
}

static void test_backward(idx n)
{
    array dy = randoms(n), y = signals(n, 1), want = zeros(n);
    for (idx i = 0; i < n; i++)
        y.value[i] = isinf(y.value[i]) ? 1 : y.value[i];
    void *tdy = typed(dy), *ty = typed(y), *dx = blank(n);
    for (idx i = 0; i < n; i++)
        want.value[i] = y.value[i] <= 0 ? 0 : (double)(float)dy.value[i];
    RUN_OK(relu_backward, n, tdy, ty, dx);
    expect("relu_backward", dx, want, 0);
    for (idx i = 0; i < n; i++) {
        want.value[i] = dy.value[i] * y.value[i] * (1 - y.value[i]);
        want.scale[i] = fabs(want.value[i]);
    }
    RUN_OK(sigmoid_backward, n, tdy, ty, dx);
    expect("sigmoid_backward", dx, want, 3);
    for (idx i = 0; i < n; i++) {
        want.value[i] = dy.value[i] * (1 - y.value[i] * y.value[i]);
        want.scale[i] = fabs(dy.value[i]) * (1 + y.value[i] * y.value[i]);
    }
    RUN_OK(tanh_backward, n, tdy, ty, dx);
    expect("tanh_backward", dx, want, 3);
    release(dy), release(y), release(want);
    discard(tdy), discard(ty), discard(dx);
}

/* long double, for erfc multiplies the rounding error of its argument by its square */
static double normal_cdf(double x) { return (double)(erfcl(-x * sqrtl(0.5L)) / 2); }
static double cdf_by_tanh(double x)
{
    return 1 / (1 + exp(-sqrt(8 / M_PI) * (x + 0.044715 * x * x * x)));
}
static double gelu(double x) { return x * normal_cdf(x); }
static double gelu_by_tanh(double x) { return x * cdf_by_tanh(x); }
static double silu(double x) { return x * sigmoid(x); }
static double softplus(double x) { return 1.5 * x > 4 ? x : log1p(exp(1.5 * x)) / 1.5; }
static double hardswish(double x) { return x * fmin(fmax(x + 3, 0), 6) / 6; }
static double leaky_relu(double x) { return x > 0 ? x : 0.1 * x; }
static double elu(double x) { return x > 0 ? x : 1.7 * expm1(x); }

static double gelu_slope(double x)
{
    return normal_cdf(x) + x * (double)expl(-(long double)x * x / 2) / sqrt(2 * M_PI);
}
static double gelu_by_tanh_slope(double x)
{
    const double s = cdf_by_tanh(x);
    return s + x * s * (1 - s) * sqrt(8 / M_PI) * (1 + 3 * 0.044715 * x * x);
}
static double silu_slope(double x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); }
static double softplus_slope(double x) { return 1.5 * x > 4 ? 1 : sigmoid(1.5 * x); }
static double hardswish_slope(double x) { return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5; }
static double leaky_relu_slope(double x) { return x > 0 ? 1 : 0.1; }
static double elu_slope(double x) { return x > 0 ? 1 : 1.7 * exp(x); }

/* Backward with the forward's argument; forward's error is relative, backward's to the sum of the
 * formula's terms, which is below 2 |dy|. */
static void test_smooth(idx n)
{
    array x = randoms(n), dy = randoms(n);
    for (idx i = 0; i < n; i++)
        x.value[i] = i % 50 == 49 ? NAN : (double)(float)(x.value[i] * 9);
    void *tx = typed(x), *tdy = typed(dy), *y = blank(n);
    /* The factors, in 2 ulp: P's bound is 7.5 ulp (vmath.h). exp multiplies the rounding error of
     * its argument by it: five roundings of up to 66 for tanh's, one of 14 in softplus. silu's slope
     * multiplies the error of 1 - s, which is s's 2.5 ulp and a rounding, by an x of up to 9. */
#define CHECK(name, f, slope, factor, options)                                                     \
    do {                                                                                           \
        array want = expected(x, f);                                                               \
        RUN_OK(name##_forward, n, OPTIONS options tx, y);                                          \
        expect(#name "_forward", y, want, factor);                                                 \
        for (idx i = 0; i < n; i++) {                                                              \
            want.value[i] = dy.value[i] * slope(x.value[i]);                                       \
            want.scale[i] = 2 * fabs(dy.value[i]);                                                 \
        }                                                                                          \
        RUN_OK(name##_backward, n, OPTIONS options tdy, tx, y);                                    \
        expect(#name "_backward", y, want, factor);                                                \
        release(want);                                                                             \
    } while (0)
#define OPTIONS(...) __VA_ARGS__
    CHECK(leaky_relu, leaky_relu, leaky_relu_slope, 1, (0.1, ));
    CHECK(elu, elu, elu_slope, 2, (1.7, ));
    CHECK(gelu, gelu, gelu_slope, 5, (0, ));
    CHECK(gelu, gelu_by_tanh, gelu_by_tanh_slope, 90, (1, ));
    CHECK(silu, silu, silu_slope, 8, ());
    CHECK(softplus, softplus, softplus_slope, 8, (1.5, 4, ));
    CHECK(hardswish, hardswish, hardswish_slope, 2, ());
#undef OPTIONS
#undef CHECK
    array want = zeros(n);
    for (int rectify = 0; rectify < 2; rectify++) {
        for (idx i = 0; i < n; i++) {
            const double sum = x.value[i] + dy.value[i];
            want.value[i] = rectify ? relu(sum) : sum;
            want.scale[i] = fabs(sum);
        }
        RUN_OK(add_forward, n, rectify, tx, tdy, y);
        expect("add_forward", y, want, 1);
    }
    RUN_OK(add_forward, n, 1, tx, tdy, tx);
    expect("add_forward in place", tx, want, 1);
    release(x), release(dy), release(want);
    discard(tx), discard(tdy), discard(y);
}

static void test_concatenate(idx outer, idx count, const idx *widths)
{
    idx row = 0, at = 0;
    for (idx k = 0; k < count; k++)
        row += widths[k];
    array whole = randoms(outer * row);
    void *y = blank(outer * row), *twhole = typed(whole), *parts[8], *cut[8];
    for (idx k = 0; k < count; at += widths[k++]) {
        array part = zeros(outer * widths[k]);
        for (idx i = 0; i < part.count; i++)
            part.value[i] = whole.value[i / widths[k] * row + at + i % widths[k]];
        parts[k] = typed(part);
        cut[k] = blank(part.count);
        release(part);
    }
    const size_t bytes = (size_t)whole.count * item_size();
    RUN_OK(concatenate_forward, outer, count, widths, (const void *const *)parts, y);
    check(!memcmp(y, twhole, bytes), "concatenate_forward");
    RUN_OK(concatenate_backward, outer, count, widths, twhole, cut);
    for (idx k = 0; k < count; k++) {
        check(!memcmp(cut[k], parts[k], (size_t)(outer * widths[k]) * item_size()),
              "concatenate_backward");
        discard(parts[k]), discard(cut[k]);
    }
    release(whole);
    discard(y), discard(twhole);
}

/* Philox4x32-10 (Salmon et al. 2011), the words of the block with this counter. */
static void philox(uint64_t counter, uint64_t key, uint32_t c[4])
{
    c[0] = (uint32_t)counter, c[1] = (uint32_t)(counter >> 32), c[2] = c[3] = 0;
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        const uint64_t p0 = 0xD2511F53u * (uint64_t)c[0], p1 = 0xCD9E8D57u * (uint64_t)c[2];
        const uint32_t c1 = c[1], c3 = c[3];
        c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k0, c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k1, c[3] = (uint32_t)p0;
    }
}

static void test_dropout_rate(idx n, double p_drop, uint64_t key)
{
    const double factor = p_drop < 1 ? 1 / (1 - p_drop) : 0;
    array x = randoms(n), want = zeros(n);
    uint8_t *mask = room((size_t)n), *want_mask = room((size_t)n);
    for (idx i = 0; i < n; i++) {
        uint32_t words[4];
        philox((uint64_t)i / 4, key, words);
        want_mask[i] = (double)words[i % 4] >= floor(p_drop * 0x1p32);
        add(&want, i, want_mask[i] ? x.value[i] * factor : 0);
    }
    void *tx = typed(x), *y = blank(n);
    RUN_OK(dropout_forward, n, p_drop, key, tx, y, mask);
    expect("dropout_forward", y, want, 1);
    check(!memcmp(mask, want_mask, (size_t)n), "dropout_forward: mask");
    RUN_OK(dropout_backward, n, p_drop, tx, mask, y);
    expect("dropout_backward", y, want, 1);
    release(x), release(want);
    discard(tx), discard(y), discard(mask), discard(want_mask);
}

static void test_dropout(void)
{
    uint32_t words[4];
    const uint32_t known[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    philox(0, 0, words);
    check(!memcmp(words, known, sizeof known), "Philox4x32-10 of zeros, as published");
    const double rates[] = {0, 0.1, 0.5, 0.9, 1};
    for (int i = 0; i < LENGTHS; i++)
        test_dropout_rate(lengths[i], rates[i % 5], 0x123456789abcdef0u + (uint64_t)i);
}

void test_activation(void)
{
    for (int i = 0; i < LENGTHS; i++) {
        test_forward(lengths[i]);
        test_backward(lengths[i]);
        test_smooth(lengths[i]);
    }
    test_concatenate(1, 1, (const idx[]){7});
    test_concatenate(3, 4, (const idx[]){5, 0, 17, 1});
    test_concatenate(2, 3, (const idx[]){70001, 3, 66000});
    test_concatenate(0, 2, (const idx[]){5, 4});
    test_concatenate(4, 2, (const idx[]){0, 0});
    test_concatenate(9000, 8, (const idx[]){0, 3, 0, 1, 40, 2, 1, 0});
    test_dropout();
}
