/* C (m,n) += A (m,k) B (k,n), the loops that every dense kernel shares (Goto and van de Geijn
 * 2008).
 *
 * B comes as a block of rows: element (p, j) is b[p * b_step + j], its columns padded to a multiple
 * of NR. A comes as panels of MR rows, element (i, p) of a panel at panel[p * MR + i], padded with
 * zeros; or, where packing would not pay, as plain rows. A panel of B (k x NR) stays in L1, a block
 * of A (MC x k) in L2 while B passes. */
#define NR (NR_VECTORS * VLEN)

enum {
    FN(KC) = 256,           /* depth of a block: NR * KC elements of B take half of L1 */
    FN(MC) = 144 / MR * MR, /* rows of A that stay in L2 */
    FN(L2_BYTES) = VECTOR_BYTES == 32 ? 1 << 19 : 1 << 21, /* that CPUs with such vectors have */
};

INLINE idx FN(round_up)(idx size, idx multiple)
{
    return (size + multiple - 1) / multiple * multiple;
}
INLINE idx FN(min)(idx a, idx b) { return a < b ? a : b; }
INLINE idx FN(max)(idx a, idx b) { return a > b ? a : b; }

/* Whether tiles of so many columns read no more of a row: the last one reads a vector, or NR. */
INLINE int FN(fills_tiles)(idx columns) { return columns % NR == 0 || columns % NR == VLEN; }

/* A product's work as pydl_parallel_for counts it: a tile does VLEN operations at once, and each
 * element is stored. */
INLINE double FN(product_work)(idx m, idx n, idx k)
{
    return (double)m * (double)n * (2.0 * (double)k / (double)VLEN + 1);
}

/* The largest piece when size is cut into the fewest pieces of at most limit, evened out. */
INLINE idx FN(even_piece)(idx size, idx limit, idx multiple)
{
    const idx pieces = (size + limit - 1) / limit;
    return pieces ? FN(round_up)((size + pieces - 1) / pieces, multiple) : multiple;
}

/* A row of a block of B must not fall on the same cache sets as the one above: an odd number of
 * cache lines. */
INLINE idx FN(block_stride)(idx columns)
{
    const idx line = 64 / (idx)sizeof(REAL);
    const idx lines = (FN(round_up)(columns, NR) + line - 1) / line;
    return (lines | 1) * line;
}

/* AVX-512 multiplies by a number in memory in one micro-operation, if its place is a register and a
 * constant. So half of the numbers of a panel's step are read once for each vector, rather than
 * once to a register for all: fewer operations, which counts where a core's two threads share its
 * decoder, and no more reads than it has ports for. */
#define READS_TWICE(a_row) (VECTOR_BYTES == 64 && __builtin_constant_p(a_row) && (a_row) == 1)

/* AVX2 has as many registers as the tile needs with what it is multiplied by, and more instructions
 * than multiply-adds: four steps at a time save the loop's own. */
#define FOUR_STEPS(rows, vectors) (VECTOR_BYTES == 32 && (rows) == MR && (vectors) == NR_VECTORS)

/* Whether a fetch at every other step meets all lines, as of a packed panel: known when compiled. */
#define EVERY_OTHER(step)                                                                          \
    (__builtin_constant_p(step) && 2 * (step) * (idx)sizeof(REAL) <= 64)

/* A step of the tile: a column of A times a row of B. again is a, lest the compiler sees that it is
 * the same number; lower is a from its row 3 on. */
INLINE void FN(tile_step)(int rows, int vectors, const REAL *a, const REAL *again,
                          const REAL *lower, idx a_row, const REAL *b, vec acc[MR][NR_VECTORS])
{
    vec row[NR_VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++)
        row[j] = FN(load)(b + j * VLEN);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        const vec value = FN(splat)(i < 3 ? a[i * a_row] : lower[(i - 3) * a_row]);
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            if (READS_TWICE(a_row) && j && 2 * i < rows)
                acc[i][j] += FN(splat)(again[i]) * row[j];
            else
                acc[i][j] += value * row[j];
        if (FOUR_STEPS(rows, vectors))
            STILL_WANTED(value);
    }
    if (FOUR_STEPS(rows, vectors))
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            STILL_WANTED(row[j]);
}

