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

INLINE REAL FN(sum_lanes)(vec v)
{
    REAL sum[VECTOR_BYTES / sizeof(REAL)];
    FN(store)(sum, v);
#pragma GCC unroll 4
    for (int half = (int)VLEN / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; i++)
            sum[i] += sum[i + half];
    return sum[0];
}

/* zip interleaves the lower (upper) halves of a and b: a0 b0 a1 b1 ...; even_lanes takes a0 a2 ... b0 b2 ... */
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
#elif LANES == 4
#define ZIP_LOW 0, 4, 1, 5
#define ZIP_HIGH 2, 6, 3, 7
#define EVEN 0, 2, 4, 6
#elif LANES == 8
#define ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#else
#define ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#endif
INLINE vec FN(zip_low)(vec a, vec b) { return SHUFFLE(a, b, ZIP_LOW); }
INLINE vec FN(zip_high)(vec a, vec b) { return SHUFFLE(a, b, ZIP_HIGH); }
INLINE vec FN(even_lanes)(vec a, vec b) { return SHUFFLE(a, b, EVEN); }
#undef ZIP_LOW
#undef ZIP_HIGH
#undef EVEN
#undef LANES
#undef SHUFFLE

#define lanes FN(lanes)
INLINE vec FN(select)(lanes mask, vec a, vec b) { return (vec)((mask & (lanes)a) | (~mask & (lanes)b)); }

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

/* Some operations that the compilers do not find in vector extensions. */
#define IS_avx512 1 /* and not the test that lowers AVX-512's code to AVX2 */
#if defined(__x86_64__) && (VECTOR_BYTES < 64 || JOIN(IS, ISA))
#define HAS_INTRINSICS
#if REAL_IS_FLOAT
#define OF_REAL(prefix, name) JOIN(prefix, JOIN(name, ps))
#else
#define OF_REAL(prefix, name) JOIN(prefix, JOIN(name, pd))
#endif
#if VECTOR_BYTES == 64
#define INTRINSIC(name) OF_REAL(_mm512, name)
#define HAS_MASKS
#elif VECTOR_BYTES == 32
#define INTRINSIC(name) OF_REAL(_mm256, name)
#else
#define INTRINSIC(name) OF_REAL(_mm, name)
#endif
#endif

/* The lesser and the greater of two; b if one is NaN. */
#ifdef HAS_INTRINSICS
INLINE vec FN(least)(vec a, vec b) { return (vec)INTRINSIC(min)(a, b); }
INLINE vec FN(greatest)(vec a, vec b) { return (vec)INTRINSIC(max)(a, b); }
#else
INLINE vec FN(least)(vec a, vec b) { return FN(select)((lanes)(a < b), a, b); }
INLINE vec FN(greatest)(vec a, vec b) { return FN(select)((lanes)(a > b), a, b); }
#endif

/* The first count elements; fill, or nothing stored, in further lanes. */
INLINE vec FN(load_part)(const REAL *p, idx count, REAL fill)
{
    if (count >= VLEN)
        return FN(load)(p);
#ifdef HAS_MASKS
    return (vec)INTRINSIC(mask_loadu)(FN(splat)(fill), (uint16_t)((1u << count) - 1), p);
#else
    REAL part[VECTOR_BYTES / sizeof(REAL)];
    FN(store)(part, FN(splat)(fill));
    for (idx i = 0; i < count; i++)
        part[i] = p[i];
    return FN(load)(part);
#endif
}
INLINE void FN(store_part)(REAL *p, idx count, vec v)
{
    if (count >= VLEN) {
        FN(store)(p, v);
        return;
    }
#ifdef HAS_MASKS
    INTRINSIC(mask_storeu)(p, (uint16_t)((1u << count) - 1), v);
#else
    REAL part[VECTOR_BYTES / sizeof(REAL)];
    FN(store)(part, v);
    for (idx i = 0; i < count; i++)
        p[i] = part[i];
#endif
}

/* Transposes VLEN vectors as a matrix. Each round of zips of the vectors i and i + VLEN/2 moves one bit of the lane number into
 * the vector number. */
INLINE void FN(transpose_vectors)(vec rows[VECTOR_BYTES / sizeof(REAL)])
{
    vec zipped[VECTOR_BYTES / sizeof(REAL)];
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

/* dst (columns, rows; row stride dst_stride) = src (rows, columns; row stride src_stride) transposed. */
static void FN(transpose)(idx rows, idx columns, const REAL *src, idx src_stride, REAL *dst, idx dst_stride)
{
    idx i = 0;
    for (; i + VLEN <= rows; i += VLEN) {
        idx j = 0;
        for (; j + VLEN <= columns; j += VLEN)
            FN(transpose_block)(src + i * src_stride + j, src_stride, dst + j * dst_stride + i, dst_stride);
        for (; j < columns; j++)
            for (idx lane = 0; lane < VLEN; lane++)
                dst[j * dst_stride + i + lane] = src[(i + lane) * src_stride + j];
    }
    for (; i < rows; i++)
        for (idx j = 0; j < columns; j++)
            dst[j * dst_stride + i] = src[i * src_stride + j];
}
