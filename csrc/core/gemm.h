/* C (m,n) += A (m,k) B (k,n), the loops that every dense kernel shares (Goto and van de Geijn 2008).
 *
 * B comes as a block of rows: element (p, j) is b[p * b_step + j], its columns padded to a multiple of NR.
 * A comes as panels of MR rows, element (i, p) of a panel at panel[p * MR + i], padded with zeros; or, where packing would not
 * pay, as plain rows. A panel of B (k x NR) stays in L1, a block of A (MC x k) in L2 while B passes. */
#define NR (NR_VECTORS * VLEN)

enum {
    FN(KC) = 256,                    /* depth of a block: NR * KC elements of B take half of L1 */
    FN(MC) = 144 / MR * MR,          /* rows of A that stay in L2 */
};

INLINE idx FN(round_up)(idx size, idx multiple) { return (size + multiple - 1) / multiple * multiple; }
INLINE idx FN(min)(idx a, idx b) { return a < b ? a : b; }
INLINE idx FN(max)(idx a, idx b) { return a > b ? a : b; }

/* The largest piece when size is cut into the fewest pieces of at most limit, evened out. */
INLINE idx FN(even_piece)(idx size, idx limit, idx multiple)
{
    const idx pieces = (size + limit - 1) / limit;
    return pieces ? FN(round_up)((size + pieces - 1) / pieces, multiple) : multiple;
}

/* A row of a block of B must not fall on the same cache sets as the one above: an odd number of cache lines. */
INLINE idx FN(block_stride)(idx columns)
{
    const idx line = 64 / (idx)sizeof(REAL);
    const idx lines = (FN(round_up)(columns, NR) + line - 1) / line;
    return (lines | 1) * line;
}

/* The tile: acc[i][j] = sum over p of a[i*a_row + p*a_step] * row p of b [j*VLEN ..]. Row p of b begins at b + p*b_step, or at
 * b + b_rows[p] if b_rows is not NULL. */
INLINE void FN(tile_product)(idx k, const REAL *a, idx a_row, idx a_step, const REAL *b, idx b_step, const idx *b_rows,
                             vec acc[MR][NR_VECTORS])
{
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
        for (int j = 0; j < NR_VECTORS; j++)
            acc[i][j] = (vec){0};
    for (idx p = 0; p < k; p++) {
        const REAL *from = b_rows ? b + b_rows[p] : b;
        vec row[NR_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < NR_VECTORS; j++)
            row[j] = FN(load)(from + j * VLEN);
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) {
            const vec value = FN(splat)(a[i * a_row]);
#pragma GCC unroll 4
            for (int j = 0; j < NR_VECTORS; j++)
                acc[i][j] += value * row[j];
        }
        a += a_step;
        b += b_step;
    }
}

/* What happens to a tile of the product on its way to C. */
typedef struct {
    REAL *c;
    idx row;          /* stride of C's rows; its columns are adjacent */
    int accumulate;   /* add to C rather than overwrite it */
    const REAL *bias_of_row, *bias_of_column; /* added when not accumulating; NULL: none */
} FN(sink);
#define sink FN(sink)

INLINE void FN(store_tile)(const vec acc[MR][NR_VECTORS], const sink *to, idx i0, idx j0, idx rows, idx columns)
{
    REAL *c = to->c + i0 * to->row + j0;
    if (columns == NR) {
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) {
            if (i >= rows)
                break;
            vec base[NR_VECTORS];
#pragma GCC unroll 4
            for (int j = 0; j < NR_VECTORS; j++) {
                base[j] = (vec){0};
                if (to->accumulate) {
                    base[j] = FN(load)(c + i * to->row + j * VLEN);
                } else {
                    if (to->bias_of_row)
                        base[j] += FN(splat)(to->bias_of_row[i0 + i]);
                    if (to->bias_of_column)
                        base[j] += FN(load)(to->bias_of_column + j0 + j * VLEN);
                }
                FN(store)(c + i * to->row + j * VLEN, base[j] + acc[i][j]);
            }
        }
        return;
    }
    REAL tile[MR * NR_VECTORS * (VECTOR_BYTES / sizeof(REAL))];
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
        for (int j = 0; j < NR_VECTORS; j++)
            FN(store)(tile + i * NR + j * VLEN, acc[i][j]);
    for (idx i = 0; i < rows; i++)
        for (idx j = 0; j < columns; j++) {
            REAL base = 0;
            if (to->accumulate)
                base = c[i * to->row + j];
            else
                base = (to->bias_of_row ? to->bias_of_row[i0 + i] : 0) + (to->bias_of_column ? to->bias_of_column[j0 + j] : 0);
            c[i * to->row + j] = base + tile[i * NR + j];
        }
}

