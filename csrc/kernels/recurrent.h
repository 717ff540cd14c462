/* What the recurrent layers share around their steps: the products with the input, of all steps
 * at once. */

enum {
    /* of an input product, so that its results are still in cache when their step comes */
    FN(INPUT_ROWS) = 1024,
    FN(INPUT_BATCH) = 16,   /* samples that are worth reading the input's weights at every step */
};

/* Where the input's share of the gates lies: (t,b,width) from time origin on; or the bias alone,
 * for all times and samples (row 0), where the input's products are part of the steps'. */
typedef struct {
    REAL *data;
    idx origin, width, row;
} FN(input_gates);
#define input_gates FN(input_gates)

INLINE REAL *FN(input_row)(const input_gates *g, const pydl_recurrent_shape *s, idx t, idx b)
{
    return g->data + ((t - g->origin) * s->b + b) * g->row;
}

/* *name = the cell and its shape in copies, which no store of REAL can change. */
#define COPY_CELL(type, name)                                                                 \
    type copy_ = *(const type *)cell, *const name = &copy_;                                   \
    const pydl_recurrent_shape shape_ = *copy_.s;                                             \
    copy_.s = &shape_

/* Row (t, b) of an array (t,b,width). */
INLINE idx FN(row_of)(const pydl_recurrent_shape *s, idx t, idx b,
                      idx width)
{
    return (t * s->b + b) * width;
}

/* Whether t is sample b's first time in the order of its steps. */
INLINE int FN(is_first)(const pydl_recurrent_shape *s, idx t, idx b)
{
    return t == (!s->reverse ? 0 : s->lengths ? s->lengths[b] - 1 : s->t - 1);
}

/* The state (h,) of sample b before time t, out of states (t,b,h) and the initial ones (b,h);
 * NULL if they are NULL. */
INLINE const REAL *FN(state_before)(const pydl_recurrent_shape *s, const REAL *states,
                                    const REAL *initial, idx t, idx b)
{
    if (FN(is_first)(s, t, b))
        return initial ? initial + b * s->h : NULL;
    return states + FN(row_of)(s, s->reverse ? t + 1 : t - 1, b, s->h);
}

INLINE vec FN(load_or_zero)(const REAL *p, idx at, idx count) { return p
                                                               ? FN(load_part)(p + at, count, 0)
                                                                   : (vec){0}; }

/* Rows of the state start in different cache sets. */
INLINE idx FN(state_stride)(idx h) { return FN(block_stride)(h); }

/* state (b,h; state_stride apart) = initial (b,h), or 0 if it is NULL */
static void FN(fill_state)(const pydl_recurrent_shape *s, REAL *state, idx stride,
                           const REAL *initial)
{
    for (idx b = 0; b < s->b; b++)
        for (idx j = 0; j < s->h; j++)
            state[b * stride + j] = initial ? initial[b * s->h + j] : 0;
}

static void FN(read_state)(const pydl_recurrent_shape *s, const REAL *state, idx stride, REAL *to)
{
    for (idx b = 0; b < s->b; b++)
        memcpy(to + b * s->h, state + b * stride, (size_t)s->h * sizeof(REAL));
}

/* Whether x_t w_ih^T is better made together with h_{t-1} w_hh^T than as one product of all
 * steps: that spares its way through memory, but reads w_ih at every step. */
INLINE int FN(input_in_step)(const pydl_recurrent_shape *s)
{
    return s->t > FN(FEW_STEPS) && (s->b >= FN(INPUT_BATCH) || 8 * s->in <= s->h);
}

/* Lets x take part in the steps' product, if that is better. */
static void FN(add_input)(const pydl_recurrent_shape *s, product *w, const REAL *x)
{
    if (FN(input_in_step)(s)) {
        w->x = x;
        w->inputs = s->in;
        w->depth += s->in;
    }
}

/* Runs all steps forward. The gates' input, x w_ih^T + bias, goes to g: if g->data is NULL, to
 * scratch of a block of steps. bias (width,). */
static int FN(run_forward)(recurrence *r, input_gates *g, const REAL *x, const REAL *w_ih,
                           REAL *bias)
{
    const pydl_recurrent_shape *s = r->shape;
    if (r->product[0].inputs) {
        g->data = bias;
        g->row = 0;
        return FN(run_steps)(r, 0, s->t);
    }
    const idx block = FN(even_piece)(s->t, FN(max)(FN(INPUT_ROWS) / FN(max)(s->b, 1), 1), 1);
    REAL *const all = g->data, *scratch = NULL;
    if (!all) {
        scratch = pydl_block_alloc((size_t)(FN(max)(block * s->b * g->width, 1)) * sizeof(REAL));
        if (!scratch)
            return PYDL_NO_MEMORY;
        g->data = scratch;
    }
    g->row = g->width;
    int status = PYDL_OK;
    for (idx first = 0; first < s->t && status == PYDL_OK; first += block) {
        const idx end = FN(min)(s->t, first + block), t = s->reverse ? s->t - end : first;
        g->origin = all ? 0 : t;
        status = FN(gemm)((end - first) * s->b, g->width, s->in,
                          (matrix){x + t * s->b * s->in, s->in, 1},
                          (matrix){w_ih, 1, s->in},
                          (sink){.c = FN(input_row)(g, s, t, 0), .row = g->width,
                                 .bias_of_column = bias});
        if (status == PYDL_OK)
            status = FN(run_steps)(r, first, end);
    }
    pydl_block_free(scratch);
    return status;
}

