/* What the C core's tests share: arrays, expectations and the record of what has run.
 *
 * Bounds: a sum of n products computed in any order, with or without fused multiply-adds, differs
 * from the exact one by at most n u / (1 - n u) * sum |a b| (Higham 2002, section 3.1), u the unit
 * roundoff. */
#ifndef PYDL_CHECK_H
#define PYDL_CHECK_H

#include "pydl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef pydl_idx idx;

typedef struct {
    idx count;
    double *value; /* the elements, given or expected */
    double *scale; /* expected: the sum of the magnitudes that were added up */
    idx *terms;    /* expected: how many they were */
} array;

/* The circumstances of the kernels that are being checked. */
extern const pydl_table *table_now;
extern pydl_dtype dtype_now;
extern char shape_now[120]; /* printed with a failure */
extern int passed, failed;

void check(int ok, const char *name);

array zeros(idx count);
array randoms(idx count); /* uniform in [-1, 1), exact in float32, all different from 0 */
void release(array a);
void add(array *a, idx i, double term);
void set(array *a, idx i, double value, double scale, double terms);

/* Memory that ends with a page, behind which there is none, so that a step outside is a fault, even
 * one of a masked instruction, which sanitizers do not see; AddressSanitizer watches its beginning.
 */
void *room(size_t bytes);
void discard(void *memory);

/* In such memory, a copy in the current dtype; a result's place, filled with NaN so that an element
 * left out is found. */
void *typed(array a);
void *blank(idx count);
double element(const void *memory, idx i);
size_t item_size(void);

/* factor: how many times the bound of one sum is allowed (1 for a single sum of products). */
void expect(const char *name, const void *got, array want, double factor);

enum {
#define KERNEL(name, parameters, arguments) KERNEL_##name,
#include "kernels.def"
#undef KERNEL
    KERNELS
};
extern int kernel_runs[KERNELS];

/* Calls a kernel of the current table and dtype. */
#define RUN(name, ...)                                                                             \
    (kernel_runs[KERNEL_##name]++,                                                                 \
     dtype_now == PYDL_F64 ? table_now->f64.name(__VA_ARGS__) : table_now->f32.name(__VA_ARGS__))
#define RUN_OK(name, ...) check(RUN(name, __VA_ARGS__) == PYDL_OK, #name ": status")

void test_conv2d(void);
void test_im2col(void);
void test_matmul(void);
void test_linear(void);
void test_activation(void);
void test_pool2d(void);
void test_lrn(void);
void test_softmax(void);
void test_batch_norm(void);
void test_layer_norm(void);
void test_optimizer(void);
void test_recurrent(void);
void test_embedding(void);

void test_same_bits(void);
void test_recurrent_same_bits(void);
void test_norm_same_bits(void);
void test_thread_pool(int may_fork);
void test_cache(void);

#endif
