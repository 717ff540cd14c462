/* The caching allocator: alignment, reuse, the limit, many threads, fork. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 40, CALLERS = 8, ROUNDS = 2000 };
#ifdef SANITIZED
enum { FORKS = 0 }; /* gcc 12's AddressSanitizer does not release its locks in a forked child */
#else
enum { FORKS = 10 };
#endif
#define MEBIBYTE ((size_t)1 << 20)

static void test_sizes(void)
{
    int aligned = 1, apart = 1;
    for (size_t bytes = 0; bytes < 40 * MEBIBYTE; bytes = bytes * 9 / 4 + 1) {
        unsigned char *block = pydl_block_alloc(bytes), *other = pydl_block_alloc(bytes);
        aligned &= block && other && (uintptr_t)block % 64 == 0 && (uintptr_t)other % 64 == 0;
        memset(block, 1, bytes);
        memset(other, 2, bytes);
        apart &= !bytes || (block[0] == 1 && block[bytes - 1] == 1 && other[bytes - 1] == 2);
        pydl_block_free(block);
        pydl_block_free(other);
    }
    check(aligned, "blocks are aligned to 64 bytes");
    check(apart, "blocks do not overlap");
    pydl_block_free(NULL);
    check(pydl_block_alloc(SIZE_MAX) == NULL, "no block of SIZE_MAX bytes");
    check(pydl_block_alloc(SIZE_MAX / 2) == NULL, "no block of SIZE_MAX/2 bytes");
    check(pydl_block_alloc((size_t)1 << 45) == NULL, "no block beyond all memory");
}

static void test_reuse(void)
{
    const size_t sizes[] = {100, 5000, 300000, 3 * MEBIBYTE};
    pydl_cache_empty();
    check(pydl_cache_get_stats().cached_bytes == 0, "pydl_cache_empty");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *block = pydl_block_alloc(sizes[i]);
        const pydl_cache_stats used = pydl_cache_get_stats();
        pydl_block_free(block);
        const pydl_cache_stats kept = pydl_cache_get_stats();
        check(kept.cached_bytes >= sizes[i], "a freed block is kept");
        check(used.used_bytes - kept.used_bytes >= sizes[i], "and no longer in use");
        void *again = pydl_block_alloc(sizes[i]);
        check(again == block, "the block is used again");
        check(pydl_cache_get_stats().hits == kept.hits + 1, "which is a hit");
        pydl_block_free(again);
    }
}

static void test_limit(void)
{
    const size_t before = pydl_cache_get_stats().limit_bytes;
    void *blocks[BLOCKS];
    pydl_cache_empty();
    pydl_cache_set_limit(10 * MEBIBYTE);
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = pydl_block_alloc(MEBIBYTE);
    for (int i = 0; i < BLOCKS; i++)
        pydl_block_free(blocks[i]);
    const size_t kept = pydl_cache_get_stats().cached_bytes;
    check(kept > 5 * MEBIBYTE && kept <= 10 * MEBIBYTE, "what is kept stays below the limit");
    pydl_cache_set_limit(0);
    check(pydl_cache_get_stats().cached_bytes == 0, "a lower limit releases what is above it");
    pydl_block_free(pydl_block_alloc(5000));
    check(pydl_cache_get_stats().cached_bytes == 0, "nothing is kept with the limit 0");
    pydl_cache_set_limit(before);
}

/* Large blocks share one stretch of memory, whatever their sizes were before. */
static void test_merging(void)
{
    enum { PARTS = 6 };
    unsigned char *parts[PARTS], *whole;
    pydl_cache_empty();
    const size_t used = pydl_cache_get_stats().used_bytes;
    for (int i = 0; i < PARTS; i++)
        memset(parts[i] = pydl_block_alloc(4 * MEBIBYTE), i, 4 * MEBIBYTE);
    pydl_block_free(parts[1]);
    pydl_block_free(parts[3]);
    pydl_block_free(parts[2]);
    const pydl_cache_stats before = pydl_cache_get_stats();
    whole = pydl_block_alloc(12 * MEBIBYTE);
    check(whole == parts[1], "neighbours that are free make one block, in any order");
    check(pydl_cache_get_stats().hits == before.hits + 1, "which is a hit");
    memset(whole, 99, 12 * MEBIBYTE);
    check(parts[0][4 * MEBIBYTE - 1] == 0 && parts[4][0] == 4, "and does not reach its neighbours");
    pydl_block_free(whole);
    unsigned char *small = pydl_block_alloc(3 * MEBIBYTE), *next = pydl_block_alloc(9 * MEBIBYTE);
    check(small == parts[1] && next > small && next < parts[4], "a large block is cut");
    memset(next, 98, 9 * MEBIBYTE);
    check(parts[4][0] == 4, "and its parts stay within it");
    pydl_block_free(next);
    pydl_block_free(small);
    for (int i = 0; i < PARTS; i += i ? 1 : 4)
        pydl_block_free(parts[i]);
    check(pydl_cache_get_stats().used_bytes == used, "every part has come back");
    pydl_cache_empty();
    check(pydl_cache_get_stats().cached_bytes == 0, "and nothing is kept");
    whole = pydl_block_alloc(20 * MEBIBYTE);
    int zero = 1;
    for (size_t i = 8192; i < 20 * MEBIBYTE; i += 4096)
        zero &= whole[i] == 0;
    check(zero, "the system took the memory back");
    pydl_block_free(whole);
}

static int running; /* callers that have begun */

static void *caller(void *argument)
{
    int *const ok = argument;
    __atomic_fetch_add(&running, 1, __ATOMIC_RELAXED);
    const int mark = (int)(argument != NULL) + (int)((uintptr_t)argument % 251);
    unsigned char *blocks[BLOCKS] = {NULL};
    size_t sizes[BLOCKS] = {0};
    unsigned state = (unsigned)mark;
    for (int round = 0; round < ROUNDS; round++) {
        state = state * 1664525u + 1013904223u;
        const int at = (int)(state >> 16) % BLOCKS;
        for (size_t i = 0; i < sizes[at]; i += 4093)
            *ok &= blocks[at][i] == (unsigned char)mark;
        pydl_block_free(blocks[at]);
        sizes[at] = (state >> 8) % (at < 4 ? 5 * MEBIBYTE : 200000) + 1;
        blocks[at] = pydl_block_alloc(sizes[at]);
        memset(blocks[at], mark, sizes[at]);
    }
    for (int i = 0; i < BLOCKS; i++)
        pydl_block_free(blocks[i]);
    return NULL;
}

static void test_many_threads(void)
{
    pthread_t threads[CALLERS];
    int ok[CALLERS], all = 1, children = 1;
    const size_t used = pydl_cache_get_stats().used_bytes;
    for (int i = 0; i < CALLERS; i++) {
        ok[i] = 1;
        pthread_create(&threads[i], NULL, caller, &ok[i]);
    }
    while (__atomic_load_n(&running, __ATOMIC_RELAXED) < CALLERS)
        sched_yield();
    for (int i = 0; i < FORKS; i++) {
        const pid_t child = fork();
        if (!child) {
            alarm(60);
            pydl_block_free(pydl_block_alloc(5000));
            pydl_cache_empty();
            _exit(0);
        }
        int status = -1;
        waitpid(child, &status, 0);
        children &= WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        all &= ok[i];
    }
    check(children, "a child that was forked while other threads allocate");
    check(all, "blocks of many threads");
    check(pydl_cache_get_stats().used_bytes == used, "every block has come back");
}

void test_cache(void)
{
    test_sizes();
    test_reuse();
    test_merging();
    test_limit();
    test_many_threads();
    pydl_cache_empty();
}
