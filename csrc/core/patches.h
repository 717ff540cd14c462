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

/* Rows of a plane (h,w) with zeros around it, the columns dealt out by their residue modulo step,
 * so that a row of taps step apart is contiguous: dst[r][phase][q] = src[first_h + r][first_w +
 * q*step + phase], r < rows, q < length. Up to VLEN elements behind dst are overwritten. */
static void FN(pad_rows)(const REAL *src, idx h, idx w, idx first_h, idx rows, idx first_w,
                         idx length, idx step, REAL *dst)
{
    for (idx r = 0; r < rows; r++) {
        const idx ih = first_h + r;
        if (ih < 0 || ih >= h) {
            FN(zero_loosely)(dst, step * length);
            dst += step * length;
            continue;
        }
        for (idx phase = 0; phase < step; phase++, dst += length) {
            const idx shift = first_w + phase;
            const idx begin = FN(min)(FN(max)(ceil_div(-shift, step), 0), length);
            const idx end = FN(max)(FN(min)(ceil_div(w - shift, step), length), begin);
            const REAL *row = src + ih * w + shift;
            FN(zero_loosely)(dst, begin);
            if (step == 1)
                FN(copy_run)(dst + begin, row + begin, end - begin);
            else if (step == 2)
                for (idx q = begin; q < end; q++)
                    dst[q] = row[2 * q];
            else
                for (idx q = begin; q < end; q++)
                    dst[q] = row[step * q];
            FN(zero_loosely)(dst + end, length - end);
        }
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

/* The smallest and the largest tap, and how long a padded row of one residue is. */
typedef struct {
    idx low_h, high_h, low_w, length;
} FN(reach);

static FN(reach) FN(reach_of)(const patches *from)
{
    FN(reach) reach = {0};
    idx high_w = 0;
    for (idx tap = 0; tap < from->taps; tap++) {
        const idx h = from->tap_h[tap], w = from->tap_w[tap];
        reach.low_h = tap ? FN(min)(reach.low_h, h) : h;
        reach.high_h = tap ? FN(max)(reach.high_h, h) : h;
        reach.low_w = tap ? FN(min)(reach.low_w, w) : w;
        high_w = tap ? FN(max)(high_w, w) : w;
    }
    reach.length = from->grid_w + (high_w - reach.low_w) / from->step_w;
    return reach;
}

/* Elements of scratch that pack_patches needs for a block of so many columns. */
static idx FN(patch_scratch)(const patches *from, idx columns)
{
    const FN(reach) reach = FN(reach_of)(from);
    const idx grid_rows = FN(min)(columns / from->grid_w + 2, from->grid_h);
    return ((grid_rows - 1) * from->step_h + reach.high_h - reach.low_h + 1) * from->step_w *
               reach.length +
           VLEN;
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
    const FN(reach) reach = FN(reach_of)(from);
    const idx row_length = from->step_w * reach.length, row_step = from->step_h * row_length;
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
            FN(pad_rows)(plane, from->h, from->w, list[s].row * from->step_h + reach.low_h,
                         (grid_rows - 1) * from->step_h + reach.high_h - reach.low_h + 1,
                         reach.low_w, reach.length, from->step_w, scratch);
            for (idx tap = 0; tap < taps; tap++) {
                const idx shift_w = from->tap_w[first_tap + tap] - reach.low_w;
                const REAL *src = scratch +
                                  (from->tap_h[first_tap + tap] - reach.low_h) * row_length +
                                  shift_w % from->step_w * reach.length + shift_w / from->step_w;
                REAL *to = dst + tap * stride, *const row_end = block + (r + tap + 1) * stride;
                for (int t = s; t < next; t++) {
                    const segment piece = list[t];
                    idx loose = exact ? 0 : piece.rows;
                    if (s && loose) { /* from the second image on, the beginning of the block's next
                                         row is in place already */
                        const idx room = row_end - to - FN(round_up)(piece.count, VLEN);
                        loose = room < 0 ? 0 : FN(min)(room / piece.count + 1, loose);
                    }
                    FN(copy_loosely)(to, src + piece.first, row_step, loose, piece.count);
                    FN(copy_exactly)(to + loose * piece.count, src + loose * row_step + piece.first,
                                     row_step, piece.rows - loose, piece.count);
                    to += piece.rows * piece.count;
                    src += piece.rows * row_step;
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

/* pack_patches where it is. */
static void FN(pack_rows)(const patches *from, idx first_row, idx rows, idx column, idx columns,
                          idx padded, REAL *block, idx stride)
{
    for (idx done = 0; done < columns;) {
        const idx at = column + done, pixel = at % from->grid_w,
                  count = FN(min)(columns - done, from->grid_w - pixel);
        const REAL *src = from->src + at / from->grid_w * from->image + first_row * from->w + pixel;
        for (idx r = 0; r < rows; r++)
            FN(copy_run)(block + r * stride + done, src + r * from->w, count);
        done += count;
    }
    for (idx r = 0; r < rows; r++)
        FN(zero_run)(block + r * stride + columns, padded - columns);
}

static void FN(pack_columns)(const patches *from, idx first_row, idx rows, idx column, idx columns,
                             idx padded, REAL *block, idx stride, REAL *scratch)
{
    if (FN(is_matrix)(from))
        FN(pack_rows)(from, first_row, rows, column, columns, padded, block, stride);
    else
        FN(pack_patches)(from, first_row, rows, column, columns, padded, block, stride, scratch, 0);
}
