/* The gated recurrent unit (Cho et al. 2014), a = x_t w_ih^T + b_ih:
 *     r, z = sigmoid(a_r,z + W_r,z h_{t-1} + b_r,z);   n = tanh(a_n + reset);   h_t = (1 - z) n
 *         + z h_{t-1}
 *     reset_after   hidden = W_n h_{t-1} + b_n, reset = r hidden (as in cuDNN and PyTorch)
 *     otherwise     hidden = W_n (r h_{t-1}) + b_n, reset = hidden, a second product in each
 *         step
 * x (t,b,in), w_ih (3h,in), w_hh (3h,h), b_ih and b_hh (3h,), gates (t,b,3h) = r,z,n; hidden, y
 * (t,b,h), y = all h_t. Backward, from the last step to the first, dh_t the sum of dy_t and what
 * the steps after bring:
 *     da_n = dh (1 - z) (1 - n^2);   da_z = dh (h_{t-1} - n) z (1 - z);   dhidden = da_n, times
 *         r if reset_after
 *     da_r = d r (1 - r), d = da_n hidden if reset_after, else h_{t-1} (dhidden W_n)
 *     dh_{t-1} = dh z + da_r W_r + da_z W_z + dhidden W_n, the last times r unless reset_after */
typedef struct {
    const pydl_recurrent_shape *s;
    int reset_after;
    /* (b,h; stride apart) before and after a step of even number, vice versa of odd number */
    REAL *state[2];
    REAL *reset;    /* r h_{t-1}, likewise */
    idx stride;
    input_gates input;
    const REAL *bias; /* b_n (h,), or NULL */
    REAL *y, *all_hidden; /* all_hidden NULL: not wanted */
    int save;        /* whether the gates go back to where their input was */
    /* backward */
    const REAL *dy, *gates, *hidden, *output, *h0;
    /* (t,b,3h): da_r, da_z, dhidden; (t,b,h): da_n; (b,h): dh from what was done before */
    REAL *da, *dn, *dh;
    REAL *all_reset;    /* (t,b,h): r h_{t-1} */
} FN(gru_cell);
#define gru_cell FN(gru_cell)

static operand FN(gru_state)(const void *cell, idx step)
{
    const gru_cell *c = cell;
    return (operand){c->state[step % 2], c->stride, FN(time_of)(c->s, step)};
}

static operand FN(gru_reset_state)(const void *cell, idx step)
{
    const gru_cell *c = cell;
    return (operand){c->reset, c->stride, FN(time_of)(c->s, step)};
}

/* Stores what a step makes of a vector of units of a sample, which has ended if it is not alive. */
INLINE void FN(gru_store)(const gru_cell *c, idx step, idx t, idx b, idx at, idx count, int alive,
                          vec r, vec z, vec n,
                          vec hidden)
{
    const idx h = c->s->h, of_y = FN(row_of)(c->s, t, b, h) + at;
    REAL *gates = FN(input_row)(&c->input, c->s, t, b) + at;
    const vec before = FN(load_part)(c->state[step % 2] + b * c->stride + at, count, 0), none = {0};
    const vec now = alive ? (1 - z) * n + z * before : before;
    FN(store_part)(c->state[(step + 1) % 2] + b * c->stride + at, count, now);
    FN(store_part)(c->y + of_y, count, alive ? now : none);
    if (c->save) {
        FN(store_part)(gates, count, alive ? r : none);
        FN(store_part)(gates + h, count, alive ? z : none);
        FN(store_part)(gates + 2 * h, count, alive ? n : none);
        FN(store_part)(c->all_hidden + of_y, count, alive ? hidden : none);
    }
}

/* n and the new state; reset_after: r and z as well, which otherwise are where their input was */
INLINE void FN(gru_finish_step)(const gru_cell *c, const tile *of, idx count, int reset_after)
{
    const idx h = c->s->h, t = FN(time_of)(c->s, of->step);
    const idx of_n = reset_after ? 2 * of->gate_stride : 0;
    FOR_VECTORS_OF_TILE {
        const REAL *gates = FN(input_row)(&c->input, c->s, t, b) + unit;
        vec r = {0}, z = {0}, n = {0}, hidden = {0};
        const int alive = FN(lives)(c->s, t, b);
        if (alive) {
            r = FN(load_part)(gates, count, 0);
            z = FN(load_part)(gates + h, count, 0);
            if (reset_after) {
                r = FN(sigmoid)(r + FN(load)(sums));
                z = FN(sigmoid)(z + FN(load)(sums + of->gate_stride));
            }
            hidden = FN(load)(sums + of_n) + FN(load_or_zero)(c->bias, unit, count);
            n = FN(tanh)(FN(load_part)(gates + 2 * h, count, 0) +
                         (reset_after ? r * hidden : hidden));
        }
#pragma GCC unroll 3
        for (idx gate = 0; gate < 3; gate++)
            __builtin_prefetch(gates + gate * h + of->next, 0, 2);
        FN(gru_store)(c, of->step, t, b, unit, count, alive, r, z, n, hidden);
    }
}

