/* arm64: 32 registers of 128 bits, 24 of them accumulators. */
#if defined(__aarch64__)
#define ISA neon
#define VECTOR_BYTES 16
#define MR 8
#define NR_VECTORS 3
#include "instantiate.h"
#endif
