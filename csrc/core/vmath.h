/* exp, tanh, sigmoid, log and the normal distribution of a vector, by reduction to a short interval
 * and a polynomial (Cody and Waite 1980). The polynomials interpolate at Chebyshev nodes. The error
 * bounds, in units in the last place (ulp), were measured in long double on every 61st float32 and
 * 4 million float64, with and without fused multiply-adds. */
/* NaN stays. */
INLINE vec FN(at_most)(vec v, REAL limit)
{
    return FN(smaller)(FN(splat)(limit), v);
}
INLINE vec FN(at_least)(vec v, REAL limit)
{
    return FN(larger)(FN(splat)(limit), v);
}

/* Rounded correctly; NaN below 0. */
INLINE vec FN(sqrt)(vec v)
{
#ifdef X86
    return (vec)X86(sqrt)(v);
#else
    for (int i = 0; i < (int)VLEN; i++)
        v[i] = REAL_IS_FLOAT ? (REAL)sqrtf((float)v[i]) : (REAL)sqrt(v[i]);
    return v;
#endif
}

/* 1 / d within 1.1 ulp, for d that is not infinite. Where a division takes 16 cycles or more: 14
 * bits, and twice as many with each Newton step. */
INLINE vec FN(reciprocal)(vec d)
{
#if defined(X86) && VECTOR_BYTES == 64
    vec r = (vec)X86(rcp14)(d);
    for (int step = 0; step < (REAL_IS_FLOAT ? 1 : 2); step++)
        r += r * (1 - d * r);
    return r;
#else
    return 1 / d;
#endif
}

#if REAL_IS_FLOAT
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define EXPONENT_MASK 0x7f800000
#define SIGN_BIT INT32_MIN
#define ROUND 0x1.8p23f /* x + ROUND has round(x) in its low bits */
#define ROUND_BITS 0x4b400000
#define LOG2_E 0x1.715476p+0f
#define LN2_HIGH 0x1.62e4p-1f /* so few bits that a product with an exponent is exact */
#define LN2_LOW 0x1.7f7d1cp-20f
#define EXP_LEAST -104.0f /* exp is 0 below and infinite above, whatever the rounding */
#define EXP_LEAST_NORMAL -88.0f /* rounds to 2^-127 */
#define EXP_MOST 89.0f
#define SIGMOID_MOST 88.0f /* 1 / (1 + exp) is subnormal above, and flushed to 0 */
#define TANH_MOST 20.0f /* tanh(x) rounds to 1 for 2 x above */
#define SQRT_HALF_BITS 0x3f3504f3
#define LOWER_HALF 0xfff /* of the mantissa */
#define TAIL_MOST 15.0f  /* exp(-x^2 / 2) is 0 above */
#define TAIL_OFFSET 4
#define TAIL_SCALE 0x1.888888p+0f
#else
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define EXPONENT_MASK 0x7ff0000000000000
#define SIGN_BIT INT64_MIN
#define ROUND 0x1.8p52
#define ROUND_BITS 0x4338000000000000
#define LOG2_E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42fefa38p-1
#define LN2_LOW 0x1.ef35793c7673p-45
#define EXP_LEAST -746.0
#define EXP_LEAST_NORMAL -709.0
#define EXP_MOST 710.0
#define SIGMOID_MOST 709.0
#define TANH_MOST 40.0
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcd
#define LOWER_HALF 0x7ffffff
#define TAIL_MOST 39.0
#define TAIL_OFFSET 5
#define TAIL_SCALE 0x1.41a41a41a41a4p+0
#endif

/* x = n ln 2 + r with |r| <= ln(2) / 2: returns r, and n + ROUND. */
INLINE vec FN(exp_remainder)(vec x, vec *n)
{
    *n = x * LOG2_E + ROUND;
    const vec count = *n - ROUND;
    return x - count * LN2_HIGH - count * LN2_LOW;
}

/* exp(r) - 1 for |r| <= ln(2) / 2 */
INLINE vec FN(exp_polynomial)(vec r)
{
#if REAL_IS_FLOAT
    static const REAL c[] = {0x1.6cdef2p-10f, 0x1.11d95p-7f, 0x1.55553ep-5f, 0x1.555526p-3f, 0.5f};
#else
    static const REAL c[] = {0x1.af236aac51d05p-26, 0x1.2880411bad1aap-22, 0x1.71de17e40edfep-19,
                             0x1.a019c9a5652d3p-16, 0x1.a01a01a4b322fp-13, 0x1.6c16c1738ff55p-10,
                             0x1.1111111110e6ap-7, 0x1.5555555554cb7p-5, 0x1.5555555555555p-3, 0.5};
#endif
    vec p = FN(splat)(c[0]);
#pragma GCC unroll 16
    for (int i = 1; i < (int)(sizeof c / sizeof c[0]); i++)
        p = p * r + c[i];
    return r * r * p + r;
}

/* exp(r) - 1 and n + ROUND of x = n ln 2 + r */
INLINE vec FN(exp_reduced)(vec x, vec *n)
{
    return FN(exp_polynomial)(FN(exp_remainder)(x, n));
}

