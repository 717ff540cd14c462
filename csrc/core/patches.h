/* The patch matrix of a convolution, never stored whole (implicit im2col): row r = (channel, tap),
 * column q = (image n, grid row i, grid column j), element = src[n][channel][i*step_h +
 * tap_h][j*step_w + tap_w], 0 outside the source. */
typedef struct {
    const REAL *src;
    idx image, h, w; /* stride between images; size of a channel's plane, and its stride h*w */
    idx step_h, step_w;
    idx grid_h, grid_w;
    idx taps;
    const idx *tap_h, *tap_w;
} FN(patches);
#define patches FN(patches)

enum { FN(MOST_COLUMNS) = 512 };

/* Columns of a block: count pixels from the column first on, in each of so many grid rows from row
 * on. */
#if REAL_IS_FLOAT
typedef struct {
    idx image, row, rows, first, count;
} segment;

static inline idx ceil_div(idx a, idx b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }
#endif

typedef REAL FN(half_vec)
    __attribute__((vector_size(VECTOR_BYTES / 2), aligned(sizeof(REAL)), may_alias));
typedef REAL FN(quarter_vec)
    __attribute__((vector_size(VECTOR_BYTES / 2 > 16 ? VECTOR_BYTES / 4 : VECTOR_BYTES / 2),
                   aligned(sizeof(REAL)), may_alias));

/* Both ends of the run in one piece of memory each, which overlap. */
#define COPY_ENDS(type)                                                                            \
    do {                                                                                           \
        const idx last = count - (idx)(sizeof(type) / sizeof(REAL));                               \
        const type head = *(const type *)src, tail = *(const type *)(src + last);                  \
        *(type *)dst = head;                                                                       \
        *(type *)(dst + last) = tail;                                                              \
        return;                                                                                    \
    } while (0)

INLINE void FN(copy_run)(REAL *dst, const REAL *src, idx count)
{
    if (count >= VLEN) {
        idx j = 0;
        for (; j + VLEN <= count; j += VLEN)
            FN(store)(dst + j, FN(load)(src + j));
        if (j < count)
            FN(store)(dst + count - VLEN, FN(load)(src + count - VLEN));
        return;
    }
    if (count >= (idx)(sizeof(FN(half_vec)) / sizeof(REAL)))
        COPY_ENDS(FN(half_vec));
    if (count >= (idx)(sizeof(FN(quarter_vec)) / sizeof(REAL)))
        COPY_ENDS(FN(quarter_vec));
    for (idx j = 0; j < count; j++)
        dst[j] = src[j];
}
#undef COPY_ENDS

/* The same for results that are complete: finished at the place of the run. */
INLINE void FN(finish_run)(REAL *dst, const REAL *src, idx count, ending of, idx place)
{
    if (!of.residual && !of.relu) {
        FN(copy_run)(dst, src, count);
        return;
    }
    for (idx j = 0; j < count; j += VLEN) {
        const vec sum = FN(load_part)(src + j, count - j, 0);
        FN(store_part)(dst + j, count - j, FN(finished)(sum, of, place + j, count - j));
    }
}

INLINE void FN(zero_run)(REAL *dst, idx count)
{
    for (idx j = 0; j < count; j++)
        dst[j] = 0;
}

/* The same, in whole vectors: up to VLEN elements behind are overwritten. */
INLINE void FN(zero_loosely)(REAL *dst, idx count)
{
    if (count > 0)
        FN(store)(dst, (vec){0});
    for (idx j = VLEN; j < count; j += VLEN)
        FN(store)(dst + j, (vec){0});
}

/* dst[j] = src[j*step], nothing else written or read but what lies between: steps of 2 and 4 by
 * vectors of which every other lane is taken, the last vector overlapping the one before. */