/* The tile: acc[i][j] = sum over p of a[i*a_row + p*a_step] * row p of b [j*VLEN ..], i < rows, j <
 * vectors. Row p of b begins at b + p*b_step, or at b + b_rows[p] if b_rows is not NULL. Meanwhile
 * what comes soon is fetched, the cache line at next and at each step next_step
 * further on. */
INLINE void FN(tile_product)(int rows, int vectors, idx k, const REAL *a, idx a_row, idx a_step,
                             const REAL *next, idx next_step, const REAL *b, idx b_step,
                             const idx *b_rows, vec acc[MR][NR_VECTORS])
{
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            acc[i][j] = (vec){0};
    const REAL *again = a;
    if (READS_TWICE(a_row))
        __asm__("" : "+r"(again));
    const REAL *lower = a + 3 * a_row;
    idx p = 0;
    /* x86 adds one register to another's 1, 2, 4 or 8 times: that gives the places of rows 0 to 2.
     * Had gcc its way, it would load the places of all rows of all steps from memory instead. */
    if (FOUR_STEPS(rows, vectors) && !__builtin_constant_p(a_row))
        __asm__("" : "+r"(lower));
    if (FOUR_STEPS(rows, vectors))
        for (; p + 4 <= k; p += 4) {
#pragma GCC unroll 4
            for (int s = 0; s < 4; s++) {
                if (!__builtin_constant_p(a_row))
                    __asm__("" : "+r"(a_row));
                FN(tile_step)(rows, vectors, a + s * a_step, a, lower + s * a_step, a_row,
                              b + (b_rows ? b_rows[p + s] : s * b_step), acc);
                if (s % 2 == 0 || !EVERY_OTHER(next_step))
                    __builtin_prefetch(next + s * next_step, 0, 2);
            }
            next += 4 * next_step;
            a += 4 * a_step;
            lower += 4 * a_step;
            b += b_rows ? 0 : 4 * b_step;
        }
    for (; p < k; p++) {
        FN(tile_step)(rows, vectors, a, again, lower, a_row, b_rows ? b + b_rows[p] : b, acc);
        __builtin_prefetch(next, 0, 2);
        next += next_step;
        a += a_step;
        lower += a_step;
        again += a_step;
        b += b_step;
    }
}
#undef FOUR_STEPS
#undef EVERY_OTHER
#undef READS_TWICE

/* What becomes of a sum once it is complete: the residual is added, where relu a negative result is
 * 0 (NaN stays), where far it is stored around the caches. Nothing of it, if all is 0. */
typedef struct {
    const REAL *residual; /* an element for each of the result's, in the same places; NULL: none */
    int relu, far;
} FN(ending);
#define ending FN(ending)

INLINE ending FN(ending_at)(ending of, idx place)
{
    return (ending){of.residual ? of.residual + place : NULL, of.relu, of.far};
}

enum { FN(FAR_BYTES) = 8 << 20 };

/* Whether so many elements are more than caches keep from one pass over them to the next. */
INLINE int FN(is_far)(idx elements) { return elements >= FN(FAR_BYTES) / (idx)sizeof(REAL); }

/* Whether an array of so many elements, of two or three that a pass goes over, leaves the cache
 * that cores share before it is read: a fifth of it. */
INLINE int FN(leaves_caches)(idx elements)
{
    const idx l3 = (idx)pydl_l3_bytes();
    return VECTOR_BYTES >= 32 && l3 && elements >= l3 / 5 / (idx)sizeof(REAL);
}

/* The vector of results whose sums these are, at that place; count of them are stored. */
INLINE vec FN(finished)(vec sum, ending of, idx place, idx count)
{
    if (of.residual)
        sum += FN(load_part)(of.residual + place, count, 0);
    return of.relu ? FN(larger)((vec){0}, sum) : sum;
}

/* What happens to a tile of the product on its way to C. */
typedef struct {
    REAL *c;
    idx row;                                  /* stride of C's rows; its columns are adjacent */
    idx pixels, image, first; /* unless pixels is 0: only so many are, the next ones image further
                                 on; column 0 is that of number first */
    idx gap;                  /* the last of the pixels, which are dropped */
    int accumulate;                           /* add to what is there rather than overwrite it */
    const REAL *sums;                         /* what is there, where it is not C itself; or NULL */
    idx sums_row;
    const REAL *bias_of_row, *bias_of_column; /* added when not accumulating; NULL: none */
    ending last;                              /* set for the last block of the depth alone */
    /* Gets the sums, count of a row that belong at `at` in C, instead of C; NULL: C gets them. */
    void (*take)(const void *taker, REAL *at, idx count, const REAL *sums);
    const void *taker;
} FN(sink);
#define sink FN(sink)

