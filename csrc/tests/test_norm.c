/* Batch and layer normalisation.
 *
 * The mean of m values has an error of m u times the mean of their magnitudes, x - mean and rstd
 * inherit it; the terms below are m and a few for the formula, the scale is what the magnitudes
 * give in it. */
#include "check.h"

/* x (n,c,size): strips of columns, rows of less than a vector to several, one block and many */
static const idx batch_shapes[][3] = {{0, 3, 4},    {2, 1, 1},  {5, 7, 1},    {70, 150, 1},
                                      {3, 9, 2},    {4, 37, 5}, {2, 3, 15},   {2, 35, 49},
                                      {1, 17, 196}, {3, 5, 67}, {2, 2, 1500}, {3, 2, 16500},
                                      {70, 2, 300}};
enum { BATCH_SHAPES = sizeof batch_shapes / sizeof *batch_shapes };

typedef struct {
    idx n, c, size;
    array x, w, b, residual, dy, mask, mean, rstd, var;
    void *tx, *tw, *tb, *tresidual, *tdy, *tmask, *tmean, *trstd, *tvar;
} batch;

static array positive(idx count)
{
    array a = randoms(count);
    for (idx i = 0; i < count; i++)
        a.value[i] = (double)(float)(0.5 + fabs(a.value[i]));
    return a;
}

static batch make_batch(idx n, idx c, idx size)
{
    const idx count = n * c * size;
    batch v = {n, c, size, .x = randoms(count), .w = randoms(c), .b = randoms(c),
               .residual = randoms(count), .dy = randoms(count), .mask = randoms(count),
               .mean = randoms(c), .rstd = positive(c), .var = positive(c)};
    v.tx = typed(v.x), v.tw = typed(v.w), v.tb = typed(v.b), v.tresidual = typed(v.residual);
    v.tdy = typed(v.dy), v.tmask = typed(v.mask), v.tmean = typed(v.mean), v.trstd = typed(v.rstd);
    v.tvar = typed(v.var);
    return v;
}

static void release_batch(batch v)
{
    release(v.x), release(v.w), release(v.b), release(v.residual), release(v.dy), release(v.mask);
    release(v.mean), release(v.rstd), release(v.var);
    discard(v.tx), discard(v.tw), discard(v.tb), discard(v.tresidual), discard(v.tdy), discard(v.tmask);
    discard(v.tmean), discard(v.trstd), discard(v.tvar);
}

static idx channel_of(batch v, idx i) { return i / v.size % v.c; }

/* With all operands and the ReLU, or with none of them. */
static void expect_normalised(const char *name, const void *got, batch v, array mean, array rstd,
                              array level, double terms, int all)
{
    array want = zeros(v.x.count);
    for (idx i = 0; i < v.x.count; i++) {
        const idx k = channel_of(v, i);
        const double w = all ? v.w.value[k] : 1, b = all ? v.b.value[k] : 0;
        const double residual = all ? v.residual.value[i] : 0;
        const double y = (v.x.value[i] - mean.value[k]) * rstd.value[k] * w + b + residual;
        const double scale = (fabs(v.x.value[i]) + level.value[k]) * rstd.value[k] * fabs(w);
        set(&want, i, all ? fmax(y, 0) : y, scale + fabs(b) + fabs(residual), terms);
    }
    expect(name, got, want, 1);
    release(want);
}

static void test_forward(batch v, int all)
{
    const double eps = 0x1p-10, m = (double)(v.n * v.size);
    array mean = zeros(v.c), rstd = zeros(v.c), level = zeros(v.c), inverse = zeros(v.c);
    array given = zeros(v.c);
    for (idx i = 0; i < v.x.count; i++) {
        mean.value[channel_of(v, i)] += v.x.value[i] / m;
        level.value[channel_of(v, i)] += fabs(v.x.value[i]) / m;
    }
    for (idx i = 0; i < v.x.count; i++) {
        const double d = v.x.value[i] - mean.value[channel_of(v, i)];
        rstd.value[channel_of(v, i)] += d * d / m;
    }
    for (idx k = 0; k < v.c; k++) {
        level.value[k] += fabs(mean.value[k]);
        set(&mean, k, mean.value[k], level.value[k], m + 2);
        const double r = 1 / sqrt(rstd.value[k] + eps);
        set(&rstd, k, r, r * (1 + level.value[k] * r), m + 8);
        inverse.value[k] = 1 / sqrt(v.var.value[k] + eps);
        given.value[k] = fabs(v.mean.value[k]);
    }
    void *y = blank(v.x.count), *got_mean = blank(v.c), *got_rstd = blank(v.c);
    const void *w = all ? v.tw : NULL, *b = all ? v.tb : NULL, *residual = all ? v.tresidual : NULL;
    RUN_OK(batch_norm_forward, v.n, v.c, v.size, eps, all, v.tx, w, b, residual, y, got_mean,
           got_rstd);
    expect("batch_norm_forward: mean", got_mean, mean, 1);
    expect("batch_norm_forward: rstd", got_rstd, rstd, 1);
    expect_normalised("batch_norm_forward: y", y, v, mean, rstd, level, m + 16, all);
    RUN_OK(batch_norm_inference, v.n, v.c, v.size, eps, all, v.tx, v.tmean, v.tvar, w, b, residual,
           y);
    expect_normalised("batch_norm_inference", y, v, v.mean, inverse, given, 12, all);
    release(mean), release(rstd), release(level), release(inverse), release(given);
    discard(y), discard(got_mean), discard(got_rstd);
}

