/* pydl's C functions in a Python extension module, without linking to it. Include after Python.h.
 *
 *     static const pydl_api *pydl;
 *     if (!(pydl = pydl_import()))
 *         return NULL;                          in the module's initialisation
 *     pydl->relu_forward(PYDL_F32, n, x, y);    anywhere, with or without the GIL */
#ifndef PYDL_API_H
#define PYDL_API_H

#include "pydl.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The table of the installed pydl; NULL with ImportError set if there is none that fits this header. */
static inline const pydl_api *pydl_import(void)
{
    const pydl_api *api = (const pydl_api *)PyCapsule_Import("pydl._pydl_core._C_API", 0);
    if (!api || pydl_api_fits(api))
        return api;
    PyErr_Format(PyExc_ImportError, "pydl: expected C interface %d with %d bytes, got %d with %d", PYDL_ABI_VERSION,
                 (int)sizeof(pydl_api), (int)api->abi_version, (int)api->size);
    return NULL;
}

#ifdef __cplusplus
}
#endif
#endif