/* Where a tile's results go, and the sums that they are added to, whose rows are sums_row apart. */
typedef struct {
    REAL *c;
    const REAL *sums;
    idx sums_row;
    ending last;
} FN(target);
#define target FN(target)

/* A tile's columns. */
typedef struct {
    idx first, size;
    idx place; /* of the first one in C's row */
    int whole; /* they are whole vectors, side by side there */
} FN(stretch);
#define stretch FN(stretch)

INLINE stretch FN(stretch_at)(const sink *to, idx first, idx size)
{
    stretch at = {first, size, first, size == (size > VLEN ? NR : VLEN)};
    if (to->pixels) {
        const idx column = to->first + first, pixel = column % to->pixels;
        at.place = column / to->pixels * to->image + pixel;
        at.whole &= pixel + size <= to->pixels - to->gap;
    }
    return at;
}

INLINE target FN(target_at)(const sink *to, idx i, const stretch *columns)
{
    const idx place = i * to->row + columns->place;
    target at = {to->c + place, to->c + place, to->row, FN(ending_at)(to->last, place)};
    if (to->sums) {
        at.sums = to->sums + i * to->sums_row + columns->first;
        at.sums_row = to->sums_row;
    }
    return at;
}

/* store_tile for a tile of fewer columns, or of several images', which lies in memory. */
static void __attribute__((noinline)) FN(store_columns)(idx rows, const REAL *part, const sink *to,
                                                        idx i0, const stretch *of)
{
    const sink all = *to; /* which no store may change */
    for (idx j0 = of->first, columns = of->size; columns;) {
        idx here = columns, kept = columns;
        if (all.pixels) {
            const idx left = all.pixels - (all.first + j0) % all.pixels;
            here = FN(min)(here, left);
            kept = FN(min)(here, left - all.gap);
        }
        const stretch run = FN(stretch_at)(&all, j0, here);
        const target at = FN(target_at)(&all, i0, &run);
        const REAL *const bias = all.accumulate || !all.bias_of_row ? NULL : all.bias_of_row + i0;
        for (idx j = 0; j < kept; j += VLEN) {
            const idx count = kept - j;
            vec column = {0};
            if (!all.accumulate && all.bias_of_column)
                column = FN(load_part)(all.bias_of_column + j0 + j, count, 0);
            for (idx i = 0; i < rows; i++) {
                const idx place = i * all.row + j;
                vec base = bias ? FN(splat)(bias[i]) + column : column;
                if (all.accumulate)
                    base = FN(load_part)(at.sums + i * at.sums_row + j, count, 0);
                const vec sum = base + FN(load_part)(part + i * NR + j, count, 0);
                FN(store_part)(at.c + place, count, FN(finished)(sum, at.last, place, count));
            }
        }
        part += here;
        j0 += here;
        columns -= here;
    }
}

enum { FN(TILE_SIZE) = MR * NR_VECTORS * (int)(VECTOR_BYTES / sizeof(REAL)) };

INLINE void FN(keep_tile)(int rows, int vectors, const vec acc[MR][NR_VECTORS], REAL *part)
{
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            FN(store)(part + i * NR + j * VLEN, acc[i][j]);
}

/* For every vector (i, j) of a tile, whose sums stay in registers: what all of them need alike is
 * asked once, outside. */
#define EACH_OF_TILE                                                                               \
    _Pragma("GCC unroll 16") for (int i = 0; i < rows; i++)                                        \
        _Pragma("GCC unroll 4") for (int j = 0; j < vectors; j++)

