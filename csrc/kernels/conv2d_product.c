/* Convolution as implicit GEMM, by groups of channels: rows (m) of a packed matrix times the patch
 * matrix, scattered into pixels. y is computed so (conv2d.c), and dx (conv2d_input.c). */
enum {
    FN(PACKED_WEIGHT_BYTES) = 5 << 20, /* at most this much of the weights is packed at a time */
    FN(PLAIN_ROWS) = 7 * MR,           /* at most that do not repay packing pixels from L2 */
    FN(PACK_COLUMNS) = 256,            /* weights used for fewer columns are read where they are */
    FN(WIDEST) = 1024 / sizeof(REAL),  /* columns of a block: with KC rows it stays in L2 */
    FN(WHOLE_PATCHES) = 5 * FN(L2_BYTES) / 16, /* bytes at most of a block's patches of all depth */
    FN(TASK_ROWS) = 8 * MR,            /* of a task at least, where each packs its own patches */
    FN(SHARED_PATCHES) = 5 << 18,      /* bytes at most that are packed once for all tasks */
    FN(SHARED_WORK) = 4 << 20,         /* multiply-adds that are worth a second task */
    FN(FILTERS_AHEAD) = 4,             /* are asked for: they are too far apart to be foreseen */
    FN(FILTER_TAPS) = 32,              /* of which a panel is transposed at once */
};

typedef struct {
    patches from;       /* group 0 */
    idx group_channels; /* of the patch matrix; its depth is group_channels * taps */
    const REAL *weight; /* element (row, channel, tap) at weight[row*row_step + channel*channel_step
                           + tap_offset[tap]]; tap_offset NULL: plain rows */
    idx row_step, channel_step, group_step;
    const idx *tap_offset;
    idx images, groups, group_rows;
    const REAL *bias;
    ending last;
    REAL *dst; /* pixel (i, j) of channel m at dst[m*plane + (i*step_h + first_h)*w + j*step_w +
                  first_w] */
    idx dst_image, dst_h, dst_w, step_h, step_w, first_h, first_w;
    int clear; /* the steps between the pixels become 0 */
    const REAL *panels; /* the weights packed already, the groups behind one another; NULL: not yet */
    /* the current pass */
    idx group, row, rows, depth;
    REAL *packed;
    int once; /* one task needs each weight, and packs it for itself */
    idx columns, column_blocks, task_rows;
    REAL *shared; /* the patches of all columns, for all tasks; NULL: each packs its own */
    int flat;  /* a block's columns run over all images */
    int plain; /* its rows are pixels of the source, read where they are */
    idx lines; /* not 0: a block is so many padded grid rows, read where they are rather than as
                  patches */
    int apart; /* each of them is multiplied by itself */
    int failed;
} FN(conv_job);
#define conv_job FN(conv_job)

/* A panel of the weights: rows first .. of the pass, at most MR, the depth from k on. */
static void FN(conv_panel)(const conv_job *job, idx first, idx k, idx depth, REAL *dst)
{
    const idx rows = FN(min)(MR, job->rows - first), taps = job->from.taps;
    const REAL *w =
        job->weight + job->group * job->group_step + (job->row + first) * job->row_step;
    if (!job->tap_offset) {
        FN(pack_panel)(rows, depth, w + k, job->row_step, 1, dst);
        return;
    }
    if (taps == 1 && job->row_step == 1) {
        FN(pack_panel)(rows, depth, w + k * job->channel_step, 1, job->channel_step, dst);
        return;
    }
    /* Rows step over all taps of a filter; where most of them are wanted, all are transposed. */
    REAL filter[FN(FILTER_TAPS) * MR];
    const int most = job->row_step <= FN(FILTER_TAPS) && 2 * taps > job->row_step;
    for (const idx end = k + depth; k < end;) {
        const REAL *from = w + k / taps * job->channel_step;
        for (idx q = 0; q < rows * job->row_step && !most; q += 64 / (idx)sizeof(REAL))
            __builtin_prefetch(from + FN(FILTERS_AHEAD) * job->channel_step + q);
        if (most)
            FN(pack_panel)(rows, job->row_step, from, job->row_step, 1, filter);
        const idx tap = k % taps, stop = FN(min)(tap + end - k, taps);
        k += stop - tap;
        for (idx t = tap; t < stop; t++, dst += MR) {
            const REAL *src = from + job->tap_offset[t];
            if (most) {
                memcpy(dst, filter + job->tap_offset[t] * MR, MR * sizeof(REAL));
                continue;
            }
            for (idx i = 0; i < rows; i++)
                dst[i] = src[i * job->row_step];
            for (idx i = rows; i < MR; i++)
                dst[i] = 0;
        }
    }
}

