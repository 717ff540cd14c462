/* CPU features -> table, best first; the environment variable PYDL_ISA overrides. And the switch of Winograd's algorithm. */
#include "pydl.h"

#include <stdlib.h>
#include <string.h>

extern const pydl_table pydl_table_baseline;
#if defined(__x86_64__)
extern const pydl_table pydl_table_avx2, pydl_table_avx512;
#elif defined(__aarch64__)
extern const pydl_table pydl_table_neon;
#endif

static int always(void) { return 1; }

#if defined(__x86_64__)
/* __builtin_cpu_supports reads XCR0 too: false where the operating system does not save the registers. */
static int has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void)
{
    __builtin_cpu_init();
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
#endif

static const struct {
    const pydl_table *table;
    int (*supported)(void);
} candidates[] = {
#if defined(__x86_64__)
    {&pydl_table_avx512, has_avx512},
    {&pydl_table_avx2, has_avx2},
#elif defined(__aarch64__)
    {&pydl_table_neon, always},
#endif
    {&pydl_table_baseline, always},
};

enum { CANDIDATES = sizeof candidates / sizeof candidates[0] };

static const pydl_table *active; /* written once at first use and by pydl_use_isa */

const pydl_table *pydl_find(const char *isa)
{
    for (int i = 0; i < CANDIDATES; i++)
        if (!strcmp(candidates[i].table->isa, isa))
            return candidates[i].supported() ? candidates[i].table : NULL;
    return NULL;
}

const char *const *pydl_isas(void)
{
    static const char *names[CANDIDATES + 1];
    int count = 0;
    for (int i = 0; i < CANDIDATES; i++)
        if (candidates[i].supported())
            names[count++] = candidates[i].table->isa;
    return names;
}

const pydl_table *pydl_active(void)
{
    const pydl_table *table = __atomic_load_n(&active, __ATOMIC_ACQUIRE);
    if (!table) {
        const char *wanted = getenv("PYDL_ISA");
        table = wanted ? pydl_find(wanted) : NULL;
        if (!table)
            table = pydl_find(pydl_isas()[0]);
        __atomic_store_n(&active, table, __ATOMIC_RELEASE);
    }
    return table;
}

int pydl_use_isa(const char *isa)
{
    const pydl_table *table = pydl_find(isa);
    if (table)
        __atomic_store_n(&active, table, __ATOMIC_RELEASE);
    return table != NULL;
}

static int winograd = -1; /* -1: the environment has not been asked yet */

int pydl_get_winograd(void)
{
    int on = __atomic_load_n(&winograd, __ATOMIC_RELAXED);
    if (on < 0) {
        const char *text = getenv("PYDL_WINOGRAD");
        int unknown = -1;
        on = !(text && !strcmp(text, "0"));
        if (!__atomic_compare_exchange_n(&winograd, &unknown, on, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            on = unknown;
    }
    return on;
}

void pydl_set_winograd(int on) { __atomic_store_n(&winograd, on != 0, __ATOMIC_RELAXED); }

#define REAL void
#define KERNEL(name, parameters, arguments)                                   \
    int pydl_##name(pydl_dtype dtype, PYDL_UNPACK parameters)                 \
    {                                                                         \
        const pydl_table *table = pydl_active();                              \
        return dtype == PYDL_F64 ? table->f64.name arguments : table->f32.name arguments; \
    }
#include "kernels.def"
