/* Softmax, its logarithm and cross-entropy.
 *
 * exp(x - max) has a relative error of |x - max| u from the difference and a few u from exp; the
 * sum adds c u. Hence the terms below: c + |x - max| + 8. */
#include "check.h"

static const idx column_shapes[][3] = {{2, 3, 0}, {0, 3, 4},  {1, 1, 2},   {2, 5, 7},
                                       {3, 4, 16}, {2, 21, 65}, {1, 700, 33}, {2, 2, 600}};
enum { COLUMN_SHAPES = sizeof column_shapes / sizeof *column_shapes };
static const idx row_shapes[][2] = {{0, 3}, {1, 1}, {3, 2},   {5, 7},   {2, 8},    {4, 15},
                                    {3, 16}, {7, 17}, {2, 33}, {9, 100}, {300, 10}, {40, 1000}};
enum { ROW_SHAPES = sizeof row_shapes / sizeof *row_shapes };

/* Along the middle axis of x (outer,c,inner). */
static void softmax_expected(idx outer, idx c, idx inner, array x, array *y, array *log_y)
{
    for (idx r = 0; r < outer * inner; r++) {
        const idx first = r / inner * c * inner + r % inner;
        double most = -INFINITY, least = INFINITY, sum = 0;
        for (idx j = 0; j < c; j++) {
            most = fmax(most, x.value[first + j * inner]);
            least = fmin(least, x.value[first + j * inner]);
        }
        for (idx j = 0; j < c; j++)
            sum += exp(x.value[first + j * inner] - most);
        const double terms = (double)c + most - least + 8;
        for (idx j = 0; j < c; j++) {
            const idx at = first + j * inner;
            const double difference = x.value[at] - most, p = exp(difference) / sum;
            set(y, at, p, p, terms);
            set(log_y, at, difference - log(sum), log(sum) - difference + 1, terms);
        }
    }
}

static void test_axis(idx outer, idx c, idx inner)
{
    array x = randoms(outer * c * inner), dy = randoms(x.count);
    for (idx i = 0; i < x.count; i++)
        x.value[i] = (double)(float)(x.value[i] * 9);
    array y = zeros(x.count), log_y = zeros(x.count), want = zeros(x.count);
    softmax_expected(outer, c, inner, x, &y, &log_y);
    void *tx = typed(x), *tdy = typed(dy), *ty = typed(y), *tlog_y = typed(log_y);
    void *got = blank(x.count);
    RUN_OK(softmax_forward, outer, c, inner, tx, got);
    expect("softmax_forward", got, y, 1);
    RUN_OK(log_softmax_forward, outer, c, inner, tx, got);
    expect("log_softmax_forward", got, log_y, 1);
    for (idx i = 0; i < x.count; i++) {
        double dot = 0, sum = 0, dot_scale = 0, sum_scale = 0;
        const idx first = i / (c * inner) * c * inner + i % inner;
        for (idx j = first; j < first + c * inner; j += inner) {
            dot += dy.value[j] * y.value[j];
            dot_scale += fabs(dy.value[j] * y.value[j]);
            sum += dy.value[j];
            sum_scale += fabs(dy.value[j]);
        }
        set(&want, i, y.value[i] * (dy.value[i] - dot),
            y.value[i] * (fabs(dy.value[i]) + dot_scale), (double)c + 8);
        set(&log_y, i, dy.value[i] - exp(log_y.value[i]) * sum,
            fabs(dy.value[i]) + y.value[i] * sum_scale, (double)c + fabs(log_y.value[i]) + 8);
    }
    RUN_OK(softmax_backward, outer, c, inner, tdy, ty, got);
    expect("softmax_backward", got, want, 1);
    RUN_OK(log_softmax_backward, outer, c, inner, tdy, tlog_y, got);
    expect("log_softmax_backward", got, log_y, 1);
    release(x), release(dy), release(y), release(log_y), release(want);
    discard(tx), discard(tdy), discard(ty), discard(tlog_y), discard(got);
}

/* soft: targets are probabilities; otherwise labels, and those equal to 1 are ignored. */
static void test_cross_entropy(idx rows, idx c, int soft)
{
    array x = randoms(rows * c), targets = randoms(rows * c), dloss = randoms(rows);
    array probs = zeros(x.count), log_y = zeros(x.count), loss = zeros(rows);
    array dlogits = zeros(x.count);
    int64_t *labels = room((size_t)rows * sizeof *labels);
    softmax_expected(rows, c, 1, x, &probs, &log_y);
    for (idx r = 0; r < rows; r++) {
        labels[r] = (r * 7 + 1) % c;
        const int ignored = !soft && labels[r] == 1;
        double sum = 0, sum_scale = 0;
        for (idx j = r * c; j < r * c + c; j++) {
            double *const t = &targets.value[j];
            *t = soft ? fabs(*t) : !ignored && j - r * c == labels[r];
            loss.value[r] -= *t * log_y.value[j];
            loss.scale[r] += *t * log_y.scale[j];
            sum += *t;
            sum_scale += fabs(*t);
        }
        loss.terms[r] = 2 * c + 16;
        for (idx j = r * c; j < r * c + c; j++)
            set(&dlogits, j, dloss.value[r] * (probs.value[j] * sum - targets.value[j]),
                fabs(dloss.value[r]) * (probs.value[j] * sum_scale + targets.value[j]),
                (double)c + 8);
    }
    void *tx = typed(x), *tt = typed(targets), *tdloss = typed(dloss), *tprobs = typed(probs);
    void *got_loss = blank(rows), *got = blank(x.count);
    const void *soft_targets = soft ? tt : NULL;
    const int64_t *hard = soft ? NULL : labels;
    RUN_OK(softmax_cross_entropy_forward, rows, c, tx, hard, soft_targets, !soft, 1, got_loss, got);
    expect("softmax_cross_entropy_forward: probs", got, probs, 1);
    expect("softmax_cross_entropy_forward: loss", got_loss, loss, 1);
    RUN_OK(softmax_cross_entropy_backward, rows, c, tdloss, tprobs, hard, soft_targets, !soft, 1,
           got);
    expect("softmax_cross_entropy_backward", got, dlogits, 1);
    const int64_t wrong[] = {-1, c, INT64_MIN, INT64_MAX, (int64_t)1 << 32};
    for (int i = 0; rows && !soft && i < 5; i++) {
        labels[rows - 1] = wrong[i];
        check(RUN(softmax_cross_entropy_forward, rows, c, tx, labels, NULL, 0, 0, got_loss, got) ==
                  PYDL_BAD_INDEX,
              "softmax_cross_entropy_forward: a label out of range");
        check(RUN(softmax_cross_entropy_backward, rows, c, tdloss, tprobs, labels, NULL, 0, 0,
                  got) == PYDL_BAD_INDEX,
              "softmax_cross_entropy_backward: a label out of range");
    }
    release(x), release(targets), release(dloss), release(probs), release(log_y);
    release(loss), release(dlogits);
    discard(tx), discard(tt), discard(tdloss), discard(tprobs), discard(got_loss), discard(got), discard(labels);
}

void test_softmax(void)
{
    for (int i = 0; i < ROW_SHAPES; i++) {
        test_axis(row_shapes[i][0], row_shapes[i][1], 1);
        test_cross_entropy(row_shapes[i][0], row_shapes[i][1], 0);
        test_cross_entropy(row_shapes[i][0], row_shapes[i][1], 1);
    }
    for (int i = 0; i < COLUMN_SHAPES; i++)
        test_axis(column_shapes[i][0], column_shapes[i][1], column_shapes[i][2]);
}
