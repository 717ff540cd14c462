/* Winograd's minimal filtering F(4x4, r x r): from a tile of edge x edge inputs, edge = r + 3, 16
 * sums of r*r products each by edge*edge multiplications.
 *
 *   Y = A^T [(G g G^T) . (B^T d B)] A,  g the filter (r,r), d the tile (edge,edge), Y (4,4)
 *
 * with the matrices of Toom and Cook, of edge 6 for the points 0, sqrt 2, -sqrt 2, sqrt 1/2,
 * -sqrt 1/2 and infinity, which round less than 0, 1, -1, 2, -2; of edge 8 for 0, 1, -1, 2, -2,
 * 1/2, -1/2 and infinity (docs/numerics.md has the bounds). B is the same for every r of an edge;
 * G evaluates a polynomial of r coefficients at the points, A^T is the transpose of such an
 * evaluation. (Winograd 1980; Lavin and Gray 2016, arXiv:1509.09308.)
 *
 * A sum over channels turns the products into as many matrix products over the tiles. Tiles lie
 * side by side, TILE_STEP pixels apart, and are numbered over (image, row of tiles, column): the
 * grid of a `patches` whose only tap is the first pixel of a tile. */
enum {
    FN(TILE_STEP) = 4,
    FN(MOST_EDGE) = 8,
    FN(TILE_PIECE) = 64, /* tiles transformed at a time: their pixels stay in L1 */
};

/* The products of a tile, and so the matrices that its transforms fill. */
INLINE idx FN(tile_products)(int edge) { return edge * edge; }

/* Whether the pixels of the next plane, of so many, are fetched while those of one are read or
 * written: planes are too far apart, and rows too short, to be foreseen. As measured. */
#define FETCHED_AHEAD(pixels) (VECTOR_BYTES < 64 || (pixels) >= 512)

#define ROOT ((REAL)1.41421356237309504880168872420969808)

/* out = G in, for 3 to 5 coefficients: at the point z, in[0] + in[1] z + in[2] z^2 ..., scaled so
 * that A and B hold small numbers. */
INLINE void FN(winograd_filter)(int edge, int count, const vec *in, vec *out)
{
    out[0] = in[0];
    out[edge - 1] = in[count - 1];
    if (edge == 6) {
        const REAL p = (REAL)(1.0 / 6), q = (REAL)(-2.0 / 3);
        vec even_p = in[0] + 2 * in[2], even_q = in[0] + (REAL)0.5 * in[2];
        vec odd_p = in[1], odd_q = in[1];
        if (count > 3) {
            odd_p += 2 * in[3];
            odd_q += (REAL)0.5 * in[3];
        }
        even_p *= p;
        even_q *= q;
        out[1] = even_p + ROOT * p * odd_p;
        out[2] = even_p - ROOT * p * odd_p;
        out[3] = even_q + ROOT / 2 * q * odd_q;
        out[4] = even_q - ROOT / 2 * q * odd_q;
    } else {
        const REAL p = (REAL)(-2.0 / 9), q = (REAL)(1.0 / 90), r = (REAL)(32.0 / 45);
        vec even_p = in[0] + in[2], even_q = in[0] + 4 * in[2];
        vec even_r = in[0] + (REAL)0.25 * in[2];
        if (count > 4) {
            even_p += in[4];
            even_q += 16 * in[4];
            even_r += (REAL)0.0625 * in[4];
        }
        const vec odd_p = p * (in[1] + in[3]), odd_q = 2 * q * (in[1] + 4 * in[3]);
        const vec odd_r = (REAL)0.5 * r * (in[1] + (REAL)0.25 * in[3]);
        out[1] = p * even_p + odd_p;
        out[2] = p * even_p - odd_p;
        out[3] = q * even_q + odd_q;
        out[4] = q * even_q - odd_q;
        out[5] = r * even_r + odd_r;
        out[6] = r * even_r - odd_r;
    }
}

