/* c (m,n) = a (m,k) b (k,n), for each of a batch; a and b are read through their strides. */
typedef struct {
    const REAL *data;
    idx row, column;
} FN(matrix);
#define matrix FN(matrix)

enum {
    FN(PACKED_A_BYTES) = 16 << 20, /* at most this much of a is packed at a time */
    FN(BLOCK_ROWS) = 4 * FN(MC),  /* a block of c, a block of b and some panels of a share L2 */
    FN(PLAIN_COLUMNS) = 4 *
        NR,        /* rows of a are read where they are if they are used for so few columns */
    FN(TASKS) = 8, /* to share, where each is worth it */
    FN(SHALLOW) = 32, /* depth at most of a product that packs nothing */
    FN(SHALLOW_AHEAD) = 512 / sizeof(REAL), /* of c, whose rows are too many to be foreseen */
    FN(FAR_DEPTH) = 64, /* ... of one that waits for c ... */
    FN(FAR_OF_DEPTH) = 1 << 17, /* ... which has so many elements for each step of it */
    FN(LONG_COLUMNS) = 8192 / sizeof(REAL), /* of long rows: two pages at a time */
    FN(LONG_BYTES) = 1 << 17,               /* of a block of long rows, and of b */
    FN(NEAR_BYTES) = 1 << 19,               /* of a, which L2 keeps beside the blocks of b and c */
    FN(NARROW) = 32 * NR,                   /* columns at most that tasks take in narrow blocks */
};

typedef struct {
    idx m, n, k;
    matrix a, b;       /* of the current rows of a */
    REAL *packed_a;    /* panels of depth k; NULL: a is read where it is */
    idx depth;         /* of a block of b */
    idx columns, rows; /* of a task's block of c */
    idx column_blocks;
    sink to;
    int failed;
} FN(gemm_job);
#define gemm_job FN(gemm_job)

static void FN(gemm_pack_a)(void *context, idx panel)
{
    const gemm_job *job = context;
    const idx i = panel * MR;
    FN(pack_panel)(FN(min)(MR, job->m - i), job->k, job->a.data + i * job->a.row, job->a.row,
                   job->a.column, job->packed_a + i * job->k);
}

/* A block of c. Where k takes several blocks it is summed up in scratch memory, and only the last
 * of them goes to c: rows of c may share cache sets. Sums that are taken all stay there. */
static void FN(gemm_block)(void *context, idx task)
{
    gemm_job *job = context;
    const idx j = task % job->column_blocks * job->columns,
              i = task / job->column_blocks * job->rows;
    const idx n = FN(min)(job->columns, job->n - j), m = FN(min)(job->rows, job->m - i);
    const idx stride = FN(block_stride)(n);
    const int direct = job->depth >= job->k && !job->to.take;
    REAL *block =
        pydl_block_alloc((size_t)((job->depth + (direct ? 0 : m)) * stride) * sizeof(REAL));
    if (!block) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    REAL *scratch = block + job->depth * stride;
    sink to = job->to;
    const ending last = FN(ending_at)(to.last, i * to.row + j);
    REAL *c = to.c + i * to.row + j;
    if (to.bias_of_row)
        to.bias_of_row += i;
    if (to.bias_of_column)
        to.bias_of_column += j;
    to.sums = c;
    to.sums_row = to.row;
    idx p = 0;
    do { /* once where k is 0, too: c is then the bias */
        const idx depth = FN(min)(job->depth, job->k - p);
        const int ends = p + depth >= job->k;
        const int stays = !ends || to.take;
        to.c = stays ? scratch : c;
        to.row = stays ? stride : job->to.row;
        to.last = ends ? last : (ending){0};
        FN(pack_block)(depth, n, job->b.data + p * job->b.row + j * job->b.column, job->b.row,
                       job->b.column, block, stride);
        if (job->packed_a)
            FN(multiply_panels)(m, n, depth, job->packed_a + i * job->k + p * MR, job->k, block,
                                stride, NULL, &to);
        else
            FN(multiply_rows)(m, n, depth, job->a.data + i * job->a.row + p, job->a.row, block,
                              stride, &to);
        to.accumulate = 1;
        to.sums = scratch;
        to.sums_row = stride;
        p += depth;
    } while (p < job->k);
    for (idx r = 0; r < m && to.take; r++)
        to.take(to.taker, c + r * job->to.row, n, scratch + r * stride);
    FN(finish_far_stores)();
    pydl_block_free(block);
}

/* The block of c that a task computes: columns so that the block of b stays in L2, then rows so
 * that there are tasks enough to share. */
static void FN(gemm_grid)(gemm_job *job)
{
    const idx widest = 1024 / (idx)sizeof(REAL);
    idx columns = FN(even_piece)(job->n, widest, NR);
    const idx evened = FN(round_up)((job->n + FN(TASKS) - 1) / FN(TASKS), NR);
    if (evened < columns)
        columns = FN(max)(evened, FN(min)(columns, (job->n < 16 * NR ? 2 : 4) * NR));
    job->columns = columns;
    job->column_blocks = (job->n + columns - 1) / columns;
    const idx wanted = (FN(TASKS) + job->column_blocks - 1) / job->column_blocks;
    const idx fair = FN(max)((job->m + wanted - 1) / wanted, 8 * MR);
    job->rows = FN(even_piece)(job->m, FN(min)(fair, FN(BLOCK_ROWS)), MR);
}

