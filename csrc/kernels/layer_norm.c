/* Layer normalisation (Ba, Kiros, Hinton 2016) of x (rows,size) along size.
 *   x^ = (x - mean) rstd,  rstd = 1 / sqrt(var + eps),  var = sum (x - mean)^2 / size;  y = x^ w + b
 *   db = sum dy and dw = sum dy x^ over the rows
 *   dx = rstd (g - sum g / size - x^ sum(g x^) / size),  g = dy w
 * x, y, dy, dx (rows,size); mean, rstd (rows,); w, b, dw, db (size,); w, b may be NULL. */
typedef struct {
    idx rows, size, task_rows, tasks;
    double eps;
    const REAL *x, *w, *b, *dy, *mean, *rstd;
    REAL *y, *new_mean, *new_rstd, *dx;
    REAL *parts; /* backward: dw and db of each task's rows (tasks,2,size) */
    REAL *dw, *db;
} FN(layer_norm_job);
#define layer_norm_job FN(layer_norm_job)

enum {
    FN(LAYER_NORM_TASK) = 16384, /* elements */
    FN(LAYER_NORM_PARTS) = 64,   /* tasks of the backward, at most */
};

static void FN(layer_norm_forward_body)(void *context, idx task)
{
    const layer_norm_job *job = context;
    const idx size = job->size, end = FN(min)(job->rows, (task + 1) * job->task_rows);
    double mean[VECTOR_BYTES / sizeof(REAL)], m2[VECTOR_BYTES / sizeof(REAL)];
    for (idx first = task * job->task_rows; first < end; first += VLEN) {
        const idx rows = FN(min)(VLEN, end - first);
        FN(moments)(1, size, job->x + first * size, 0, rows, mean, m2);
        for (idx k = 0; k < rows; k++) {
            const REAL m = (REAL)mean[k], rstd = FN(rstd_of)(m2[k] / (double)size, job->eps);
            const REAL *x = job->x + (first + k) * size;
            REAL *y = job->y + (first + k) * size;
            job->new_mean[first + k] = m;
            job->new_rstd[first + k] = rstd;
            for (idx j = 0; j < size; j += VLEN) {
                vec v = (FN(load_part)(x + j, size - j, 0) - m) * rstd;
                if (job->w)
                    v *= FN(load_part)(job->w + j, size - j, 0);
                if (job->b)
                    v += FN(load_part)(job->b + j, size - j, 0);
                FN(store_part)(y + j, size - j, v);
            }
        }
    }
}

static int FN(layer_norm_forward)(idx rows, idx size, double eps, const REAL *x, const REAL *w,
                                  const REAL *b, REAL *y, REAL *mean, REAL *rstd)
{
    layer_norm_job job = {.rows = rows, .size = size, .eps = eps, .x = x, .w = w, .b = b, .y = y,
                          .new_mean = mean, .new_rstd = rstd};
    job.task_rows = FN(round_up)(FN(max)(FN(LAYER_NORM_TASK) / size, 1),
                                 size > FN(MOMENT_FEW) ? 1 : VLEN);
    pydl_parallel_for((rows + job.task_rows - 1) / job.task_rows, 4 * (double)rows * (double)size,
                      FN(layer_norm_forward_body), &job);
    return PYDL_OK;
}

static void FN(layer_norm_backward_row)(const layer_norm_job *job, idx row, REAL *dw, REAL *db)
{
    const idx size = job->size;
    const REAL *x = job->x + row * size, *dy = job->dy + row * size;
    const REAL mean = job->mean[row], rstd = job->rstd[row];
    double sum = 0, dot = 0;
    FOR_BLOCKS(1, size, FN(MOMENT_BLOCK)) {
        vec sums[2] = {{0}};
        for (idx at = j; at < j + columns; at += VLEN) {
            const idx rest = j + columns - at;
            vec g = FN(load_part)(dy + at, rest, 0);
            const vec normalised = (FN(load_part)(x + at, rest, mean) - mean) * rstd;
            FN(store_part)(dw + at, rest, FN(load_part)(dw + at, rest, 0) + g * normalised);
            FN(store_part)(db + at, rest, FN(load_part)(db + at, rest, 0) + g);
            if (job->w)
                g *= FN(load_part)(job->w + at, rest, 0);
            sums[0] += g;
            sums[1] += g * normalised;
        }
        sum += (double)FN(sum_lanes)(sums[0]);
        dot += (double)FN(sum_lanes)(sums[1]);
    }
    const REAL shift = (REAL)(sum / (double)size), slope = (REAL)(dot / (double)size);
    for (idx j = 0; j < size; j += VLEN) {
        vec g = FN(load_part)(dy + j, size - j, 0);
        const vec normalised = (FN(load_part)(x + j, size - j, 0) - mean) * rstd;
        if (job->w)
            g *= FN(load_part)(job->w + j, size - j, 0);
        FN(store_part)(job->dx + row * size + j, size - j, (g - shift - normalised * slope) * rstd);
    }
}

static void FN(layer_norm_backward_body)(void *context, idx task)
{
    const layer_norm_job *job = context;
    const idx end = FN(min)(job->rows, (task + 1) * job->task_rows);
    REAL *dw = job->parts + task * 2 * job->size;
    FN(zero_run)(dw, 2 * job->size);
    for (idx row = task * job->task_rows; row < end; row++)
        FN(layer_norm_backward_row)(job, row, dw, dw + job->size);
}

static void FN(layer_norm_add_parts)(void *context, idx task)
{
    const layer_norm_job *job = context;
    const idx size = job->size, end = FN(min)(size, (task + 1) * FN(LAYER_NORM_TASK));
    for (idx j = task * FN(LAYER_NORM_TASK); j < end; j += VLEN) {
        vec dw = {0}, db = {0};
        for (idx part = 0; part < job->tasks; part++) {
            const REAL *from = job->parts + part * 2 * size + j;
            dw += FN(load_part)(from, end - j, 0);
            db += FN(load_part)(from + size, end - j, 0);
        }
        FN(store_part)(job->dw + j, end - j, dw);
        FN(store_part)(job->db + j, end - j, db);
    }
}

static int FN(layer_norm_backward)(idx rows, idx size, const REAL *dy, const REAL *x,
                                   const REAL *mean, const REAL *rstd, const REAL *w, REAL *dx,
                                   REAL *dw, REAL *db)
{
    layer_norm_job job = {.rows = rows, .size = size, .x = x, .w = w, .dy = dy, .mean = mean,
                          .rstd = rstd, .dx = dx, .dw = dw, .db = db};
    job.task_rows = FN(max)(FN(max)(FN(LAYER_NORM_TASK) / size, 1),
                            (rows + FN(LAYER_NORM_PARTS) - 1) / FN(LAYER_NORM_PARTS));
    job.tasks = (rows + job.task_rows - 1) / job.task_rows;
    job.parts = pydl_block_alloc((size_t)(FN(max)(job.tasks, 1) * 2 * size) * sizeof(REAL));
    if (!job.parts)
        return PYDL_NO_MEMORY;
    pydl_parallel_for(job.tasks, 6 * (double)rows * (double)size, FN(layer_norm_backward_body),
                      &job);
    pydl_parallel_for((size + FN(LAYER_NORM_TASK) - 1) / FN(LAYER_NORM_TASK),
                      2 * (double)job.tasks * (double)size, FN(layer_norm_add_parts), &job);
    pydl_block_free(job.parts);
    return PYDL_OK;
}
#undef layer_norm_job
#undef FOR_BLOCKS
