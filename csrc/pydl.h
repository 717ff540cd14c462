/* pydl: CPU deep-learning kernels. Public C API.
 *
 * Arrays are C-contiguous and hold float (PYDL_F32) or double (PYDL_F64). Shapes must fit; a batch may be 0, and its arrays NULL
 * then; the other sizes of a result are at least 1.
 * Every kernel of kernels.def exists as
 *     int pydl_<kernel>(pydl_dtype dtype, ...)
 * in which REAL is void; it calls the table of the best instruction set of this CPU (or of PYDL_ISA). */
#ifndef PYDL_H
#define PYDL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a program compiled before would no longer work: a signature, struct or value of this file changed. */
#define PYDL_ABI_VERSION 1
#define PYDL_VERSION "0.1.0"

#if defined(__GNUC__)
#define PYDL_EXPORT __attribute__((visibility("default")))
#else
#define PYDL_EXPORT
#endif

typedef ptrdiff_t pydl_idx;

typedef enum { PYDL_F32 = 0, PYDL_F64 = 1 } pydl_dtype;

typedef enum {
    PYDL_OK = 0,
    PYDL_NO_MEMORY = 1, /* scratch memory could not be had */
    PYDL_BAD_INDEX = 2, /* a label or an argmax is out of range; the result is not to be used */
} pydl_status;

/* How a convolution is computed. Winograd needs groups 1, stride 1, dilation 1 and a kernel 3x3 or 5x5, and is ignored elsewhere;
 * PYDL_AUTO chooses it for float alone, where it is estimated to be faster and pydl_set_winograd has not excluded it. */
typedef enum { PYDL_AUTO = 0, PYDL_DIRECT = 1, PYDL_WINOGRAD = 2 } pydl_conv_algorithm;

/* x (n,c,h,w), w (oc, c/groups, kh, kw), y (n,oc,oh,ow) */
typedef struct {
    pydl_idx n, c, h, w, oc, oh, ow, kh, kw;
    pydl_idx stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
    pydl_conv_algorithm algorithm;
} pydl_conv2d_shape;

/* In what form conv2d_forward takes the weights: as they are, or as conv2d_pack_weight has prepared them once for many calls. */
typedef enum { PYDL_AS_GIVEN = 0, PYDL_PANELS = 1, PYDL_TRANSFORMED = 2, PYDL_TURNED = 3 } pydl_weight_form;

/* x (planes,h,w), y (planes,oh,ow); planes = N*C */
typedef struct {
    pydl_idx planes, h, w, oh, ow, kh, kw;
    pydl_idx stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
} pydl_pool2d_shape;

/* A layer of a recurrent network over a sequence: x (t,b,in), y (t,b,h). Sample i ends before time lengths[i], 0 <= lengths[i]
 * <= t; lengths NULL: all are t long. reverse: each sample is read from its end to its beginning. */
typedef struct {
    pydl_idx t, b, in, h;
    int reverse;
    const int64_t *lengths;
} pydl_recurrent_shape;

/* A matrix element (i, j) is data[i * row_stride + j * column_stride]; strides count elements, may be 0 or negative. */
typedef struct {
    pydl_idx row_stride, column_stride;
} pydl_strides;

#define PYDL_UNPACK(...) __VA_ARGS__

/* What the lists of kernels and of entries are made with; macros of the program with these names are given back below. */
#pragma push_macro("REAL")
#pragma push_macro("KERNEL")
#pragma push_macro("ENTRY")
#undef REAL
#undef KERNEL
#undef ENTRY

#define REAL float
#define KERNEL(name, parameters, arguments) int (*name) parameters;
typedef struct {
#include "kernels.def"
} pydl_kernels_f32;
#undef REAL
#define REAL double
typedef struct {
#include "kernels.def"
} pydl_kernels_f64;
#undef KERNEL
#undef REAL

/* Of one build: not for programs that are compiled apart from the library. */
typedef struct {
    const char *isa; /* "baseline", "avx2", "avx512", "neon" */
    pydl_kernels_f32 f32;
    pydl_kernels_f64 f64;
    /* So many rounds of register-only multiply-adds; returns the floating-point operations, to be timed as this CPU's peak. */
    double (*peak_f32)(pydl_idx rounds), (*peak_f64)(pydl_idx rounds);
} pydl_table;

/* The table in use; the table of a named ISA, NULL if this CPU or build lacks it; the names, best first, NULL at the end. */
PYDL_EXPORT const pydl_table *pydl_active(void);
PYDL_EXPORT const pydl_table *pydl_find(const char *isa);
PYDL_EXPORT const char *const *pydl_isas(void);
/* Choose a table for the process; 0 if there is no such ISA here. */
PYDL_EXPORT int pydl_use_isa(const char *isa);

/* Whether PYDL_AUTO may choose Winograd's algorithm; at first unless the environment says PYDL_WINOGRAD=0. */
PYDL_EXPORT int pydl_get_winograd(void);
PYDL_EXPORT void pydl_set_winograd(int on);

/* Threads. The scoped count belongs to the calling thread and overrides the process's; 0 removes it. */
PYDL_EXPORT int pydl_get_num_threads(void);
PYDL_EXPORT void pydl_set_num_threads(int count);
PYDL_EXPORT int pydl_get_scoped_threads(void);
PYDL_EXPORT void pydl_set_scoped_threads(int count);
PYDL_EXPORT int pydl_default_num_threads(void);

/* Memory that is kept for reuse: 64-byte aligned blocks, NULL if there is none. */
typedef struct {
    size_t cached_bytes, used_bytes, limit_bytes;
    uint64_t hits, misses;
} pydl_cache_stats;
PYDL_EXPORT void *pydl_block_alloc(size_t bytes);
PYDL_EXPORT void pydl_block_free(void *block);
PYDL_EXPORT void pydl_cache_empty(void);
PYDL_EXPORT void pydl_cache_set_limit(size_t bytes);
PYDL_EXPORT pydl_cache_stats pydl_cache_get_stats(void);

#define REAL void
#define KERNEL(name, parameters, arguments)                           \
    PYDL_EXPORT int pydl_##name(pydl_dtype dtype, PYDL_UNPACK parameters);
#include "kernels.def"
#undef KERNEL
#undef REAL

/* The version of the library, and of its interface as it was compiled. */
PYDL_EXPORT const char *pydl_version(void);
PYDL_EXPORT int pydl_abi_version(void);

/* The functions above as a table, for modules that cannot link to the library. Use it if abi_version is PYDL_ABI_VERSION, size
 * is at least sizeof(pydl_api), as a later library may append entries, and the shapes have the sizes of one's own. */
typedef struct {
    uint32_t abi_version, size;
    uint32_t conv2d_shape_size, pool2d_shape_size, recurrent_shape_size;
#define ENTRY(name) __typeof__(&pydl_##name) name;
#include "api.def"
#undef ENTRY
} pydl_api;
PYDL_EXPORT const pydl_api *pydl_get_api(void);

static inline int pydl_api_fits(const pydl_api *api)
{
    return api && api->abi_version == PYDL_ABI_VERSION && api->size >= sizeof(pydl_api) &&
           api->conv2d_shape_size == sizeof(pydl_conv2d_shape) && api->pool2d_shape_size == sizeof(pydl_pool2d_shape) &&
           api->recurrent_shape_size == sizeof(pydl_recurrent_shape);
}

#pragma pop_macro("REAL")
#pragma pop_macro("KERNEL")
#pragma pop_macro("ENTRY")

#ifdef __cplusplus
}
#endif
#endif
