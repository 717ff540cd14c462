/* Convolution by the product turned round, for few pixels; forward, and dx the same of dy:
 *
 *   y^T (n*oh*ow, oc) = patches^T (n*oh*ow, c*kh*kw) . W^T (c*kh*kw, oc) + b
 *
 * Images of 7x7 and 14x14 make whole tiles when pixels are the tile's rows, MR at a time, and
 * output channels its vectors; and every weight is read once, a panel of NR channels for all
 * pixels. Weights that are packed once are such panels, of which the next is fetched meanwhile;
 * those that are given are turned round piece by piece. The sums are those of conv2d.c, in the same
 * order. */
enum {
    FN(TURNED_COLUMNS) = 1024 / sizeof(REAL),   /* pixels of a block: with KC rows it stays in L2 */
    FN(TURNED_SUMS) = (1 << 18) / sizeof(REAL), /* of a task */
    FN(TURNED_PATCHES) = 1 << 21,               /* bytes at most */
    FN(TURNED_SPAN) = 5 * FN(L2_BYTES) / 16,    /* bytes of them at most, for given weights */
};

typedef struct {
    patches from;
    idx images, rows, depth;
    const REAL *weight; /* panels of NR rows: element (row, p) at [p*NR + row], depth*NR apart */
    int given; /* they are as in conv_job (conv2d.c) instead, taps at most VLEN */
    idx row_step, channel_step;
    const idx *tap_offset;
    const REAL *bias;
    ending last;
    REAL *dst;                   /* (images, rows, pixels) */
    idx all, columns, task_rows; /* pixels of all images, of a block; rows of a task */
    REAL *panels;                /* the patches in panels of MR pixels, depth*MR apart */
    int failed;
} FN(turned_job);
#define turned_job FN(turned_job)

static void FN(turned_weight_panel)(void *context, idx panel)
{
    const turned_job *job = context;
    const idx first = panel * NR, rows = FN(min)(NR, job->rows - first), depth = job->depth;
    REAL *dst = (REAL *)job->panels + first * depth;
    FN(transpose)(rows, depth, job->weight + first * depth, depth, dst, NR);
    if (rows < NR)
        for (idx p = 0; p < depth; p++)
            FN(zero_run)(dst + p * NR + rows, NR - rows);
}

static int FN(turned_pack_weight)(const pydl_conv2d_shape *s, const REAL *w, REAL *packed)
{
    turned_job job = {.rows = s->oc, .depth = s->c * s->kh * s->kw, .weight = w, .panels = packed};
    pydl_parallel_for((s->oc + NR - 1) / NR, (double)job.rows * (double)job.depth,
                      FN(turned_weight_panel), &job);
    return PYDL_OK;
}

/* Some depth of a block's patches. */
static void FN(turned_patches)(void *context, idx task)
{
    turned_job *job = context;
    const patches *from = &job->from;
    const idx most = FN(even_piece)(job->depth, FN(KC), 1), pieces = (job->depth + most - 1) / most;
    const idx k = task % pieces * most, depth = FN(min)(most, job->depth - k);
    const idx column = task / pieces * job->columns;
    const idx columns = FN(min)(job->columns, job->all - column);
    REAL *panels = job->panels + column * job->depth + k * MR;
    if (FN(is_matrix)(from) && (job->images == 1 || from->w % MR == 0)) {
        for (idx i = 0; i < columns; i += MR) {
            const idx at = column + i;
            FN(pack_panel)(FN(min)(MR, columns - i), depth,
                           from->src + at / from->w * from->image + k * from->w + at % from->w, 1,
                           from->w, panels + i * job->depth);
        }
        return;
    }
    const idx stride = FN(block_stride)(columns);
    REAL *block = pydl_block_alloc(
        (size_t)(depth * stride + VLEN + FN(patch_scratch)(from, columns)) * sizeof(REAL));
    if (!block) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    FN(pack_columns)(from, k, depth, column, columns, columns, block, stride,
                     block + depth * stride + VLEN);
    for (idx i = 0; i < columns; i += MR)
        FN(pack_panel)(FN(min)(MR, columns - i), depth, block + i, 1, stride,
                       panels + i * job->depth);
    pydl_block_free(block);
}

