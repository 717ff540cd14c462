/* Optimizer steps in place. The scales are sums of magnitudes, so that a difference that cancels is
 * allowed the rounding errors of its operands; second moments start above 0. */
#include "check.h"

static const idx lengths[] = {0, 1, 7, 8, 16, 17, 33, 50001};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

/* One element on its way through a step, with the scale of what it has become. */
typedef struct {
    double value, scale;
} number;

static number times(double factor, number a)
{
    return (number){factor * a.value, fabs(factor) * a.scale};
}

static number plus(number a, number b) { return (number){a.value + b.value, a.scale + b.scale}; }

static number square(number a) { return (number){a.value * a.value, a.scale * a.scale}; }

/* a / (sqrt(v) * factor + eps) */
static number divided(number a, number v, double factor, double eps)
{
    const double root = sqrt(v.value) * factor + eps;
    return (number){a.value / root, a.scale / root * (1 + v.scale / v.value)};
}

typedef struct {
    idx n; /* elements */
    array p, g, state[3];
    array want_p, want[3];
    void *tp, *tg, *t[3];
} optimizer;

static optimizer begin(idx n)
{
    optimizer o = {.n = n, .p = randoms(n), .g = randoms(n), .want_p = zeros(n)};
    for (int k = 0; k < 3; k++) {
        o.state[k] = randoms(n);
        o.want[k] = zeros(n);
        for (idx i = 0; i < n && k == 1; i++)
            o.state[k].value[i] = (double)(float)(fabs(o.state[k].value[i]) + 2);
        o.t[k] = typed(o.state[k]);
    }
    o.tp = typed(o.p);
    o.tg = typed(o.g);
    return o;
}

static number at(array a, idx i) { return (number){a.value[i], fabs(a.value[i])}; }

static void store(array *want, idx i, number a)
{
    want->value[i] = a.value;
    want->scale[i] = a.scale;
    want->terms[i] = 7;
}

static number decayed(const optimizer *o, idx i, number g, double weight_decay)
{
    return plus(g, times(weight_decay, at(o->p, i)));
}

static number gradient(const optimizer *o, idx i, double weight_decay)
{
    return decayed(o, i, at(o->g, i), weight_decay);
}

/* Compares the parameter and the states whose bit is set. */
static void finish(const char *name, optimizer o, int states)
{
    expect(name, o.tp, o.want_p, 1);
    for (int k = 0; k < 3; k++) {
        if (states >> k & 1)
            expect(name, o.t[k], o.want[k], 1);
        release(o.state[k]), release(o.want[k]);
        discard(o.t[k]);
    }
    release(o.p), release(o.g), release(o.want_p);
    discard(o.tp), discard(o.tg);
}

static const double sgd_lr = 0.05, adam_lr = 0.01, beta1 = 0.9, beta2 = 0.999, adam_eps = 1e-8;

/* What element i becomes, whose gradient g has the decay in it. */
static void want_sgd(optimizer *o, idx i, number g, double momentum, double dampening, int nesterov,
                     int initialize)
{
    if (momentum != 0) {
        const number old = times(momentum, at(o->state[0], i));
        const number v = initialize ? g : plus(old, times(1 - dampening, g));
        store(&o->want[0], i, v);
        g = nesterov ? plus(g, times(momentum, v)) : v;
    }
    store(&o->want_p, i, plus(at(o->p, i), times(-sgd_lr, g)));
}

static void want_adam(optimizer *o, idx i, number g, idx step, double shrink)
{
    const number m = plus(times(beta1, at(o->state[0], i)), times(1 - beta1, g));
    const number v = plus(times(beta2, at(o->state[1], i)), times(1 - beta2, square(g)));
    const double root = 1 / sqrt(1 - pow(beta2, (double)step));
    const number change =
        divided(times(1 / (1 - pow(beta1, (double)step)), m), v, root, adam_eps);
    store(&o->want[0], i, m);
    store(&o->want[1], i, v);
    store(&o->want_p, i, plus(times(shrink, at(o->p, i)), times(-adam_lr, change)));
}

static void test_sgd(idx n, double momentum, double dampening, double decay, int nesterov,
                     int initialize)
{
    optimizer o = begin(n);
    for (idx i = 0; i < n; i++)
        want_sgd(&o, i, gradient(&o, i, decay), momentum, dampening, nesterov, initialize);
    RUN_OK(sgd_step, n, o.tp, o.tg, momentum != 0 ? o.t[0] : NULL, sgd_lr, momentum, dampening,
           decay, nesterov, initialize);
    finish("sgd_step", o, momentum != 0);
}

static void test_adam(idx n, idx step, double decay, int decoupled)
{
    optimizer o = begin(n);
    for (idx i = 0; i < n; i++)
        want_adam(&o, i, gradient(&o, i, decoupled ? 0 : decay), step,
                  decoupled ? 1 - adam_lr * decay : 1);
    RUN_OK(adam_step, n, o.tp, o.tg, o.t[0], o.t[1], step, adam_lr, beta1, beta2, adam_eps, decay,
           decoupled);
    finish("adam_step", o, 3);
}

