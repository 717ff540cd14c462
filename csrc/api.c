/* The table of functions that other modules get through a capsule. */
#include "pydl.h"

const char *pydl_version(void) { return PYDL_VERSION; }
int pydl_abi_version(void) { return PYDL_ABI_VERSION; }

const pydl_api *pydl_get_api(void)
{
    static const pydl_api api = {
        PYDL_ABI_VERSION, sizeof(pydl_api),
        sizeof(pydl_conv2d_shape), sizeof(pydl_pool2d_shape), sizeof(pydl_recurrent_shape),
#define ENTRY(name) pydl_##name,
#include "api.def"
#undef ENTRY
    };
    return &api;
}
