/* Backward of the mean under windows, and the mean of whole planes; shapes as in pool2d.c.
 *   avg          dx = the sum of dy / count over the windows that hold the place
 *   global_avg   y (planes,) = mean of the plane;  dx = dy / (h w) */
/* VLEN planes at a time, whose lanes are added up together. */
static void FN(global_avg_pool2d_forward_body)(void *context, idx task)
{
    const planes_job *job = context;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes), size = job->in_size;
    const lanes rest = FN(last_lanes)(size % VLEN);
    vec sums[VECTOR_BYTES / sizeof(REAL)] = {{0}};
    for (idx plane = task * job->task_planes; plane < end; plane += VLEN) {
        const idx count = FN(min)(VLEN, end - plane);
        for (idx k = 0; k < count; k++)
            sums[k] = size < VLEN ? FN(load_part)(job->in + (plane + k) * size, size, 0)
                                  : FN(plane_sums)(job->in + (plane + k) * size, size, rest);
        FN(store_part)(job->out + plane, count, FN(sum_each)(sums) / (REAL)size);
    }
}

static int FN(global_avg_pool2d_forward)(idx planes, idx size, const REAL *x, REAL *y)
{
    planes_job job = {.planes = planes, .in_size = size, .out_size = 1, .in = x, .out = y};
    FN(run_planes)(&job, FN(global_avg_pool2d_forward_body));
    return PYDL_OK;
}

static void FN(global_avg_pool2d_backward_body)(void *context, idx task)
{
    const planes_job *job = context;
    const idx end = FN(min)(job->planes, (task + 1) * job->task_planes), size = job->out_size;
    for (idx plane = task * job->task_planes; plane < end; plane++) {
        REAL *dx = job->out + plane * size;
        const vec share = FN(splat)(job->in[plane] / (REAL)size);
        for (idx i = 0; i < size; i += VLEN) {
            const idx at = FN(max)(FN(min)(i, size - VLEN), 0);
            FN(store_part)(dx + at, size - at, share);
        }
    }
}

static int FN(global_avg_pool2d_backward)(idx planes, idx size, const REAL *dy, REAL *dx)
{
    planes_job job = {.planes = planes, .in_size = 1, .out_size = size, .in = dy, .out = dx};
    FN(run_planes)(&job, FN(global_avg_pool2d_backward_body));
    return PYDL_OK;
}

/* Backward of the mean, separable: a row of dx is the sum of the rows of dy / count whose windows
 * hold it, spread along w. */
typedef struct {
    const pydl_pool2d_shape *s;
    const REAL *dy;
    REAL *dx;
    REAL *count_w, *share; /* (ow,): places of a window along w; 1 / those of one not cut along h */
    int include_pad, failed;
    idx left, width, ring; /* rows of shares: zeros before, length with zeros, rows kept */
    idx task_rows;
} FN(share_job);
#define share_job FN(share_job)

/* dx[t - pad] = sum over j of shares[(t - j) / stride], j < kw congruent to t: t counts the places
 * of the padded row. */
INLINE void FN(spread_row)(const share_job *job, const REAL *shares, REAL *dx)
{
    const pydl_pool2d_shape *s = job->s;
    const idx stride = s->stride_w, pad = s->pad_w, w = s->w, kw = s->kw;
    if (stride > 2) {
        FN(zero_run)(dx, w);
        for (idx j = 0; j < s->ow; j++)
            for (idx t = FN(max)(j * stride - pad, 0); t < FN(min)(j * stride - pad + kw, w); t++)
                dx[t] += shares[j];
        return;
    }
    for (idx q = pad / stride; q * stride < w + pad; q += VLEN) {
        vec even = {0}, odd = {0};
        for (idx j = 0; j * stride < kw; j++)
            even += FN(load)(shares + q - j);
        if (stride == 1) {
            FN(store_part)(dx + q - pad, w + pad - q, even);
            continue;
        }
        for (idx j = 0; 2 * j + 1 < kw; j++)
            odd += FN(load)(shares + q - j);
        const vec low = FN(zip_low)(even, odd), high = FN(zip_high)(even, odd);
        const idx at = 2 * q - pad;
        if (at >= 0) {
            FN(store_part)(dx + at, w - at, low);
            if (w - at > VLEN)
                FN(store_part)(dx + at + VLEN, w - at - VLEN, high);
        } else { /* the first of the pairs is in the padding */
            REAL pairs[2 * VECTOR_BYTES / sizeof(REAL)];
            FN(store)(pairs, low);
            FN(store)(pairs + VLEN, high);
            FN(copy_run)(dx, pairs + 1, FN(min)(2 * VLEN - 1, w));
        }
    }
}

