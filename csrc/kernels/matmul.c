/* c (m,n) = a (m,k) b (k,n), for each of a batch; a and b are read through their strides. */
typedef struct {
    const REAL *data;
    idx row, column;
} FN(matrix);
#define matrix FN(matrix)

typedef struct {
    idx m, n, k;          /* of this pass over k: k is its depth */
    matrix a, b;          /* b from this pass's first row on */
    REAL *packed_a;       /* panels of this pass */
    idx columns, rows;    /* of a task's block of c */
    idx column_blocks;
    sink to;
    int failed;
} FN(gemm_pass);
#define gemm_pass FN(gemm_pass)

static void FN(gemm_pack_a)(void *context, idx panel)
{
    const gemm_pass *pass = context;
    const idx i = panel * MR;
    FN(pack_panel)(FN(min)(MR, pass->m - i), pass->k, pass->a.data + i * pass->a.row, pass->a.row, pass->a.column,
                   pass->packed_a + i * pass->k);
}

static void FN(gemm_block)(void *context, idx task)
{
    gemm_pass *pass = context;
    const idx j = task % pass->column_blocks * pass->columns, i = task / pass->column_blocks * pass->rows;
    const idx n = FN(min)(pass->columns, pass->n - j), m = FN(min)(pass->rows, pass->m - i);
    const idx stride = FN(block_stride)(n);
    REAL *block = pydl_block_alloc((size_t)(pass->k * stride) * sizeof(REAL));
    if (!block) {
        __atomic_store_n(&pass->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    FN(pack_block)(pass->k, n, pass->b.data + j * pass->b.column, pass->b.row, pass->b.column, block, stride);
    sink to = pass->to;
    to.c += i * to.row + j;
    if (to.bias_of_row)
        to.bias_of_row += i;
    if (to.bias_of_column)
        to.bias_of_column += j;
    FN(multiply_panels)(m, n, pass->k, pass->packed_a + i * pass->k, pass->k, block, stride, NULL, &to);
    pydl_block_free(block);
}

/* The block of c that a task computes: columns so that the block of b stays in L2, then rows so that there are tasks
 * enough to share. */
static void FN(gemm_grid)(gemm_pass *pass)
{
    const idx widest = 1024 / (idx)sizeof(REAL), most = 8;
    idx columns = FN(even_piece)(pass->n, widest, NR);
    const idx evened = FN(round_up)((pass->n + most - 1) / most, NR);
    if (evened < columns)
        columns = FN(max)(evened, FN(min)(columns, 4 * NR));
    pass->columns = columns;
    pass->column_blocks = (pass->n + columns - 1) / columns;
    const idx wanted = (most + pass->column_blocks - 1) / pass->column_blocks;
    pass->rows = FN(max)(FN(round_up)((pass->m + wanted - 1) / wanted, MR), FN(min)(FN(round_up)(pass->m, MR), 8 * MR));
}

static int FN(gemm)(idx m, idx n, idx k, matrix a, matrix b, sink to)
{
    if (!m || !n)
        return PYDL_OK;
    const idx depth = FN(even_piece)(k, FN(KC), 1);
    gemm_pass pass = {.m = m, .n = n, .k = k ? depth : 0, .a = a, .b = b, .to = to};
    pass.packed_a = pydl_block_alloc((size_t)(FN(round_up)(m, MR) * depth) * sizeof(REAL));
    if (!pass.packed_a)
        return PYDL_NO_MEMORY;
    FN(gemm_grid)(&pass);
    const idx tasks = pass.column_blocks * ((m + pass.rows - 1) / pass.rows);
    idx done = 0;
    do {
        pass.k = FN(min)(depth, k - done);
        pass.a.data = a.data + done * a.column;
        pass.b.data = b.data + done * b.row;
        pydl_parallel_for((m + MR - 1) / MR, (double)m * (double)pass.k, FN(gemm_pack_a), &pass);
        pydl_parallel_for(tasks, 2.0 * (double)m * (double)n * (double)pass.k, FN(gemm_block), &pass);
        pass.to.accumulate = 1;
        done += depth;
    } while (done < k && !pass.failed);
    pydl_block_free(pass.packed_a);
    return pass.failed ? PYDL_NO_MEMORY : PYDL_OK;
}

static int FN(matmul)(idx batch, idx m, idx n, idx k, const REAL *a, pydl_strides a_strides, idx a_batch, const REAL *b,
                      pydl_strides b_strides, idx b_batch, REAL *c)
{
    int status = PYDL_OK;
    for (idx i = 0; i < batch && status == PYDL_OK; i++)
        status = FN(gemm)(m, n, k, (matrix){a + i * a_batch, a_strides.row_stride, a_strides.column_stride},
                          (matrix){b + i * b_batch, b_strides.row_stride, b_strides.column_stride},
                          (sink){.c = c + i * m * n, .row = n});
    return status;
}