static void FN(conv_pack_weight)(void *context, idx panel)
{
    const conv_job *job = context;
    FN(conv_panel)(job, panel * MR, 0, job->depth, job->packed + panel * MR * job->depth);
}

/* Finishes the rows of a block (row stride stride), whose columns begin at column, and stores them
 * to their pixels. A step is the backward pass's, which has nothing to finish: there no other task
 * writes what lies between the pixels, while this runs. */
static void FN(conv_scatter)(const conv_job *job, const REAL *block, idx stride, idx rows, idx row,
                             idx column, idx columns)
{
    const idx grid_h = job->from.grid_h, grid_w = job->from.grid_w;
    const idx pixel = column % (grid_h * grid_w), plane = job->dst_h * job->dst_w;
    const ending last = job->last;
    for (idx r = 0; r < rows; r++, block += stride) {
        idx image = column / (grid_h * grid_w), i = pixel / grid_w, j = pixel % grid_w;
        for (idx done = 0, count; done < columns; done += count) {
            count = FN(min)(columns - done, grid_w - j);
            const idx place = image * job->dst_image + (row + r) * plane +
                              (i * job->step_h + job->first_h) * job->dst_w + j * job->step_w +
                              job->first_w;
            const idx width = FN(min)(count * job->step_w, job->dst_w - j * job->step_w);
            const idx height =
                job->clear ? FN(min)(job->step_h, job->dst_h - i * job->step_h) : 1;
            REAL *dst = job->dst + place;
            if (job->step_w > 1) /* the next row's, which are too far away to be foreseen */
                for (idx q = 0; q < count * job->step_w; q += 64 / (idx)sizeof(REAL))
                    __builtin_prefetch(dst + plane + q, 1);
            if (job->step_w == 1)
                FN(finish_run)(dst, block + done, count, last, place);
            else
                FN(spread_run)(dst, block + done, count, job->step_w, job->clear, width);
            for (idx below = 1; below < height; below++)
                FN(zero_run)(dst + below * job->dst_w, width);
            j = 0;
            if (++i == grid_h) {
                i = 0;
                image++;
            }
        }
    }
}

/* Whether the grid's rows are those of the result, so that tiles are stored to their pixels. */
INLINE int FN(stores_whole_rows)(const conv_job *job)
{
    return job->step_h == 1 && job->step_w == 1 && job->from.grid_w == job->dst_w &&
           job->from.grid_h == job->dst_h;
}

/* Channels whose padded rows conv_lines reads at a time: all where that is not much deeper than a
 * block, as sums that lie across gaps are slow to be added to. That takes in 64 of 3x3. */
INLINE idx FN(lines_channels)(const conv_job *job)
{
    const idx taps = job->from.taps, most = FN(KC) / taps;
    return 4 * job->group_channels * taps <= 9 * FN(KC)
               ? job->group_channels
               : FN(even_piece)(job->group_channels, FN(max)(most, 1), 1);
}

/* A block of whole grid rows without packed patches: with the padded rows of a channel behind one
 * another, the pixels of the block read a tap at one shift, so that row (channel, tap) of the patch
 * matrix is a place in the padded rows. The columns between one grid row's end and the next one's
 * beginning are computed in vain, unless the rows are multiplied apart. */
