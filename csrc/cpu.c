/* The caches of x86, by the leaf of CPUID that lists them: 4 of Intel's CPUs, 0x8000001D of AMD's, of which sysconf tells the
 * level 3 of all sockets together. */
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

static size_t read_l3_bytes(void)
{
    enum { LISTS_CACHES = 1 << 22 };
    unsigned a, b, c, d;
    const unsigned leaf = __get_cpuid(0x80000001, &a, &b, &c, &d) && c & LISTS_CACHES ? 0x8000001D : 4;
    for (unsigned i = 0; __get_cpuid_count(leaf, i, &a, &b, &c, &d) && a & 31; i++)
        if ((a >> 5 & 7) == 3)
            return ((b >> 22) + 1) * ((b >> 12 & 1023) + 1) * ((b & 4095) + 1) * ((size_t)c + 1);
    return 0;
}
#else
static size_t read_l3_bytes(void) { return 0; }
#endif

size_t pydl_l3_bytes(void)
{
    enum { UNKNOWN = 1 }; /* asked once: in a virtual machine CPUID takes some 20 us */
    static size_t known = UNKNOWN;
    size_t bytes = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (bytes == UNKNOWN) {
        bytes = read_l3_bytes();
        __atomic_store_n(&known, bytes, __ATOMIC_RELAXED);
    }
    return bytes;
}
