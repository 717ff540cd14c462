/* Vectors of VECTOR_BYTES for one REAL, in GNU vector extensions. */
#define vec FN(vec)
#define loose_vec FN(loose_vec)
#define VLEN ((idx)(VECTOR_BYTES / sizeof(REAL)))

typedef REAL vec __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL loose_vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vec FN(load)(const REAL *p) { return *(const loose_vec *)p; }
INLINE void FN(store)(REAL *p, vec v) { *(loose_vec *)p = v; }
INLINE vec FN(splat)(REAL value) { return value - (vec){0}; }

/* v, loaded once: gcc may otherwise load it again for each use, across two cache lines each. */
INLINE vec FN(kept)(vec v)
{
#if defined(X86_WIDTH)
    __asm__("" : "+v"(v));
#endif
    return v;
}

/* p, whose vectors are to be loaded for each use rather than take registers from sums: a sum that is
 * kept in memory costs each addition the way there and back. For AVX2's 16 registers. */
INLINE const void *FN(from_memory)(const void *p)
{
#if VECTOR_BYTES == 32
    __asm__("" : "+r"(p));
#endif
    return p;
}

/* zip interleaves the lower (upper) halves of a and b: a0 b0 a1 b1 ...; even_lanes takes a0 a2 ... b0 b2 ...,
 * odd_lanes a1 a3 ... b1 b3 ... */
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (FN(lanes)){__VA_ARGS__})
#endif
#if REAL_IS_FLOAT
typedef int32_t FN(lanes) __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t FN(wrapping_lanes) __attribute__((vector_size(VECTOR_BYTES)));
#define LANES (VECTOR_BYTES / 4)
#else
typedef int64_t FN(lanes) __attribute__((vector_size(VECTOR_BYTES)));
typedef uint64_t FN(wrapping_lanes) __attribute__((vector_size(VECTOR_BYTES)));
#define LANES (VECTOR_BYTES / 8)
#endif

#if LANES == 2
#define ZIP_LOW 0, 2
#define ZIP_HIGH 1, 3
#define EVEN 0, 2
#define ODD 1, 3
#elif LANES == 4
#define ZIP_LOW 0, 4, 1, 5
#define ZIP_HIGH 2, 6, 3, 7
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#elif LANES == 8
#define ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#endif
INLINE vec FN(zip_low)(vec a, vec b) { return SHUFFLE(a, b, ZIP_LOW); }
INLINE vec FN(zip_high)(vec a, vec b) { return SHUFFLE(a, b, ZIP_HIGH); }

/* AVX2 shuffles within the halves of a vector at half the price of across them. So the lower
 * (upper) halves of a and b are joined, or a and b are zipped within their halves; in_order mends
 * the order of lanes that were zipped there by turns, down to one vector, whose halves were joined
 * last. */
#if VECTOR_BYTES == 32 && LANES == 8
INLINE vec FN(join_low)(vec a, vec b) { return SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11); }
INLINE vec FN(join_high)(vec a, vec b) { return SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15); }
INLINE vec FN(half_zip_low)(vec a, vec b) { return SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13); }
INLINE vec FN(half_zip_high)(vec a, vec b) { return SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15); }
INLINE vec FN(in_order)(vec v) { return SHUFFLE(v, v, 0, 4, 1, 5, 2, 6, 3, 7); }
#elif VECTOR_BYTES == 32
INLINE vec FN(join_low)(vec a, vec b) { return SHUFFLE(a, b, 0, 1, 4, 5); }
INLINE vec FN(join_high)(vec a, vec b) { return SHUFFLE(a, b, 2, 3, 6, 7); }
INLINE vec FN(half_zip_low)(vec a, vec b) { return SHUFFLE(a, b, 0, 4, 2, 6); }
INLINE vec FN(half_zip_high)(vec a, vec b) { return SHUFFLE(a, b, 1, 5, 3, 7); }
INLINE vec FN(in_order)(vec v) { return SHUFFLE(v, v, 0, 2, 1, 3); }
#else
INLINE vec FN(join_low)(vec a, vec b) { return FN(zip_low)(a, b); }
INLINE vec FN(join_high)(vec a, vec b) { return FN(zip_high)(a, b); }
INLINE vec FN(half_zip_low)(vec a, vec b) { return FN(zip_low)(a, b); }
INLINE vec FN(half_zip_high)(vec a, vec b) { return FN(zip_high)(a, b); }
INLINE vec FN(in_order)(vec v) { return v; }
#endif