/* reset_after: all gates at once */
INLINE void FN(gru_finish_rows)(void *cell, const tile *of, idx count)
{
    COPY_CELL(gru_cell, c);
    FN(gru_finish_step)(c, of, count, 1);
}
FINISH(gru_finish)

/* not reset_after: r and z, which stay where their input was */
INLINE void FN(gru_finish_resets_rows)(void *cell, const tile *of, idx count)
{
    COPY_CELL(gru_cell, c);
    const idx h = c->s->h, t = FN(time_of)(c->s, of->step);
    FOR_VECTORS_OF_TILE {
        if (!FN(lives)(c->s, t, b))
            continue;
        REAL *gates = FN(input_row)(&c->input, c->s, t, b) + unit;
        const vec r = FN(sigmoid)(FN(load_part)(gates, count, 0) + FN(load)(sums));
        const vec z = FN(sigmoid)(FN(load_part)(gates + h, count, 0) +
                                  FN(load)(sums + of->gate_stride));
        FN(store_part)(gates, count, r);
        FN(store_part)(gates + h, count, z);
        FN(store_part)(c->reset + b * c->stride + unit, count,
                       r * FN(load_part)(c->state[of->step % 2] + b * c->stride + unit, count, 0));
    }
}
FINISH(gru_finish_resets)

/* not reset_after: n and the new state */
INLINE void FN(gru_finish_state_rows)(void *cell, const tile *of, idx count)
{
    COPY_CELL(gru_cell, c);
    FN(gru_finish_step)(c, of, count, 0);
}
FINISH(gru_finish_state)

/* Step s->t only brings dh to the initial state. */
static operand FN(gru_gradient)(const void *cell, idx step)
{
    const gru_cell *c = cell;
    if (!step)
        return (operand){NULL, 0, 0};
    const idx t = FN(time_of)(c->s, c->s->t - step);
    return (operand){c->da + FN(row_of)(c->s, t, 0, 3 * c->s->h), 3 * c->s->h, t};
}

INLINE void FN(gru_finish_backward_rows)(void *cell, const tile *of, idx count)
{
    COPY_CELL(gru_cell, c);
    const pydl_recurrent_shape *s = c->s;
    const idx h = s->h, t = FN(time_of)(s, s->t - 1 - of->step);
    FOR_VECTORS_OF_TILE {
        const idx of_y = FN(row_of)(s, t, b, h) + unit;
        REAL *state = c->dh + b * h + unit, *da = c->da + FN(row_of)(s, t, b, 3 * h) + unit;
        vec dh = FN(load_part)(state, count, 0) + FN(load)(sums);
        vec dr = {0}, dz = {0}, dn = {0}, dhidden = {0};
        if (of->step < s->t && FN(lives)(s, t, b)) {
            const REAL *gates = c->gates + FN(row_of)(s, t, b, 3 * h) + unit;
            const vec r = FN(load_part)(gates, count, 0), z = FN(load_part)(gates + h, count, 0);
            const vec n = FN(load_part)(gates + 2 * h, count, 0);
            const vec before = FN(load_or_zero)(FN(state_before)(s, c->output, c->h0, t, b), unit,
                                                count);
            dh += FN(load_part)(c->dy + of_y, count, 0);
            dn = dh * (1 - z) * (1 - n * n);
            dz = dh * (before - n) * (z * (1 - z));
            dhidden = dn;
            if (c->reset_after) {
                dr = dn * FN(load_part)(c->hidden + of_y, count, 0) * (r * (1 - r));
                dhidden = dn * r;
                __builtin_prefetch(c->hidden + of_y + of->next, 0, 2);
            }
            dh *= z;
#pragma GCC unroll 3
            for (idx gate = 0; gate < 3; gate++) {
                __builtin_prefetch(gates + gate * h + of->next, 0, 2);
                __builtin_prefetch(da + gate * h + of->next, 1, 2);
            }
            __builtin_prefetch(c->dy + of_y + of->next, 0, 2);
        }
        FN(store_part)(state, count, dh);
        if (of->step < s->t) {
            FN(store_part)(da + h, count, dz);
            FN(store_part)(da + 2 * h, count, dhidden);
            if (c->reset_after) {
                FN(store_part)(da, count, dr);
                FN(store_part)(c->dn + of_y, count, dn);
            }
        }
    }
}
FINISH(gru_finish_backward)