static void FN(conv_lines)(void *context, idx task)
{
    conv_job *job = context;
    const patches *all = &job->from;
    const reach around = FN(reach_of)(all);
    const idx taps = all->taps, blocks = job->column_blocks / job->images;
    const idx row = task / job->column_blocks * job->task_rows,
              rows = FN(min)(job->task_rows, job->rows - row);
    const idx image = task % job->column_blocks / blocks, line = task % blocks * job->lines;
    const idx lines = FN(min)(job->lines, all->grid_h - line),
              together = job->apart ? 1 : lines;
    const idx columns = (together - 1) * around.length + all->grid_w;
    const idx stride = FN(block_stride)(columns),
              channel_row = job->group * job->group_rows + job->row + row;
    const idx plane = FN(padded_plane)(&around, lines);
    const idx channels = FN(lines_channels)(job);
    const int direct = FN(stores_whole_rows)(job);
    const idx out_size = direct ? 0 : rows * stride;
    REAL *out = pydl_block_alloc((size_t)(out_size + channels * plane + 2 * NR) * sizeof(REAL) +
                                 (size_t)(channels * taps) * sizeof(idx) + 64);
    if (!out) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    REAL *source = out + out_size;
    idx *place =
        (idx *)(source + FN(round_up)(channels * plane + 2 * NR, 64 / (idx)sizeof(REAL)));
    for (idx tap = 0; tap < taps; tap++) {
        const idx first = FN(padded_tap)(all, &around, lines, tap);
        for (idx c = 0; c < channels; c++)
            place[c * taps + tap] = c * plane + first;
    }
    sink to = {.c = out, .row = stride, .bias_of_row = job->bias ? job->bias + channel_row : NULL};
    const idx first_pixel = image * job->dst_image + channel_row * job->dst_h * job->dst_w +
                            line * job->dst_w;
    if (direct) {
        to.row = job->dst_h * job->dst_w;
        to.pixels = around.length;
        to.gap = around.length - all->grid_w;
        to.image = all->grid_w;
    }
    const REAL *src =
        all->src + image * all->image + job->group * job->group_channels * all->h * all->w;
    for (idx first = 0; first < job->group_channels; first += channels) {
        const idx count = FN(min)(channels, job->group_channels - first);
        for (idx c = 0; c < count; c++)
            FN(pad_plane)(all, &around, src + (first + c) * all->h * all->w, line, lines,
                          source + c * plane);
        for (idx i = 0; i < lines; i += together) {
            const idx pixel = first_pixel + i * job->dst_w;
            if (direct)
                to.c = job->dst + pixel;
            if (direct && first + count == job->group_channels) {
                to.last = FN(ending_at)(job->last, pixel);
                to.last.far &= !first; /* else the sums so far have fetched its lines */
            }
            FN(multiply_panels)(rows, columns, count * taps,
                                job->packed + row * job->depth + first * taps * MR, job->depth,
                                source + i * around.length, 0, place, &to);
        }
        to.accumulate = 1;
    }
    for (idx i = 0; i < (direct ? 0 : lines); i++)
        FN(conv_scatter)(job, out + i * around.length, stride, rows, channel_row,
                         (image * all->grid_h + line + i) * all->grid_w, all->grid_w);
    if (job->last.far)
        FN(finish_far_stores)();
    pydl_block_free(out);
}

/* The first column of a block, and in *columns how many it has. */
static idx FN(conv_columns)(const conv_job *job, idx block, idx *columns)
{
    const idx pixels = job->from.grid_h * job->from.grid_w;
    idx base = 0, end = job->images * pixels;
    if (!job->flat) {
        const idx per_image = job->column_blocks / job->images;
        base = block / per_image * pixels;
        end = base + pixels;
        block %= per_image;
    }
    *columns = FN(min)(job->columns, end - (base + block * job->columns));
    return base + block * job->columns;
}