/* The even and the odd lanes in the order that a shuffle leaves them in; unmixed puts them right,
 * and what is in order into theirs. AVX2 takes a shuffle more for all that crosses its halves. */
#if VECTOR_BYTES == 32 && LANES == 8
#define EVEN_MIXED 0, 2, 8, 10, 4, 6, 12, 14
#define ODD_MIXED 1, 3, 9, 11, 5, 7, 13, 15
#define MIXED 0, 1, 4, 5, 2, 3, 6, 7
#elif VECTOR_BYTES == 32
#define EVEN_MIXED 0, 4, 2, 6
#define ODD_MIXED 1, 5, 3, 7
#define MIXED 0, 2, 1, 3
#else
#define EVEN_MIXED EVEN
#define ODD_MIXED ODD
#endif
INLINE vec FN(even_mixed)(vec a, vec b) { return SHUFFLE(a, b, EVEN_MIXED); }
INLINE vec FN(odd_mixed)(vec a, vec b) { return SHUFFLE(a, b, ODD_MIXED); }
INLINE vec FN(unmixed)(vec v)
{
#ifdef MIXED
    return SHUFFLE(v, v, MIXED);
#else
    return v;
#endif
}
INLINE vec FN(even_lanes)(vec a, vec b) { return FN(unmixed)(FN(even_mixed)(a, b)); }
INLINE vec FN(odd_lanes)(vec a, vec b) { return FN(unmixed)(FN(odd_mixed)(a, b)); }
#undef MIXED
#undef EVEN_MIXED
#undef ODD_MIXED
#undef ZIP_LOW
#undef ZIP_HIGH
#undef EVEN
#undef ODD
#undef LANES

#define lanes FN(lanes)
INLINE vec FN(select)(lanes mask, vec a, vec b) { return (vec)((mask & (lanes)a) | (~mask & (lanes)b)); }

/* X86(max) is _mm512_max_ps or its sibling, by the width that the ISA's file names. */
#if defined(X86_WIDTH) && REAL_IS_FLOAT
#define X86(name) X86_WIDTH(name, ps)
#elif defined(X86_WIDTH)
#define X86(name) X86_WIDTH(name, pd)
#endif

/* a > b ? a : b and a < b ? a : b: b where either is NaN. */
#ifdef X86
INLINE vec FN(larger)(vec a, vec b) { return (vec)X86(max)(a, b); }
INLINE vec FN(smaller)(vec a, vec b) { return (vec)X86(min)(a, b); }
#else
INLINE vec FN(larger)(vec a, vec b) { return FN(select)((lanes)(a > b), a, b); }
INLINE vec FN(smaller)(vec a, vec b) { return FN(select)((lanes)(a < b), a, b); }
#endif

/* The lanes of each of VLEN vectors joined by an operation: every round joins two vectors' halves
 * and so leaves half as many vectors; and the lanes of one vector. */
INLINE vec FN(round_low)(idx half, vec a, vec b)
{
    return half == 1 ? FN(join_low)(a, b) : FN(half_zip_low)(a, b);
}
INLINE vec FN(round_high)(idx half, vec a, vec b)
{
    return half == 1 ? FN(join_high)(a, b) : FN(half_zip_high)(a, b);
}
#define JOIN_LANES(each, lane, both)                                                               \
    INLINE vec FN(each)(vec v[])                                                                   \
    {                                                                                              \
        _Pragma("GCC unroll 4") for (idx half = VLEN / 2; half; half /= 2)                         \
            _Pragma("GCC unroll 8") for (idx i = 0; i < half; i++)                                 \
                v[i] = both(FN(round_low)(half, v[i], v[i + half]),                                \
                            FN(round_high)(half, v[i], v[i + half]));                              \
        return FN(in_order)(v[0]);                                                                 \
    }                                                                                              \
    INLINE REAL FN(lane)(vec v)                                                                    \
    {                                                                                              \
        idx left = VLEN;                                                                           \
        if (VECTOR_BYTES == 32) {                                                                  \
            v = both(v, FN(join_high)(v, v));                                                      \
            left /= 2;                                                                             \
        }                                                                                          \
        _Pragma("GCC unroll 4") for (; left > 1; left /= 2)                                        \
            v = both(FN(half_zip_low)(v, v), FN(half_zip_high)(v, v));                             \
        return v[0];                                                                               \
    }
