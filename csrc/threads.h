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

/* Makes fork safe, once for the process: no loop runs and the cache is not in use while it copies the process. */
void pydl_guard_fork(void);

/* The lock of the caching allocator (cache.c). A loop's body may take it, so it is taken after the pool. */
void pydl_cache_lock(void);
void pydl_cache_unlock(void);

#endif
