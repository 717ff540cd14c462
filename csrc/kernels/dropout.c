/* Dropout (Srivastava et al. 2014) of n elements: y = x f, f = mask / (1 - p_drop), or 0 if p_drop = 1; mask (n,) bytes 0, 1.
 *   mask[i] = (word >= floor(p_drop 2^32)), word = word i % 4 of the Philox4x32-10 block with counter i / 4 and the 64-bit key
 *   (Salmon, Moraes, Dror and Shaw 2011), so that a mask depends on key and index alone.
 *   dx = dy f */
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

enum { FN(DROPOUT_CHUNK) = 16384, FN(BLOCKS) = 64 };

/* words[4*i + j] = word j of the block first + i */
static void FN(philox)(uint64_t first, uint64_t key, uint32_t words[4 * FN(BLOCKS)])
{
    uint32_t c0[FN(BLOCKS)], c1[FN(BLOCKS)], c2[FN(BLOCKS)], c3[FN(BLOCKS)];
    for (int i = 0; i < FN(BLOCKS); i++) {
        c0[i] = (uint32_t)(first + (uint64_t)i);
        c1[i] = (uint32_t)((first + (uint64_t)i) >> 32);
        c2[i] = c3[i] = 0;
    }
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < FN(BLOCKS); i++) {
            const uint32_t low0 = c0[i] * 0xD2511F53u, high0 = (uint32_t)((c0[i] * (uint64_t)0xD2511F53u) >> 32);
            const uint32_t low1 = c2[i] * 0xCD9E8D57u, high1 = (uint32_t)((c2[i] * (uint64_t)0xCD9E8D57u) >> 32);
            c0[i] = high1 ^ c1[i] ^ k0;
            c2[i] = high0 ^ c3[i] ^ k1;
            c1[i] = low1;
            c3[i] = low0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < FN(BLOCKS); i++) {
        words[4 * i] = c0[i];
        words[4 * i + 1] = c1[i];
        words[4 * i + 2] = c2[i];
        words[4 * i + 3] = c3[i];
    }
}

INLINE REAL FN(dropout_scale)(double p_drop) { return p_drop < 1 ? (REAL)(1 / (1 - p_drop)) : 0; }

static void FN(dropout_forward_body)(void *context, idx task)
{
    const dropout_job *job = context;
    const idx end = FN(min)(job->n, (task + 1) * FN(DROPOUT_CHUNK));
    const REAL scale = FN(dropout_scale)(job->p_drop);
    const uint64_t threshold = (uint64_t)(job->p_drop * 0x1p32);
    const uint32_t least = (uint32_t)(threshold ? threshold - 1 : 0); /* kept: word > least, or always */
    const uint32_t all = threshold == 0;
    for (idx i = task * FN(DROPOUT_CHUNK); i < end; i += 4 * FN(BLOCKS)) {
        uint32_t words[4 * FN(BLOCKS)];
        FN(philox)((uint64_t)i / 4, job->key, words);
        const idx count = FN(min)(end - i, 4 * FN(BLOCKS));
        const REAL *restrict x = job->x + i;
        REAL *restrict y = job->y + i;
        uint8_t *restrict mask = job->mask + i;
        for (idx j = 0; j < count; j++)
            y[j] = x[j] * ((words[j] > least) | all ? scale : 0);
        for (idx j = 0; j < count; j++)
            mask[j] = (uint8_t)((words[j] > least) | all);
    }
}

static int FN(dropout_forward)(idx n, double p_drop, uint64_t key, const REAL *x, REAL *y, uint8_t *mask)
{
    dropout_job job = {.n = n, .key = key, .p_drop = p_drop, .x = x, .mask = mask, .y = y};
    pydl_parallel_for((n + FN(DROPOUT_CHUNK) - 1) / FN(DROPOUT_CHUNK), 8 * (double)n, FN(dropout_forward_body), &job);
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
    pydl_parallel_for((n + FN(DROPOUT_CHUNK) - 1) / FN(DROPOUT_CHUNK), 2 * (double)n, FN(dropout_backward_body), &job);
    return PYDL_OK;
}

#undef dropout_job
