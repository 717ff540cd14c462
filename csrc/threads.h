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

/* The same for a sequence of steps, each of which consists of stages: calls body(context, stage, task, member) once for every
 * task in [0, tasks) of every stage in [0, steps * stages), in their order: a stage begins when all tasks of the one before have
 * been done, and sees what they wrote. Each thread begins with a run of neighbouring tasks, the same one in every stage, and
 * walks it to and fro, step by step, so that what its cache still holds comes first. No two threads are the same member, out of
 * at most pydl_get_num_threads(), at a time. tasks < 2^31. */
typedef void (*pydl_stage_body)(void *context, pydl_idx stage, pydl_idx task, int member);
void pydl_parallel_steps(pydl_idx steps, int stages, pydl_idx tasks, double work, pydl_stage_body body, void *context);

/* The environment variable's number, of at least 0; -1: it is not set, or is no such number. */
long long pydl_number_from_environment(const char *name);

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
