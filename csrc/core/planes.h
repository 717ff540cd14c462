/* Planes whose rows are read where they lie, a vector at a time: strips of columns are walked down,
 * so that each row is loaded once for all results that it belongs to. */
enum { FN(LEAST_AHEAD) = 4096 / (int)sizeof(REAL), FN(READ_AHEAD) = 1024 / (int)sizeof(REAL) };

/* The place of vector v in a row of so many: the last one reaches back rather than over the end. */
INLINE idx FN(vector_at)(idx count, idx v)
{
    return FN(max)(FN(min)(v * VLEN, count - VLEN), 0);
}

/* Strips of columns are not foreseen by the CPU: while one is walked down, a share of what lies so
 * many elements further on is asked for. */
typedef struct {
    idx by, share;
} FN(walk);

INLINE FN(walk) FN(walk_of)(idx size, idx vectors)
{
    return (FN(walk)){FN(max)(size, FN(LEAST_AHEAD)), size / vectors};
}

/* Asks for a strip's share of what lies ahead, whole vectors or lines. */
INLINE const REAL *FN(ask_strip)(const REAL *p, idx vectors, int write)
{
    const idx line = FN(max)(VLEN, 64 / (idx)sizeof(REAL)), end = vectors * VLEN;
#pragma GCC unroll 4
    for (idx i = 0; i < end; i += line)
        if (write)
            __builtin_prefetch(p + i, 1, 2);
        else
            __builtin_prefetch(p + i, 0, 2);
    return p + end;
}

/* Asks for what will be written after two vectors here, in order. */
INLINE void FN(ask_ahead)(const REAL *p) { FN(ask_strip)(p + FN(LEAST_AHEAD), 2, 1); }

/* What would be in order in lane i of vectors whose lanes are mixed, as in even_mixed. */
INLINE idx FN(mixed_lane)(idx i)
{
    vec number = {0};
    number[i] = 1;
    number = FN(unmixed)(number);
    for (i = 0; !number[i];)
        i++;
    return i;
}

/* Stores the first count elements of a row of a plane whose rows come in order, `room` elements
 * before its end: whole where masks cost more, as the rows below overwrite what is too much. */
INLINE void FN(store_row)(REAL *p, idx count, idx room, vec v)
{
    if (VECTOR_BYTES < 64 && room >= VLEN)
        FN(store)(p, v);
    else
        FN(store_part)(p, count, v);
}

/* Stores even and odd places of a row, the first count of them, as store_row does. */
INLINE void FN(store_zipped)(REAL *to, idx count, idx room, vec even, vec odd)
{
    FN(ask_ahead)(to);
    FN(store_row)(to, count, room, FN(zip_low)(even, odd));
    if (count > VLEN)
        FN(store_row)(to + VLEN, count - VLEN, room - VLEN, FN(zip_high)(even, odd));
}

/* Plane i of so many with readable elements around it: itself, or a copy where the array ends. */
INLINE const REAL *FN(readable_plane)(const REAL *planes, idx count, idx size, idx i, idx before,
                                      idx after, REAL *copy)
{
    const REAL *plane = planes + i * size;
    if (i * size >= before && (count - i - 1) * size >= after)
        return plane;
    return memcpy(copy + before, plane, (size_t)size * sizeof(REAL));
}

/* Stores the sums over the lanes of so many vectors and, unless it is NULL, of one more apart. */
INLINE void FN(store_sums)(idx count, const vec sums[], REAL *to, REAL *apart)
{
#pragma GCC unroll 16
    for (idx k = 0; k <= count; k += VLEN) {
        vec part[VECTOR_BYTES / sizeof(REAL)];
#pragma GCC unroll 16
        for (idx i = 0; i < VLEN; i++)
            part[i] = k + i <= count ? sums[k + i] : (vec){0};
        const vec found = FN(sum_each)(part);
        if (k < count)
            FN(store_part)(to + k, FN(min)(count - k, VLEN), found);
        if (apart && count - k < VLEN)
            *apart = found[count - k];
    }
}

/* The same over each half of the lanes, the upper one's stored `next` behind and after apart.
 * Halves that take turns stay apart in the rounds of sum_each but the last. */
INLINE void FN(store_half_sums)(idx count, const vec sums[], REAL *to, idx next, REAL *apart)
{
    const idx half = VLEN / 2;
    lanes turns;
    for (idx i = 0; i < VLEN; i++)
        turns[i] = i / 2 + i % 2 * half;
#pragma GCC unroll 16
    for (idx k = 0; k <= count; k += half) {
        vec part[VECTOR_BYTES / sizeof(REAL)];
#pragma GCC unroll 16
        for (idx i = 0; i < half; i++)
            part[i] = k + i <= count ? FN(lanes_from)(sums[k + i], turns) : (vec){0};
#pragma GCC unroll 4
        for (idx some = half / 2; some; some /= 2)
#pragma GCC unroll 8
            for (idx i = 0; i < some; i++)
                part[i] = FN(zip_low)(part[i], part[i + some]) +
                          FN(zip_high)(part[i], part[i + some]);
        if (k < count)
            FN(store_halves)(to + k, to + k + next, FN(min)(count - k, half), part[0]);
        if (apart && count - k < half) {
            apart[0] = part[0][count - k];
            if (next)
                apart[1] = part[0][half + count - k];
        }
    }
}

/* The lanes' sums of one plane of at least a vector; rest has the bits of the lanes of its last
 * vector that a whole number of vectors leaves over. Planes are read at the speed of memory, for
 * which the hardware alone does not fetch far enough ahead across small pages. */
INLINE vec FN(plane_sums)(const REAL *x, idx size, lanes rest)
{
    vec sum[4] = {{0}};
    idx i = 0;
    for (; i + 4 * VLEN <= size; i += 4 * VLEN)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            __builtin_prefetch(x + i + k * VLEN + FN(READ_AHEAD));
            sum[k] += FN(load)(x + i + k * VLEN);
        }
    for (; i + VLEN <= size; i += VLEN) {
        __builtin_prefetch(x + i + FN(READ_AHEAD));
        sum[0] += FN(load)(x + i);
    }
    sum[1] += (vec)((lanes)FN(load)(x + size - VLEN) & rest);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* The same of a plane of any size. */
INLINE vec FN(plane_lanes)(const REAL *x, idx size, lanes rest)
{
    return size < VLEN ? FN(load_part)(x, size, 0) : FN(plane_sums)(x, size, rest);
}
