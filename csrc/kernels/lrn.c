/* Local response normalisation across channels (Krizhevsky, Sutskever and Hinton 2012) of x
 * (n,c,inner), inner the pixels of a plane; with the mean over size channels, zeros beside the
 * first and the last, as PyTorch has it:
 *   scale = k + alpha / size * (sum of x^2 over the channels c - size/2 to c + (size - 1)/2)
 *   y     = x / scale^beta
 *   dx    = dy / scale^beta - 2 alpha beta / size * x * (sum of dy x / scale^(beta + 1) over the
 *           channels whose windows hold c)
 * A task is a tile of columns in a block of channels. It walks along the channels, a vector lying
 * along the plane, and the rows under the window stay in L1. Every window is added up afresh:
 * taking the leaving square from a running sum would leave its rounding error behind. */
typedef struct {
    idx n, c, inner, size;
    idx tile, tiles, block, blocks; /* columns and channels of a task, and how many make a whole */
    idx ring;                       /* backward: rows of terms that are kept */
    REAL share, k, beta, slope;     /* alpha / size, k, beta, 2 alpha beta / size */
    const REAL *dy, *x, *scale;
    REAL *y, *new_scale, *dx;       /* new_scale may be NULL */
    int failed;
} FN(lrn_job);
#define lrn_job FN(lrn_job)

enum {
    FN(LRN_TILE) = 4096 / (int)sizeof(REAL), /* columns */
    FN(LRN_TASK) = 32768,                    /* elements */
};

typedef struct {
    idx at, columns, first, end; /* offset of channel 0, and the channels */
} FN(lrn_part);

INLINE FN(lrn_part) FN(lrn_part_of)(const lrn_job *job, idx task)
{
    const idx first = task % job->blocks * job->block, t = task / job->blocks;
    const idx column = t % job->tiles * job->tile, image = t / job->tiles;
    return (FN(lrn_part)){image * job->c * job->inner + column,
                          FN(min)(job->tile, job->inner - column), first,
                          FN(min)(first + job->block, job->c)};
}

/* s^beta for s >= 0: where beta is not 3/4, within 3 + |beta log s| ulp. */
INLINE vec FN(lrn_power)(vec s, REAL beta)
{
    if (beta == (REAL)0.75) {
        const vec root = FN(sqrt)(s);
        return root * FN(sqrt)(root);
    }
    return beta == 0 ? FN(splat)(1) : FN(exp)(beta * FN(log)(s));
}

/* for the vectors of a row: j the column, rest the columns from there on */
#define FOR_COLUMNS(columns) for (idx j = 0, rest = (columns); rest > 0; j += VLEN, rest -= VLEN)

static void FN(lrn_forward_body)(void *context, idx task)
{
    const lrn_job *job = context;
    const FN(lrn_part) part = FN(lrn_part_of)(job, task);
    const idx inner = job->inner;
    for (idx c = part.first; c < part.end; c++) {
        const idx from = FN(max)(c - job->size / 2, 0);
        const idx to = FN(min)(c + (job->size - 1) / 2 + 1, job->c), row = part.at + c * inner;
        FOR_COLUMNS(part.columns) {
            vec sum = {0};
            for (idx i = part.at + from * inner; i < part.at + to * inner; i += inner) {
                const vec v = FN(load_part)(job->x + i + j, rest, 0);
                sum += v * v;
            }
            const vec scale = job->share * sum + job->k;
            if (job->new_scale)
                FN(store_part)(job->new_scale + row + j, rest, scale);
            FN(store_part)(job->y + row + j, rest,
                           FN(load_part)(job->x + row + j, rest, 0) /
                               FN(lrn_power)(scale, job->beta));
        }
    }
}

/* A row's terms dy x / scale^(beta + 1) of the sum, and dx's own part dy / scale^beta unless dx is
 * NULL. */