/* The same where what the sums go into goes to memory, or comes from there, for them alone: blocks
 * of few, long rows, which meet it in the order of its addresses. Such a block stays in L2, and one
 * of b. */
static void FN(gemm_grid_long)(gemm_job *job)
{
    const idx size = FN(LONG_BYTES) / (idx)sizeof(REAL);
    const idx widest = FN(max)(FN(min)(FN(LONG_COLUMNS), size / job->depth), NR);
    job->columns = FN(even_piece)(job->n, widest, NR);
    job->column_blocks = (job->n + job->columns - 1) / job->columns;
    job->rows = FN(even_piece)(job->m, FN(max)(size / job->columns, MR), MR);
}

/* Whether MR rows so far apart fall on different sets of an L1 cache: rows of a power of two do
 * not. */
static int FN(rows_spread)(idx row)
{
    const idx bytes = row * (idx)sizeof(REAL);
    return bytes % 2048 >= 64 && bytes % 2048 <= 2048 - 64;
}

/* Some rows of c where k is so small that packing would cost as much as the product: rows of b are
 * read where they are, and so are the columns of a, which lie as in a panel. */
static void FN(gemm_shallow)(void *context, idx task)
{
    const gemm_job *job = context;
    const idx first = task * job->rows, end = FN(min)(first + job->rows, job->m);
    const idx whole = job->n / VLEN * VLEN, rest = job->n - whole;
    const fetch nothing = {job->a.data, 0, 0};
    const int far = job->k >= 4 && job->m * job->n * (idx)sizeof(REAL) > FN(L2_BYTES);
    const int packs = VECTOR_BYTES == 32 && !FN(rows_spread)(job->a.column);
    REAL panel[FN(SHALLOW) * MR];
    REAL edge[FN(SHALLOW) * NR];
    if (rest)
        FN(pack_block)(job->k, rest, job->b.data + whole, job->b.row, 1, edge, NR);
    for (idx i = first; i < end; i += MR) {
        const idx rows = FN(min)(MR, end - i), step = packs ? MR : job->a.column;
        const REAL *a = job->a.data + i;
        if (packs) {
            FN(pack_panel)(rows, job->k, a, 1, job->a.column, panel);
            a = panel;
        }
        for (idx j = 0, columns; j < job->n; j += columns) {
            const int last = j >= whole;
            columns = last ? rest : whole - j < NR ? VLEN : NR; /* a tile reads one vector, or NR */
            if (VECTOR_BYTES == 32 && far)
                for (idx r = 0; r < rows; r++)
                    __builtin_prefetch(job->to.c + (i + r) * job->to.row + j + FN(SHALLOW_AHEAD),
                                       1, 2);
            FN(multiply_column)(rows, job->k, a, 0, 1, step, nothing,
                                last ? edge : job->b.data + j, last ? NR : job->b.row, NULL,
                                &job->to, i, j, columns);
        }
    }
    FN(finish_far_stores)();
}

/* A product with a thin operand: a (thin, k), element (i, p) at a.data[i * a.row + p * a.column].
 */
static int FN(gemm_thin)(thin_job job, matrix a, int dots)
{
    REAL *packed = NULL;
    job.a = a.data;
    job.a_row = a.row;
    if (a.column != 1 || (job.thin > FN(THIN_PASS) && !FN(rows_spread)(a.row))) {
        job.a_row = FN(block_stride)(job.k);
        job.a = packed = pydl_block_alloc((size_t)(job.thin * job.a_row) * sizeof(REAL));
        if (!packed)
            return PYDL_NO_MEMORY;
        for (idx i = 0; i < job.thin; i++)
            for (idx p = 0; p < job.k; p++)
                packed[i * job.a_row + p] = a.data[i * a.row + p * a.column];
    }
    /* sums are of two tasks at least: their columns may be few, but the rows behind them long */
    const idx share = (job.large + FN(TASKS) - 1) / FN(TASKS);
    job.piece = dots ? FN(round_up)(share, FN(THIN_PASS))
                     : FN(min)(FN(round_up)(share, FN(THIN_COLUMNS)),
                               FN(even_piece)(job.large, (job.large + 1) / 2, VLEN));
    pydl_parallel_for((job.large + job.piece - 1) / job.piece,
                      2.0 * (double)job.large * (double)job.k * (double)job.thin,
                      dots ? FN(thin_dots_task) : FN(thin_sums_task), &job);
    pydl_block_free(packed);
    return PYDL_OK;
}

/* The depth that is computed at a time. Narrow blocks of b do not repay fetching a from beyond L2
 * for each of them: where a is large because it is deep, so much of it as stays in L2. */