enum { UNMASKED, MASK_OF_Y, MASK_OF_X };

static void test_backward(batch v, int training, int mask, int keep)
{
    const double m = (double)(v.n * v.size);
    array dw = zeros(v.c), db = zeros(v.c), dx = zeros(v.x.count), g = zeros(v.x.count);
    for (idx i = 0; i < v.x.count; i++) {
        const idx k = channel_of(v, i);
        const double y = mask == MASK_OF_Y ? v.mask.value[i]
                                           : (v.x.value[i] - v.mean.value[k]) * v.rstd.value[k] *
                                                     v.w.value[k] + v.b.value[k];
        const double value = mask != UNMASKED && y <= 0 ? 0 : v.dy.value[i];
        set(&g, i, value, 0, 0);
        add(&db, k, value);
        dw.value[k] += value * (v.x.value[i] - v.mean.value[k]) * v.rstd.value[k];
        dw.scale[k] += fabs(value) * (fabs(v.x.value[i]) + fabs(v.mean.value[k])) * v.rstd.value[k];
        dw.terms[k] = (idx)m + 8;
    }
    for (idx i = 0; i < v.x.count; i++) {
        const idx k = channel_of(v, i);
        const double r = v.rstd.value[k], factor = v.w.value[k] * r;
        const double normalised = (v.x.value[i] - v.mean.value[k]) * r;
        const double most = (fabs(v.x.value[i]) + fabs(v.mean.value[k])) * r;
        double value = g.value[i], scale = fabs(g.value[i]);
        if (training) {
            value -= db.value[k] / m + normalised * dw.value[k] / m;
            scale += db.scale[k] / m + most * dw.scale[k] / m;
        }
        set(&dx, i, factor * value, fabs(factor) * scale, m + 16);
    }
    void *got = blank(v.x.count), *kept = blank(v.x.count), *got_dw = blank(v.c),
         *got_db = blank(v.c);
    RUN_OK(batch_norm_backward, v.n, v.c, v.size, training, v.tdy, v.tx, v.tmean, v.trstd, v.tw,
           mask == MASK_OF_X ? v.tb : NULL, mask == MASK_OF_Y ? v.tmask : NULL, got, got_dw, got_db,
           keep ? kept : NULL);
    expect("batch_norm_backward: dx", got, dx, 1);
    expect("batch_norm_backward: dw", got_dw, dw, 1);
    expect("batch_norm_backward: db", got_db, db, 1);
    if (keep)
        expect("batch_norm_backward: dresidual", kept, g, 1);
    release(dw), release(db), release(dx), release(g);
    discard(got), discard(kept), discard(got_dw), discard(got_db);
}

void test_batch_norm(void)
{
    for (int i = 0; i < BATCH_SHAPES; i++) {
        const batch v = make_batch(batch_shapes[i][0], batch_shapes[i][1], batch_shapes[i][2]);
        snprintf(shape_now, sizeof shape_now, "x (%td,%td,%td)", v.n, v.c, v.size);
        if (v.n)
            test_forward(v, 0);
        test_forward(v, 1);
        for (int options = 0; options < 12; options++)
            test_backward(v, options & 1, options >> 2, options & 2);
        release_batch(v);
    }
    shape_now[0] = 0;
}

