/* x86-64 with AVX2 and FMA: 16 registers, 12 of them accumulators. */
#if defined(__x86_64__)
#define ISA avx2
#define TARGET "avx2,fma,bmi,bmi2"
#define VECTOR_BYTES 32
#define MR 6
#define NR_VECTORS 2
#define X86_WIDTH(name, suffix) _mm256_##name##_##suffix
#include "instantiate.h"
#endif