/* out = B^T in */
INLINE void FN(winograd_data)(int edge, const vec *in, vec *out)
{
    if (edge == 6) {
        const vec even_p = in[4] - (REAL)0.5 * in[2], odd_p = in[3] - (REAL)0.5 * in[1];
        const vec even_q = in[4] - 2 * in[2], odd_q = in[3] - 2 * in[1];
        out[0] = in[0] + in[4] - (REAL)2.5 * in[2];
        out[1] = even_p + ROOT * odd_p;
        out[2] = even_p - ROOT * odd_p;
        out[3] = even_q + ROOT / 2 * odd_q;
        out[4] = even_q - ROOT / 2 * odd_q;
        out[5] = in[1] + in[5] - (REAL)2.5 * in[3];
    } else {
        const vec even_p = in[2] + in[6] - (REAL)4.25 * in[4];
        const vec odd_p = in[1] + in[5] - (REAL)4.25 * in[3];
        const vec even_q = in[6] + (REAL)0.25 * in[2] - (REAL)1.25 * in[4];
        const vec odd_q = in[5] + (REAL)0.25 * in[1] - (REAL)1.25 * in[3];
        const vec even_r = in[6] + 4 * in[2] - 5 * in[4];
        const vec odd_r = in[5] + 4 * in[1] - 5 * in[3];
        out[0] = in[0] - in[6] + (REAL)5.25 * (in[4] - in[2]);
        out[1] = even_p + odd_p;
        out[2] = even_p - odd_p;
        out[3] = even_q + 2 * odd_q;
        out[4] = even_q - 2 * odd_q;
        out[5] = even_r + (REAL)0.5 * odd_r;
        out[6] = even_r - (REAL)0.5 * odd_r;
        out[7] = in[7] - in[1] + (REAL)5.25 * (in[3] - in[5]);
    }
}

/* out = A^T in, 3 to 5 results: out[i] = sum over the points of z^i in */
INLINE void FN(winograd_result)(int edge, int count, const vec *in, vec *out)
{
    if (edge == 6) {
        const vec even_p = in[1] + in[2], odd_p = ROOT * (in[1] - in[2]);
        const vec even_q = in[3] + in[4], odd_q = ROOT / 2 * (in[3] - in[4]);
        out[0] = in[0] + even_p + even_q;
        out[1] = odd_p + odd_q;
        out[2] = 2 * even_p + (REAL)0.5 * even_q;
        if (count > 3)
            out[3] = 2 * odd_p + (REAL)0.5 * odd_q;
    } else {
        const vec even_p = in[1] + in[2], odd_p = in[1] - in[2];
        const vec even_q = in[3] + in[4], odd_q = in[3] - in[4];
        const vec even_r = in[5] + in[6], odd_r = in[5] - in[6];
        out[0] = in[0] + even_p + (even_q + even_r);
        out[1] = odd_p + 2 * odd_q + (REAL)0.5 * odd_r;
        out[2] = even_p + 4 * even_q + (REAL)0.25 * even_r;
        out[3] = odd_p + 8 * odd_q + (REAL)0.125 * odd_r;
        if (count > 4)
            out[4] = even_p + 16 * even_q + (REAL)0.0625 * even_r;
    }
    out[count - 1] += in[edge - 1];
}

/* out[phase][lane] = p[lane*4 + phase] */
INLINE void FN(deal)(const REAL *p, vec *out)
{
    const vec even = FN(even_lanes)(FN(load)(p), FN(load)(p + VLEN)),
              odd = FN(odd_lanes)(FN(load)(p), FN(load)(p + VLEN));
    const vec a = FN(load)(p + 2 * VLEN), b = FN(load)(p + 3 * VLEN);
    const vec more_even = FN(even_lanes)(a, b), more_odd = FN(odd_lanes)(a, b);
    out[0] = FN(even_lanes)(even, more_even);
    out[1] = FN(even_lanes)(odd, more_odd);
    out[2] = FN(odd_lanes)(even, more_even);
    out[3] = FN(odd_lanes)(odd, more_odd);
}