INLINE REAL *FN(ring_row)(const share_job *job, REAL *ring, idx slot)
{
    return ring + (slot < job->ring ? slot : slot - job->ring) * job->width;
}

/* share = dy / count for a row of dy. */
INLINE void FN(share_row)(const share_job *job, idx plane, idx i, REAL *share)
{
    const pydl_pool2d_shape *s = job->s;
    const REAL *dy = job->dy + (plane * s->oh + i) * s->ow;
    const idx count_h =
        FN(window_count)(i * s->stride_h - s->pad_h, s->kh, s->h, s->pad_h, job->include_pad);
    for (idx j = 0; j < s->ow; j += VLEN) {
        const vec each = count_h == s->kh ? FN(load)(job->share + j)
                                          : 1 / ((REAL)count_h * FN(load)(job->count_w + j));
        FN(store)(share + j, FN(load_part)(dy + j, s->ow - j, 0) * each);
    }
}

static void FN(avg_pool2d_backward_body)(void *context, idx task)
{
    share_job *job = context;
    const pydl_pool2d_shape *s = job->s;
    const size_t kept = (size_t)((job->ring + 1) * job->width);
    REAL *ring = pydl_block_alloc(kept * sizeof(REAL)), *sums = ring + job->ring * job->width;
    if (!ring) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    memset(ring, 0, kept * sizeof(REAL));
    const idx end = FN(min)((task + 1) * job->task_rows, s->planes * s->h);
    for (idx row = task * job->task_rows; row < end;) {
        const idx plane = row / s->h, last = FN(min)((plane + 1) * s->h, end);
        /* dy's rows first to next - 1 hold the row; those before shared are in the ring, row i at
         * slot i - base or that minus job->ring */
        idx first = 0, next = 0, shared = 0, base = 0;
        for (; row < last; row++) {
            const idx t = row - plane * s->h + s->pad_h;
            while (first * s->stride_h + s->kh <= t)
                first++;
            while (next < s->oh && next * s->stride_h <= t)
                next++;
            while (first - base >= job->ring)
                base += job->ring;
            for (shared = FN(max)(shared, first); shared < next; shared++)
                FN(share_row)(job, plane, shared,
                              FN(ring_row)(job, ring, shared - base) + job->left);
            const REAL *shares = sums;
            if (next - first == 1) {
                shares = FN(ring_row)(job, ring, first - base);
            } else {
                for (idx j = job->left; j < job->left + s->ow; j += VLEN) {
                    vec sum = {0};
                    for (idx i = first; i < next; i++)
                        sum += FN(load)(FN(ring_row)(job, ring, i - base) + j);
                    FN(store)(sums + j, sum);
                }
            }
            FN(spread_row)(job, shares + job->left, job->dx + row * s->w);
        }
    }
    pydl_block_free(ring);
}

