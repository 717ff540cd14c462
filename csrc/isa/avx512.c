/* x86-64 with AVX-512 F, VL, DQ, BW: 32 registers, 28 of them accumulators. */
#if defined(__x86_64__)
#define ISA avx512
#define TARGET "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi,bmi2"
#define VECTOR_BYTES 64
#define MR 14
#define NR_VECTORS 2
#define X86_WIDTH(name, suffix) _mm512_##name##_##suffix
#include "instantiate.h"
#endif