INLINE void FN(gather_run)(REAL *dst, const REAL *src, idx count, idx step)
{
    if (step == 1) {
        FN(copy_run)(dst, src, count);
        return;
    }
    const idx last = count - VLEN;
    if (step == 2 && last > 0) {
        for (idx j = 0; j < last; j += VLEN)
            FN(store)(dst + j, FN(even_lanes)(FN(load)(src + 2 * j), FN(load)(src + 2 * j + VLEN)));
        const REAL *end = src + 2 * last - 1;
        FN(store)(dst + last, FN(odd_lanes)(FN(load)(end), FN(load)(end + VLEN)));
        return;
    }
    if (step == 4 && last > 0) {
        for (idx j = 0; j < last; j += VLEN) {
            const REAL *at = src + 4 * j;
            FN(store)(dst + j,
                      FN(even_lanes)(
                          FN(even_lanes)(FN(load)(at), FN(load)(at + VLEN)),
                          FN(even_lanes)(FN(load)(at + 2 * VLEN), FN(load)(at + 3 * VLEN))));
        }
        const REAL *end = src + 4 * last - 3;
        FN(store)(dst + last,
                  FN(odd_lanes)(
                      FN(odd_lanes)(FN(load)(end), FN(load)(end + VLEN)),
                      FN(odd_lanes)(FN(load)(end + 2 * VLEN), FN(load)(end + 3 * VLEN))));
        return;
    }
    if (step == 2 && FN(MASKED) && count > 2) {
        const idx width = 2 * count - 1;
        const vec low = FN(load_part)(src, width, 0);
        const vec high = width > VLEN ? FN(load_part)(src + VLEN, width - VLEN, 0) : low;
        FN(store_part)(dst, count, FN(even_lanes)(low, high));
        return;
    }
    for (idx j = 0; j < count; j++)
        dst[j] = src[j * step];
}

/* dst[j*step] = src[j], j < count. Of the elements of dst up to width, the others become 0 if
 * clear; those between the first and the last of the results may otherwise be written with what
 * they hold. */
INLINE void FN(spread_run)(REAL *dst, const REAL *src, idx count, idx step, int clear, idx width)
{
    idx j = 0;
    if (step == 2) {
        const idx end = clear ? width : 2 * count - 1;
        for (; 2 * (j + VLEN) <= end || (FN(MASKED) && j < count); j += VLEN) {
            REAL *at = dst + 2 * j;
            const idx left = end - 2 * j, low = FN(min)(left, VLEN), high = FN(max)(left - low, 0);
            const vec value = FN(load_part)(src + j, count - j, 0);
            vec other = {0};
            if (!clear)
                other = FN(odd_lanes)(FN(load_part)(at, low, 0), FN(load_part)(at + VLEN, high, 0));
            FN(store_part)(at, low, FN(zip_low)(value, other));
            FN(store_part)(at + VLEN, high, FN(zip_high)(value, other));
        }
    }
    if (clear)
        for (idx q = j * step; q < width; q++)
            dst[q] = 0;
    for (; j < count; j++)
        dst[j * step] = src[j];
}

/* Rows of a plane (h,w) with zeros around it: dst[r][q] = src[first_h + r*step_h][first_w +
 * q*step_w], r < rows, q < length. Up to VLEN elements behind dst are overwritten. */
static void FN(pad_rows)(const REAL *src, idx h, idx w, idx first_h, idx step_h, idx rows,
                         idx first_w, idx step_w, idx length, REAL *dst)
{
    const idx begin = FN(min)(FN(max)(ceil_div(-first_w, step_w), 0), length);
    const idx end = FN(max)(FN(min)(ceil_div(w - first_w, step_w), length), begin);
    for (idx r = 0; r < rows; r++, dst += length) {
        const idx ih = first_h + r * step_h;
        if (ih < 0 || ih >= h) {
            FN(zero_loosely)(dst, length);
            continue;
        }
        FN(zero_loosely)(dst, begin);
        for (idx q = 0; q < w; q += 64 / (idx)sizeof(REAL)) /* the next channel's row */
            __builtin_prefetch(src + (h + ih) * w + q, 0, 3);
        FN(gather_run)(dst + begin, src + ih * w + first_w + begin * step_w, end - begin, step_w);
        FN(zero_loosely)(dst + end, length - end);
    }
}

/* Grid rows that follow one another in memory are one row: a 1x1 kernel without stride or padding.
 */
static void FN(merge_rows)(patches *from)
{
    if (from->taps == 1 && !from->tap_h[0] && !from->tap_w[0] && from->step_h == 1 &&
        from->step_w == 1 && from->grid_w == from->w && from->grid_h == from->h) {
        from->grid_w *= from->grid_h;
        from->w = from->grid_w;
        from->grid_h = from->h = 1;
    }
}

static int FN(segments_of)(const patches *from, idx column, idx columns, segment *list)
{
    int count = 0;
    const idx pixels = from->grid_h * from->grid_w;
    while (columns) {
        const idx pixel = column % pixels, row = pixel / from->grid_w, first = pixel % from->grid_w;
        const idx length = FN(min)(columns, from->grid_w - first);
        const idx whole = length < from->grid_w ? 1 : FN(min)(columns / length, from->grid_h - row);
        list[count++] = (segment){column / pixels, row, whole, first, length};
        column += whole * length;
        columns -= whole * length;
    }
    return count;
}

/* The source as the taps reach it, a channel at a time: padded with zeros, and its rows and columns
 * dealt out by their residues modulo the steps, so that what a tap reads for a rectangle of the
 * grid is a rectangle, too: padded[residue_h][residue_w][row][column]. */
