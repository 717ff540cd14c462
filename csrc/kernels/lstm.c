/* Long short-term memory (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000):
 *     i, f, o = sigmoid, g = tanh of x_t w_ih^T + b + h_{t-1} w_hh^T;   c_t = f c_{t-1} + i g;
 *         h_t = o tanh(c_t)
 * x (t,b,in), w_ih (4h,in), w_hh (4h,h), b (4h,), gates (t,b,4h) = i,f,g,o; cells (t,b,h) = all
 * c_t, y (t,b,h) = all h_t.
 * Backward, from the last step to the first, with dh_t = dy_t + da_{t+1} w_hh:
 *     dc_t = dh_t o (1 - tanh(c_t)^2) + dc_{t+1} f_{t+1};   da_t = the gates' derivatives times
 *         (dc g, dc c_{t-1}, dc i, dh tanh(c)) */
typedef struct {
    const pydl_recurrent_shape *s;
    /* (b,h; stride apart) before and after a step of even number, vice versa of odd number */
    REAL *state[2];
    idx stride;
    REAL *c;        /* (b,h) */
    input_gates input;
    REAL *y, *cells, *all_gates; /* cells and all_gates, (t,b,4h), may be NULL */
    int far;
    /* backward */
    const REAL *dy, *gates, *all_c, *c0;
    REAL *da;       /* (t,b,4h), rows da_row apart */
    idx da_row;
    REAL *dh, *dc;  /* (b,h): the gradients of the states from what was done before */
} FN(lstm_cell);
#define lstm_cell FN(lstm_cell)

static operand FN(lstm_state)(const void *cell, idx step)
{
    const lstm_cell *l = cell;
    return (operand){l->state[step % 2], l->stride, FN(time_of)(l->s, step)};
}

/* Stores what backward alone reads. */
INLINE void FN(lstm_save)(const lstm_cell *l, REAL *p, idx count, vec v)
{
    if (l->far)
        FN(store_far)(p, count, v);
    else
        FN(store_part)(p, count, v);
}

/* Twice over the rows, since a row's second tanh must wait for all the rest of it: c goes to the
 * place of g's sums, o to that of its own. */
INLINE void FN(lstm_cells_rows)(const lstm_cell *l, const tile *of, idx count)
{
    const idx h = l->s->h, t = FN(time_of)(l->s, of->step);
    FOR_VECTORS_OF_TILE {
        const REAL *input = FN(input_row)(&l->input, l->s, t, b) + unit;
        REAL *state = l->c + b * h + unit;
        vec i = {0}, f = {0}, g = {0}, o = {0}, c = {0};
        if (FN(lives)(l->s, t, b)) {
            i = FN(sigmoid)(FN(load_part)(input, count, 0) + FN(load)(sums));
            f = FN(sigmoid)(FN(load_part)(input + h, count, 0) + FN(load)(sums + of->gate_stride));
            g = FN(tanh)(FN(load_part)(input + 2 * h, count, 0) +
                         FN(load)(sums + 2 * of->gate_stride));
            o = FN(sigmoid)(FN(load_part)(input + 3 * h, count, 0) +
                            FN(load)(sums + 3 * of->gate_stride));
            c = f * FN(load_part)(state, count, 0) + i * g;
            FN(store_part)(state, count, c);
        }
#pragma GCC unroll 4
        for (idx gate = 0; gate < 4; gate++)
            __builtin_prefetch(input + gate * h + of->next, 0, 2);
        FN(store)(sums + 2 * of->gate_stride, c);
        FN(store)(sums + 3 * of->gate_stride, o);
        if (l->all_gates) {
            REAL *gates = l->all_gates + FN(row_of)(l->s, t, b, 4 * h) + unit;
            FN(lstm_save)(l, gates, count, i);
            FN(lstm_save)(l, gates + h, count, f);
            FN(lstm_save)(l, gates + 2 * h, count, g);
            FN(lstm_save)(l, gates + 3 * h, count, o);
        }
    }
}