/* not reset_after: da_n on its way to r h_{t-1} */
static operand FN(gru_candidate_gradient)(const void *cell, idx step)
{
    const gru_cell *c = cell;
    if (step == c->s->t)
        return (operand){NULL, 0, 0};
    const idx h = c->s->h, t = FN(time_of)(c->s, c->s->t - 1 - step);
    return (operand){c->da + FN(row_of)(c->s, t, 0, 3 * h) + 2 * h, 3 * h, t};
}

INLINE void FN(gru_finish_resets_backward_rows)(void *cell, const tile *of, idx count)
{
    COPY_CELL(gru_cell, c);
    const pydl_recurrent_shape *s = c->s;
    const idx h = s->h, t = FN(time_of)(s, s->t - 1 - of->step);
    if (of->step == s->t)
        return;
    FOR_VECTORS_OF_TILE {
        REAL *state = c->dh + b * h + unit;
        vec dr = {0}, reset = {0};
        if (FN(lives)(s, t, b)) {
            const vec r = FN(load_part)(c->gates + FN(row_of)(s, t, b, 3 * h) + unit, count, 0);
            const vec before = FN(load_or_zero)(FN(state_before)(s, c->output, c->h0, t, b), unit,
                                                count);
            const vec back = FN(load)(sums);
            dr = back * before * (r * (1 - r));
            reset = r * before;
            FN(store_part)(state, count, FN(load_part)(state, count, 0) + back * r);
        }
        FN(store_part)(c->da + FN(row_of)(s, t, b, 3 * h) + unit, count, dr);
        FN(store_part)(c->all_reset + FN(row_of)(s, t, b, h) + unit, count, reset);
    }
}
FINISH(gru_finish_resets_backward)

/* The products of a layer, whose weights are then packed. transposed: those of the backward
 * pass. */
static int FN(gru_products)(recurrence *r, const gru_cell *c, const REAL *w_hh, int backward)
{
    const idx h = c->s->h;
    const int units = FN(unit_vectors_for)(h);
    const product after = {.depth = backward ? 3 * h : h, .units = h, .gates = backward ? 1 : 3,
                           .unit_vectors = backward ? units : 1,
                           .state = backward ? FN(gru_gradient) : FN(gru_state),
                           .finish = backward ? FN(gru_finish_backward) : FN(gru_finish)};
    const product resets = {.depth = backward ? 2 * h : h, .units = h, .gates = backward ? 1 : 2,
                            .unit_vectors = backward ? units : FN(gate_vectors_for)(h),
                            .state = backward ? FN(gru_gradient) : FN(gru_state),
                            .finish = backward ? FN(gru_finish_backward) : FN(gru_finish_resets)};
    const product candidates = {.depth = h, .units = h, .gates = 1, .unit_vectors = units,
                                .state = backward ? FN(gru_candidate_gradient)
                                    : FN(gru_reset_state),
                                .finish = backward ? FN(gru_finish_resets_backward)
                                    : FN(gru_finish_state)};
    r->products = c->reset_after ? 1 : 2;
    r->product[0] = c->reset_after ? after : resets;
    r->product[1] = candidates;
    int status = FN(prepare_product)(&r->product[0], c->s->t, NULL, w_hh, backward);
    if (status == PYDL_OK && !c->reset_after)
        status = FN(prepare_product)(&r->product[1], c->s->t, NULL, w_hh + 2 * h * h, backward);
    return status;
}

/* What r, z and n get apart from the products: b_ih, and of b_hh what is r's and z's. */
static void FN(gru_input_bias)(idx h, const REAL *b_ih, const REAL *b_hh, REAL *bias)
{
    for (idx j = 0; j < 3 * h; j++)
        bias[j] = (b_ih ? b_ih[j] : 0) + (b_hh && j < 2 * h ? b_hh[j] : 0);
}