typedef struct {
    idx low_h, low_w;           /* the smallest taps */
    idx residues_h, residues_w; /* how many of them the taps reach */
    idx more_rows;              /* of a residue, than of the grid */
    idx length;                 /* of a row of a residue */
} FN(reach);
#define reach FN(reach)

static reach FN(reach_of)(const patches *from)
{
    reach all = {0};
    idx high_h = 0, high_w = 0;
    for (idx tap = 0; tap < from->taps; tap++) {
        const idx h = from->tap_h[tap], w = from->tap_w[tap];
        all.low_h = tap ? FN(min)(all.low_h, h) : h;
        high_h = tap ? FN(max)(high_h, h) : h;
        all.low_w = tap ? FN(min)(all.low_w, w) : w;
        high_w = tap ? FN(max)(high_w, w) : w;
    }
    high_h -= all.low_h;
    high_w -= all.low_w;
    all.residues_h = FN(min)(high_h + 1, from->step_h);
    all.residues_w = FN(min)(high_w + 1, from->step_w);
    all.more_rows = high_h / from->step_h;
    all.length = from->grid_w + high_w / from->step_w;
    return all;
}

/* How many elements a channel has for so many grid rows, and where a tap's are. */
INLINE idx FN(padded_plane)(const reach *all, idx grid_rows)
{
    return all->residues_h * all->residues_w * (grid_rows + all->more_rows) * all->length;
}

INLINE idx FN(padded_tap)(const patches *from, const reach *all, idx grid_rows, idx tap)
{
    const idx h = from->tap_h[tap] - all->low_h, w = from->tap_w[tap] - all->low_w;
    const idx residue = h % from->step_h * all->residues_w + w % from->step_w;
    return (residue * (grid_rows + all->more_rows) + h / from->step_h) * all->length +
           w / from->step_w;
}

/* A channel for grid_rows from the grid row first on; VLEN elements behind are overwritten. */
static void FN(pad_plane)(const patches *from, const reach *all, const REAL *plane, idx first,
                          idx grid_rows, REAL *padded)
{
    const idx rows = grid_rows + all->more_rows;
    for (idx h = 0; h < all->residues_h; h++)
        for (idx w = 0; w < all->residues_w; w++, padded += rows * all->length)
            FN(pad_rows)(plane, from->h, from->w, first * from->step_h + all->low_h + h,
                         from->step_h, rows, all->low_w + w, from->step_w, all->length, padded);
}

/* Elements of scratch that pack_patches needs for a block of so many columns. */
static idx FN(patch_scratch)(const patches *from, idx columns)
{
    const reach all = FN(reach_of)(from);
    return FN(padded_plane)(&all, FN(min)(columns / from->grid_w + 2, from->grid_h)) + VLEN;
}

/* rows rows of count elements, one behind the other, from rows src_step apart; VLEN elements behind
 * them may be overwritten. */
INLINE void FN(copy_vectors)(REAL *to, const REAL *src, idx src_step, idx rows, idx count,
                             int vectors)
{
    for (idx r = 0; r < rows; r++, to += count, src += src_step)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            FN(store)(to + v * VLEN, FN(load)(src + v * VLEN));
}

static void FN(copy_loosely)(REAL *to, const REAL *src, idx src_step, idx rows, idx count)
{
    switch ((count + VLEN - 1) / VLEN) {
    case 1:
        FN(copy_vectors)(to, src, src_step, rows, count, 1);
        return;
    case 2:
        FN(copy_vectors)(to, src, src_step, rows, count, 2);
        return;
    case 3:
        FN(copy_vectors)(to, src, src_step, rows, count, 3);
        return;
    case 4:
        FN(copy_vectors)(to, src, src_step, rows, count, 4);
        return;
    }
    for (idx r = 0; r < rows; r++, to += count, src += src_step)
        for (idx q = 0; q < count; q += VLEN)
            FN(store)(to + q, FN(load)(src + q));
}

static void FN(copy_exactly)(REAL *to, const REAL *src, idx src_step, idx rows, idx count)
{
    for (idx r = 0; r < rows; r++, to += count, src += src_step)
        FN(copy_run)(to, src, count);
}

/* block (rows, row stride stride) = rows first_row .. of the patch matrix, columns column .. column
 * + columns (at most MOST_COLUMNS), filled with zeros up to the column padded. Unless exact, up to
 * VLEN elements behind the block are overwritten. */