INLINE void FN(lstm_finish_rows)(void *cell, const tile *of, idx count)
{
    COPY_CELL(lstm_cell, l);
    const idx h = l->s->h, t = FN(time_of)(l->s, of->step);
    FN(lstm_cells_rows)(l, of, count);
    FOR_VECTORS_OF_TILE {
        const vec c = FN(load)(sums + 2 * of->gate_stride),
            y = FN(load)(sums + 3 * of->gate_stride) * FN(tanh)(c);
        const REAL *before = l->state[of->step % 2] + b * l->stride + unit;
        FN(store_part)(l->state[(of->step + 1) % 2] + b * l->stride + unit, count,
                       FN(lives)(l->s, t, b) ? y : FN(load_part)(before, count, 0));
        FN(store_part)(l->y + FN(row_of)(l->s, t, b, h) + unit, count, y);
        if (l->cells)
            FN(lstm_save)(l, l->cells + FN(row_of)(l->s, t, b, h) + unit, count, c);
    }
}
FINISH(lstm_finish)

/* gates and cells may be NULL. */
static int FN(lstm_forward)(const pydl_recurrent_shape *s, const REAL *x, const REAL *h0,
                            const REAL *c0, const REAL *w_ih,
                            const REAL *w_hh, const REAL *b, REAL *y, REAL *h_n, REAL *c_n,
                            REAL *gates, REAL *cells)
{
    lstm_cell cell = {.s = s, .stride = FN(state_stride)(s->h), .c = c_n,
                      .input = {.data = gates, .width = 4 * s->h},
                      .y = y, .cells = cells, .all_gates = gates,
                      .far = FN(lies_far)(s, gates ? 6 : 1)};
    recurrence r = {.shape = s, .far = cell.far, .cell = &cell, .products = 1,
                    .product = {{.depth = s->h, .units = s->h, .gates = 4, .unit_vectors = 1,
                                 .state = FN(lstm_state), .finish = FN(lstm_finish)}}};
    const idx size = FN(max)(s->b, 1) * cell.stride;
    FN(add_input)(s, &r.product[0], x);
    cell.state[0] = pydl_block_alloc((size_t)(2 * size + 4 * s->h) * sizeof(REAL));
    int status = cell.state[0] ? FN(prepare_product)(&r.product[0], s->t, w_ih, w_hh, 0) : PYDL_NO_MEMORY;
    if (status == PYDL_OK) {
        REAL *bias = cell.state[0] + 2 * size;
        cell.state[1] = cell.state[0] + size;
        FN(fill_bias)(4 * s->h, b, bias);
        FN(fill_state)(s, cell.state[0], cell.stride, h0);
        FN(fill_state)(s, c_n, s->h, c0);
        status = FN(run_forward)(&r, &cell.input, x, w_ih, bias);
        FN(read_state)(s, cell.state[s->t % 2], cell.stride, h_n);
    }
    FN(free_products)(&r);
    pydl_block_free(cell.state[0]);
    return status;
}

/* Step s->t only brings dh to the initial state. */
static operand FN(lstm_gradient)(const void *cell, idx step)
{
    const lstm_cell *l = cell;
    if (!step)
        return (operand){NULL, 0, 0};
    const idx t = FN(time_of)(l->s, l->s->t - step);
    return (operand){l->da + FN(row_of)(l->s, t, 0, l->da_row), l->da_row, t};
}