/* How many of the columns are in one image, and where row 0 of the first one is in y. */
INLINE idx FN(turned_run)(const turned_job *job, idx column, idx columns, idx *place)
{
    const idx pixels = job->from.grid_h * job->from.grid_w, pixel = column % pixels;
    *place = column / pixels * job->rows * pixels + pixel;
    return FN(min)(columns, pixels - pixel);
}

/* Asks for what turned_store will read and overwrite, which is too far apart to be foreseen. */
static void FN(turned_expect)(const turned_job *job, idx row, idx rows, idx column, idx columns)
{
    const idx line = 64 / (idx)sizeof(REAL), plane = job->from.grid_h * job->from.grid_w;
    for (idx done = 0, count, place; done < columns; done += count) {
        count = FN(turned_run)(job, column + done, columns - done, &place);
        for (idx r = row; r < row + rows; r++)
            for (idx q = place + r * plane; q < place + r * plane + count; q += line) {
                if (job->last.residual)
                    __builtin_prefetch(job->last.residual + q, 0, 2);
                __builtin_prefetch(job->dst + q, 1, 2);
            }
    }
}

/* Finishes y's rows row .. row + rows at the columns, sums at sums[column*stride + row], and stores
 * them. As many more columns as a vector has lanes are read. */
static void FN(turned_store)(const turned_job *job, const REAL *sums, idx stride, idx row, idx rows,
                             idx column, idx columns)
{
    const idx plane = job->from.grid_h * job->from.grid_w;
    for (idx done = 0, count, place; done < columns; done += count) {
        count = FN(turned_run)(job, column + done, columns - done, &place);
        for (idx r = 0; r < rows; r += VLEN)
            for (idx q = 0; q < count; q += VLEN) {
                vec lines[VECTOR_BYTES / sizeof(REAL)];
#pragma GCC unroll 16
                for (idx i = 0; i < VLEN; i++)
                    lines[i] = FN(load)(sums + (done + q + i) * stride + r);
                FN(transpose_vectors)(lines);
                for (idx i = 0; i < FN(min)(rows - r, VLEN); i++) {
                    const idx at = place + (row + r + i) * plane + q;
                    FN(store_part)(job->dst + at, count - q,
                                   FN(finished)(lines[i], job->last, at, count - q));
                }
            }
    }
}

/* Asks for a share, begin to end of NR, of what turned_given will read for the rows from row on:
 * rows or, of filters that are turned, channels, whose pieces are too short to be foreseen. */
INLINE void FN(turned_ask)(const turned_job *job, idx row, idx begin, idx end, idx k, idx depth)
{
    const idx line = 64 / (idx)sizeof(REAL), taps = job->from.taps;
    const REAL *w = job->weight + row * job->row_step;
    idx step = job->row_step, size = depth;
    if (job->tap_offset) {
        const idx channels = (depth + taps - 1) / taps;
        if (channels * job->channel_step * (idx)sizeof(REAL) > FN(L2_BYTES))
            return; /* lines so far apart share too few of its sets */
        w += k / taps * job->channel_step;
        size = NR * step;
        step = job->channel_step;
        begin = begin * channels / NR;
        end = end * channels / NR;
    } else {
        w += k;
    }
    for (idx r = begin; r < end; r++)
        for (idx p = 0; p < size; p += line)
            __builtin_prefetch(w + r * step + p, 0, 2);
}

