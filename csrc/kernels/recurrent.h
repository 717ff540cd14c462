/* What the recurrent layers share around their steps: the products with the input, of all steps at once. */

enum { FN(INPUT_ROWS) = 1024 }; /* of an input product, so that its results are still in cache when their step comes */

/* Where the input's share of the gates lies: (t,b,width) from time origin on. */
typedef struct {
    REAL *data;
    idx origin, width;
} FN(input_gates);
#define input_gates FN(input_gates)

INLINE REAL *FN(input_row)(const input_gates *g, const pydl_recurrent_shape *s, idx t, idx b)
{
    return g->data + ((t - g->origin) * s->b + b) * g->width;
}

/* Row (t, b) of an array (t,b,width). */
INLINE idx FN(row_of)(const pydl_recurrent_shape *s, idx t, idx b, idx width) { return (t * s->b + b) * width; }

/* Whether t is sample b's first time in the order of its steps. */
INLINE int FN(is_first)(const pydl_recurrent_shape *s, idx t, idx b)
{
    return t == (!s->reverse ? 0 : s->lengths ? s->lengths[b] - 1 : s->t - 1);
}

/* The state (h,) of sample b before time t, out of states (t,b,h) and the initial ones (b,h); NULL if they are NULL. */
INLINE const REAL *FN(state_before)(const pydl_recurrent_shape *s, const REAL *states, const REAL *initial, idx t, idx b)
{
    if (FN(is_first)(s, t, b))
        return initial ? initial + b * s->h : NULL;
    return states + FN(row_of)(s, s->reverse ? t + 1 : t - 1, b, s->h);
}

INLINE vec FN(load_or_zero)(const REAL *p, idx at, idx count) { return p ? FN(load_part)(p + at, count, 0) : (vec){0}; }

/* Rows of the state start in different cache sets. */
INLINE idx FN(state_stride)(idx h) { return FN(block_stride)(h); }

/* state (b,h; state_stride apart) = initial (b,h), or 0 if it is NULL */
static void FN(fill_state)(const pydl_recurrent_shape *s, REAL *state, idx stride, const REAL *initial)
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

/* Runs all steps forward. The gates' input, x w_ih^T + bias, goes to g: if g->data is NULL, to scratch of a block of steps. */
static int FN(run_forward)(recurrence *r, input_gates *g, const REAL *x, const REAL *w_ih, const REAL *bias)
{
    const pydl_recurrent_shape *s = r->shape;
    const idx block = FN(even_piece)(s->t, FN(max)(FN(INPUT_ROWS) / FN(max)(s->b, 1), 1), 1);
    REAL *const all = g->data, *scratch = NULL;
    if (!all) {
        scratch = pydl_block_alloc((size_t)(FN(max)(block * s->b * g->width, 1)) * sizeof(REAL));
        if (!scratch)
            return PYDL_NO_MEMORY;
        g->data = scratch;
    }
    int status = PYDL_OK;
    for (idx first = 0; first < s->t && status == PYDL_OK; first += block) {
        const idx end = FN(min)(s->t, first + block), t = s->reverse ? s->t - end : first;
        g->origin = all ? 0 : t;
        status = FN(gemm)((end - first) * s->b, g->width, s->in, (matrix){x + t * s->b * s->in, s->in, 1},
                          (matrix){w_ih, 1, s->in},
                          (sink){.c = FN(input_row)(g, s, t, 0), .row = g->width, .bias_of_column = bias});
        if (status == PYDL_OK)
            FN(run_steps)(r, first, end);
    }
    pydl_block_free(scratch);
    return status;
}

/* x (t,b,in) without what lies past the samples' ends; *copy is to be freed. NULL: no memory. */
static const REAL *FN(without_padding)(const pydl_recurrent_shape *s, const REAL *x, REAL **copy)
{
    *copy = NULL;
    if (!s->lengths)
        return x;
    *copy = pydl_block_alloc((size_t)FN(max)(s->t * s->b * s->in, 1) * sizeof(REAL));
    if (!*copy)
        return NULL;
    for (idx t = 0; t < s->t; t++)
        for (idx b = 0; b < s->b; b++) {
            const idx row = FN(row_of)(s, t, b, s->in);
            if (FN(lives)(s, t, b))
                memcpy(*copy + row, x + row, (size_t)s->in * sizeof(REAL));
            else
                memset(*copy + row, 0, (size_t)s->in * sizeof(REAL));
        }
    return *copy;
}

/* Gradients of the input's weights, of some of the gates: dgates (t*b rows of `row` elements, `width` of them used),
 * w_ih and dw_ih (width,in). dx (+)= dgates w_ih;  dw_ih = dgates^T x. */
static int FN(input_gradients)(const pydl_recurrent_shape *s, const REAL *dgates, idx row, idx width, const REAL *x,
                               const REAL *w_ih, REAL *dx, int accumulate, REAL *dw_ih)
{
    const idx rows = s->t * s->b;
    const int status = FN(gemm)(rows, s->in, width, (matrix){dgates, row, 1}, (matrix){w_ih, s->in, 1},
                                (sink){.c = dx, .row = s->in, .accumulate = accumulate});
    if (status != PYDL_OK)
        return status;
    return FN(gemm)(width, s->in, rows, (matrix){dgates, 1, row}, (matrix){x, s->in, 1}, (sink){.c = dw_ih, .row = s->in});
}

/* dw_hh (width,h) = sum over the times of dgates^T times the state before, y (t,b,h) shifted by a step and h0 (b,h) or
 * NULL. dgates as above; zero past the samples' ends. */
static int FN(state_gradients)(const pydl_recurrent_shape *s, const REAL *dgates, idx row, idx width, const REAL *y,
                               const REAL *h0, REAL *dw_hh)
{
    const idx later = FN(max)(s->t - 1, 0) * s->b, shift = s->t > 1 ? s->b : 0;
    int status = FN(gemm)(width, s->h, later, (matrix){dgates + (s->reverse ? 0 : shift * row), 1, row},
                          (matrix){y + (s->reverse ? shift * s->h : 0), s->h, 1}, (sink){.c = dw_hh, .row = s->h});
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
            memcpy(first + b * width, dgates + FN(row_of)(s, t, b, row), (size_t)width * sizeof(REAL));
    }
    status = FN(gemm)(width, s->h, s->b, (matrix){first, 1, width}, (matrix){h0, s->h, 1},
                      (sink){.c = dw_hh, .row = s->h, .accumulate = 1});
    pydl_block_free(first);
    return status;
}