INLINE void FN(lstm_finish_backward_rows)(void *cell, const tile *of, idx count)
{
    COPY_CELL(lstm_cell, l);
    const pydl_recurrent_shape *s = l->s;
    const idx h = s->h, t = FN(time_of)(s, s->t - 1 - of->step);
    FOR_VECTORS_OF_TILE {
        const idx of_y = FN(row_of)(s, t, b, h) + unit;
        REAL *state = l->dh + b * h + unit, *da = l->da + FN(row_of)(s, t, b, l->da_row) + unit;
        vec dh = FN(load_part)(state, count, 0) + FN(load)(sums);
        vec di = {0}, df = {0}, dg = {0}, d_o = {0};
        if (of->step < s->t && FN(lives)(s, t, b)) {
            const REAL *gates = l->gates + FN(row_of)(s, t, b, 4 * h) + unit;
            const vec i = FN(load_part)(gates, count, 0), f = FN(load_part)(gates + h, count, 0);
            const vec g = FN(load_part)(gates + 2 * h, count, 0),
                o = FN(load_part)(gates + 3 * h, count, 0);
            const vec u = FN(tanh)(FN(load_part)(l->all_c + of_y, count, 0));
            const vec before = FN(load_or_zero)(FN(state_before)(s, l->all_c, l->c0, t, b), unit,
                                                count);
            dh += FN(load_part)(l->dy + of_y, count, 0);
            const vec dc = FN(load_part)(l->dc + b * h + unit, count, 0) + dh * o * (1 - u * u);
            di = dc * g * (i * (1 - i));
            df = dc * before * (f * (1 - f));
            dg = dc * i * (1 - g * g);
            d_o = dh * u * (o * (1 - o));
            FN(store_part)(l->dc + b * h + unit, count, dc * f);
            dh = (vec){0};
#pragma GCC unroll 4
            for (idx gate = 0; gate < 4; gate++) {
                __builtin_prefetch(gates + gate * h + of->next, 0, 2);
                __builtin_prefetch(da + gate * h + of->next, 1, 2);
            }
            __builtin_prefetch(l->all_c + of_y + of->next, 0, 2);
            __builtin_prefetch(l->dy + of_y + of->next, 0, 2);
        }
        FN(store_part)(state, count, dh);
        if (of->step < s->t) {
            FN(store_part)(da, count, di);
            FN(store_part)(da + h, count, df);
            FN(store_part)(da + 2 * h, count, dg);
            FN(store_part)(da + 3 * h, count, d_o);
        }
    }
}
FINISH(lstm_finish_backward)

static int FN(lstm_backward)(const pydl_recurrent_shape *s, const REAL *dy, const REAL *dh_n,
                             const REAL *dc_n, const REAL *x,
                             const REAL *h0, const REAL *c0, const REAL *w_ih, const REAL *w_hh,
                             const REAL *y,
                             const REAL *gates, const REAL *cells, REAL *dx, REAL *dh0, REAL *dc0,
                             REAL *dw_ih, REAL *dw_hh,
                             REAL *db)
{
    const idx width = 4 * s->h;
    lstm_cell cell = {.s = s, .dy = dy, .gates = gates, .all_c = cells, .c0 = c0, .dh = dh0,
                      .dc = dc0, .da_row = FN(state_stride)(width)};
    recurrence r = {.shape = s, .far = FN(lies_far)(s, 10), .cell = &cell, .products = 1,
                    .product = {{.depth = width, .units = s->h, .gates = 1,
                                 .unit_vectors = FN(unit_vectors_for)(s->h),
                                 .state = FN(lstm_gradient), .finish = FN(lstm_finish_backward)}}};
    REAL *copy;
    int status = FN(without_padding)(s, &x, &copy);
    cell.da = pydl_block_alloc((size_t)FN(max)(s->t * s->b * cell.da_row, 1) * sizeof(REAL));
    if (status == PYDL_OK)
        status = cell.da ? FN(prepare_product)(&r.product[0], s->t, NULL, w_hh, 1) : PYDL_NO_MEMORY;
    if (status == PYDL_OK) {
        FN(fill_state)(s, dh0, s->h, dh_n);
        FN(fill_state)(s, dc0, s->h, dc_n);
        status = FN(run_steps)(&r, 0, s->t + 1);
    }
    if (status == PYDL_OK)
        status = FN(input_gradients)(s, cell.da, cell.da_row, width, x, w_ih, dx, 0, dw_ih);
    if (status == PYDL_OK)
        status = FN(state_gradients)(s, cell.da, cell.da_row, width, y, h0, dw_hh);
    if (status == PYDL_OK)
        FN(column_sums)(s->t * s->b, width, cell.da, cell.da_row, db);
    FN(free_products)(&r);
    pydl_block_free(cell.da);
    pydl_block_free(copy);
    return status;
}
#undef lstm_cell
