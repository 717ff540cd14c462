/* The caching allocator for results and scratch. Freshly mapped memory costs a page fault and a zeroing for every 4 KiB, so
 * freed blocks are kept on a list per size class, the one used last on top.
 *
 * A size class is a power of two or one of the three steps between it and the next (at most 25 % is wasted).
 * Blocks are 64-byte aligned; those of 1 MiB or more are mapped on their own, aligned to 2 MiB and advised to huge pages. */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    HEADER = 64,
    SMALLEST_LOG2 = 8,
    CLASSES = 4 * 48,
    LOOK = 8,         /* blocks of a list that are looked at for one that this thread had */
    LOCK_SPINS = 200, /* pause instructions before a thread sleeps until the lock is free */
    MOST_HELD = 4,
};
#define LARGE ((size_t)1 << 20)
#define HUGE_PAGE ((size_t)2 << 20)

typedef struct block {
    struct block *next; /* in the free list */
    void *base;         /* what to give back to the system */
    size_t length;      /* of the mapping; 0: from malloc */
    const char *user;   /* the thread that had it last */
    int class;
} block;
_Static_assert(sizeof(block) <= HEADER, "the header fits in front of the block");

static struct {
    pthread_mutex_t lock;
    block *free_list[CLASSES];
    pydl_cache_stats stats;
    int ready;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};
static __thread char self; /* its address is the thread's name */
static __thread struct {
    int on, count;
    block *blocks[MOST_HELD]; /* count as in use until they are let go */
} held;

/* The size class of a request and, in *size, what a block of the class holds. -1: too large to count. */
static int size_class(size_t bytes, size_t *size)
{
    if (bytes > ((size_t)1 << 46))
        return -1;
    if (bytes < ((size_t)1 << SMALLEST_LOG2))
        bytes = (size_t)1 << SMALLEST_LOG2;
    const int log2 = 63 - __builtin_clzll((unsigned long long)bytes);
    const size_t power = (size_t)1 << log2, quarter = power / 4;
    const size_t steps = (bytes - power + quarter - 1) / quarter;
    *size = power + steps * quarter;
    return 4 * (log2 - SMALLEST_LOG2) + (int)steps;
}

static size_t memory_limit(void)
{
    size_t memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "r");
    if (file) {
        unsigned long long limit;
        if (fscanf(file, "%llu", &limit) == 1 && limit < memory)
            memory = (size_t)limit;
        fclose(file);
    }
    return memory;
}

void pydl_cache_lock(void)
{
    for (int spin = 0; spin < LOCK_SPINS; spin++) {
        if (!pthread_mutex_trylock(&cache.lock))
            return;
        pydl_cpu_relax();
    }
    pthread_mutex_lock(&cache.lock);
}
void pydl_cache_unlock(void) { pthread_mutex_unlock(&cache.lock); }

static void prepare(void)
{
    cache.ready = 1;
    const char *text = getenv("PYDL_CACHE_LIMIT");
    const size_t eighth = memory_limit() / 8, gibibyte = (size_t)1 << 30;
    cache.stats.limit_bytes = text ? (size_t)strtoull(text, NULL, 10) : eighth < gibibyte ? eighth : gibibyte;
    pydl_guard_fork();
}

static block *block_new(int class, size_t size)
{
    const size_t bytes = size + HEADER;
    void *base;
    size_t length = 0;
    char *start;
    if (bytes < LARGE) {
        if (posix_memalign(&base, HEADER, bytes))
            return NULL;
        start = base;
    } else {
        length = bytes + HUGE_PAGE;
        base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED)
            return NULL;
        start = (char *)(((uintptr_t)base + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
#ifdef MADV_HUGEPAGE
        madvise(start, bytes, MADV_HUGEPAGE);
#endif
    }
    block *new = (block *)start;
    *new = (block){NULL, base, length, NULL, class};
    return new;
}

static void block_release(block *old)
{
    if (old->length)
        munmap(old->base, old->length);
    else
        free(old->base);
}

/* Takes every block that is kept for reuse off the lists and gives it back. Called with the lock held. */
static void release_all(void)
{
    for (int class = 0; class < CLASSES; class ++)
        while (cache.free_list[class]) {
            block *old = cache.free_list[class];
            cache.free_list[class] = old->next;
            block_release(old);
        }
    cache.stats.cached_bytes = 0;
}

/* Takes a block off a list: one that this thread had, whose lines are in its own cache, rather than in another's. */
static block *take(block **list)
{
    block **at = list;
    for (int i = 0; i < LOOK && *at; i++, at = &(*at)->next)
        if ((*at)->user == &self)
            break;
    if (!*at || (*at)->user != &self)
        at = list;
    block *found = *at;
    if (found)
        *at = found->next;
    return found;
}

void *pydl_block_alloc(size_t bytes)
{
    size_t size = 0;
    const int class = size_class(bytes, &size);
    if (class < 0)
        return NULL;
    for (int i = 0; i < held.count; i++)
        if (held.blocks[i]->class == class) {
            block *own = held.blocks[i];
            held.blocks[i] = held.blocks[--held.count];
            return (char *)own + HEADER;
        }
    pydl_cache_lock();
    if (!cache.ready)
        prepare();
    block *found = take(&cache.free_list[class]);
    if (found) {
        cache.stats.cached_bytes -= size;
        cache.stats.hits++;
    } else {
        cache.stats.misses++;
        found = block_new(class, size);
        if (!found) {
            release_all();
            found = block_new(class, size);
        }
    }
    if (found) {
        found->user = &self;
        cache.stats.used_bytes += size;
    }
    pydl_cache_unlock();
    return found ? (char *)found + HEADER : NULL;
}

static void give_back(block *old)
{
    size_t size = (size_t)1 << (old->class / 4 + SMALLEST_LOG2);
    size += size / 4 * (size_t)(old->class % 4);
    pydl_cache_lock();
    cache.stats.used_bytes -= size;
    if (cache.stats.cached_bytes + size <= cache.stats.limit_bytes) {
        old->next = cache.free_list[old->class];
        cache.free_list[old->class] = old;
        cache.stats.cached_bytes += size;
        old = NULL;
    }
    pydl_cache_unlock();
    if (old)
        block_release(old);
}

void pydl_block_free(void *memory)
{
    if (!memory)
        return;
    block *old = (block *)((char *)memory - HEADER);
    if (held.on && held.count < MOST_HELD)
        held.blocks[held.count++] = old;
    else
        give_back(old);
}

void pydl_cache_hold(void) { held.on = 1; }

void pydl_cache_let_go(void)
{
    held.on = 0;
    while (held.count)
        give_back(held.blocks[--held.count]);
}

void pydl_cache_empty(void)
{
    pydl_cache_lock();
    release_all();
    pydl_cache_unlock();
}

void pydl_cache_set_limit(size_t bytes)
{
    pydl_cache_lock();
    if (!cache.ready)
        prepare();
    cache.stats.limit_bytes = bytes;
    if (cache.stats.cached_bytes > bytes)
        release_all();
    pydl_cache_unlock();
}

pydl_cache_stats pydl_cache_get_stats(void)
{
    pydl_cache_lock();
    if (!cache.ready)
        prepare();
    const pydl_cache_stats stats = cache.stats;
    pydl_cache_unlock();
    return stats;
}