/* A panel of given weights: rows from row on, some depth from k on. */
static void FN(turned_given)(const turned_job *job, idx row, idx rows, idx k, idx depth, REAL *dst)
{
    const idx taps = job->from.taps, step = job->row_step;
    const REAL *w = job->weight + row * step;
    if (!job->tap_offset) {
        FN(pack_block)(depth, rows, w + k, 1, step, dst, NR);
        return;
    }
    if (taps == 1 && step == 1) {
        FN(pack_block)(depth, rows, w + k * job->channel_step, job->channel_step, 1, dst, NR);
        return;
    }
    for (const idx end = k + depth; k < end;) {
        const REAL *from = w + k / taps * job->channel_step;
        const idx tap = k % taps, stop = FN(min)(tap + end - k, taps);
        for (idx first = 0; first < NR; first += VLEN) {
            vec lines[VECTOR_BYTES / sizeof(REAL)];
#pragma GCC unroll 16
            for (idx i = 0; i < VLEN; i++)
                lines[i] = first + i < rows
                               ? FN(load_part)(from + (first + i) * step, FN(min)(step, VLEN), 0)
                               : (vec){0};
            FN(transpose_vectors)(lines);
            for (idx t = tap; t < stop; t++)
                FN(store)(dst + (t - tap) * NR + first, lines[job->tap_offset[t]]);
        }
        dst += (stop - tap) * NR;
        k += stop - tap;
    }
}

/* The depth for which all weights of a task are read, before that of the next ones. Packed weights
 * are one piece of memory in that order. Given ones are read on and on along their rows, as far as
 * the patches stay in L2. */
INLINE idx FN(turned_span)(const turned_job *job, idx most)
{
    const idx fit = FN(TURNED_SPAN) / (idx)sizeof(REAL) / job->columns / most;
    return job->given ? FN(max)(fit, 1) * most : most;
}

static void FN(turned_block)(void *context, idx task)
{
    turned_job *job = context;
    const idx blocks = (job->all + job->columns - 1) / job->columns;
    const idx column = task % blocks * job->columns, row = task / blocks * job->task_rows;
    const idx columns = FN(min)(job->columns, job->all - column);
    const idx rows = FN(min)(job->task_rows, job->rows - row), depth = job->depth;
    const idx stride = FN(block_stride)(rows), most = FN(even_piece)(depth, FN(KC), 1);
    const idx span = FN(turned_span)(job, most);
    const idx tiles = FN(max)(columns / MR, 1), share = job->given ? 0 : (NR + tiles - 1) / tiles;
    const idx sums_size = (columns + VLEN) * stride;
    REAL *sums = pydl_block_alloc((size_t)(sums_size + (job->given ? most * NR : 0)) *
                                  sizeof(REAL));
    if (!sums) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    REAL *const turned = sums + sums_size;
    const REAL *a = job->panels + column * depth;
    const REAL *b = job->given ? NULL : job->weight + row * depth;
    sink to = {.c = sums, .row = stride, .bias_of_column = job->bias ? job->bias + row : NULL};
    for (idx from = 0; from < depth; from += span)
        for (idx j = 0; j < rows; j += NR) {
            const idx width = FN(min)(NR, rows - j), until = FN(min)(from + span, depth);
            for (idx k = from; k < until; k += most) {
                const idx count = FN(min)(most, depth - k);
                const int last = k + count == depth;
                const REAL *panel = turned, *next = turned;
                if (job->given) {
                    FN(turned_given)(job, row + j, width, k, count, turned);
                } else {
                    panel = b + j * depth + k * NR;
                    next = j + NR < rows ? panel + NR * depth : b + (k + count) * NR;
                }
                to.accumulate = k > 0;
                const int on = k + count < until;
                const idx next_row = on ? j : j + NR, next_k = on ? k + count : from;
                for (idx i = 0, r = 0; i < columns; i += MR, next += count * share) {
                    const idx done = FN(min)(width, (i / MR + 1) * ((width + tiles - 1) / tiles));
                    if (last)
                        FN(turned_expect)(job, row + j + r, done - r, column, columns);
                    if (job->given && VECTOR_BYTES == 32 && next_row + done <= rows)
                        FN(turned_ask)(job, row + next_row, r, done, next_k,
                                       FN(min)(most, depth - next_k));
                    r = done;
                    FN(multiply_packed_tile)(FN(min)(MR, columns - i), count,
                                             a + i * depth + k * MR, next, share, panel, &to, i, j,
                                             width);
                }
            }
            if (until == depth)
                FN(turned_store)(job, sums + j, stride, row + j, width, column, columns);
        }
    pydl_block_free(sums);
}

