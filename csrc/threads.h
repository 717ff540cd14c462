/* A small pool: one parallel loop at a time, tasks handed out from a counter, the caller works too. */
#ifndef PYDL_THREADS_H
#define PYDL_THREADS_H

#include "pydl.h"

/* Calls body(context, task) once for every task in [0, tasks), on up to pydl_get_num_threads() threads.
 * Serial where it is nested in another loop or the pool is taken by another thread, or when work (an estimate of
 * the whole loop's cost in floating-point operations or bytes) is too small to be worth waking anyone.
 * Flush-to-zero is on while body runs and as it was afterwards. */
typedef void (*pydl_body)(void *context, pydl_idx task);
void pydl_parallel_for(pydl_idx tasks, double work, pydl_body body, void *context);

/* Calls body(context, member, members) for every member in [0, members), at the same time on members threads, so
 * that they may wait for each other; 1 <= members <= most, as many as pydl_parallel_for would use. The members'
 * shares, and not the results, may depend on how many there are. */
typedef void (*pydl_team_body)(void *context, int member, int members);
void pydl_run_team(int most, double work, pydl_team_body body, void *context);

/* Within a team's body: waits until all its members have called it. What they wrote before is then visible. */
void pydl_meet(int members);

/* Makes fork safe, once for the process: no loop runs and the cache is not in use while it copies the process. */
void pydl_guard_fork(void);

/* Tells the CPU that this thread waits in a loop. */
static inline void pydl_cpu_relax(void)
{
#if defined(__x86_64__)
    __asm__ volatile("pause");
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The lock of the caching allocator (cache.c). A loop's body may take it, so it is taken after the pool. */
void pydl_cache_lock(void);
void pydl_cache_unlock(void);

/* From hold to let_go, the thread keeps some blocks that it frees for its own next requests: without the lock, and in its core's
 * cache. */
void pydl_cache_hold(void);
void pydl_cache_let_go(void);

#endif
