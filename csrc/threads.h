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

#endif
