/* Rows of a table (rows,d).  forward: y (n,d) = w[indices];  backward: dw[indices[i]] += dy[i],
 * in the order of i, but for i with indices[i] = padding (negative: none). */
typedef struct {
    idx n, rows, d, chunk;
    const int64_t *indices;
    int64_t padding;
    const REAL *from;
    REAL *to;
} FN(embedding_job);
#define embedding_job FN(embedding_job)

static int FN(indices_in_range)(idx n, idx rows, const int64_t *indices)
{
    int ok = 1;
    for (idx i = 0; i < n; i++)
        ok &= indices[i] >= 0 && indices[i] < rows;
    return ok;
}

static void FN(embedding_forward_body)(void *context, idx task)
{
    const embedding_job *job = context;
    for (idx i = task * job->chunk; i < FN(min)(job->n, (task + 1) * job->chunk); i++)
        memcpy(job->to + i * job->d, job->from + job->indices[i] * job->d,
               (size_t)job->d * sizeof(REAL));
}

static int FN(embedding_forward)(idx n, idx rows, idx d, const int64_t *indices, const REAL *w,
                                 REAL *y)
{
    if (!FN(indices_in_range)(n, rows, indices))
        return PYDL_BAD_INDEX;
    embedding_job job = {.n = n, .d = d, .chunk = FN(max)(16384 / FN(max)(d, 1), 1),
                         .indices = indices, .from = w, .to = y};
    pydl_parallel_for((n + job.chunk - 1) / job.chunk, (double)n * (double)d,
                      FN(embedding_forward_body), &job);
    return PYDL_OK;
}

/* A band of columns, of all rows: each element is summed by one task. */
static void FN(embedding_backward_body)(void *context, idx band)
{
    const embedding_job *job = context;
    const idx first = band * job->chunk, count = FN(min)(job->chunk, job->d - first);
    for (idx r = 0; r < job->rows; r++)
        memset(job->to + r * job->d + first, 0, (size_t)count * sizeof(REAL));
    for (idx i = 0; i < job->n; i++) {
        if (job->indices[i] == job->padding)
            continue;
        const REAL *restrict dy = job->from + i * job->d + first;
        REAL *restrict dw = job->to + job->indices[i] * job->d + first;
        for (idx j = 0; j < count; j++)
            dw[j] += dy[j];
    }
}

static int FN(embedding_backward)(idx n, idx rows, idx d, const REAL *dy, const int64_t *indices,
                                  int64_t padding, REAL *dw)
{
    if (!FN(indices_in_range)(n, rows, indices))
        return PYDL_BAD_INDEX;
    embedding_job job = {.n = n, .rows = rows, .d = d,
                         .chunk = FN(max)(FN(round_up)((d + 7) / 8, 16), 64),
                         .indices = indices, .padding = padding, .from = dy, .to = dw};
    pydl_parallel_for((d + job.chunk - 1) / job.chunk, (double)(n + rows) * (double)d,
                      FN(embedding_backward_body), &job);
    return PYDL_OK;
}
#undef embedding_job