/* C (m,n) from packed panels of A (the panel of rows i.. begins at a + i * a_panel) and a block of B, depth k, its rows b_step
 * apart or where b_rows says. */
static void __attribute__((noinline)) FN(multiply_panels)(idx m, idx n, idx k, const REAL *a, idx a_panel, const REAL *b,
                                                          idx b_step, const idx *b_rows, const sink *to)
{
    for (idx ic = 0; ic < m; ic += FN(MC)) {
        const idx m_end = FN(min)(m, ic + FN(MC));
        for (idx j = 0; j < n; j += NR)
            for (idx i = ic; i < m_end; i += MR) {
                vec acc[MR][NR_VECTORS];
                if (b_rows)
                    FN(tile_product)(k, a + i * a_panel, 1, MR, b + j, 0, b_rows, acc);
                else
                    FN(tile_product)(k, a + i * a_panel, 1, MR, b + j, b_step, NULL, acc);
                FN(store_tile)((const vec(*)[NR_VECTORS])acc, to, i, j, FN(min)(MR, m - i), FN(min)(NR, n - j));
            }
    }
}

/* C (m,n) from plain rows of A: element (i, p) at a[i*a_row + p]; the last panel must have been packed into edge if m is not
 * a multiple of MR. */
static void __attribute__((noinline)) FN(multiply_rows)(idx m, idx n, idx k, const REAL *a, idx a_row, const REAL *edge,
                                                        const REAL *b, idx b_step, const sink *to)
{
    for (idx ic = 0; ic < m; ic += FN(MC)) {
        const idx m_end = FN(min)(m, ic + FN(MC));
        for (idx j = 0; j < n; j += NR)
            for (idx i = ic; i < m_end; i += MR) {
                vec acc[MR][NR_VECTORS];
                if (i + MR <= m)
                    FN(tile_product)(k, a + i * a_row, a_row, 1, b + j, b_step, NULL, acc);
                else
                    FN(tile_product)(k, edge, 1, MR, b + j, b_step, NULL, acc);
                FN(store_tile)((const vec(*)[NR_VECTORS])acc, to, i, j, FN(min)(MR, m - i), FN(min)(NR, n - j));
            }
    }
}

/* One panel of A: rows (at most MR) of depth k, element (i, p) at a[i*row + p*step]. */
static void FN(pack_panel)(idx rows, idx k, const REAL *a, idx row, idx step, REAL *panel)
{
    for (idx i = rows; i < MR; i++)
        for (idx p = 0; p < k; p++)
            panel[p * MR + i] = 0;
    if (rows == MR && step == 1) {
        for (idx p = 0; p < k; p++)
#pragma GCC unroll 16
            for (int i = 0; i < MR; i++)
                panel[p * MR + i] = a[i * row + p];
        return;
    }
    for (idx p = 0; p < k; p++)
        for (idx i = 0; i < rows; i++)
            panel[p * MR + i] = a[i * row + p * step];
}

/* A block of B (k rows, row stride b_step, columns padded with zeros to a multiple of NR) from element (p, j) at
 * b[p*row + j*column]. */
static void FN(pack_block)(idx k, idx n, const REAL *b, idx row, idx column, REAL *block, idx b_step)
{
    const idx padded = FN(round_up)(n, NR);
    if (row == 1 && column != 1) {
        FN(transpose)(n, k, b, column, block, b_step);
    } else if (column == 1) {
        for (idx p = 0; p < k; p++)
            memcpy(block + p * b_step, b + p * row, (size_t)n * sizeof(REAL));
    } else {
        for (idx p = 0; p < k; p++)
            for (idx j = 0; j < n; j++)
                block[p * b_step + j] = b[p * row + j * column];
    }
    if (padded > n)
        for (idx p = 0; p < k; p++)
            for (idx j = n; j < padded; j++)
                block[p * b_step + j] = 0;
}
