#include "check.h"

#include <sys/mman.h>
#include <unistd.h>
#ifdef SANITIZED /* the core is: the tests themselves run unchecked */
#include <sanitizer/asan_interface.h>
#define FORBID __asan_poison_memory_region
#define ALLOW __asan_unpoison_memory_region
#else
#define FORBID(begin, size) ((void)0)
#define ALLOW(begin, size) ((void)0)
#endif

const pydl_table *table_now;
pydl_dtype dtype_now;
char shape_now[120];
int passed, failed;
int kernel_runs[KERNELS];

static void report(int ok, const char *name, const char *detail)
{
    if (ok) {
        passed++;
        return;
    }
    failed++;
    printf("FAILED %s: %s (isa %s, %s, %d threads) %s\n", name, detail,
           table_now ? table_now->isa : "none",
           dtype_now == PYDL_F64 ? "float64" : "float32", pydl_get_num_threads(),
           shape_now);
    fflush(stdout);
}

void check(int ok, const char *name) { report(ok, name, "does not hold"); }

static void *must(void *memory)
{
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    return memory;
}

array zeros(idx count)
{
    const size_t n = count ? (size_t)count : 1;
    return (array){count, must(calloc(n, sizeof(double))), must(calloc(n, sizeof(double))),
                   must(calloc(n, sizeof(idx)))};
}

void release(array a)
{
    free(a.value);
    free(a.scale);
    free(a.terms);
}

static double random_value(void)
{
    static uint64_t state = 88172645463325252u; /* xorshift64 (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return ((double)(int64_t)(state >> 41) - (1 << 22) + 0.5) / (1 << 22);
}

array randoms(idx count)
{
    array a = zeros(count);
    for (idx i = 0; i < count; i++)
        a.value[i] = random_value();
    return a;
}

void add(array *a, idx i, double term)
{
    a->value[i] += term;
    a->scale[i] += fabs(term);
    a->terms[i]++;
}

void set(array *want, idx i, double value, double scale, double terms)
{
    want->value[i] = value;
    want->scale[i] = scale;
    want->terms[i] = (idx)terms;
}

size_t item_size(void) { return dtype_now == PYDL_F64 ? sizeof(double) : sizeof(float); }

typedef struct {
    char *pages;
    size_t size;
} mapping;

void *room(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t used = (sizeof(mapping) + bytes + page - 1) / page * page;
    mapping all = {.size = used + page};
    all.pages = mmap(NULL, all.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all.pages == MAP_FAILED || mprotect(all.pages + used, page, PROT_NONE))
        must(NULL);
    char *memory = all.pages + used - bytes;
    memcpy(memory - sizeof all, &all, sizeof all);
    FORBID(all.pages, used - bytes);
    return memory;
}

void discard(void *memory)
{
    char *header = (char *)memory - sizeof(mapping);
    mapping all;
    ALLOW(header, sizeof all);
    memcpy(&all, header, sizeof all);
    ALLOW(all.pages, all.size);
    munmap(all.pages, all.size);
}

void *typed(array a)
{
    void *memory = room((size_t)a.count * item_size());
    for (idx i = 0; i < a.count; i++)
        if (dtype_now == PYDL_F64)
            ((double *)memory)[i] = a.value[i];
        else
            ((float *)memory)[i] = (float)a.value[i];
    return memory;
}

void *blank(idx count)
{
    void *memory = room((size_t)count * item_size());
    memset(memory, 0xff, (size_t)count * item_size());
    return memory;
}

double element(const void *memory, idx i)
{
    return dtype_now == PYDL_F64 ? ((const double *)memory)[i] : ((const float *)memory)[i];
}

void expect(const char *name, const void *got, array want, double factor)
{
    const double u = dtype_now == PYDL_F64 ? 0x1p-53 : 0x1p-24;
    for (idx i = 0; i < want.count; i++) {
        const double nu = (double)(want.terms[i] + 1) * u;
        /* twice, because the expectation is itself a sum of doubles */
        const double bound = 2 * factor * nu / (1 - nu) * want.scale[i];
        const double value = element(got, i);
        if (isnan(want.value[i]) ? isnan(value)
                                 : value == want.value[i] || fabs(value - want.value[i]) <= bound)
            continue;
        char detail[160];
        snprintf(detail, sizeof detail, "element %td is %.17g, expected %.17g within %.3g", i,
                 value, want.value[i], bound);
        report(0, name, detail);
        return;
    }
    report(1, name, "");
}