/* gates and hidden may be NULL. */
static int FN(gru_forward)(const pydl_recurrent_shape *s, int reset_after, const REAL *x,
                           const REAL *h0, const REAL *w_ih,
                           const REAL *w_hh, const REAL *b_ih, const REAL *b_hh, REAL *y, REAL *h_n,
                           REAL *gates, REAL *hidden)
{
    gru_cell cell = {.s = s, .reset_after = reset_after, .stride = FN(state_stride)(s->h),
                     .input = {.data = gates, .width = 3 * s->h}, .bias = b_hh ? b_hh + 2 * s->h
                         : NULL,
                     .y = y, .all_hidden = hidden, .save = gates != NULL};
    recurrence r = {.shape = s, .cell = &cell};
    const idx size = FN(max)(s->b, 1) * cell.stride;
    REAL *scratch = pydl_block_alloc((size_t)(3 * size + 3 * s->h) * sizeof(REAL));
    int status = scratch ? FN(gru_products)(&r, &cell, w_hh, 0) : PYDL_NO_MEMORY;
    if (status == PYDL_OK) {
        cell.state[0] = scratch;
        cell.state[1] = scratch + size;
        cell.reset = scratch + 2 * size;
        REAL *bias = scratch + 3 * size;
        FN(gru_input_bias)(s->h, b_ih, b_hh, bias);
        FN(fill_state)(s, cell.state[0], cell.stride, h0);
        status = FN(run_forward)(&r, &cell.input, x, w_ih, bias);
        FN(read_state)(s, cell.state[s->t % 2], cell.stride, h_n);
    }
    FN(free_products)(&r);
    pydl_block_free(scratch);
    return status;
}

/* Once all da are known: dx, dw_ih, dw_hh, db_ih, db_hh. */
static int FN(gru_weight_gradients)(const gru_cell *c, const REAL *x, const REAL *w_ih, REAL *dx,
                                    REAL *dw_ih, REAL *dw_hh,
                                    REAL *db_ih, REAL *db_hh)
{
    const pydl_recurrent_shape *s = c->s;
    const idx h = s->h, rows = s->t * s->b, of_n = 2 * h * s->in, shared = c->reset_after ? 2 * h
        : 3 * h;
    int status = FN(input_gradients)(s, c->da, 3 * h, shared, x, w_ih, dx, 0, dw_ih);
    if (status == PYDL_OK && c->reset_after)
        status = FN(input_gradients)(s, c->dn, h, h, x, w_ih + of_n, dx, 1, dw_ih + of_n);
    if (status == PYDL_OK)
        status = FN(state_gradients)(s, c->da, 3 * h, c->reset_after ? 3 * h : 2 * h, c->output,
                                     c->h0, dw_hh);
    if (status == PYDL_OK && !c->reset_after)
        status = FN(gemm)(h, h, rows, (matrix){c->da + 2 * h, 1, 3 * h},
                          (matrix){c->all_reset, h, 1},
                          (sink){.c = dw_hh + 2 * h * h, .row = h});
    if (status == PYDL_OK)
        status = FN(linear_backward_bias)(rows, 3 * h, c->da, db_hh);
    if (status == PYDL_OK && c->reset_after)
        status = FN(linear_backward_bias)(rows, h, c->dn, db_ih + 2 * h);
    memcpy(db_ih, db_hh, (size_t)shared * sizeof(REAL));
    return status;
}

static int FN(gru_backward)(const pydl_recurrent_shape *s, int reset_after, const REAL *dy,
                            const REAL *dh_n, const REAL *x,
                            const REAL *h0, const REAL *w_ih, const REAL *w_hh, const REAL *y,
                            const REAL *gates,
                            const REAL *hidden, REAL *dx, REAL *dh0, REAL *dw_ih, REAL *dw_hh,
                            REAL *db_ih, REAL *db_hh)
{
    const idx size = s->t * s->b * s->h;
    gru_cell cell = {.s = s, .reset_after = reset_after, .dy = dy, .gates = gates, .hidden = hidden,
                     .output = y, .h0 = h0,
                     .dh = dh0};
    recurrence r = {.shape = s, .cell = &cell};
    REAL *copy, *scratch = pydl_block_alloc((size_t)FN(max)(4 * size, 1) * sizeof(REAL));
    int status = FN(without_padding)(s, &x, &copy);
    if (status == PYDL_OK)
        status = scratch ? FN(gru_products)(&r, &cell, w_hh, 1) : PYDL_NO_MEMORY;
    if (status == PYDL_OK) {
        cell.da = scratch;
        cell.dn = cell.all_reset = scratch + 3 * size;
        FN(fill_state)(s, dh0, s->h, dh_n);
        status = FN(run_steps)(&r, 0, s->t + 1);
    }
    if (status == PYDL_OK)
        status = FN(gru_weight_gradients)(&cell, x, w_ih, dx, dw_ih, dw_hh, db_ih, db_hh);
    FN(free_products)(&r);
    pydl_block_free(scratch);
    pydl_block_free(copy);
    return status;
}
#undef gru_cell