/* Whether tiles of packed patches are stored to their pixels, unless too many of them cross from an
 * image to the next. */
INLINE int FN(is_direct)(const conv_job *job)
{
    const idx pixels = job->from.grid_h * job->from.grid_w;
    return job->step_h == 1 && job->step_w == 1 && pixels == job->dst_h * job->dst_w &&
           (!job->flat || pixels >= 2 * NR);
}

/* The patches of a group, from the first channel on. */
INLINE patches FN(group_patches)(const conv_job *job)
{
    patches from = job->from;
    from.src += job->group * job->group_channels * from.h * from.w;
    return from;
}

/* Some depth of a block of the shared patches. */
static void FN(conv_pack_patches)(void *context, idx task)
{
    conv_job *job = context;
    const idx depth = FN(even_piece)(job->depth, FN(KC), 1),
              pieces = (job->depth + depth - 1) / depth, k = task % pieces * depth;
    idx columns;
    const idx column = FN(conv_columns)(job, task / pieces, &columns);
    const idx stride = FN(block_stride)(job->columns);
    const patches from = FN(group_patches)(job);
    REAL *scratch =
        pydl_block_alloc((size_t)FN(patch_scratch)(&job->from, columns) * sizeof(REAL));
    if (!scratch) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    FN(pack_columns)(&from, k, FN(min)(depth, job->depth - k), column, columns,
                     FN(round_up)(columns, NR),
                     job->shared + (task / pieces * job->depth + k) * stride, stride, scratch);
    pydl_block_free(scratch);
}

static void FN(conv_block)(void *context, idx task)
{
    conv_job *job = context;
    const idx pixels = job->from.grid_h * job->from.grid_w;
    const idx row = task / job->column_blocks * job->task_rows,
              rows = FN(min)(job->task_rows, job->rows - row);
    const idx block_of = task % job->column_blocks;
    idx columns;
    const idx column = FN(conv_columns)(job, block_of, &columns);
    const idx padded = FN(round_up)(columns, NR),
              stride = FN(block_stride)(job->shared ? job->columns : columns);
    const idx depth = FN(even_piece)(job->depth, FN(KC), 1);
    const idx channel_row = job->group * job->group_rows + job->row + row;
    const int direct = FN(is_direct)(job);
    /* Where the patches of the whole depth stay in L2, so do the sums: of some rows at a time. */
    const int whole = !direct && (job->shared || job->depth * stride <=
                                                     FN(WHOLE_PATCHES) / (idx)sizeof(REAL));
    const idx height = whole ? FN(min)(FN(MC), rows) : rows;
    const idx out_size = direct ? 0 : height * stride;
    const int packs = !job->shared && !job->plain;
    const idx block_size = packs ? (whole ? job->depth : depth) * stride + VLEN : 0,
              scratch_size = packs ? FN(patch_scratch)(&job->from, columns) : 0;
    const idx panels_size = job->once ? FN(round_up)(height, MR) * depth : 0;
    REAL *out = pydl_block_alloc((size_t)(out_size + block_size + scratch_size + panels_size) *
                                 sizeof(REAL));
    if (!out) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    const idx block_row = job->plain ? pixels : stride;
    const patches from = FN(group_patches)(job);
    REAL *own = out + out_size, *scratch = own + block_size, *panels = scratch + scratch_size;
    for (idx i = 0; i < rows; i += height) {
        const idx here = FN(min)(height, rows - i), at = channel_row + i, place = at * pixels;
        sink to = {.c = out, .row = stride, .bias_of_row = job->bias ? job->bias + at : NULL};
        if (direct) {
            to.c = job->dst + place;
            to.row = to.pixels = pixels;
            to.image = job->dst_image;
            to.first = column;
        }
        idx k = 0;
        do { /* once where no tap reaches these pixels, too: their result is 0 */
            const idx count = FN(min)(depth, job->depth - k);
            REAL *const made = own + (whole ? k * stride : 0);
            const REAL *block = job->shared  ? job->shared + (block_of * job->depth + k) * stride
                                : job->plain ? from.src + k * pixels + column
                                             : made;
            if (direct && k + depth >= job->depth) {
                to.last = FN(ending_at)(job->last, place);
                to.last.far &= !k; /* as in conv_lines */
            }
            if (packs && !i)
                FN(pack_columns)(&from, k, count, column, columns, padded, made, stride, scratch);
            if (job->once) {
                for (idx r = 0; r < here; r += MR)
                    FN(conv_panel)(job, row + i + r, k, count, panels + r * count);
                FN(multiply_panels)(here, columns, count, panels, count, block, block_row, NULL,
                                    &to);
            } else if (job->packed) {
                FN(multiply_panels)(here, columns, count,
                                    job->packed + (row + i) * job->depth + k * MR, job->depth,
                                    block, block_row, NULL, &to);
            } else {
                const REAL *w = job->weight + at * job->depth + k;
                FN(multiply_rows)(here, columns, count, w, job->depth, block, block_row, &to);
            }
            to.accumulate = 1;
            k += depth;
        } while (k < job->depth);
        if (!direct)
            FN(conv_scatter)(job, out, stride, here, at, column, columns);
    }
    if (job->last.far)
        FN(finish_far_stores)();
    pydl_block_free(out);
}