/* 2^n for n in the exponent's range; 0 for the least n - 1. n comes with ROUND added. */
INLINE vec FN(power_of_2)(vec n)
{
    return (vec)(((lanes)n - ROUND_BITS + EXPONENT_BIAS) << MANTISSA_BITS);
}

/* v 2^n for n in twice the exponent's range */
INLINE vec FN(times_power_of_2)(vec v, vec n)
{
#if defined(X86) && VECTOR_BYTES == 64
    return (vec)X86(scalef)(v, n - ROUND);
#else
    /* 2^n in two factors, since n may leave the exponent's range */
    const lanes biased = (lanes)n - ROUND_BITS + 2 * EXPONENT_BIAS;
    const lanes half = (biased << (MANTISSA_BITS - 1)) & EXPONENT_MASK;
    const FN(wrapping_lanes) both = (FN(wrapping_lanes))(biased << MANTISSA_BITS);
    return v * (vec)half * (vec)(both - (FN(wrapping_lanes))half);
#endif
}

/* exp(x) for x that is at most EXP_MOST, or NaN, as below. */
INLINE vec FN(exp_within)(vec x)
{
    vec n;
    const vec p = FN(exp_reduced)(FN(at_least)(x, EXP_LEAST), &n);
    return FN(times_power_of_2)(p + 1, n);
}

/* exp(x), within 1.2 ulp; 0 where the result is subnormal and the CPU flushes those. */
INLINE vec FN(exp)(vec x) { return FN(exp_within)(FN(at_most)(x, EXP_MOST)); }

/* exp(x) for x <= 0, or NaN, where the CPU flushes subnormal results: what needs a smaller power of
 * 2 than the least normal one is 0. */
INLINE vec FN(exp_negative)(vec x)
{
#if VECTOR_BYTES == 64
    return FN(exp_within)(x);
#else
    const vec within = FN(at_least)(x, EXP_LEAST_NORMAL);
    const vec n = within * LOG2_E + (ROUND + EXPONENT_BIAS), count = n - (ROUND + EXPONENT_BIAS);
    const vec p = FN(exp_polynomial)(within - count * LN2_HIGH - count * LN2_LOW);
    const vec power = (vec)((lanes)n << MANTISSA_BITS);
    return p * power + power;
#endif
}

/* 1 / (1 + exp(-x)), within 2.5 ulp; 0 where that is subnormal. */
INLINE vec FN(sigmoid)(vec x)
{
    vec n;
    const vec p = FN(exp_reduced)(-FN(at_least)(FN(at_most)(x, SIGMOID_MOST), -SIGMOID_MOST), &n);
    const vec power = FN(power_of_2)(n);
    return FN(reciprocal)(p * power + power + 1);
}

/* exp(x) - 1 for |x| <= SIGMOID_MOST */
INLINE vec FN(expm1_within)(vec x)
{
    vec n;
    const vec p = FN(exp_reduced)(x, &n), power = FN(power_of_2)(n);
    return p * power + (power - 1);
}

/* exp(x) - 1, within 2.6 ulp, for x <= SIGMOID_MOST; what is above counts as that. */
INLINE vec FN(expm1)(vec x)
{
    return FN(expm1_within)(FN(at_least)(FN(at_most)(x, SIGMOID_MOST), -SIGMOID_MOST));
}

/* tanh(x) = m / (m + 2) with m = exp(2 |x|) - 1, within 3.1 ulp. */
INLINE vec FN(tanh)(vec x)
{
    const lanes sign = (lanes)x & SIGN_BIT;
    const vec m = FN(expm1_within)(FN(at_most)((vec)((lanes)x ^ sign) * 2, TANH_MOST));
    return (vec)((lanes)(m * FN(reciprocal)(m + 2)) | sign);
}

/* log(x), within 0.9 ulp, for x that is not subnormal.  x = 2^e (1 + f), log(1 + f) = 2 atanh(s)
 * with s = f / (2 + f). */
INLINE vec FN(log)(vec x)
{
#if REAL_IS_FLOAT
    static const REAL c[] = {0x1.ddd4dap-3f, 0x1.245c28p-2f, 0x1.9999ecp-2f, 0x1.555556p-1f};
#else
    static const REAL c[] = {0x1.2b5f68a51190dp-3, 0x1.39fdcceb4b524p-3, 0x1.7462b91b8df9fp-3,
                             0x1.c71c62d5e53dfp-3, 0x1.2492492dfd86cp-2, 0x1.9999999995273p-2,
                             0x1.5555555555558p-1};
#endif
    const lanes e = ((lanes)x - SQRT_HALF_BITS) >> MANTISSA_BITS;
    const vec count = (vec)(e + ROUND_BITS) - ROUND;
    const vec f = (vec)((lanes)x - (e << MANTISSA_BITS)) - 1;
    const vec s = f / (f + 2), z = s * s, half_square = f * f / 2;
    vec p = FN(splat)(c[0]);
#pragma GCC unroll 8
    for (int i = 1; i < (int)(sizeof c / sizeof c[0]); i++)
        p = p * z + c[i];
    const vec rest = s * (half_square + z * p) + count * LN2_LOW;
    const vec y = count * LN2_HIGH + (f - (half_square - rest));
    const vec limit = FN(select)((lanes)(x == 0), FN(splat)(-INFINITY),
                                 FN(select)((lanes)(x < 0), FN(splat)(NAN), x));
    return FN(select)((lanes)(x > 0) & (lanes)(x < FN(splat)(INFINITY)), y, limit);
}