/* p[lane*4 + phase] = in[phase][lane] */
INLINE void FN(collect)(const vec *in, REAL *p)
{
    const vec a = FN(zip_low)(in[0], in[2]), b = FN(zip_low)(in[1], in[3]);
    const vec c = FN(zip_high)(in[0], in[2]), d = FN(zip_high)(in[1], in[3]);
    FN(store)(p, FN(zip_low)(a, b));
    FN(store)(p + VLEN, FN(zip_high)(a, b));
    FN(store)(p + 2 * VLEN, FN(zip_low)(c, d));
    FN(store)(p + 3 * VLEN, FN(zip_high)(c, d));
}

/* Some tiles of a piece, at most TILE_PIECE. */
typedef struct {
    segment list[FN(TILE_PIECE)];
    int segments;
    idx count;
} FN(tile_run);
#define tile_run FN(tile_run)

static tile_run FN(tiles_of)(const patches *from, idx first, idx count)
{
    tile_run run = {.count = count};
    run.segments = FN(segments_of)(from, first, count, run.list);
    return run;
}

enum {
    /* A line holds one row of TILE_STEP pixels of every tile, behind one another; with VLEN
     * elements to write over. */
    FN(LINE_LENGTH) = FN(TILE_PIECE) * FN(TILE_STEP) + 3 * (int)(VECTOR_BYTES / sizeof(REAL)),
    FN(TILE_SHIFTS) = FN(MOST_EDGE) / FN(TILE_STEP), /* such rows that a row of a tile takes */
};

/* At most so many elements have the rows of pixels of a piece with zeros around it: those of each
 * tile where none of them shares any, as images of one tile. */
INLINE idx FN(padded_size)(int edge)
{
    return FN(round_up)(FN(tile_products)(edge) * FN(TILE_PIECE) + VLEN, 64);
}

/* The pixels of each segment's tiles, `size` in a row or a column of one tile, with zeros around
 * the plane. Up to VLEN elements behind are overwritten. */
static void FN(pad_tiles)(const patches *from, idx channel, const tile_run *run, idx size,
                          REAL *padded)
{
    const idx step = FN(TILE_STEP), h = from->h, w = from->w, line = 64 / (idx)sizeof(REAL);
    for (int s = 0; s < run->segments; s++) {
        const segment piece = run->list[s];
        const idx width = (piece.count - 1) * step + size, height = (piece.rows - 1) * step + size;
        const idx column = piece.first * step + from->tap_w[0];
        const idx row = piece.row * step + from->tap_h[0];
        const idx begin = FN(min)(FN(max)(-column, 0), width);
        const idx end = FN(max)(FN(min)(w - column, width), begin), count = end - begin;
        const REAL *plane = from->src + piece.image * from->image + channel * h * w;
        const REAL *src = plane + row * w + column + begin;
        for (idx r = row; r < row + height; r++, src += w, padded += width) {
            if (r < 0 || r >= h) {
                FN(zero_loosely)(padded, width);
                continue;
            }
            for (idx q = 0; FETCHED_AHEAD(h * w) && q < count; q += line)
                __builtin_prefetch(src + h * w + q, 0, 2);
            FN(zero_loosely)(padded, begin);
            FN(copy_run)(padded + begin, src, count);
            FN(zero_loosely)(padded + end, width - end);
        }
    }
}

/* Combines the rows of padded pixels of each tile into the lines of B^T d:
 * lines[shift][i][tile*step + k] is row i, column shift*step + k. */
INLINE void FN(winograd_lines)(int edge, const tile_run *run, const REAL *padded, REAL *lines)
{
    const idx step = FN(TILE_STEP), length = FN(LINE_LENGTH);
    idx at = 0;
    for (int s = 0; s < run->segments; s++) {
        const segment piece = run->list[s];
        const idx width = (piece.count - 1) * step + edge, pixels = piece.count * step;
        for (idx row = 0; row < piece.rows; row++, at += pixels, padded += step * width)
            for (int shift = 0; shift < FN(TILE_SHIFTS); shift++)
                for (idx pixel = 0; pixel < pixels; pixel += VLEN) {
                    const REAL *src = padded + shift * step + pixel;
                    REAL *dst = lines + shift * edge * length + at + pixel;
                    vec in[FN(MOST_EDGE)], out[FN(MOST_EDGE)];
#pragma GCC unroll 8
                    for (int i = 0; i < edge; i++)
                        in[i] = FN(load)(src + i * width);
                    FN(winograd_data)(edge, in, out);
#pragma GCC unroll 8
                    for (int i = 0; i < edge; i++)
                        FN(store)(dst + i * length, out[i]);
                }
        padded += (edge - step) * width;
    }
}