/* The batch norm of one image, whose channels are the rows, with w and b along them. */
static void test_rows(idx rows, idx size, int affine)
{
    const double eps = 0x1p-10, m = (double)size;
    array x = randoms(rows * size), dy = randoms(x.count), w = randoms(size), b = randoms(size);
    array y = zeros(x.count), mean = zeros(rows), rstd = zeros(rows);
    array dx = zeros(x.count), dw = zeros(size), db = zeros(size);
    for (idx r = 0; r < rows; r++) {
        const double *from = x.value + r * size;
        double level = 0, var = 0, sum = 0, dot = 0, sums = 0, dots = 0;
        for (idx j = 0; j < size; j++) {
            mean.value[r] += from[j] / m;
            level += fabs(from[j]) / m;
        }
        for (idx j = 0; j < size; j++)
            var += (from[j] - mean.value[r]) * (from[j] - mean.value[r]) / m;
        const double s = 1 / sqrt(var + eps);
        level += fabs(mean.value[r]);
        set(&mean, r, mean.value[r], level, m + 2);
        set(&rstd, r, s, s * (1 + level * s), m + 8);
        for (idx j = 0; j < size; j++) {
            const idx i = r * size + j;
            const double normalised = (from[j] - mean.value[r]) * s,
                         most = (fabs(from[j]) + level) * s;
            const double wj = affine ? w.value[j] : 1, g = dy.value[i] * wj;
            set(&y, i, normalised * wj + (affine ? b.value[j] : 0),
                most * fabs(wj) + (affine ? fabs(b.value[j]) : 0), m + 16);
            db.value[j] += dy.value[i], db.scale[j] += fabs(dy.value[i]);
            dw.value[j] += dy.value[i] * normalised, dw.scale[j] += fabs(dy.value[i]) * most;
            sum += g / m, dot += g * normalised / m;
            sums += fabs(g) / m, dots += fabs(g) * most / m;
        }
        for (idx j = 0; j < size; j++) {
            const idx i = r * size + j;
            const double normalised = (from[j] - mean.value[r]) * s,
                         most = (fabs(from[j]) + level) * s;
            const double g = dy.value[i] * (affine ? w.value[j] : 1);
            set(&dx, i, s * (g - sum - normalised * dot), s * (fabs(g) + sums + most * dots),
                3 * m + 32);
        }
    }
    for (idx j = 0; j < size; j++)
        dw.terms[j] = rows + 2 * size + 16, db.terms[j] = rows;
    void *tx = typed(x), *tdy = typed(dy), *tw = typed(w), *tb = typed(b), *got = blank(x.count);
    void *got_mean = blank(rows), *got_rstd = blank(rows), *got_dw = blank(size),
         *got_db = blank(size);
    RUN_OK(layer_norm_forward, rows, size, eps, tx, affine ? tw : NULL, affine ? tb : NULL, got,
           got_mean, got_rstd);
    expect("layer_norm_forward: y", got, y, 1);
    expect("layer_norm_forward: mean", got_mean, mean, 1);
    expect("layer_norm_forward: rstd", got_rstd, rstd, 1);
    RUN_OK(layer_norm_backward, rows, size, tdy, tx, got_mean, got_rstd, affine ? tw : NULL, got,
           got_dw, got_db);
    expect("layer_norm_backward: dx", got, dx, 1);
    expect("layer_norm_backward: dw", got_dw, dw, 1);
    expect("layer_norm_backward: db", got_db, db, 1);
    release(x), release(dy), release(w), release(b), release(y), release(mean), release(rstd);
    release(dx), release(dw), release(db);
    discard(tx), discard(tdy), discard(tw), discard(tb), discard(got);
    discard(got_mean), discard(got_rstd), discard(got_dw), discard(got_db);
}

void test_layer_norm(void)
{
    static const idx shapes[][2] = {{0, 3},   {1, 1},   {5, 2},    {3, 16},
                                    {35, 33}, {2, 300}, {3, 18000}, {600, 40}};
    for (int i = 0; i < (int)(sizeof shapes / sizeof *shapes); i++) {
        snprintf(shape_now, sizeof shape_now, "x (%td,%td)", shapes[i][0], shapes[i][1]);
        test_rows(shapes[i][0], shapes[i][1], 0);
        test_rows(shapes[i][0], shapes[i][1], 1);
    }
    shape_now[0] = 0;
}

void test_norm_same_bits(void)
{
    const batch v = make_batch(3, 70, 301);
    const idx sizes[] = {v.x.count, v.c, v.c, v.x.count, v.c, v.c, v.x.count, v.size, v.size};
    enum { RESULTS = sizeof sizes / sizeof *sizes };
    const int before = pydl_get_num_threads();
    void *first[RESULTS] = {NULL};
    void *mean = blank(v.n * v.c), *rstd = blank(v.n * v.c), *y = blank(v.x.count);
    for (int threads = 1; threads <= 5; threads++) {
        pydl_set_num_threads(threads);
        void *got[RESULTS];
        for (int i = 0; i < RESULTS; i++)
            got[i] = blank(sizes[i]);
        RUN_OK(batch_norm_forward, v.n, v.c, v.size, 1e-5, 1, v.tx, v.tw, v.tb, v.tresidual, got[0],
               got[1], got[2]);
        RUN_OK(batch_norm_backward, v.n, v.c, v.size, 1, v.tdy, v.tx, v.tmean, v.trstd, v.tw,
               NULL, v.tmask, got[3], got[4], got[5], NULL);
        RUN_OK(layer_norm_forward, v.n * v.c, v.size, 1e-5, v.tx, NULL, NULL, y, mean, rstd);
        RUN_OK(layer_norm_backward, v.n * v.c, v.size, v.tdy, v.tx, mean, rstd, NULL, got[6],
               got[7], got[8]);
        for (int i = 0; i < RESULTS; i++) {
            if (!first[i]) {
                first[i] = got[i];
                continue;
            }
            check(!memcmp(first[i], got[i], (size_t)sizes[i] * item_size()),
                  "normalisation: the same bits on every number of threads");
            discard(got[i]);
        }
    }
    for (int i = 0; i < RESULTS; i++)
        discard(first[i]);
    release_batch(v);
    discard(mean), discard(rstd), discard(y);
    pydl_set_num_threads(before);
}