/* Lists of parameters, of these numbers of elements, as one step on all of them and as many do. */
static void test_steps(idx count, const idx *sizes)
{
    idx ends[8], n = 0;
    for (idx k = 0; k < count; k++)
        ends[k] = n += sizes[k];
    for (int kernel = 0; kernel < 3; kernel++) {
        optimizer o = begin(n);
        void *p[8], *v[8], *m[8];
        const void *g[8];
        for (idx k = 0; k < count; k++) {
            const size_t offset = (size_t)(ends[k] - sizes[k]) * item_size();
            p[k] = (char *)o.tp + offset;
            g[k] = (const char *)o.tg + offset;
            m[k] = (char *)o.t[0] + offset;
            v[k] = (char *)o.t[1] + offset;
        }
        for (idx i = 0; i < n; i++)
            if (kernel == 2)
                want_adam(&o, i, at(o.g, i), 5, 1 - adam_lr * 0.1);
            else
                want_sgd(&o, i, gradient(&o, i, 0.1), kernel ? 0.9 : 0, 0.3, 0, 0);
        if (kernel == 2)
            RUN_OK(adam_steps, count, ends, p, g, m, v, 5, adam_lr, beta1, beta2, adam_eps, 0.1, 1);
        else
            RUN_OK(sgd_steps, count, ends, p, g, kernel ? m : NULL, sgd_lr, kernel ? 0.9 : 0, 0.3,
                   0.1, 0, 0);
        finish(kernel == 2 ? "adam_steps" : "sgd_steps", o, kernel == 2 ? 3 : kernel);
    }
}

/* The steps on the weight (out,in) of a fully connected layer, whose gradient is a product. */
static void test_linear_steps(idx n, idx in, idx out)
{
    array dy = randoms(n * out), x = randoms(n * in);
    void *tdy = typed(dy), *tx = typed(x);
    optimizer sgd = begin(out * in), adam = begin(out * in);
    for (idx o = 0; o < out; o++)
        for (idx i = 0; i < in; i++) {
            const idx e = o * in + i;
            number g = {0, 0};
            for (idx r = 0; r < n; r++) {
                const double term = dy.value[r * out + o] * x.value[r * in + i];
                g = plus(g, (number){term, fabs(term)});
            }
            want_sgd(&sgd, e, decayed(&sgd, e, g, 0.1), 0.9, 0.3, 0, 0);
            want_adam(&adam, e, g, 5, 1 - adam_lr * 0.1);
            sgd.want_p.terms[e] += n, sgd.want[0].terms[e] += n;
            adam.want_p.terms[e] += n, adam.want[0].terms[e] += n, adam.want[1].terms[e] += 2 * n;
        }
    RUN_OK(linear_sgd_step, n, in, out, sgd.tp, tdy, tx, sgd.t[0], sgd_lr, 0.9, 0.3, 0.1, 0, 0);
    finish("linear_sgd_step", sgd, 1);
    RUN_OK(linear_adam_step, n, in, out, adam.tp, tdy, tx, adam.t[0], adam.t[1], 5, adam_lr, beta1,
           beta2, adam_eps, 0.1, 1);
    finish("linear_adam_step", adam, 3);
    release(dy), release(x);
    discard(tdy), discard(tx);
}

static void test_rmsprop(idx n, double momentum, int centered, double decay)
{
    const double lr = 0.01, alpha = 0.99, eps = 1e-8;
    optimizer o = begin(n);
    for (idx i = 0; i < n; i++) {
        const number g = gradient(&o, i, decay);
        const number s = plus(times(alpha, at(o.state[1], i)), times(1 - alpha, square(g)));
        number variance = s;
        store(&o.want[1], i, s);
        if (centered) {
            const number mean = plus(times(alpha, at(o.state[2], i)), times(1 - alpha, g));
            store(&o.want[2], i, mean);
            variance = plus(s, times(-1, square(mean)));
        }
        number update = divided(g, variance, 1, eps);
        if (momentum != 0) {
            update = plus(times(momentum, at(o.state[0], i)), update);
            store(&o.want[0], i, update);
        }
        store(&o.want_p, i, plus(at(o.p, i), times(-lr, update)));
    }
    RUN_OK(rmsprop_step, n, o.tp, o.tg, o.t[1], momentum != 0 ? o.t[0] : NULL,
           centered ? o.t[2] : NULL, lr, alpha, eps, decay, momentum);
    finish("rmsprop_step", o, (momentum != 0) | 2 | (centered ? 4 : 0));
}

static void test_adagrad(idx n, double decay)
{
    const double lr = 0.01, eps = 1e-10;
    optimizer o = begin(n);
    for (idx i = 0; i < n; i++) {
        const number g = gradient(&o, i, decay), s = plus(at(o.state[1], i), square(g));
        store(&o.want[1], i, s);
        store(&o.want_p, i, plus(at(o.p, i), times(-lr, divided(g, s, 1, eps))));
    }
    RUN_OK(adagrad_step, n, o.tp, o.tg, o.t[1], lr, eps, decay);
    finish("adagrad_step", o, 2);
}

void test_optimizer(void)
{
    for (int i = 0; i < LENGTHS; i++) {
        const idx n = lengths[i];
        test_sgd(n, 0, 0, 0, 0, 0);
        test_sgd(n, 0.9, 0, 0.1, 0, 0);
        test_sgd(n, 0.9, 0, 0.1, 1, 0);
        test_sgd(n, 0.9, 0.3, 0, 0, 1);
        test_sgd(n, 0.9, 0.3, 0, 0, 0);
        test_adam(n, 1, 0, 0);
        test_adam(n, 10, 0.1, 0);
        test_adam(n, 1000, 0.1, 1);
        test_rmsprop(n, 0, 0, 0);
        test_rmsprop(n, 0.9, 0, 0.1);
        test_rmsprop(n, 0.9, 1, 0);
        test_rmsprop(n, 0, 1, 0.1);
        test_adagrad(n, 0);
        test_adagrad(n, 0.1);
    }
    test_steps(1, (const idx[]){5});
    test_steps(4, (const idx[]){3, 0, 40000, 17});
    test_steps(3, (const idx[]){0, 16384, 0});
    test_linear_steps(3, 5, 4);
    test_linear_steps(0, 9, 2);
    test_linear_steps(2, 1, 17);
    test_linear_steps(300, 35, 9);
    test_linear_steps(8, 700, 150); /* several blocks */
}