INLINE vec FN(added)(vec a, vec b) { return a + b; }
JOIN_LANES(sum_each, sum_lanes, FN(added))
JOIN_LANES(largest_each, largest_lane, FN(larger))
#undef JOIN_LANES
#undef SHUFFLE

/* 0 1 2 ... */
INLINE lanes FN(lane_numbers)(void)
{
    lanes numbers;
    for (int i = 0; i < (int)VLEN; i++)
        numbers[i] = i;
    return numbers;
}

/* All bits in the last count lanes. */
INLINE lanes FN(last_lanes)(idx count)
{
    return (lanes)(FN(lane_numbers)() >= (lanes){0} + (int)(VLEN - count));
}

/* All bits in the first count lanes. */
INLINE lanes FN(first_lanes)(idx count)
{
    return (lanes)(FN(lane_numbers)() < (lanes){0} + (int)count);
}

/* Some lanes: a register of bits where the ISA has such. */
#if defined(X86) && VECTOR_BYTES == 64
typedef __mmask16 FN(chosen);
#if REAL_IS_FLOAT
INLINE FN(chosen) FN(choose)(lanes of) { return _mm512_movepi32_mask((__m512i)of); }
#else
INLINE FN(chosen) FN(choose)(lanes of) { return _mm512_movepi64_mask((__m512i)of); }
#endif
/* sum + a * b in the chosen lanes, sum in the others; b comes from factor. Without such registers
 * the others add a * 0, which is NaN where a is not finite, as it is for padding by zeros. */
INLINE vec FN(add_product)(vec sum, vec a, vec b, FN(chosen) which)
{
    return (vec)X86(mask3_fmadd)(a, b, sum, which);
}
/* What add_product is given as b: v, loaded once, with 0 in other lanes if it would read them. */
INLINE vec FN(factor)(vec v, FN(chosen) which)
{
    (void)which;
    return FN(kept)(v);
}
/* a in the chosen lanes, b in the others. */
INLINE vec FN(blend)(FN(chosen) which, vec a, vec b) { return (vec)X86(mask_blend)(which, b, a); }
/* Where a is neither above b nor NaN. */
INLINE FN(chosen) FN(not_above)(vec a, vec b)
{
#if REAL_IS_FLOAT
    return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a, b, _CMP_NGT_UQ);
#else
    return _mm512_mask_cmp_pd_mask(_mm512_cmp_pd_mask(a, a, _CMP_ORD_Q), a, b, _CMP_NGT_UQ);
#endif
}
#else
typedef lanes FN(chosen);
INLINE FN(chosen) FN(choose)(lanes of) { return of; }
INLINE vec FN(add_product)(vec sum, vec a, vec b, FN(chosen) which)
{
    (void)which;
    return sum + a * b;
}
INLINE vec FN(factor)(vec v, FN(chosen) which) { return FN(kept)((vec)((lanes)v & which)); }
INLINE vec FN(blend)(FN(chosen) which, vec a, vec b) { return FN(select)(which, a, b); }
INLINE FN(chosen) FN(not_above)(vec a, vec b)
{
    return ~((lanes)(a > b) | (lanes)(a != a));
}
#endif

/* The first count elements; fill, or nothing stored, in further lanes. AVX leaves out lanes by a
 * mask. */
