/* The C core against plain loops in double precision: every kernel of kernels.def, every
 * instruction set of this CPU, both dtypes, one thread and two; then the pool and the allocator.
 *
 * --no-fork leaves out forked children that start threads, which qemu-user 7 cannot run. */
#include "check.h"

static const char *const kernel_names[] = {
#define KERNEL(name, parameters, arguments) #name,
#include "kernels.def"
#undef KERNEL
};

static void test_kernels(void)
{
    test_matmul();
    test_linear();
    test_im2col();
    test_conv2d();
    test_activation();
    test_pool2d();
    test_lrn();
    test_softmax();
    test_batch_norm();
    test_layer_norm();
    test_optimizer();
    test_recurrent();
    test_embedding();
}

static void test_selection(void)
{
    check(pydl_find("no such isa") == NULL, "pydl_find of an unknown ISA");
    check(!pydl_use_isa("no such isa"), "pydl_use_isa of an unknown ISA");
    check(pydl_find("baseline") != NULL, "the baseline is always there");
    for (const char *const *isa = pydl_isas(); *isa; isa++) {
        check(pydl_use_isa(*isa), "pydl_use_isa");
        check(pydl_active() == pydl_find(*isa), "pydl_use_isa makes the table active");
        check(!strcmp(pydl_active()->isa, *isa), "a table knows its name");
        const double x[3] = {-1, 0, 2};
        double y[3];
        check(pydl_relu_forward(PYDL_F64, 3, x, y) == PYDL_OK && y[0] == 0 && y[2] == 2,
              "a public function calls the active table");
    }
}

/* The table that other modules get: taken by programs for this interface or an earlier part of it. */
static void test_api(void)
{
    const pydl_api *api = pydl_get_api();
    check(pydl_api_fits(api), "a program fits the library that it was compiled with");
    check(!pydl_api_fits(NULL), "no table fits nobody");
    check(api->relu_forward == pydl_relu_forward, "an entry is the function of its name");
    pydl_api other = *api;
    other.size += sizeof(void (*)(void));
    check(pydl_api_fits(&other), "later entries do no harm");
    other.size = api->size - 1;
    check(!pydl_api_fits(&other), "a missing entry does");
    other = *api;
    other.abi_version++;
    check(!pydl_api_fits(&other), "another version");
    other = *api;
    other.recurrent_shape_size += 8;
    check(!pydl_api_fits(&other), "another struct");
}

/* Every kernel of one table. */
static void test_table(const pydl_table *table)
{
    for (int dtype = PYDL_F32; dtype <= PYDL_F64; dtype++)
        for (int threads = 1; threads <= 2; threads++) {
            table_now = table;
            dtype_now = (pydl_dtype)dtype;
            pydl_set_num_threads(threads);
            const int before = passed + failed;
            test_kernels();
            if (threads == 2) {
                test_same_bits();
                test_recurrent_same_bits();
                test_norm_same_bits();
            }
            printf("%-8s %s, %d thread%s: %d checks\n", table->isa, dtype ? "float64" : "float32",
                   threads, threads > 1 ? "s" : "", passed + failed - before);
            fflush(stdout);
        }
}

#ifdef HAS_WIDE
extern const pydl_table pydl_table_wide;
#endif

int main(int argc, char **argv)
{
    const int may_fork = argc < 2 || strcmp(argv[1], "--no-fork");
    test_selection();
    test_api();
    for (const char *const *isa = pydl_isas(); *isa; isa++)
        test_table(pydl_find(*isa));
#ifdef HAS_WIDE
    if (pydl_find("avx2"))
        test_table(&pydl_table_wide);
#endif
    for (int i = 0; i < KERNELS; i++)
        if (!kernel_runs[i]) {
            printf("FAILED %s: no test calls this kernel\n", kernel_names[i]);
            failed++;
        }
    test_thread_pool(may_fork);
    test_cache();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