/* bias (width,) = b, or 0 if it is NULL */
static void FN(fill_bias)(idx width, const REAL *b, REAL *bias)
{
    for (idx j = 0; j < width; j++)
        bias[j] = b ? b[j] : 0;
}

/* Puts a copy in the place of *x (t,b,in), without what lies past the samples' ends, where there may be such; *copy is to be
 * freed. */
static int FN(without_padding)(const pydl_recurrent_shape *s, const REAL **x, REAL **copy)
{
    *copy = NULL;
    if (!s->lengths)
        return PYDL_OK;
    *copy = pydl_block_alloc((size_t)FN(max)(s->t * s->b * s->in, 1) * sizeof(REAL));
    if (!*copy)
        return PYDL_NO_MEMORY;
    for (idx t = 0; t < s->t; t++)
        for (idx b = 0; b < s->b; b++) {
            const idx row = FN(row_of)(s, t, b, s->in);
            if (FN(lives)(s, t, b))
                memcpy(*copy + row, *x + row, (size_t)s->in * sizeof(REAL));
            else
                memset(*copy + row, 0, (size_t)s->in * sizeof(REAL));
        }
    *x = *copy;
    return PYDL_OK;
}

typedef struct {
    idx width, in;
    const REAL *from;
    REAL *to;
} FN(turn_job);

enum { FN(TURN_ROWS) = 64 };

/* Some rows of to (width,in) = from (in,width) transposed. */
static void FN(turn_rows)(void *context, idx task)
{
    const FN(turn_job) *job = context;
    const idx first = task * FN(TURN_ROWS), count = FN(min)(FN(TURN_ROWS), job->width - first);
    FN(transpose)(job->in, count, job->from + first, job->width, job->to + first * job->in, job->in);
}

/* dw (width,in) = dgates^T x over n rows: dgates `row` apart, x (n,in). Where dgates has many more
 * columns than x, as (x^T dgates)^T: the narrow one is then the operand that is packed by columns. */
static int FN(weight_gradient)(idx n, idx width, idx in, const REAL *dgates, idx row, const REAL *x,
                               REAL *dw)
{
    if (2 * in > width)
        return FN(gemm)(width, in, n, (matrix){dgates, 1, row}, (matrix){x, in, 1},
                        (sink){.c = dw, .row = in});
    REAL *turned = pydl_block_alloc((size_t)(in * width) * sizeof(REAL));
    if (!turned)
        return PYDL_NO_MEMORY;
    const int status = FN(gemm)(in, width, n, (matrix){x, 1, in}, (matrix){dgates, row, 1},
                                (sink){.c = turned, .row = width});
    FN(turn_job) job = {width, in, turned, dw};
    if (status == PYDL_OK)
        pydl_parallel_for((width + FN(TURN_ROWS) - 1) / FN(TURN_ROWS), (double)(in * width),
                          FN(turn_rows), &job);
    pydl_block_free(turned);
    return status;
}

/* Gradients of the input's weights, of some of the gates: dgates (t*b rows of `row` elements,
 * `width` of them used), w_ih and dw_ih (width,in). dx (+)= dgates w_ih;  dw_ih = dgates^T x. */
static int FN(input_gradients)(const pydl_recurrent_shape *s, const REAL *dgates, idx row,
                               idx width, const REAL *x, const REAL *w_ih, REAL *dx,
                               int accumulate, REAL *dw_ih)
{
    const idx rows = s->t * s->b;
    const int status = FN(gemm)(rows, s->in, width, (matrix){dgates, row, 1},
                                (matrix){w_ih, s->in, 1},
                                (sink){.c = dx, .row = s->in, .accumulate = accumulate});
    if (status != PYDL_OK)
        return status;
    return FN(weight_gradient)(rows, width, s->in, dgates, row, x, dw_ih);
}

/* dw_hh (width,h) = sum over the times of dgates^T times the state before, y (t,b,h) shifted by
 * a step and h0 (b,h) or NULL. dgates as above; zero past the samples' ends. */
static int FN(state_gradients)(const pydl_recurrent_shape *s, const REAL *dgates, idx row,
                               idx width, const REAL *y, const REAL *h0, REAL *dw_hh)
{
    const idx later = FN(max)(s->t - 1, 0) * s->b, shift = s->t > 1 ? s->b : 0;
    int status = FN(weight_gradient)(later, width, s->h, dgates + (s->reverse ? 0 : shift * row),
                                     row, y + (s->reverse ? shift * s->h : 0), dw_hh);
    if (status != PYDL_OK || !h0 || !s->t)
        return status;
    REAL *first = pydl_block_alloc((size_t)FN(max)(s->b * width, 1) * sizeof(REAL));
    if (!first)
        return PYDL_NO_MEMORY;
    for (idx b = 0; b < s->b; b++) {
        const idx t = !s->reverse ? 0 : s->lengths ? s->lengths[b] - 1 : s->t - 1;
        if (t < 0)
            memset(first + b * width, 0, (size_t)width * sizeof(REAL));
        else
            memcpy(first + b * width, dgates + FN(row_of)(s, t, b, row),
                   (size_t)width * sizeof(REAL));
    }
    status = FN(gemm)(width, s->h, s->b, (matrix){first, 1, width}, (matrix){h0, s->h, 1},
                      (sink){.c = dw_hh, .row = s->h, .accumulate = 1});
    pydl_block_free(first);
    return status;
}
