/* Dropout (Srivastava et al. 2014) of n elements: y = x f and dx = dy f, f = mask / (1 - p_drop),
 * or 0 if p_drop = 1; mask (n,) bytes 0, 1.
 *   mask[i] = (word i >= floor(p_drop 2^32)), word i the word i % 4 of the Philox4x32-10 block with
 *   counter i / 4 and the 64-bit key (Salmon, Moraes, Dror and Shaw 2011), so that a mask depends
 *   on key and index alone. */
typedef struct {
    idx n;
    uint64_t key;
    double p_drop;
    const REAL *x;
    const uint8_t *kept;
    uint8_t *mask;
    REAL *y;
} FN(dropout_job);
#define dropout_job FN(dropout_job)

/* elements of a task, and those whose words are made at a time */
enum { FN(DROPOUT_CHUNK) = 16384, FN(PIECE) = 256 };

#if REAL_IS_FLOAT
/* 64-bit lanes, of which the lower halves hold a word each. The compilers have no pattern for the
 * product of lower halves. */
#define PHILOX_BYTES (VECTOR_BYTES < 32 ? 16 : 32)
typedef uint64_t philox_lanes __attribute__((vector_size(PHILOX_BYTES)));

static inline __attribute__((always_inline)) philox_lanes low_product(philox_lanes a, uint32_t b)
{
#if defined(__x86_64__) && VECTOR_BYTES >= 32
    return (philox_lanes)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x((int64_t)b));
#elif defined(__x86_64__)
    return (philox_lanes)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x((int64_t)b));
#else
    return (a & 0xffffffff) * b;
#endif
}

/* words[4*i + j] = word j of block first + i, for count blocks, rounded up to whole vectors. */
static void philox(uint64_t first, idx count, uint64_t key, uint32_t *words)
{
    enum { BLOCKS = PHILOX_BYTES / 8 };
    for (idx i = 0; i < count; i += BLOCKS) {
        philox_lanes c0, c1, c2 = {0}, c3 = {0};
        for (int lane = 0; lane < BLOCKS; lane++)
            c0[lane] = first + (uint64_t)(i + lane);
        c1 = c0 >> 32;
        uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma GCC unroll 10
        for (int round = 0; round < 10; round++) {
            const philox_lanes p0 = low_product(c0, 0xD2511F53u), p1 = low_product(c2, 0xCD9E8D57u);
            c0 = (p1 >> 32) ^ c1 ^ k0;
            c2 = (p0 >> 32) ^ c3 ^ k1;
            c1 = p1;
            c3 = p0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        const philox_lanes low = (c0 & 0xffffffff) | c1 << 32, high = (c2 & 0xffffffff) | c3 << 32;
        for (int lane = 0; lane < BLOCKS; lane++) {
            const uint64_t block[2] = {low[lane], high[lane]};
            memcpy(words + 4 * (i + lane), block, sizeof block);
        }
    }
}
#undef PHILOX_BYTES
#endif

INLINE REAL FN(dropout_scale)(double p_drop) { return p_drop < 1 ? (REAL)(1 / (1 - p_drop)) : 0; }

static void FN(dropout_forward_body)(void *context, idx task)
{
    const dropout_job *job = context;
    const idx end = FN(min)(job->n, (task + 1) * FN(DROPOUT_CHUNK));
    const REAL scale = FN(dropout_scale)(job->p_drop);
    const uint64_t threshold = (uint64_t)(job->p_drop * 0x1p32);
    /* kept: word > least, or always */
    const uint32_t least = (uint32_t)(threshold ? threshold - 1 : 0);
    const uint32_t all = threshold == 0;
    for (idx i = task * FN(DROPOUT_CHUNK); i < end; i += FN(PIECE)) {
        const idx count = FN(min)(end - i, FN(PIECE));
        uint32_t words[FN(PIECE)];
        philox((uint64_t)i / 4, (count + 3) / 4, job->key, words);
        const REAL *restrict x = job->x + i;
        REAL *restrict y = job->y + i;
        uint8_t *restrict mask = job->mask + i;
        for (idx j = 0; j < count; j++)
            y[j] = x[j] * ((words[j] > least) | all ? scale : 0);
        for (idx j = 0; j < count; j++)
            mask[j] = (uint8_t)((words[j] > least) | all);
    }
}

static int FN(dropout_forward)(idx n, double p_drop, uint64_t key, const REAL *x, REAL *y,
                               uint8_t *mask)
{
    dropout_job job = {.n = n, .key = key, .p_drop = p_drop, .x = x, .mask = mask, .y = y};
    pydl_parallel_for((n + FN(DROPOUT_CHUNK) - 1) / FN(DROPOUT_CHUNK), 8 * (double)n,
                      FN(dropout_forward_body), &job);
    return PYDL_OK;
}

static void FN(dropout_backward_body)(void *context, idx task)
{
    const dropout_job *job = context;
    const idx end = FN(min)(job->n, (task + 1) * FN(DROPOUT_CHUNK));
    const REAL scale = FN(dropout_scale)(job->p_drop), *restrict dy = job->x;
    const uint8_t *restrict mask = job->kept;
    REAL *restrict dx = job->y;
    for (idx i = task * FN(DROPOUT_CHUNK); i < end; i++)
        dx[i] = dy[i] * (mask[i] ? scale : 0);
}

static int FN(dropout_backward)(idx n, double p_drop, const REAL *dy, const uint8_t *mask, REAL *dx)
{
    dropout_job job = {.n = n, .p_drop = p_drop, .x = dy, .kept = mask, .y = dx};
    pydl_parallel_for((n + FN(DROPOUT_CHUNK) - 1) / FN(DROPOUT_CHUNK), 2 * (double)n,
                      FN(dropout_backward_body), &job);
    return PYDL_OK;
}

#undef dropout_job
