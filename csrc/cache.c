/* The caching allocator for results and scratch. Freshly mapped memory costs a page fault and a zeroing for every 4 KiB, so
 * freed memory is kept.
 *
 * Below 2 MiB there is a list of freed blocks per size class, the one used last on top. A size class is a power of two or one of the
 * three steps between it and the next (at most 25 % is wasted).
 * From 1 MiB on, blocks are cut out of a region of address space, in huge pages. Those of 2 MiB and more are whole pages of 4 KiB,
 * and free ones that touch become one: a training step's peak is what it has in use, not the sum of every size's peak.
 * A request takes the smallest free block that holds it (best fit: Wilson et al., "Dynamic storage allocation", 1995). */
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
    PAGE = 4096,
    REST = 64 * PAGE, /* less is not cut off */
};
#define LARGE ((size_t)1 << 20)
#define MERGED ((size_t)2 << 20)
#define HUGE_PAGE ((size_t)2 << 20)

typedef struct region region;
typedef struct block {
    struct block *next, *previous; /* in the free list; the second in a region's only */
    struct block *left;            /* the one before it in its region */
    region *home;                  /* NULL: from malloc */
    size_t size;                   /* with this header */
    size_t resident;               /* of a free one of a region: what counts as cached */
    const char *user;              /* the thread that had it last */
    int class;                     /* -1: merged when it is freed */
    int free;                      /* and ready to be merged */
} block;
_Static_assert(sizeof(block) <= HEADER, "the header fits in front of the block");

/* Blocks lie from its second page to top without a gap. */
struct region {
    region *next;
    char *top, *end;
    block *last; /* the one before top */
};