/* All of it; from, images, rows, depth, the weights, bias, last and dst are set. */
static int FN(turned_product)(turned_job job)
{
    job.all = job.images * job.from.grid_h * job.from.grid_w;
    FN(merge_rows)(&job.from);
    job.columns = FN(even_piece)(job.all, FN(TURNED_COLUMNS), MR);
    const idx blocks = (job.all + job.columns - 1) / job.columns, wanted = (3 + blocks) / blocks;
    const idx fit = FN(TURNED_SUMS) / job.columns;
    job.task_rows = FN(even_piece)(job.rows,
                                   FN(max)(FN(min)(fit, (job.rows + wanted - 1) / wanted), NR), NR);
    job.panels = pydl_block_alloc((size_t)(FN(round_up)(job.all, MR) * job.depth) * sizeof(REAL));
    if (!job.panels)
        return PYDL_NO_MEMORY;
    const double work = (double)job.all * (double)job.depth;
    pydl_parallel_for(blocks * ((job.depth + FN(KC) - 1) / FN(KC)), work, FN(turned_patches), &job);
    pydl_parallel_for(blocks * ((job.rows + job.task_rows - 1) / job.task_rows),
                      2.0 * work * (double)job.rows, FN(turned_block), &job);
    pydl_block_free(job.panels);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}

/* Vectors of a tile's rows: what is left over takes no less than 4, the latency of a sum. */
INLINE double FN(rows_of_tiles)(idx rows)
{
    const idx rest = rows % MR;
    return (double)(rows - rest + (rest ? FN(max)(rest, 4) : 0));
}

/* Vectors of a tile's columns; one alone is slower than half a tile. */
INLINE double FN(vectors_of_tiles)(idx columns)
{
    const idx rest = columns % NR;
    return (double)(columns / NR * NR_VECTORS) + (!rest         ? 0
                                                  : rest > VLEN ? NR_VECTORS
                                                                : 0.65 * NR_VECTORS);
}

/* Whether to compute so many rows and pixels so, with weights packed for this, or given and used
 * there as rows (PYDL_AS_GIVEN) or packed there (PYDL_PANELS). Estimated cycles of a core, fitted
 * to measurements: tiles at 90 % of the peak; here also a second copy of patches, the sums' way
 * back, and turning the weights round; there the weights' way from memory, for which tiles wait in
 * part, the more so where their rows are not packed. */
static int FN(turned_pays)(const patches *from, idx images, idx row_count, idx depth,
                           pydl_weight_form form)
{
    const idx plane = from->grid_h * from->grid_w, all = images * plane;
    const int packed = form == PYDL_TURNED;
    const idx most = (packed ? 1 : 2) * FN(TURNED_PATCHES);
    if ((double)all * (double)depth * sizeof(REAL) > (double)most)
        return 0;
    const idx whole = images * FN(round_up)(plane, VLEN);
    const int copied = from->taps * from->step_h * from->step_w > 1 || (images > 1 && plane % MR);
    const double rows = (double)row_count, deep = (double)depth;
    const double here = 0.55 * deep * FN(rows_of_tiles)(all) * FN(vectors_of_tiles)(row_count) +
                        (copied ? 1.0 : 0.35) * (double)all * deep + 0.75 * (double)whole * rows +
                        (packed ? 0 : 0.3) * rows * deep;
    const double tile = packed ? 0.55 : form == PYDL_AS_GIVEN ? 0.63 : 0.57;
    const double there = tile * deep * FN(rows_of_tiles)(row_count) *
                             FN(vectors_of_tiles)(all) +
                         (packed ? 0.5 : 0.35) * rows * deep;
    return here < there;
}