/* v[j*plane + tile] = element j of a row of B^T d B, from the lines of that row, shift_step apart.
 */
INLINE void FN(winograd_columns)(int edge, const REAL *lines, idx shift_step, idx count, REAL *v,
                                 idx plane)
{
    for (idx t = 0; t < count; t += VLEN) {
        vec in[FN(MOST_EDGE)], out[FN(MOST_EDGE)];
#pragma GCC unroll 2
        for (int shift = 0; shift < FN(TILE_SHIFTS); shift++)
            FN(deal)(lines + shift * shift_step + t * FN(TILE_STEP), in + shift * FN(TILE_STEP));
        FN(winograd_data)(edge, in, out);
#pragma GCC unroll 8
        for (int j = 0; j < edge; j++)
            FN(store)(v + j * plane + t, out[j]);
    }
}

/* lines[a][tile*step + b] = Y (a, b) + bias, from the products m[(i*edge + j)*plane + tile]. */
INLINE void FN(winograd_outputs)(int edge, const REAL *m, idx plane, idx count, REAL bias,
                                 REAL *lines)
{
    const int step = FN(TILE_STEP);
    for (idx t = 0; t < count; t += VLEN) {
        vec half[FN(MOST_EDGE)][FN(TILE_STEP)], across[FN(MOST_EDGE)], out[FN(TILE_STEP)];
#pragma GCC unroll 8
        for (int i = 0; i < edge; i++) {
#pragma GCC unroll 8
            for (int j = 0; j < edge; j++)
                across[j] = FN(load)(m + (i * edge + j) * plane + t);
            FN(winograd_result)(edge, step, across, half[i]);
        }
#pragma GCC unroll 4
        for (int b = 0; b < step; b++) {
#pragma GCC unroll 8
            for (int i = 0; i < edge; i++)
                across[i] = half[i][b];
            FN(winograd_result)(edge, step, across, out);
#pragma GCC unroll 4
            for (int a = 0; a < step; a++)
                half[a][b] = out[a];
        }
#pragma GCC unroll 4
        for (int a = 0; a < step; a++) {
#pragma GCC unroll 4
            for (int b = 0; b < step; b++)
                half[a][b] += bias;
            FN(collect)(half[a], lines + a * FN(LINE_LENGTH) + t * step);
        }
    }
}

/* Finishes the lines of Y and stores them to their pixels of a plane (h,w) at dst + place. */
INLINE void FN(winograd_scatter_to)(const tile_run *run, const REAL *lines, REAL *dst, ending last,
                                    idx place, idx image, idx h, idx w)
{
    const idx step = FN(TILE_STEP), length = FN(LINE_LENGTH), line = 64 / (idx)sizeof(REAL);
    for (int s = 0; s < run->segments; s++) {
        const segment piece = run->list[s];
        const idx column = piece.first * step, width = FN(min)(piece.count * step, w - column);
        const idx plane = place + piece.image * image + column;
        for (idx row = 0; row < piece.rows; row++, lines += piece.count * step)
            for (idx a = 0; a < step && (piece.row + row) * step + a < h; a++) {
                const idx at = plane + ((piece.row + row) * step + a) * w;
                for (idx q = 0; FETCHED_AHEAD(h * w) && q < width; q += line)
                    __builtin_prefetch(dst + at + h * w + q, 1, 2);
                FN(finish_run)(dst + at, lines + a * length, width, last, at);
            }
    }
}

static void FN(winograd_scatter)(const tile_run *run, const REAL *lines, REAL *dst, ending last,
                                 idx place, idx image, idx h, idx w)
{
    if (last.residual || last.relu)
        FN(winograd_scatter_to)(run, lines, dst, last, place, image, h, w);
    else
        FN(winograd_scatter_to)(run, lines, dst, (ending){0}, place, image, h, w);
}
#undef ROOT
#undef FETCHED_AHEAD