/* Cycles per tap and pixel that padding grid rows takes, so many at a time. */
INLINE double FN(padding_cost)(const patches *from, const reach *around, idx lines)
{
    return 2.0 * (double)FN(padded_plane)(around, lines) /
           (double)(lines * from->grid_w * from->taps);
}

/* Grid rows of a block of conv_lines that are multiplied apart; 0 where they are not whole vectors.
 */
static idx FN(lines_apart)(const conv_job *job, const reach *around)
{
    const idx most = 6, width = job->from.grid_w, height = job->from.grid_h;
    if (width % VLEN || width < 4 * VLEN || !FN(stores_whole_rows)(job))
        return 0;
    const idx room = FN(WIDEST) * FN(KC) / (FN(lines_channels)(job) * around->length);
    const idx shared = job->images * height / 8; /* of eight tasks */
    return FN(max)(FN(min)(FN(min)(most, room - around->more_rows), shared), 1);
}

/* How many grid rows a block of conv_lines has; 0 where packing patches is estimated to be cheaper.
 * Cycles per tap and pixel, fitted to measurements: the tiles' columns computed in vain, rows of x
 * that each block pads anew, and the sums' way to their pixels where tiles run across such columns;
 * there the packing, in shorter runs where blocks cross images. */
static idx FN(lines_of_block)(conv_job *job)
{
    const patches *from = &job->from;
    if (from->taps < 2 || from->taps > FN(KC))
        return 0;
    const reach around = FN(reach_of)(from);
    const idx length = around.length, rows = FN(round_up)(job->group_rows, MR);
    const double work = (double)(from->grid_h * from->grid_w) * (double)job->group_rows *
                        (double)job->depth;
    const int halve = job->images == 1 && rows <= FN(TASK_ROWS) && work > FN(SHARED_WORK);
    const idx most = halve ? (from->grid_h + 1) / 2 : from->grid_h;
    idx best = 0;
    double least = 0;
    for (idx lines = 1; lines <= most; lines++) {
        const idx columns = FN(round_up)((lines - 1) * length + from->grid_w, NR);
        if (lines > 1 && columns > FN(WIDEST) + 4 * NR)
            break;
        const idx blocks = (from->grid_h + lines - 1) / lines;
        const double pixels = (double)(blocks * columns) / (double)(from->grid_h * from->grid_w);
        if (!best || pixels <= least) {
            best = lines;
            least = pixels;
        }
    }
    const double tile = (double)rows / (double)(2 * VLEN),
                 pack = 0.5 + 1.6 / (double)VLEN + (job->flat ? 4.0 : 2.0) / (double)from->grid_w;
    const double scatter =
        FN(is_direct)(job) ? 8.0 * (double)job->group_rows / (double)(job->depth * VLEN) : 0;
    const double together =
        tile * (least - 1) + FN(padding_cost)(from, &around, best) + scatter;
    const idx apart = FN(lines_apart)(job, &around);
    if (apart) { /* a vector alone takes longer than half of two */
        const double odd = from->grid_w % NR ? 0.2 * VLEN / (double)from->grid_w : 0;
        const double cost = tile * odd + FN(padding_cost)(from, &around, apart);
        job->apart = cost < together && cost < pack;
        if (job->apart)
            return apart;
    }
    return together < pack ? best : 0;
}