INLINE void FN(store_tile)(int rows, int vectors, vec acc[MR][NR_VECTORS], const sink *to, idx i0,
                           const stretch *columns)
{
    if (!columns->whole) {
        REAL part[FN(TILE_SIZE)];
        FN(keep_tile)(rows, vectors, (const vec(*)[NR_VECTORS])acc, part);
        FN(store_columns)(rows, part, to, i0, columns);
        return;
    }
    const target at = FN(target_at)(to, i0, columns);
    if (to->accumulate) {
        EACH_OF_TILE acc[i][j] += FN(load)(at.sums + i * at.sums_row + j * VLEN);
    } else {
        if (to->bias_of_row)
            EACH_OF_TILE acc[i][j] += FN(splat)(to->bias_of_row[i0 + i]);
        if (to->bias_of_column)
            EACH_OF_TILE acc[i][j] += FN(load)(to->bias_of_column + columns->first + j * VLEN);
    }
    if (at.last.residual)
        EACH_OF_TILE acc[i][j] += FN(load)(at.last.residual + i * to->row + j * VLEN);
    if (at.last.relu)
        EACH_OF_TILE acc[i][j] = FN(larger)((vec){0}, acc[i][j]);
    if (at.last.far)
        EACH_OF_TILE FN(store_far)(at.c + i * to->row + j * VLEN, VLEN, acc[i][j]);
    else
        EACH_OF_TILE FN(store)(at.c + i * to->row + j * VLEN, acc[i][j]);
}
#undef EACH_OF_TILE

/* Asks for the lines of C that a tile will be stored to, or, where its steps are fewer than lines
 * take to come, those of the next tile to the right: stores to lines that are far away would fill
 * the CPU's queue of them. */
enum {
    FN(EXPECTED) = 16, /* steps that repay asking */
    FN(SOON) = VECTOR_BYTES == 32 ? 2 * FN(KC) : 64, /* steps; AVX2's take 6 cycles each */
};

INLINE void FN(expect_tile)(int rows, idx k, const sink *to, idx i0, const stretch *columns)
{
    const REAL *c = FN(target_at)(to, i0, columns).c + (k < FN(SOON) ? NR : 0);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        __builtin_prefetch(c + i * to->row, 1, 3);
}

/* One tile of C from row i0 on, of so many rows and vectors: constants where this is inlined. */
INLINE void FN(multiply_tile)(int rows, int vectors, idx k, const REAL *a, idx a_row, idx a_step,
                              const REAL *next, idx next_step, const REAL *b, idx b_step,
                              const idx *b_rows, const sink *to, idx i0, const stretch *columns)
{
    vec acc[MR][NR_VECTORS];
    if (VECTOR_BYTES >= 32 && rows == MR && k >= FN(EXPECTED) && !to->last.far)
        FN(expect_tile)(rows, k, to, i0, columns);
    FN(tile_product)(rows, vectors, k, a, a_row, a_step, next, next_step, b, b_step, b_rows, acc);
    FN(store_tile)(rows, vectors, acc, to, i0, columns);
}

/* The same for the numbers of rows that are rare, at the lower edge of a panel. */
static void __attribute__((noinline)) FN(multiply_edge)(idx rows, idx k, const REAL *a, idx a_row,
                                                        idx a_step, const REAL *b, idx b_step,
                                                        const idx *b_rows, const sink *to, idx i0,
                                                        const stretch *columns)
{
    vec acc[MR][NR_VECTORS];
    REAL part[FN(TILE_SIZE)];
#define ROWS(count)                                                                                \
    case count:                                                                                    \
        if (columns->size > VLEN) {                                                                \
            FN(tile_product)(count, NR_VECTORS, k, a, a_row, a_step, a, 0, b, b_step, b_rows,      \
                             acc);                                                                 \
            FN(keep_tile)(count, NR_VECTORS, (const vec(*)[NR_VECTORS])acc, part);                 \
        } else {                                                                                   \
            FN(tile_product)(count, 1, k, a, a_row, a_step, a, 0, b, b_step, b_rows, acc);         \
            FN(keep_tile)(count, 1, (const vec(*)[NR_VECTORS])acc, part);                          \
        }                                                                                          \
        break;
    switch (rows) {
        ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5)
#if MR > 6
        ROWS(6) ROWS(7)
#endif
#if MR > 8
        ROWS(8) ROWS(9) ROWS(10) ROWS(11) ROWS(12) ROWS(13)
#endif
    }
    FN(store_columns)(rows, part, to, i0, columns);
#undef ROWS
}

/* What is fetched while the tiles of a column are computed: weights may come from far, and panels
 * are too short to be foreseen. The first tile begins at from, each next one panel further on. */
