/* Means under windows that cut an axis of size s evenly into o parts: window i holds the places
 * floor(i s / o) to ceil((i + 1) s / o) (PyTorch's rule); they overlap where o does not divide s.
 *   x (planes,h,w), y (planes,oh,ow)
 *   y = sum / count;  dx = the sum of dy / count over the windows that hold the place
 * The windows that hold place j are floor(j o / s) to ceil((j + 1) o / s), the same rule with the
 * sizes exchanged. So both directions are one loop: sums of the rows of a window, a vector lying
 * along w, and then along w; the counts divide what comes out or what goes in. */
typedef struct {
    idx first, end;
} FN(span);
#define span FN(span)

typedef struct {
    idx planes, task_planes, in_h, in_w, out_h, out_w;
    int backward, failed;
    span *rows, *columns; /* (out_h,), (out_w,): what is summed up */
    REAL *count_h, *count_w; /* of y's row and column, y being what comes out or goes in */
    const REAL *in;
    REAL *out;
} FN(adaptive_job);
#define adaptive_job FN(adaptive_job)

INLINE span FN(span_of)(idx i, idx size, idx count)
{
    return (span){i * size / count, POOL_CEIL_DIV((i + 1) * size, count)};
}

/* sum (in_w,), in whole vectors: the rows of a plane added up, in backward divided by the counts */
INLINE void FN(sum_rows)(const adaptive_job *job, const REAL *in, span rows, REAL *sum)
{
    for (idx j = 0; j < job->in_w; j += VLEN) {
        const idx rest = job->in_w - j;
        vec total = {0};
        for (idx i = rows.first; i < rows.end; i++) {
            const vec v = FN(load_part)(in + i * job->in_w + j, rest, 0);
            total += job->backward ? v / (job->count_h[i] * FN(load)(job->count_w + j)) : v;
        }
        FN(store)(sum + j, total);
    }
}

static void FN(adaptive_avg_pool2d_body)(void *context, idx task)
{
    adaptive_job *job = context;
    REAL *sum = pydl_block_alloc((size_t)FN(round_up)(job->in_w, VLEN) * sizeof(REAL));
    if (!sum) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes);
    for (idx plane = task * job->task_planes; plane < end; plane++) {
        const REAL *in = job->in + plane * job->in_h * job->in_w;
        REAL *out = job->out + plane * job->out_h * job->out_w;
        for (idx i = 0; i < job->out_h; i++, out += job->out_w) {
            FN(sum_rows)(job, in, job->rows[i], sum);
            for (idx j = 0; j < job->out_w; j++) {
                REAL total = sum[job->columns[j].first];
                for (idx k = job->columns[j].first + 1; k < job->columns[j].end; k++)
                    total += sum[k];
                out[j] = job->backward ? total : total / (job->count_h[i] * job->count_w[j]);
            }
        }
    }
    pydl_block_free(sum);
}

/* counts (of,), rounded up to whole vectors of ones */
static void FN(fill_counts)(idx size, idx of, REAL *counts)
{
    for (idx i = 0; i < FN(round_up)(of, VLEN); i++) {
        const span s = FN(span_of)(i, size, of);
        counts[i] = i < of ? (REAL)(s.end - s.first) : 1;
    }
}

/* h, w are x's sizes and oh, ow are y's, whichever comes in. */
static int FN(run_adaptive)(adaptive_job *job, idx h, idx w, idx oh, idx ow)
{
    const size_t spans = (size_t)(job->out_h + job->out_w) * sizeof(span);
    const idx padded = FN(round_up)(oh, VLEN) + FN(round_up)(ow, VLEN);
    job->count_h = pydl_block_alloc((size_t)padded * sizeof(REAL) + spans);
    if (!job->count_h)
        return PYDL_NO_MEMORY;
    job->count_w = job->count_h + FN(round_up)(oh, VLEN);
    job->rows = (span *)(job->count_h + padded);
    job->columns = job->rows + job->out_h;
    FN(fill_counts)(h, oh, job->count_h);
    FN(fill_counts)(w, ow, job->count_w);
    for (idx i = 0; i < job->out_h; i++)
        job->rows[i] = FN(span_of)(i, job->in_h, job->out_h);
    for (idx j = 0; j < job->out_w; j++)
        job->columns[j] = FN(span_of)(j, job->in_w, job->out_w);
    const idx size = FN(max)(h * w, oh * ow);
    job->task_planes = FN(max)(FN(PLANES_TASK) / size, 1);
    pydl_parallel_for(POOL_CEIL_DIV(job->planes, job->task_planes),
                      4 * (double)job->planes * (double)size, FN(adaptive_avg_pool2d_body), job);
    pydl_block_free(job->count_h);
    return job->failed ? PYDL_NO_MEMORY : PYDL_OK;
}

static int FN(adaptive_avg_pool2d_forward)(idx planes, idx h, idx w, idx oh, idx ow, const REAL *x,
                                           REAL *y)
{
    adaptive_job job = {.planes = planes, .in_h = h, .in_w = w, .out_h = oh, .out_w = ow, .in = x,
                        .out = y};
    return FN(run_adaptive)(&job, h, w, oh, ow);
}

static int FN(adaptive_avg_pool2d_backward)(idx planes, idx h, idx w, idx oh, idx ow,
                                            const REAL *dy, REAL *dx)
{
    adaptive_job job = {.planes = planes, .in_h = oh, .in_w = ow, .out_h = h, .out_w = w, .in = dy,
                        .out = dx, .backward = 1};
    return FN(run_adaptive)(&job, h, w, oh, ow);
}
#undef span
#undef adaptive_job
#undef POOL_CEIL_DIV