#if defined(X86) && VECTOR_BYTES == 64
#define PART ((__mmask16)((1u << count) - 1))
#define LOAD_PART X86(mask_loadu)(FN(splat)(fill), PART, p)
#define STORE_PART X86(mask_storeu)(p, PART, v)
#elif defined(X86) && VECTOR_BYTES == 32
#define PART ((__m256i)FN(first_lanes)(count))
#define LOAD_PART FN(select)((lanes)PART, (vec)X86(maskload)(p, PART), FN(splat)(fill))
#define STORE_PART FN(store_pieces)(p, count, v)
/* count < VLEN. AMD's CPUs take ten times as long for a masked store as for a whole one, and three
 * times for these. */
INLINE void FN(store_pieces)(REAL *p, idx count, vec v)
{
    const idx bytes = count * (idx)sizeof(REAL);
    __m128 rest = _mm256_castps256_ps128((__m256)v);
    char *to = (char *)p;
    if (bytes & 16) {
        memcpy(to, &rest, 16);
        rest = _mm256_extractf128_ps((__m256)v, 1);
        to += 16;
    }
    if (bytes & 8) {
        memcpy(to, &rest, 8);
        rest = _mm_movehl_ps(rest, rest);
        to += 8;
    }
    if (bytes & 4)
        memcpy(to, &rest, 4);
}
#endif
INLINE vec FN(load_part)(const REAL *p, idx count, REAL fill)
{
    if (count >= VLEN)
        return FN(load)(p);
#ifdef LOAD_PART
    return (vec)LOAD_PART;
#else
    vec part = FN(splat)(fill);
    for (idx i = 0; i < count; i++)
        part[i] = p[i];
    return part;
#endif
}
INLINE void FN(store_part)(REAL *p, idx count, vec v)
{
    if (count >= VLEN) {
        FN(store)(p, v);
        return;
    }
#ifdef STORE_PART
    STORE_PART;
#else
    for (idx i = 0; i < count; i++)
        p[i] = v[i];
#endif
}
#ifdef STORE_PART
enum { FN(MASKED) = 1 }; /* such a vector costs little more than a whole one */
#else
enum { FN(MASKED) = 0 };
#endif

/* The same, count from 0 to VLEN, without a branch where lanes are masked at no cost. */
INLINE vec FN(load_masked)(const REAL *p, idx count, REAL fill)
{
#ifdef LOAD_PART
    if (!__builtin_constant_p(count))
        return (vec)LOAD_PART;
#endif
    return FN(load_part)(p, count, fill);
}
INLINE void FN(store_masked)(REAL *p, idx count, vec v)
{
#if VECTOR_BYTES == 64 && defined(STORE_PART)
    if (!__builtin_constant_p(count)) {
        STORE_PART;
        return;
    }
#endif
    FN(store_part)(p, count, v);
}
#undef PART
#undef LOAD_PART
#undef STORE_PART

/* Two runs of elements in the halves of a vector, where the ISA joins such at little cost: whole
 * halves, or the first count of each. And lanes moved. */
#if defined(X86) && VECTOR_BYTES == 64
enum { FN(HALVES) = 1 };
#if REAL_IS_FLOAT
#define HALF(name) _mm256_##name##_ps
typedef __m256 FN(half);
#define JOINED(a, b) (vec)_mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1)
#define UPPER(v) _mm512_extractf32x8_ps(v, 1)
#define LOWER(v) _mm512_castps512_ps256(v)
#define LANES_OF_BOTH _mm512_alignr_epi32
#else
#define HALF(name) _mm256_##name##_pd
typedef __m256d FN(half);
#define JOINED(a, b) (vec)_mm512_insertf64x4(_mm512_castpd256_pd512(a), b, 1)
#define UPPER(v) _mm512_extractf64x4_pd(v, 1)
#define LOWER(v) _mm512_castpd512_pd256(v)
#define LANES_OF_BOTH _mm512_alignr_epi64
#endif
INLINE vec FN(load_halves)(const REAL *low, const REAL *high)
{
    return JOINED(HALF(loadu)(low), HALF(loadu)(high));
}
INLINE vec FN(load_part_halves)(const REAL *low, const REAL *high, idx count)
{
    const __mmask8 part = (__mmask8)((1u << count) - 1);
    return JOINED(HALF(maskz_loadu)(part, low), HALF(maskz_loadu)(part, high));
}
/* The halves go by way of registers: a masked extraction to memory, which gcc would make of each,
 * touches the lanes that are left out, where no page may be. */