typedef struct {
    const REAL *from;
    idx panel, step;
} FN(fetch);
#define fetch FN(fetch)

/* A column of tiles: C (m, columns). Element (i, p) of A is at a[i * a_row + p * a_step] within MR
 * rows, which are a_panel apart from the next. */
INLINE void FN(multiply_column)(idx m, idx k, const REAL *a, idx a_panel, idx a_row, idx a_step,
                                fetch soon, const REAL *b, idx b_step, const idx *b_rows,
                                const sink *to, idx i0, idx j0, idx columns)
{
    const stretch of = FN(stretch_at)(to, j0, columns);
    idx i = 0;
    if (columns > VLEN)
        for (; i + MR <= m; i += MR, a += a_panel, soon.from += soon.panel)
            FN(multiply_tile)(MR, NR_VECTORS, k, a, a_row, a_step, soon.from, soon.step, b, b_step,
                              b_rows, to, i0 + i, &of);
    else
        for (; i + MR <= m; i += MR, a += a_panel, soon.from += soon.panel)
            FN(multiply_tile)(MR, 1, k, a, a_row, a_step, soon.from, soon.step, b, b_step, b_rows,
                              to, i0 + i, &of);
    if (i < m)
        FN(multiply_edge)(m - i, k, a, a_row, a_step, b, b_step, b_rows, to, i0 + i, &of);
}

/* C (m,n) from packed panels of A (the panel of rows i.. begins at a + i * a_panel) and a block of
 * B, depth k, its rows b_step apart or where b_rows says. */
static void __attribute__((noinline)) FN(multiply_panels)(idx m, idx n, idx k, const REAL *a,
                                                          idx a_panel, const REAL *b, idx b_step,
                                                          const idx *b_rows, const sink *to)
{
    for (idx i = 0; i < m; i += FN(MC))
        for (idx j = 0; j < n; j += NR) {
            const idx rows = FN(min)(FN(MC), m - i), columns = FN(min)(NR, n - j);
            const fetch next = {a + (i + MR) * a_panel, MR * a_panel, MR};
            if (b_rows)
                FN(multiply_column)(rows, k, a + i * a_panel, MR * a_panel, 1, MR, next, b + j, 0,
                                    b_rows, to, i, j, columns);
            else
                FN(multiply_column)(rows, k, a + i * a_panel, MR * a_panel, 1, MR, next, b + j,
                                    b_step, NULL, to, i, j, columns);
        }
}

/* A tile of C at (i0, j0), of at most MR rows and NR columns, from a packed panel of A and one of
 * B, row p at b + p*NR. What comes soon, at next, is fetched meanwhile, next_step further on at
 * each step of the depth. */
static void __attribute__((noinline)) FN(multiply_packed_tile)(idx rows, idx k, const REAL *a,
                                                               const REAL *next, idx next_step,
                                                               const REAL *b, const sink *to,
                                                               idx i0, idx j0, idx columns)
{
    FN(multiply_column)(rows, k, a, 0, 1, MR, (fetch){next, 0, next_step}, b, NR, NULL, to, i0, j0,
                        columns);
}

/* C (m,n) from plain rows of A: element (i, p) at a[i*a_row + p]. Rows that follow one another
 * closely are fetched as the piece of memory that they are. */
static void __attribute__((noinline)) FN(multiply_rows)(idx m, idx n, idx k, const REAL *a,
                                                        idx a_row, const REAL *b, idx b_step,
                                                        const sink *to)
{
    const idx line = 64 / (idx)sizeof(REAL);
    for (idx i = 0; i < m; i += FN(MC))
        for (idx j = 0; j < n; j += NR) {
            const fetch next = a_row < 2 * k
                                   ? (fetch){a + (i + MR) * a_row, MR * a_row, line}
                                   : (fetch){a, 0, 0};
            FN(multiply_column)(FN(min)(FN(MC), m - i), k, a + i * a_row, MR * a_row, a_row, 1,
                                next, b + j, b_step, NULL, to, i, j, FN(min)(NR, n - j));
        }
}

enum {
    FN(PANEL_VECTORS) = (MR + (int)(VECTOR_BYTES / sizeof(REAL)) - 1) /
    (int)(VECTOR_BYTES / sizeof(REAL))
};