/* log(1 + x) = 2 atanh(s) with s = x / (2 + x), within 2.6 ulp, for 0 <= x <= 1. */
INLINE vec FN(log1p)(vec x)
{
#if REAL_IS_FLOAT
    static const REAL c[] = {0x1.dba26p-3f, 0x1.bc8cf8p-3f, 0x1.24c926p-2f, 0x1.9998d4p-2f,
                             0x1.555556p-1f};
#else
    static const REAL c[] = {0x1.401d3e65cdc48p-3, 0x1.32e0d25c9c761p-4, 0x1.bc37f0140c19ep-4,
                             0x1.e0a2d581ab68fp-4, 0x1.111abdc8abe16p-3, 0x1.3b13515f6f9efp-3,
                             0x1.745d19937b1fcp-3, 0x1.c71c71bedea97p-3, 0x1.2492492499d46p-2,
                             0x1.9999999999944p-2, 0x1.5555555555555p-1};
#endif
    const vec s = x * FN(reciprocal)(x + 2), z = s * s;
    vec p = FN(splat)(c[0]);
#pragma GCC unroll 16
    for (int i = 1; i < (int)(sizeof c / sizeof c[0]); i++)
        p = p * z + c[i];
    return s * 2 + s * z * p;
}

/* The tail of the standard normal distribution, P(X > |x|) = erfc(|x| / sqrt 2) / 2, within 7.5
 * ulp, and bell = exp(-x^2 / 2), within 2.1 ulp, where they are not subnormal.
 *   tail = bell t q(v),  t = 1 / (|x| + a),  v from 1 to -1 as t falls: q is smooth there.
 * exp would multiply the rounding error of x^2 by x^2 / 2, so that comes in two parts, the first of
 * them exact: x = high + low with half of the mantissa each. */
INLINE vec FN(normal_tail)(vec x, vec *bell)
{
#if REAL_IS_FLOAT
    static const REAL c[] = {0x1.f5eb88p-17f, 0x1.0e32f8p-14f, -0x1.a4323ap-13f, -0x1.5ce634p-10f,
                             0x1.1945bcp-11f, 0x1.a0edfap-6f, 0x1.e3a4cp-4f, 0x1.4ce492p-2f,
                             0x1.42918ep-1f, 0x1.cdf81ep-1f};
#else
    static const REAL c[] = {-0x1.892e92b08810cp-37, -0x1.776b2b3414149p-33, 0x1.2818c506091d7p-32,
                             0x1.2c4880c229b1ep-29, -0x1.e04cad5f0d33cp-29, -0x1.41ccbf57f4302p-26,
                             0x1.2b1fdde067c4dp-25, 0x1.5843a6dc842b7p-23, -0x1.3ce34c1f2bdfbp-22,
                             -0x1.a945881c88fadp-20, 0x1.f25858420f817p-20, 0x1.2accba287195ap-16,
                             0x1.2c0d2363fa859p-18, -0x1.953a426916cb1p-13, -0x1.12e9435b91efp-11,
                             0x1.c45428dc9bf65p-11, 0x1.6a971e4afe4e5p-7, 0x1.789c3a743212ep-5,
                             0x1.07842bcdd8e4bp-3, 0x1.1bdf28be21818p-2, 0x1.ef9b0c175bfafp-2,
                             0x1.6707186ca2d97p-1, 0x1.b410aa4371b2cp-1};
#endif
    const vec u = FN(at_most)((vec)((lanes)x & ~SIGN_BIT), TAIL_MOST);
    const vec high = (vec)((lanes)u & ~((lanes){0} + LOWER_HALF)), low = u - high;
    vec n;
    const vec r = FN(exp_remainder)(high * high * (REAL)-0.5, &n) - low * (u + high) / 2;
    *bell = FN(times_power_of_2)(FN(exp_polynomial)(r) + 1, n);
    const vec t = FN(reciprocal)(u + TAIL_OFFSET), v = (TAIL_OFFSET - TAIL_SCALE * u) * t;
    vec q = FN(splat)(c[0]);
#pragma GCC unroll 32
    for (int i = 1; i < (int)(sizeof c / sizeof c[0]); i++)
        q = q * v + c[i];
    return *bell * t * q;
}

#undef MANTISSA_BITS
#undef EXPONENT_BIAS
#undef EXPONENT_MASK
#undef SIGN_BIT
#undef ROUND
#undef ROUND_BITS
#undef LOG2_E
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_LEAST
#undef EXP_LEAST_NORMAL
#undef EXP_MOST
#undef SIGMOID_MOST
#undef TANH_MOST
#undef SQRT_HALF_BITS
#undef LOWER_HALF
#undef TAIL_MOST
#undef TAIL_OFFSET
#undef TAIL_SCALE
