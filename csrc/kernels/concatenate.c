/* Arrays side by side along one axis, and back: y (outer, sum of widths), array k (outer,
 * widths[k]); a width is the extents of the axis and of all after it. A task is a run of y of a
 * fixed length, which may begin and end within an array. */
typedef struct {
    idx count, row, total; /* arrays; the sum of widths; elements of y */
    const idx *widths;
    const void *const *from; /* what is joined in y; or NULL, and dy is cut up */
    void *const *to;
    const REAL *dy;
    REAL *y;
} FN(concatenate_job);
#define concatenate_job FN(concatenate_job)

enum { FN(CONCATENATE_TASK) = 262144 / (int)sizeof(REAL) };

static void FN(concatenate_body)(void *context, idx task)
{
    const concatenate_job *job = context;
    idx at = task * FN(CONCATENATE_TASK), outer = at / job->row, column = at % job->row, k = 0;
    const idx end = FN(min)(job->total, at + FN(CONCATENATE_TASK));
    while (column >= job->widths[k])
        column -= job->widths[k++];
    while (at < end) {
        const idx width = job->widths[k], run = FN(min)(width - column, end - at);
        const idx offset = outer * width + column;
        if (job->from)
            memcpy(job->y + at, (const REAL *)job->from[k] + offset, (size_t)run * sizeof(REAL));
        else
            memcpy((REAL *)job->to[k] + offset, job->dy + at, (size_t)run * sizeof(REAL));
        at += run;
        column = 0;
        if (++k == job->count) {
            k = 0;
            outer++;
        }
    }
}

static int FN(run_concatenate)(concatenate_job *job, idx outer)
{
    for (idx k = 0; k < job->count; k++)
        job->row += job->widths[k];
    job->total = outer * job->row;
    pydl_parallel_for((job->total + FN(CONCATENATE_TASK) - 1) / FN(CONCATENATE_TASK),
                      (double)job->total, FN(concatenate_body), job);
    return PYDL_OK;
}

static int FN(concatenate_forward)(idx outer, idx count, const idx *widths,
                                   const void *const *arrays, REAL *y)
{
    concatenate_job job = {.count = count, .widths = widths, .from = arrays, .y = y};
    return FN(run_concatenate)(&job, outer);
}

static int FN(concatenate_backward)(idx outer, idx count, const idx *widths, const REAL *dy,
                                    void *const *arrays)
{
    concatenate_job job = {.count = count, .widths = widths, .dy = dy, .to = arrays};
    return FN(run_concatenate)(&job, outer);
}
#undef concatenate_job
