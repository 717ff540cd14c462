/* Makes the table of one ISA. The including file defines
 *     ISA            its name
 *     TARGET         the compiler's target string; not defined: the compiler's default
 *     VECTOR_BYTES   width of a vector
 *     MR, NR_VECTORS the GEMM tile: MR rows of NR_VECTORS vectors
 *     X86_WIDTH      the name of x86's intrinsic of this width; not defined: vector extensions alone */
#include "../cpu.h"
#include "../pydl.h"
#include "../threads.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h> /* for the few operations that vector extensions cannot express */
#endif

typedef pydl_idx idx;

#define PRAGMA_TEXT(text) _Pragma(#text)
#define PRAGMA(text) PRAGMA_TEXT(text)
#ifdef TARGET
#if defined(__clang__)
PRAGMA(clang attribute push(__attribute__((target(TARGET))), apply_to = function))
#else
#pragma GCC push_options
PRAGMA(GCC target(TARGET))
#endif
#endif

/* Where registers are scarce: holds a vector in its register up to here. What is multiplied by and
 * not wanted any more is where gcc would move the sum to, which takes an instruction to move it
 * back. */
#if VECTOR_BYTES == 32
#define STILL_WANTED(value) __asm__ volatile("" : : "x"(value))
#else
#define STILL_WANTED(value) (void)(value)
#endif

#define JOIN_TEXT(a, b) a##_##b
#define JOIN(a, b) JOIN_TEXT(a, b)
#define FN(name) JOIN(name, SUFFIX)

#define REAL float
#define REAL_IS_FLOAT 1
#define SUFFIX f32
#include "all_kernels.h"
#undef REAL
#undef REAL_IS_FLOAT
#undef SUFFIX

#define REAL double
#define REAL_IS_FLOAT 0
#define SUFFIX f64
#include "all_kernels.h"
#undef REAL
#undef REAL_IS_FLOAT
#undef SUFFIX

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

const pydl_table JOIN(pydl_table, ISA) = {
    TEXT(ISA),
    {
#define KERNEL(name, parameters, arguments) name##_f32,
#include "../kernels.def"
#undef KERNEL
    },
    {
#define KERNEL(name, parameters, arguments) name##_f64,
#include "../kernels.def"
#undef KERNEL
    },
    peak_f32,
    peak_f64,
};

#ifdef TARGET
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