INLINE void FN(store_halves)(REAL *low, REAL *high, idx count, vec v)
{
    const __mmask8 part = (__mmask8)((1u << count) - 1);
    FN(half) upper = UPPER(v), lower = LOWER(v);
    __asm__("" : "+v"(lower), "+v"(upper));
    HALF(mask_storeu)(low, part, lower);
    HALF(mask_storeu)(high, part, upper);
}
/* v moved by a lane up or down, where `first` or `last` is new. */
INLINE vec FN(moved_up)(vec v, REAL first)
{
    return (vec)LANES_OF_BOTH((__m512i)v, (__m512i)FN(splat)(first), 64 / sizeof(REAL) - 1);
}
INLINE vec FN(moved_down)(vec v, REAL last)
{
    return (vec)LANES_OF_BOTH((__m512i)FN(splat)(last), (__m512i)v, 1);
}
/* Lane i is v's lane from[i], modulo VLEN. */
INLINE vec FN(lanes_from)(vec v, lanes from) { return (vec)X86(permutexvar)((__m512i)from, v); }
#undef HALF
#undef JOINED
#undef UPPER
#undef LOWER
#undef LANES_OF_BOTH
#else
enum { FN(HALVES) = 0 };
INLINE vec FN(moved_up)(vec v, REAL first)
{
    for (idx i = VLEN - 1; i > 0; i--)
        v[i] = v[i - 1];
    v[0] = first;
    return v;
}
INLINE vec FN(moved_down)(vec v, REAL last)
{
    for (idx i = 0; i < VLEN - 1; i++)
        v[i] = v[i + 1];
    v[VLEN - 1] = last;
    return v;
}
INLINE vec FN(lanes_from)(vec v, lanes from)
{
    vec w;
    for (idx i = 0; i < VLEN; i++)
        w[i] = v[from[i] & (VLEN - 1)];
    return w;
}
INLINE vec FN(load_halves)(const REAL *low, const REAL *high)
{
    vec v;
    for (idx i = 0; i < VLEN / 2; i++)
        v[i] = low[i], v[VLEN / 2 + i] = high[i];
    return v;
}
INLINE vec FN(load_part_halves)(const REAL *low, const REAL *high, idx count)
{
    vec v = {0};
    for (idx i = 0; i < count; i++)
        v[i] = low[i], v[VLEN / 2 + i] = high[i];
    return v;
}
INLINE void FN(store_halves)(REAL *low, REAL *high, idx count, vec v)
{
    for (idx i = 0; i < count; i++)
        low[i] = v[i], high[i] = v[VLEN / 2 + i];
}
#endif

enum { FN(LINE) = 64 / sizeof(REAL) }; /* elements of a cache line, a vector or more */

/* The same for what is not read soon: vectors that follow each other go to memory without their
 * lines being fetched from there first. finish_far_stores comes before another thread may read it.
 */
INLINE void FN(store_stream)(REAL *p, idx count, vec v)
{
#if defined(X86) && VECTOR_BYTES >= 32
    if (count >= VLEN && (uintptr_t)p % VECTOR_BYTES == 0) {
        X86(stream)(p, v);
        return;
    }
#endif
    FN(store_part)(p, count, v);
}
/* Where the next vector is not stored next: if one is a whole line. */
INLINE void FN(store_far)(REAL *p, idx count, vec v)
{
    if (VECTOR_BYTES == 64)
        FN(store_stream)(p, count, v);
    else
        FN(store_part)(p, count, v);
}
INLINE void FN(finish_far_stores)(void)
{
#if defined(X86) && VECTOR_BYTES >= 32
    _mm_sfence();
#endif
}