/* Windows of 2x2 that do not overlap: every place has one at most. Rows are pairs of rows of dx. */
static void FN(avg_pool2d_backward_pairs)(void *context, idx task)
{
    share_job *job = context;
    const pydl_pool2d_shape *s = job->s;
    const idx pairs = POOL_CEIL_DIV(s->h, 2), w = s->w, first = task * job->task_rows;
    const idx places = POOL_CEIL_DIV(w, 2), vectors = POOL_CEIL_DIV(places, VLEN);
    const idx last = FN(min)(first + job->task_rows, s->planes * pairs);
    REAL *dx = job->dx + (first / pairs * s->h + first % pairs * 2) * w;
    const REAL *const end = job->dx + (last / pairs * s->h + last % pairs * 2) * w;
    for (idx row = first, plane = first / pairs, i = first % pairs; row < last; row++) {
        const idx count_h =
            FN(window_count)(2 * i, 2, s->h, 0, job->include_pad), outputs = i < s->oh ? s->ow : 0;
        const REAL *dy = job->dy + (plane * s->oh + i) * s->ow;
        const idx rows = FN(min)(2, s->h - 2 * i);
        for (idx v = 0; v < vectors; v++) {
            const idx j = FN(vector_at)(places, v), left = w - 2 * j;
            const vec each = count_h == 2 ? FN(load)(job->share + j)
                                          : 1 / ((REAL)count_h * FN(load)(job->count_w + j));
            const idx count = FN(max)(outputs - j, 0);
            const vec share = count ? FN(load_part)(dy + j, count, 0) * each : (vec){0};
            /* of one vector, rows are written in their order, up to the task's end */
            FN(store_zipped)(dx + 2 * j, left, vectors == 1 ? end - dx : left, share, share);
            if (rows == 2)
                FN(store_zipped)(dx + w + 2 * j, left, vectors == 1 ? end - dx - w : left, share,
                                 share);
        }
        dx += rows * w;
        if (++i == pairs)
            i = 0, plane++;
    }
}

static int FN(avg_pool2d_backward)(const pydl_pool2d_shape *s, int include_pad, const REAL *dy,
                                   REAL *dx)
{
    if (s->kh == 3 && s->kw == 3 && s->stride_h == 1 && s->stride_w == 1 &&
        (include_pad || (!s->pad_h && !s->pad_w))) { /* all windows have 9 places: means of dy */
        pydl_pool2d_shape turned = *s;
        turned.h = s->oh, turned.w = s->ow, turned.oh = s->h, turned.ow = s->w;
        turned.pad_h = 2 - s->pad_h, turned.pad_w = 2 - s->pad_w;
        return FN(avg_pool2d_forward)(&turned, 1, dy, dx);
    }
    share_job job = {.s = s, .dy = dy, .dx = dx, .include_pad = include_pad};
    job.left = POOL_CEIL_DIV(s->kw, s->stride_w);
    const idx places = s->stride_w <= 2 ? (s->w + s->pad_w) / s->stride_w : 0;
    job.width = job.left + FN(max)(s->ow, places) + VLEN;
    job.ring = FN(min)(POOL_CEIL_DIV(s->kh, s->stride_h), s->oh);
    const idx counts = FN(round_up)(FN(max)(s->ow, POOL_CEIL_DIV(s->w, 2)), VLEN);
    job.count_w = pydl_block_alloc((size_t)(2 * counts) * sizeof(REAL));
    if (!job.count_w)
        return PYDL_NO_MEMORY;
    job.share = job.count_w + counts;
    for (idx j = 0; j < counts; j++) {
        const idx start = FN(min)(j, s->ow - 1) * s->stride_w - s->pad_w;
        job.count_w[j] = (REAL)FN(window_count)(start, s->kw, s->w, s->pad_w, include_pad);
        job.share[j] = 1 / ((REAL)s->kh * job.count_w[j]);
    }
    const int paired = s->kh == 2 && s->kw == 2 && s->stride_h == 2 && s->stride_w == 2 &&
                       !s->pad_h && !s->pad_w;
    const idx in_plane = paired ? POOL_CEIL_DIV(s->h, 2) : s->h, rows = s->planes * in_plane;
    job.task_rows = FN(max)(FN(PLANES_TASK) * in_plane / (s->h * s->w), 1);
    if (job.task_rows > in_plane)
        job.task_rows = job.task_rows / in_plane * in_plane;
    const double taps = (double)(job.ring + job.left);
    pydl_parallel_for(POOL_CEIL_DIV(rows, job.task_rows),
                      taps * (double)s->planes * (double)(s->h * s->w),
                      paired ? FN(avg_pool2d_backward_pairs) : FN(avg_pool2d_backward_body), &job);
    pydl_block_free(job.count_w);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}
#undef share_job
#undef planes_job