/* Blocks of columns that fill L2, fewer columns if there would be too few tasks to share. All
 * columns are one block, and tasks share the rows, where there are so few that reading the weights
 * is the cost. */
static void FN(conv_grid)(conv_job *job)
{
    const idx pixels = job->from.grid_h * job->from.grid_w, most = 8;
    const int matrix = FN(is_matrix)(&job->from);
    job->flat = job->images > 1 && pixels % NR && pixels < 64 * NR;
    const idx span = job->flat ? job->images * pixels : pixels, spans = job->flat ? 1 : job->images;
    /* A block twice as wide is read in longer runs, and stays in a large L2. */
    const int twice = matrix && 4 * FN(WIDEST) * FN(KC) * (idx)sizeof(REAL) <= FN(L2_BYTES);
    idx columns = FN(even_piece)(span, twice ? 2 * FN(WIDEST) : FN(WIDEST), NR);
    if (job->images * pixels > FN(PACK_COLUMNS)) {
        const idx per_span = (most + spans - 1) / spans,
                  evened = FN(round_up)((span + per_span - 1) / per_span, NR);
        columns = FN(min)(columns, FN(max)(evened, 3 * NR));
    }
    job->columns = columns;
    job->column_blocks = spans * ((span + columns - 1) / columns);
    job->lines = FN(lines_of_block)(job);
    if (job->lines)
        job->column_blocks = job->images * ((job->from.grid_h + job->lines - 1) / job->lines);
    job->plain = matrix && job->images == 1 && FN(is_direct)(job) &&
                 job->group_rows <= FN(PLAIN_ROWS) && FN(fills_tiles)(pixels) &&
                 FN(rows_spread)(pixels) &&
                 job->depth * pixels * (idx)sizeof(REAL) <= FN(L2_BYTES);
}

/* Rows of a task: all, or fewer where there are too few blocks of columns to share. */
static void FN(conv_task_rows)(conv_job *job)
{
    const idx tasks = 4, wanted = (tasks + job->column_blocks - 1) / job->column_blocks;
    job->task_rows = FN(even_piece)(
        job->rows, FN(max)((job->rows + wanted - 1) / wanted, FN(TASK_ROWS)), MR);
}

/* Memory for the patches of all columns where several tasks need each; NULL elsewhere. */
static REAL *FN(shared_patches)(const conv_job *job)
{
    const idx size = job->column_blocks * job->depth * FN(block_stride)(job->columns) + VLEN;
    if (job->lines || job->plain || job->task_rows >= job->rows ||
        size > FN(SHARED_PATCHES) / (idx)sizeof(REAL))
        return NULL;
    return pydl_block_alloc((size_t)size * sizeof(REAL));
}

