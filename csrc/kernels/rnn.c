/* The simple recurrent layer (Elman 1990): h_t = f(x_t w_ih^T + b + h_{t-1} w_hh^T), f = tanh or
 * relu. x (t,b,in), w_ih (h,in), w_hh (h,h), b (h,), y (t,b,h) = all h_t, h_n (b,h) the last
 * ones of each sample. Backward, from the last step to the first: da_t = f'(y_t) (dy_t +
 * da_{t+1} w_hh), f' = 1 - y^2 or y > 0. */
typedef struct {
    const pydl_recurrent_shape *s;
    int relu;
    /* (b,h; stride apart) before and after a step of even number, vice versa of odd number */
    REAL *state[2];
    idx stride;
    input_gates input;
    REAL *y;
    /* backward */
    const REAL *dy, *output;
    REAL *da, *dh; /* (t,b,h); (b,h): the gradient of the state from what was done before */
} FN(rnn_cell);
#define rnn_cell FN(rnn_cell)

static operand FN(rnn_state)(const void *cell, idx step)
{
    const rnn_cell *c = cell;
    return (operand){c->state[step % 2], c->stride, FN(time_of)(c->s, step)};
}

INLINE void FN(rnn_finish_rows)(void *cell, const tile *of, idx count)
{
    COPY_CELL(rnn_cell, c);
    const idx h = c->s->h, t = FN(time_of)(c->s, of->step);
    FOR_VECTORS_OF_TILE {
        const vec before = FN(load_part)(c->state[of->step % 2] + b * c->stride + unit, count, 0);
        vec now = before, y = {0};
        if (FN(lives)(c->s, t, b)) {
            const vec a = FN(load_part)(FN(input_row)(&c->input, c->s, t, b) + unit, count, 0) +
                FN(load)(sums);
            now = y = c->relu ? FN(select)((lanes)(a < 0), (vec){0}, a) : FN(tanh)(a);
        }
        FN(store_part)(c->state[(of->step + 1) % 2] + b * c->stride + unit, count, now);
        FN(store_part)(c->y + FN(row_of)(c->s, t, b, h) + unit, count, y);
    }
}
FINISH(rnn_finish)

static int FN(rnn_forward)(const pydl_recurrent_shape *s, int relu, const REAL *x, const REAL *h0,
                           const REAL *w_ih,
                           const REAL *w_hh, const REAL *b, REAL *y, REAL *h_n)
{
    rnn_cell cell = {.s = s, .relu = relu, .stride = FN(state_stride)(s->h), .y = y,
                     .input = {.data = y, .width = s->h}};
    recurrence r = {.shape = s, .cell = &cell, .products = 1,
                    .product = {{.depth = s->h, .units = s->h, .gates = 1,
                                 .unit_vectors = FN(unit_vectors_for)(s->h),
                                 .state = FN(rnn_state), .finish = FN(rnn_finish)}}};
    const idx size = FN(max)(s->b, 1) * cell.stride;
    FN(add_input)(s, &r.product[0], x);
    cell.state[0] = pydl_block_alloc((size_t)(2 * size + s->h) * sizeof(REAL));
    int status = cell.state[0] ? FN(prepare_product)(&r.product[0], s->t, w_ih, w_hh, 0) : PYDL_NO_MEMORY;
    if (status == PYDL_OK) {
        REAL *bias = cell.state[0] + 2 * size;
        cell.state[1] = cell.state[0] + size;
        FN(fill_bias)(s->h, b, bias);
        FN(fill_state)(s, cell.state[0], cell.stride, h0);
        status = FN(run_forward)(&r, &cell.input, x, w_ih, bias);
        FN(read_state)(s, cell.state[s->t % 2], cell.stride, h_n);
    }
    FN(free_products)(&r);
    pydl_block_free(cell.state[0]);
    return status;
}

/* Step s->t only brings dh to the initial state. */
static operand FN(rnn_gradient)(const void *cell, idx step)
{
    const rnn_cell *c = cell;
    if (!step)
        return (operand){NULL, 0, 0};
    const idx t = FN(time_of)(c->s, c->s->t - step);
    return (operand){c->da + FN(row_of)(c->s, t, 0, c->s->h), c->s->h, t};
}

INLINE void FN(rnn_finish_backward_rows)(void *cell, const tile *of, idx count)
{
    COPY_CELL(rnn_cell, c);
    const idx h = c->s->h, t = FN(time_of)(c->s, c->s->t - 1 - of->step);
    FOR_VECTORS_OF_TILE {
        const idx of_y = FN(row_of)(c->s, t, b, h) + unit;
        REAL *state = c->dh + b * h + unit;
        vec dh = FN(load_part)(state, count, 0) + FN(load)(sums), da = {0};
        if (of->step < c->s->t && FN(lives)(c->s, t, b)) {
            const vec y = FN(load_part)(c->output + of_y, count, 0);
            dh += FN(load_part)(c->dy + of_y, count, 0);
            da = c->relu ? FN(select)((lanes)(y <= 0), (vec){0}, dh) : dh * (1 - y * y);
            dh = (vec){0};
        }
        FN(store_part)(state, count, dh);
        if (of->step < c->s->t)
            FN(store_part)(c->da + of_y, count, da);
    }
}
FINISH(rnn_finish_backward)

static int FN(rnn_backward)(const pydl_recurrent_shape *s, int relu, const REAL *dy,
                            const REAL *dh_n, const REAL *x,
                            const REAL *h0, const REAL *w_ih, const REAL *w_hh, const REAL *y,
                            REAL *dx, REAL *dh0,
                            REAL *dw_ih, REAL *dw_hh, REAL *db)
{
    rnn_cell cell = {.s = s, .relu = relu, .dy = dy, .output = y, .dh = dh0};
    recurrence r = {.shape = s, .cell = &cell, .products = 1,
                    .product = {{.depth = s->h, .units = s->h, .gates = 1,
                                 .unit_vectors = FN(unit_vectors_for)(s->h),
                                 .state = FN(rnn_gradient), .finish = FN(rnn_finish_backward)}}};
    REAL *copy;
    int status = FN(without_padding)(s, &x, &copy);
    cell.da = pydl_block_alloc((size_t)FN(max)(s->t * s->b * s->h, 1) * sizeof(REAL));
    if (status == PYDL_OK)
        status = cell.da ? FN(prepare_product)(&r.product[0], s->t, NULL, w_hh, 1) : PYDL_NO_MEMORY;
    if (status == PYDL_OK) {
        FN(fill_state)(s, dh0, s->h, dh_n);
        status = FN(run_steps)(&r, 0, s->t + 1);
    }
    if (status == PYDL_OK)
        status = FN(input_gradients)(s, cell.da, s->h, s->h, x, w_ih, dx, 0, dw_ih);
    if (status == PYDL_OK)
        status = FN(state_gradients)(s, cell.da, s->h, s->h, y, h0, dw_hh);
    if (status == PYDL_OK)
        status = FN(linear_backward_bias)(s->t * s->b, s->h, cell.da, db);
    FN(free_products)(&r);
    pydl_block_free(cell.da);
    pydl_block_free(copy);
    return status;
}
#undef rnn_cell