INLINE void FN(lrn_terms)(const lrn_job *job, idx columns, idx row, REAL *terms, REAL *dx)
{
    FOR_COLUMNS(columns) {
        const vec scale = FN(load_part)(job->scale + row + j, rest, 1);
        const vec own = FN(load_part)(job->dy + row + j, rest, 0) /
                        FN(lrn_power)(scale, job->beta);
        FN(store)(terms + j, own * FN(load_part)(job->x + row + j, rest, 0) / scale);
        if (dx)
            FN(store_part)(dx + j, rest, own);
    }
}

/* Row c's terms are at ring + (c % rows) * tile. */
static void FN(lrn_backward_body)(void *context, idx task)
{
    lrn_job *job = context;
    const FN(lrn_part) part = FN(lrn_part_of)(job, task);
    const idx width = FN(round_up)(job->tile, VLEN);
    REAL *ring = pydl_block_alloc((size_t)(job->ring * width) * sizeof(REAL));
    if (!ring) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    idx next = FN(max)(part.first - (job->size - 1) / 2, 0);
    for (idx c = part.first; c < part.end; c++) {
        const idx from = FN(max)(c - (job->size - 1) / 2, 0);
        const idx to = FN(min)(c + job->size / 2 + 1, job->c);
        for (; next < to; next++) {
            const idx row = part.at + next * job->inner;
            const int own = next >= part.first && next < part.end;
            FN(lrn_terms)(job, part.columns, row, ring + next % job->ring * width,
                          own ? job->dx + row : NULL);
        }
        const idx row = part.at + c * job->inner;
        FOR_COLUMNS(part.columns) {
            vec sum = {0};
            for (idx i = from, slot = from % job->ring; i < to; i++) {
                sum += FN(load)(ring + slot * width + j);
                slot = slot + 1 < job->ring ? slot + 1 : 0;
            }
            const vec x = FN(load_part)(job->x + row + j, rest, 0);
            const vec own = FN(load_part)(job->dx + row + j, rest, 0);
            FN(store_part)(job->dx + row + j, rest, own - job->slope * x * sum);
        }
    }
    pydl_block_free(ring);
}
#undef FOR_COLUMNS

static void FN(run_lrn)(lrn_job *job, double alpha, double beta, pydl_body body)
{
    const idx pieces = (job->inner + FN(LRN_TILE) - 1) / FN(LRN_TILE);
    job->tile = FN(round_up)((job->inner + pieces - 1) / pieces, VLEN);
    job->tiles = (job->inner + job->tile - 1) / job->tile;
    job->ring = FN(min)(job->size, job->c);
    /* so many channels that the windows at the edges, which neighbours read too, are few */
    job->block = FN(min)(FN(max)(FN(LRN_TASK) / job->tile, 4 * job->ring), job->c);
    job->blocks = (job->c + job->block - 1) / job->block;
    job->share = (REAL)(alpha / (double)job->size);
    job->slope = (REAL)(2 * alpha * beta / (double)job->size);
    job->beta = (REAL)beta;
    pydl_parallel_for(job->n * job->tiles * job->blocks,
                      (16 + 2 * (double)job->ring) * (double)(job->n * job->c * job->inner), body,
                      job);
}

static int FN(local_response_norm_forward)(idx n, idx c, idx inner, idx size, double alpha,
                                           double beta, double k, const REAL *x, REAL *y,
                                           REAL *scale)
{
    lrn_job job = {.n = n, .c = c, .inner = inner, .size = size, .k = (REAL)k, .x = x, .y = y,
                   .new_scale = scale};
    FN(run_lrn)(&job, alpha, beta, FN(lrn_forward_body));
    return PYDL_OK;
}

static int FN(local_response_norm_backward)(idx n, idx c, idx inner, idx size, double alpha,
                                            double beta, const REAL *dy, const REAL *x,
                                            const REAL *scale, REAL *dx)
{
    lrn_job job = {.n = n, .c = c, .inner = inner, .size = size, .dy = dy, .x = x, .scale = scale,
                   .dx = dx};
    FN(run_lrn)(&job, alpha, beta, FN(lrn_backward_body));
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}
#undef lrn_job