/* p[0], p[stride], p[2 stride] ...; where stride is above 2 only count of them are read. */
INLINE vec FN(load_strided)(const REAL *p, idx stride, idx count)
{
    if (stride == 1)
        return FN(load)(p);
    if (stride == 2)
        return FN(even_lanes)(FN(load)(p), FN(load)(p + VLEN));
    vec part = {0};
    for (idx i = 0; i < VLEN && i < count; i++)
        part[i] = p[i * stride];
    return part;
}

/* Transposes VLEN vectors as a matrix. Each round of zips of the vectors i and i + VLEN/2 moves one bit of the lane number into
 * the vector number. Where halves are joined first, what remains is such a matrix in each of them. */
INLINE void FN(transpose_vectors)(vec rows[VECTOR_BYTES / sizeof(REAL)])
{
    vec zipped[VECTOR_BYTES / sizeof(REAL)];
#if VECTOR_BYTES == 32
    const idx half = VLEN / 2;
#pragma GCC unroll 8
    for (idx i = 0; i < half; i++) {
        zipped[i] = FN(join_low)(rows[i], rows[i + half]);
        zipped[i + half] = FN(join_high)(rows[i], rows[i + half]);
    }
#pragma GCC unroll 8
    for (idx i = 0; i < VLEN; i++)
        rows[i] = zipped[i];
#pragma GCC unroll 4
    for (idx round = 1; round < half; round *= 2) {
#pragma GCC unroll 2
        for (idx at = 0; at < VLEN; at += half)
#pragma GCC unroll 4
            for (idx i = 0; i < half / 2; i++) {
                const vec a = rows[at + i], b = rows[at + i + half / 2];
                zipped[at + 2 * i] = FN(half_zip_low)(a, b);
                zipped[at + 2 * i + 1] = FN(half_zip_high)(a, b);
            }
#pragma GCC unroll 8
        for (idx i = 0; i < VLEN; i++)
            rows[i] = zipped[i];
    }
#else
#pragma GCC unroll 4
    for (idx round = 1; round < VLEN; round *= 2) {
#pragma GCC unroll 8
        for (idx i = 0; i < VLEN / 2; i++) {
            zipped[2 * i] = FN(zip_low)(rows[i], rows[i + VLEN / 2]);
            zipped[2 * i + 1] = FN(zip_high)(rows[i], rows[i + VLEN / 2]);
        }
#pragma GCC unroll 16
        for (idx i = 0; i < VLEN; i++)
            rows[i] = zipped[i];
    }
#endif
}

/* A block of VLEN x VLEN: dst[j*dst_stride + i] = src[i*src_stride + j]. */
INLINE void FN(transpose_block)(const REAL *src, idx src_stride, REAL *dst, idx dst_stride)
{
    vec rows[VECTOR_BYTES / sizeof(REAL)];
#pragma GCC unroll 16
    for (idx i = 0; i < VLEN; i++)
        rows[i] = FN(load)(src + i * src_stride);
    FN(transpose_vectors)(rows);
#pragma GCC unroll 16
    for (idx i = 0; i < VLEN; i++)
        FN(store)(dst + i * dst_stride, rows[i]);
}

/* dst (columns, rows; row stride dst_stride) = src (rows, columns; row stride src_stride) transposed. The last columns are a block
 * that overlaps the one before, if they are more than a few. */
static void FN(transpose)(idx rows, idx columns, const REAL *src, idx src_stride, REAL *dst, idx dst_stride)
{
    idx i = 0;
    for (; i + VLEN <= rows; i += VLEN) {
        idx j = 0;
        for (; j + VLEN <= columns; j += VLEN)
            FN(transpose_block)(src + i * src_stride + j, src_stride, dst + j * dst_stride + i, dst_stride);
        if (columns >= VLEN && columns - j > VLEN / 4) {
            j = columns - VLEN;
            FN(transpose_block)(src + i * src_stride + j, src_stride, dst + j * dst_stride + i, dst_stride);
            j = columns;
        }
        for (; j < columns; j++)
            for (idx lane = 0; lane < VLEN; lane++)
                dst[j * dst_stride + i + lane] = src[(i + lane) * src_stride + j];
    }
    for (; i < rows; i++)
        for (idx j = 0; j < columns; j++)
            dst[j * dst_stride + i] = src[i * src_stride + j];
}