static int FN(conv_product)(conv_job *job)
{
    if (job->step_h == 1 && job->step_w == 1 && job->from.grid_w == job->dst_w &&
        job->from.grid_h == job->dst_h)
        FN(merge_rows)(&job->from);
    job->depth = job->group_channels * job->from.taps;
    job->last.far = VECTOR_BYTES == 64 && job->dst_h * job->dst_w % FN(LINE) == 0 &&
                    FN(leaves_caches)(job->images * job->dst_image);
    FN(conv_grid)(job);
    const idx all_columns = job->images * job->from.grid_h * job->from.grid_w;
    const double columns = (double)all_columns;
    /* Weights that lie in rows already and are used for few columns are not worth packing. */
    job->once = !job->panels && job->tap_offset && !job->lines && job->column_blocks == 1;
    const int pack = !job->panels && !job->once &&
                     (job->tap_offset || job->lines || all_columns > FN(PACK_COLUMNS));
    const idx fit =
        (idx)(FN(PACKED_WEIGHT_BYTES) / sizeof(REAL)) / FN(max)(job->depth, 1) / MR * MR;
    const idx rows = FN(even_piece)(job->group_rows, pack ? FN(max)(fit, MR) : job->group_rows, MR);
    REAL *packed = NULL;
    if (pack && !(packed = pydl_block_alloc((size_t)(rows * job->depth) * sizeof(REAL))))
        return PYDL_NO_MEMORY;
    job->packed = packed;
    job->rows = rows;
    FN(conv_task_rows)(job);
    REAL *const shared = job->shared = FN(shared_patches)(job);
    for (job->group = 0; job->group < job->groups; job->group++) {
        if (shared)
            pydl_parallel_for(job->column_blocks * ((job->depth + FN(KC) - 1) / FN(KC)),
                              columns * (double)job->depth, FN(conv_pack_patches), job);
        for (job->row = 0; job->row < job->group_rows; job->row += rows) {
            job->rows = FN(min)(rows, job->group_rows - job->row);
            if (job->panels)
                job->packed = (REAL *)job->panels + job->group * rows * job->depth;
            FN(conv_task_rows)(job);
            if (pack)
                pydl_parallel_for((job->rows + MR - 1) / MR, (double)job->rows * (double)job->depth,
                                  FN(conv_pack_weight), job);
            pydl_parallel_for(job->column_blocks *
                                  ((job->rows + job->task_rows - 1) / job->task_rows),
                              2.0 * columns * (double)job->rows * (double)job->depth,
                              job->lines ? FN(conv_lines) : FN(conv_block), job);
        }
    }
    pydl_block_free(shared);
    pydl_block_free(packed);
    return job->failed ? PYDL_NO_MEMORY : PYDL_OK;
}

/* Whether the product is turned round for weights that are packed once. */
static int FN(turned_pays_packed)(const pydl_conv2d_shape *s)
{
    const patches from = {.step_h = s->stride_h, .step_w = s->stride_w, .grid_h = s->oh,
                          .grid_w = s->ow, .taps = s->kh * s->kw};
    return s->groups == 1 && FN(turned_pays)(&from, s->n, s->oc, s->c * s->kh * s->kw,
                                                PYDL_TURNED);
}

/* The product turned round, of packed or given weights. */
static int FN(conv_turned)(const conv_job *job, int given)
{
    return FN(turned_product)((turned_job){
        .from = job->from,
        .images = job->images,
        .rows = job->group_rows,
        .depth = job->group_channels * job->from.taps,
        .weight = job->weight,
        .given = given,
        .row_step = job->row_step,
        .channel_step = job->channel_step,
        .tap_offset = job->tap_offset,
        .bias = job->bias,
        .last = job->last,
        .dst = job->dst,
    });
}

/* conv_product, or the product turned round where that is estimated to be faster. */
static int FN(conv_either)(conv_job *job)
{
    const idx columns = job->images * job->from.grid_h * job->from.grid_w;
    const int turned = job->groups == 1 && !job->panels && FN(stores_whole_rows)(job) &&
                       columns <= FN(PACK_COLUMNS) &&
                       (!job->tap_offset || job->row_step <= VLEN) &&
                       FN(turned_pays)(&job->from, job->images, job->group_rows,
                                       job->group_channels * job->from.taps,
                                       job->tap_offset ? PYDL_PANELS : PYDL_AS_GIVEN);
    return turned ? FN(conv_turned)(job, 1) : FN(conv_product)(job);
}