static struct {
    pthread_mutex_t lock;
    block *free_list[CLASSES];
    block *idle[CLASSES]; /* of regions; a class has those from its size to the next one's */
    region *regions;
    size_t memory, page; /* of the system, in bytes */
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

static int class_below(size_t size)
{
    const int log2 = 63 - __builtin_clzll((unsigned long long)size);
    return 4 * (log2 - SMALLEST_LOG2) + (int)(size >> (log2 - 2) & 3);
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
    cache.memory = memory_limit();
    cache.page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t eighth = cache.memory / 8, most = (size_t)1 << 30;
    const long long limit = pydl_number_from_environment("PYDL_CACHE_LIMIT");
    cache.stats.limit_bytes = limit >= 0 ? (size_t)limit : eighth < most ? eighth : most;
    pydl_guard_fork();
}

/* ---- regions; with the lock held ---- */
static region *region_new(size_t need)
{
    if (need > cache.memory)
        return NULL;
    for (size_t length = cache.memory; length >= need; length /= 2) {
        const size_t whole = length + PAGE + HUGE_PAGE;
        char *base = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED)
            continue;
        region *new = (region *)(((uintptr_t)base + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
        char *end = base + whole;
#ifdef MADV_HUGEPAGE
        madvise(new, (size_t)(end - (char *)new), MADV_HUGEPAGE);
#endif
        *new = (region){cache.regions, (char *)new + PAGE, end, NULL};
        return cache.regions = new;
    }
    return NULL;
}

static block *right_of(const block *of)
{
    char *right = (char *)of + of->size;
    return right < of->home->top ? (block *)right : NULL;
}

/* What follows a block, after its size has changed. */
static void tell_right(block *of)
{
    block *right = right_of(of);
    if (right)
        right->left = of;
    else
        of->home->last = of;
}

static void idle_add(block *new)
{
    block **list = &cache.idle[class_below(new->size)];
    new->free = 1;
    new->previous = NULL;
    new->next = *list;
    if (*list)
        (*list)->previous = new;
    *list = new;
    cache.stats.cached_bytes += new->resident;
}

static void idle_remove(block *old)
{
    if (old->previous)
        old->previous->next = old->next;
    else
        cache.idle[class_below(old->size)] = old->next;
    if (old->next)
        old->next->previous = old->previous;
    old->free = 0;
    cache.stats.cached_bytes -= old->resident;
}

/* The smallest free block that holds so much; of equal ones that freed last. */
static block *idle_find(size_t need)
{
    block *best = NULL;
    for (int class = class_below(need); class < CLASSES && !best; class++)
        for (block *at = cache.idle[class]; at; at = at->next)
            if (at->size >= need && (!best || at->size < best->size))
                best = at;
    return best;
}

/* The free block below a region's top, or NULL. */
static block *top_idle(const region *of) { return of->last && of->last->free ? of->last : NULL; }

/* How large a block at a region's top may be. */
static size_t room_of(const region *of)
{
    return (size_t)(of->end - of->top) + (top_idle(of) ? of->last->size : 0);
}

/* A block at a region's top, of which a free one below is a part. */
static block *grow(size_t need)
{
    region *home = cache.regions;
    while (home && room_of(home) < need)
        home = home->next;
    if (!home && !(home = region_new(need)))
        return NULL;
    block *new = top_idle(home);
    if (new) {
        idle_remove(new);
    } else {
        new = (block *)home->top;
        *new = (block){.left = home->last, .home = home};
    }
    new->size = need;
    new->resident = 0;
    home->top = (char *)new + need;
    return home->last = new;
}

/* A block of a region. size: with the header, whole pages */
static block *region_take(size_t size)
{
    block *found = idle_find(size);
    if (!found)
        return grow(size);
    idle_remove(found);
    if (found->size - size >= REST) {
        block *rest = (block *)((char *)found + size);
        const size_t resident = found->resident > size ? found->resident - size : 0;
        *rest = (block){.left = found, .home = found->home, .size = found->size - size, .resident = resident};
        found->resident -= resident;
        tell_right(rest);
        found->size = size;
        idle_add(rest);
    }
    return found;
}

/* Gives the memory of a block back to the system, but for its header and what is no whole page of
 * the system's, which has pages larger than PAGE on some arm64 machines. */
static void drop(block *of)
{
    const uintptr_t page = cache.page, begin = ((uintptr_t)of + HEADER + page - 1) & ~(page - 1);
    const uintptr_t end = ((uintptr_t)of + of->size) & ~(page - 1);
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
    of->resident = 0;
}

static void region_give(block *old)
{
    block *left = old->left, *right = right_of(old);
    if (right && right->free) {
        idle_remove(right);
        old->size += right->size;
        old->resident += right->resident;
    }
    if (left && left->free) {
        idle_remove(left);
        left->size += old->size;
        left->resident += old->resident;
        old = left;
    }
    tell_right(old);
    idle_add(old);
}

/* ---- blocks ---- */
/* Gives back every block that is kept for reuse. Called with the lock held. */
static void release_all(void)
{
    for (int class = 0; class < CLASSES; class++)
        while (cache.free_list[class]) {
            block *old = cache.free_list[class];
            cache.free_list[class] = old->next;
            cache.stats.cached_bytes -= old->size;
            if (old->home) {
                old->resident = old->size;
                region_give(old);
            } else {
                free(old);
            }
        }
    for (int class = 0; class < CLASSES; class++)
        for (block *at = cache.idle[class]; at; at = at->next) {
            cache.stats.cached_bytes -= at->resident;
            drop(at);
        }
    for (region *home = cache.regions; home; home = home->next)
        if (top_idle(home)) {
            block *last = home->last;
            idle_remove(last);
            home->top = (char *)last;
            home->last = last->left;
        }
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

/* How a request is served: the size of its block with the header, and its class, or -1 for one that is merged. 0: too large. */
static size_t block_size(size_t bytes, int *class)
{
    size_t size = 0;
    *class = size_class(bytes, &size);
    if (*class < 0)
        return 0;
    if (size >= MERGED) {
        size = bytes;
        *class = -1;
    }
    size += HEADER;
    return size < LARGE ? size : (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static block *block_new(size_t size)
{
    void *base;
    if (size >= LARGE)
        return region_take(size);
    if (posix_memalign(&base, HEADER, size))
        return NULL;
    block *new = base;
    *new = (block){.size = size};
    return new;
}

void *pydl_block_alloc(size_t bytes)
{
    int class;
    const size_t size = block_size(bytes, &class);
    if (!size)
        return NULL;
    for (int i = 0; i < held.count; i++)
        if (held.blocks[i]->class == class && held.blocks[i]->size >= size && held.blocks[i]->size / 2 < size) {
            block *own = held.blocks[i];
            held.blocks[i] = held.blocks[--held.count];
            return (char *)own + HEADER;
        }
    pydl_cache_lock();
    if (!cache.ready)
        prepare();
    block *found = class < 0 ? NULL : take(&cache.free_list[class]);
    if (found) {
        cache.stats.cached_bytes -= found->size;
        cache.stats.hits++;
    } else {
        found = block_new(size);
        if (!found) {
            release_all();
            found = block_new(size);
        }
        const int hit = found && found->resident >= size;
        cache.stats.hits += (uint64_t)hit;
        cache.stats.misses += (uint64_t)!hit;
    }
    if (found) {
        found->user = &self;
        found->class = class;
        cache.stats.used_bytes += found->size;
    }
    pydl_cache_unlock();
    return found ? (char *)found + HEADER : NULL;
}

static void give_back(block *old)
{
    pydl_cache_lock();
    cache.stats.used_bytes -= old->size;
    const int keep = cache.stats.cached_bytes + old->size <= cache.stats.limit_bytes;
    if (keep && old->class >= 0) {
        old->next = cache.free_list[old->class];
        cache.free_list[old->class] = old;
        cache.stats.cached_bytes += old->size;
        old = NULL;
    } else if (old->home) {
        old->resident = old->size;
        if (!keep)
            drop(old);
        region_give(old);
        old = NULL;
    }
    pydl_cache_unlock();
    free(old);
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
