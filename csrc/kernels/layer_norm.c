/* Layer normalisation (Ba, Kiros, Hinton 2016) of x (rows,size) along size.
 *   x^ = (x - mean) rstd,  rstd = 1 / sqrt(var + eps),  var = sum (x - mean)^2 / size
 *   y = x^ w + b;  db = sum dy and dw = sum dy x^ over the rows
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
    const idx group = FN(group_of)(1, size, 1);
    const REAL *w = job->w, *b = job->b;
    for (idx first = task * job->task_rows; first < end; first += group) {
        const idx rows = FN(min)(group, end - first);
        const statistics found =
            FN(statistics_of_group)(job->x, first * size, 1, size, 0, rows, NULL, job->eps);
        for (idx k = 0; k < rows; k++) {
            const vec mean = FN(splat)(found.mean[k]), scale = FN(splat)(-found.rstd[k]);
            const REAL *x = job->x + (first + k) * size;
            REAL *y = job->y + (first + k) * size;
            job->new_mean[first + k] = found.mean[k];
            job->new_rstd[first + k] = found.rstd[k];
            FOR_ROW(0, size, {
                vec v = (mean - FN(load_part)(x + at, rest, 0)) * scale;
                if (w)
                    v *= FN(load_part)(w + at, rest, 0);
                if (b)
                    v += FN(load_part)(b + at, rest, 0);
                FN(store_part)(y + at, rest, v);
            });
        }
    }
}

static int FN(layer_norm_forward)(idx rows, idx size, double eps, const REAL *x, const REAL *w,
                                  const REAL *b, REAL *y, REAL *mean, REAL *rstd)
{
    layer_norm_job job = {.rows = rows, .size = size, .eps = eps, .x = x, .w = w, .b = b, .y = y,
                          .new_mean = mean, .new_rstd = rstd};
    job.task_rows = FN(round_up)(FN(max)(FN(LAYER_NORM_TASK) / size, 1), FN(group_of)(1, size, 1));
    pydl_parallel_for((rows + job.task_rows - 1) / job.task_rows, 4 * (double)rows * (double)size,
                      FN(layer_norm_forward_body), &job);
    return PYDL_OK;
}

/* dx of a row; dw and db take its share. */
INLINE void FN(layer_norm_backward_row)(const layer_norm_job *job, idx row, int weighted, REAL *dw,
                                        REAL *db)
{
    const idx size = job->size;
    const REAL *x = job->x + row * size, *dy = job->dy + row * size, *w = job->w;
    const vec mean = FN(splat)(job->mean[row]), rstd = FN(splat)(job->rstd[row]);
    REAL *dx = job->dx + row * size;
    double sum = 0, dot = 0;
    for (idx first = 0; first < size; first += FN(MOMENT_BLOCK)) {
        vec sums[4] = {{0}}, dots[4] = {{0}};
        FOR_ROW(0, FN(min)(size - first, FN(MOMENT_BLOCK)), {
            const idx j = first + at;
            vec g = FN(load_part)(dy + j, rest, 0);
            const vec normalised = (FN(load_part)(x + j, rest, mean[0]) - mean) * rstd;
            FN(store_part)(dw + j, rest, FN(load_part)(dw + j, rest, 0) + g * normalised);
            FN(store_part)(db + j, rest, FN(load_part)(db + j, rest, 0) + g);
            if (weighted)
                g *= FN(load_part)(w + j, rest, 0);
            sums[k] += g;
            dots[k] += g * normalised;
        });
        sum += (double)FN(sum_lanes)(FN(sum_of_4)(sums));
        dot += (double)FN(sum_lanes)(FN(sum_of_4)(dots));
    }
    const REAL shift = (REAL)(sum / (double)size), slope = (REAL)(dot / (double)size);
    FOR_ROW(0, size, {
        vec g = FN(load_part)(dy + at, rest, 0);
        if (weighted)
            g *= FN(load_part)(w + at, rest, 0);
        const vec normalised = (FN(load_part)(x + at, rest, 0) - mean) * rstd;
        FN(store_part)(dx + at, rest, (g - shift - normalised * slope) * rstd);
    });
}

static void FN(layer_norm_backward_body)(void *context, idx task)
{
    const layer_norm_job *job = context;
    const idx end = FN(min)(job->rows, (task + 1) * job->task_rows);
    REAL *dw = job->parts + task * 2 * job->size;
    FN(zero_run)(dw, 2 * job->size);
    for (idx row = task * job->task_rows; row < end; row++)
        if (job->w)
            FN(layer_norm_backward_row)(job, row, 1, dw, dw + job->size);
        else
            FN(layer_norm_backward_row)(job, row, 0, dw, dw + job->size);
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
