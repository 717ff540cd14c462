/* Any CPU of the architecture: 128-bit vectors, which x86-64 and arm64 always have. */
#define ISA baseline
#define VECTOR_BYTES 16
#define MR 6
#define NR_VECTORS 2
#if defined(__x86_64__)
#define X86_WIDTH(name, suffix) _mm_##name##_##suffix
#endif
#if !defined(__clang__) && defined(__OPTIMIZE__)
#pragma GCC optimize("O2") /* for CPUs older than 2013: half the time to compile */
#endif
#include "instantiate.h"