static idx FN(gemm_depth)(idx m, idx n, idx k)
{
    const idx near = (idx)(FN(NEAR_BYTES) / sizeof(REAL)) / FN(max)(m, 1);
    const int refetched = n > 2 * NR && n <= FN(NARROW) && k > 2 * near;
    return refetched && near >= FN(KC) ? FN(even_piece)(k, near, VLEN) : k;
}

static int FN(gemm_packed)(idx m, idx n, idx k, matrix a, matrix b, sink to)
{
    gemm_job job = {
        .m = m, .n = n, .k = k, .a = a, .b = b, .to = to};
    if (k <= FN(SHALLOW) && a.row == 1 && b.column == 1 && !to.take) {
        job.rows = FN(even_piece)(m, FN(max)(m / FN(TASKS), 4 * MR), MR);
        pydl_parallel_for((m + job.rows - 1) / job.rows, FN(product_work)(m, n, k),
                          FN(gemm_shallow), &job);
        return PYDL_OK;
    }
    const idx fit = (idx)(FN(PACKED_A_BYTES) / sizeof(REAL)) / FN(max)(k, 1);
    const int plain = a.column == 1 && n <= FN(PLAIN_COLUMNS) && FN(rows_spread)(a.row);
    const idx rows = plain ? m : FN(even_piece)(m, FN(max)(fit, MR), MR);
    const idx deep = plain || to.take ? k : FN(gemm_depth)(m, n, k);
    if (!plain &&
        !(job.packed_a = pydl_block_alloc((size_t)(FN(round_up)(rows, MR) * deep) * sizeof(REAL))))
        return PYDL_NO_MEMORY;
    job.depth = FN(even_piece)(deep, FN(KC), 1);
    for (idx i = 0; i < m && !job.failed; i += rows) {
        job.m = FN(min)(rows, m - i);
        job.to.c = to.c + i * to.row;
        job.to.bias_of_row = to.bias_of_row ? to.bias_of_row + i : NULL;
        if (to.take || (k <= FN(FAR_DEPTH) && m * n >= k * FN(FAR_OF_DEPTH)))
            FN(gemm_grid_long)(&job);
        else
            FN(gemm_grid)(&job);
        idx p = 0;
        do { /* once where k is 0, too */
            job.k = FN(min)(deep, k - p);
            job.a.data = a.data + i * a.row + p * a.column;
            job.b.data = b.data + p * b.row;
            job.to.accumulate = to.accumulate || p;
            job.to.last =
                p + deep >= k ? FN(ending_at)(to.last, i * to.row) : (ending){0};
            if (!plain)
                pydl_parallel_for((job.m + MR - 1) / MR, (double)job.m * (double)job.k,
                                  FN(gemm_pack_a), &job);
            pydl_parallel_for(job.column_blocks * ((job.m + job.rows - 1) / job.rows),
                              FN(product_work)(job.m, n, job.k), FN(gemm_block), &job);
            p += deep;
        } while (p < k && !job.failed);
    }
    pydl_block_free(job.packed_a);
    return job.failed ? PYDL_NO_MEMORY : PYDL_OK;
}

static int FN(gemm)(idx m, idx n, idx k, matrix a, matrix b, sink to)
{
    if (!m || !n)
        return PYDL_OK;
    const int large_enough = k >= VLEN && !to.accumulate && !to.last.residual && !to.take;
    /* dots of more rows than a pass takes are no faster than packing b; sums are */
    if (large_enough && (b.row == 1 ? m <= FN(THIN_PASS) : b.column == 1 && m <= FN(THIN)))
        return FN(gemm_thin)((thin_job){.thin = m,
                                        .large = n,
                                        .k = k,
                                        .b = b.data,
                                        .b_row = b.row == 1 ? b.column : b.row,
                                        .c = to.c,
                                        .c_thin = to.row,
                                        .c_large = 1,
                                        .bias_of_thin = to.bias_of_row,
                                        .bias_of_large = to.bias_of_column,
                                        .relu = to.last.relu},
                             a, b.row == 1);
    if (n <= FN(THIN) && large_enough && a.column == 1)
        return FN(gemm_thin)((thin_job){.thin = n,
                                        .large = m,
                                        .k = k,
                                        .b = a.data,
                                        .b_row = a.row,
                                        .c = to.c,
                                        .c_thin = 1,
                                        .c_large = to.row,
                                        .bias_of_thin = to.bias_of_column,
                                        .bias_of_large = to.bias_of_row,
                                        .relu = to.last.relu},
                             (matrix){b.data, b.column, b.row}, 1);
    return FN(gemm_packed)(m, n, k, a, b, to);
}

static int FN(matmul)(idx batch, idx m, idx n, idx k, const REAL *a, pydl_strides a_strides,
                      idx a_batch, const REAL *b, pydl_strides b_strides, idx b_batch, REAL *c)
{
    int status = PYDL_OK;
    for (idx i = 0; i < batch && status == PYDL_OK; i++)
        status = FN(gemm)(m, n, k,
                          (matrix){a + i * a_batch, a_strides.row_stride, a_strides.column_stride},
                          (matrix){b + i * b_batch, b_strides.row_stride, b_strides.column_stride},
                          (sink){.c = c + i * m * n, .row = n});
    return status;
}