/* At most VLEN steps of depth of a panel, from plain rows: row i at a + i*row. Each step is stored
 * in whole vectors; what they carry too much is overwritten by the next step, so at least VLEN
 * elements must follow, unless this is the last of the panel. */
INLINE void FN(pack_panel_block)(idx rows, idx depth, int last, const REAL *a, idx row, REAL *panel)
{
    vec step[FN(PANEL_VECTORS)][VECTOR_BYTES / sizeof(REAL)];
#pragma GCC unroll 4
    for (int v = 0; v < FN(PANEL_VECTORS); v++) {
#pragma GCC unroll 16
        for (int i = 0; i < (int)VLEN; i++) {
            const idx from = v * VLEN + i;
            step[v][i] = from < rows ? FN(load_part)(a + from * row, depth, 0) : (vec){0};
        }
        FN(transpose_vectors)(step[v]);
    }
#pragma GCC unroll 16
    for (int p = 0; p < (int)VLEN; p++)
#pragma GCC unroll 4
        for (int v = 0; v < FN(PANEL_VECTORS); v++)
            if (p < depth)
                FN(store_part)(panel + p * MR + v * VLEN,
                               last && p == depth - 1 ? MR - v * VLEN : VLEN, step[v][p]);
}

/* Asks for lines of MR rows, those of the next panel: they are too far apart to be foreseen. */
INLINE void FN(expect_rows)(const REAL *a, idx row)
{
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
        __builtin_prefetch(a + i * row);
}

/* One panel of A: rows (at most MR) of depth k, element (i, p) at a[i*row + p*step]. */
static void FN(pack_panel)(idx rows, idx k, const REAL *a, idx row, idx step, REAL *panel)
{
    idx p = 0;
    if (step == 1 && k >= VLEN) {
        for (; p + VLEN < k; p += VLEN) {
            FN(expect_rows)(a + p + MR * row, row);
            FN(pack_panel_block)(rows, VLEN, 0, a + p, row, panel + p * MR);
        }
        p = k - VLEN; /* what these steps share with those before is stored twice */
        FN(pack_panel_block)(rows, VLEN, 1, a + p, row, panel + p * MR);
        return;
    }
    if (FN(MASKED) && step == 1 && k > VLEN / 4) {
        FN(pack_panel_block)(rows, k, 1, a, row, panel);
        return;
    }
    if (row == 1 && rows == MR) {
        for (; p < k; p++)
            memcpy(panel + p * MR, a + p * step, MR * sizeof(REAL));
        return;
    }
    for (; p < k; p++) {
        for (idx i = 0; i < rows; i++)
            panel[p * MR + i] = a[i * row + p * step];
        for (idx i = rows; i < MR; i++)
            panel[p * MR + i] = 0;
    }
}

enum { FN(PACK_AHEAD) = VECTOR_BYTES == 32 ? 2 : 8 }; /* rows */

/* Copies a piece of a row and asks for the one that comes ahead elements later: rows are too far
 * apart to be foreseen. */
INLINE void FN(copy_ahead)(REAL *dst, const REAL *src, idx count, idx ahead)
{
    enum { VECTORS = 64 / VECTOR_BYTES };
    idx j = 0;
    for (; j + VECTORS * VLEN <= count; j += VECTORS * VLEN) {
        __builtin_prefetch(src + j + ahead);
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            FN(store)(dst + j + v * VLEN, FN(load)(src + j + v * VLEN));
    }
    for (; j + VLEN <= count; j += VLEN)
        FN(store)(dst + j, FN(load)(src + j));
    if (j < count && count >= VLEN) { /* the last vector overlaps the one before */
        FN(store)(dst + count - VLEN, FN(load)(src + count - VLEN));
        return;
    }
    for (; j < count; j++)
        dst[j] = src[j];
}

/* A block of B (k rows, row stride b_step, columns padded with zeros to a multiple of NR) from
 * element (p, j) at b[p*row + j*column]. */
static void FN(pack_block)(idx k, idx n, const REAL *b, idx row, idx column, REAL *block,
                           idx b_step)
{
    const idx padded = FN(round_up)(n, NR);
    if (row == 1 && column != 1) {
        FN(transpose)(n, k, b, column, block, b_step);
    } else if (column == 1) {
        for (idx p = 0; p < k; p++)
            FN(copy_ahead)(block + p * b_step, b + p * row, n, FN(PACK_AHEAD) * row);
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
