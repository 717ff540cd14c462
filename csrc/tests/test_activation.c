/* Elementwise kernels. NaN passes through. */
#include "check.h"

/* Sizes from nothing to more than two vectors of every width, and one that is shared by threads. */
static const idx lengths[] = {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 40, 300007};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static array signals(idx count)
{
    array x = randoms(count);
    for (idx i = 0; i < count; i += 5)
        x.value[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -INFINITY;
    return x;
}

static void test_relu(idx n)
{
    array x = signals(n), want = zeros(n);
    for (idx i = 0; i < n; i++)
        want.value[i] = x.value[i] < 0 ? 0 : x.value[i];
    void *tx = typed(x), *y = blank(n);
    RUN_OK(relu_forward, n, tx, y);
    expect("relu_forward", y, want, 1);
    release(x), release(want);
    free(tx), free(y);
}

void test_activation(void)
{
    for (int i = 0; i < LENGTHS; i++)
        test_relu(lengths[i]);
}
