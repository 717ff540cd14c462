/* What the CPU says of itself. */
#ifndef PYDL_CPU_H
#define PYDL_CPU_H

#include <stddef.h>

/* Bytes of the cache of level 3 that cores of this CPU share; 0 where it does not say. */
size_t pydl_l3_bytes(void);

#endif