static void FN(pack_patches)(const patches *from, idx first_row, idx rows, idx column, idx columns,
                             idx padded, REAL *block, idx stride, REAL *scratch, int exact)
{
    segment list[FN(MOST_COLUMNS)];
    const int segments = FN(segments_of)(from, column, columns, list);
    const reach all = FN(reach_of)(from);
    for (idx r = 0; r < rows;) {
        const idx channel = (first_row + r) / from->taps, first_tap = (first_row + r) % from->taps;
        const idx taps = FN(min)(from->taps - first_tap, rows - r);
        REAL *dst = block + r * stride;
        for (int s = 0, next; s < segments; s = next) {
            idx total = 0;
            for (next = s; next < segments && list[next].image == list[s].image; next++)
                total += list[next].rows * list[next].count;
            const REAL *plane =
                from->src + list[s].image * from->image + channel * from->h * from->w;
            const idx grid_rows = list[next - 1].row + list[next - 1].rows - list[s].row;
            FN(pad_plane)(from, &all, plane, list[s].row, grid_rows, scratch);
            for (idx tap = 0; tap < taps; tap++) {
                const REAL *src = scratch + FN(padded_tap)(from, &all, grid_rows, first_tap + tap);
                REAL *to = dst + tap * stride, *const row_end = block + (r + tap + 1) * stride;
                for (int t = s; t < next; t++) {
                    const segment piece = list[t];
                    idx loose = exact ? 0 : piece.rows;
                    if (s && loose) { /* from the second image on, the beginning of the block's next
                                         row is in place already */
                        const idx room = row_end - to - FN(round_up)(piece.count, VLEN);
                        loose = room < 0 ? 0 : FN(min)(room / piece.count + 1, loose);
                    }
                    FN(copy_loosely)(to, src + piece.first, all.length, loose, piece.count);
                    FN(copy_exactly)(to + loose * piece.count,
                                     src + loose * all.length + piece.first, all.length,
                                     piece.rows - loose, piece.count);
                    to += piece.rows * piece.count;
                    src += piece.rows * all.length;
                }
            }
            dst += total;
        }
        if (padded > columns)
            for (idx tap = 0; tap < taps; tap++)
                FN(zero_run)(block + (r + tap) * stride + columns, padded - columns);
        r += taps;
    }
}

/* Whether the patch matrix is the source itself: one tap, no step, no padding. */
INLINE int FN(is_matrix)(const patches *from)
{
    return from->taps == 1 && from->grid_h == 1 && from->h == 1 && from->grid_w == from->w &&
           from->step_w == 1 && !from->tap_h[0] && !from->tap_w[0];
}

/* Whether it is pixels of the source alone: one tap, no padding. */
INLINE int FN(is_inside)(const patches *from)
{
    return from->taps == 1 && from->tap_h[0] >= 0 && from->tap_w[0] >= 0 &&
           from->tap_h[0] + (from->grid_h - 1) * from->step_h < from->h &&
           from->tap_w[0] + (from->grid_w - 1) * from->step_w < from->w;
}

/* pack_patches where it is. */
static void FN(pack_pixels)(const patches *from, idx first_row, idx rows, idx column, idx columns,
                            idx padded, REAL *block, idx stride)
{
    segment list[FN(MOST_COLUMNS)];
    const int segments = FN(segments_of)(from, column, columns, list);
    const idx plane = from->h * from->w, down = from->step_h * from->w;
    REAL *dst = block;
    for (int s = 0; s < segments; s++) {
        const segment piece = list[s];
        const REAL *src = from->src + piece.image * from->image + first_row * plane +
                          from->tap_h[0] * from->w + piece.row * down + from->tap_w[0] +
                          piece.first * from->step_w;
        for (idx r = 0; r < rows; r++)
            for (idx i = 0; i < piece.rows; i++) {
                REAL *to = dst + r * stride + i * piece.count;
                const REAL *at = src + r * plane + i * down;
                if (VECTOR_BYTES == 32 && from->step_w == 1)
                    FN(copy_ahead)(to, at, piece.count, FN(PACK_AHEAD) * plane);
                else
                    FN(gather_run)(to, at, piece.count, from->step_w);
            }
        dst += piece.rows * piece.count;
    }
    for (idx r = 0; r < rows; r++)
        FN(zero_run)(block + r * stride + columns, padded - columns);
}

static void FN(pack_columns)(const patches *from, idx first_row, idx rows, idx column, idx columns,
                             idx padded, REAL *block, idx stride, REAL *scratch)
{
    if (FN(is_inside)(from))
        FN(pack_pixels)(from, first_row, rows, column, columns, padded, block, stride);
    else
        FN(pack_patches)(from, first_row, rows, column, columns, padded, block, stride, scratch, 0);
}
