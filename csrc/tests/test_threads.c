/* The thread pool: every task once, nesting, many callers, fork, flush-to-zero, same bits. */
#define _GNU_SOURCE
#include "check.h"
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENOUGH_WORK 1e9

enum { TASKS = 1000, CALLERS = 8, ROUNDS = 50 };

static void count_task(void *context, pydl_idx task)
{
    __atomic_fetch_add(&((int *)context)[task], 1, __ATOMIC_RELAXED);
}

static int every_task_once(pydl_idx tasks, double work)
{
    int counts[TASKS] = {0};
    pydl_parallel_for(tasks, work, count_task, counts);
    for (int i = 0; i < TASKS; i++)
        if (counts[i] != (i < tasks))
            return 0;
    return 1;
}

static void test_every_task_once(void)
{
    const pydl_idx sizes[] = {0, 1, 2, 3, 7, TASKS};
    for (int threads = 1; threads <= 9; threads += 2) {
        pydl_set_num_threads(threads);
        check(pydl_get_num_threads() == threads, "pydl_set_num_threads");
        int ok = 1;
        for (int round = 0; round < ROUNDS; round++)
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                ok &= every_task_once(sizes[i], ENOUGH_WORK) && every_task_once(sizes[i], 0);
        check(ok, "every task runs once");
    }
}

static void nested_loop(void *context, pydl_idx task)
{
    pydl_parallel_for(TASKS / 10, ENOUGH_WORK, count_task, (int *)context + task * (TASKS / 10));
}

static void test_nesting(void)
{
    int counts[TASKS] = {0}, ok = 1;
    pydl_set_num_threads(3);
    pydl_parallel_for(10, ENOUGH_WORK, nested_loop, counts);
    for (int i = 0; i < TASKS; i++)
        ok &= counts[i] == 1;
    check(ok, "a loop inside a loop runs every task once");
}

static void *caller(void *ok)
{
    for (int round = 0; round < 4 * ROUNDS; round++)
        *(int *)ok &= every_task_once(TASKS, ENOUGH_WORK);
    return NULL;
}

static void test_callers(void)
{
    pthread_t threads[CALLERS];
    int ok[CALLERS], all = 1;
    pydl_set_num_threads(2);
    for (int i = 0; i < CALLERS; i++) {
        ok[i] = 1;
        all &= !pthread_create(&threads[i], NULL, caller, &ok[i]);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        all &= ok[i];
    }
    check(all, "several callers at once");
}

static void *scoped_caller(void *seen)
{
    *(int *)seen = pydl_get_scoped_threads();
    return NULL;
}

static void test_scoped_count(void)
{
    pthread_t other;
    int seen = -1;
    pydl_set_num_threads(2);
    pydl_set_scoped_threads(5);
    check(pydl_get_num_threads() == 5, "the scoped count overrides the process's");
    pthread_create(&other, NULL, scoped_caller, &seen);
    pthread_join(other, NULL);
    check(seen == 0, "the scoped count belongs to its thread");
    pydl_set_scoped_threads(0);
    check(pydl_get_num_threads() == 2, "0 removes the scoped count");
    check(pydl_default_num_threads() >= 1, "the default number of threads");
}

/* A child that hangs is ended by its alarm and counts as failed. */
static int child_succeeds(int (*work)(void))
{
    fflush(stdout);
    const pid_t child = fork();
    if (!child) {
        alarm(60);
        _exit(work() ? 0 : 1);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

static int use_the_pool(void)
{
    int ok = 1;
    for (int round = 0; round < ROUNDS; round++)
        ok &= every_task_once(TASKS, ENOUGH_WORK);
    return ok;
}

static int fork_again(void) { return use_the_pool() && child_succeeds(use_the_pool); }

static int stop_callers, running;

static void *busy_caller(void *ok)
{
    while (!__atomic_load_n(&stop_callers, __ATOMIC_RELAXED)) {
        *(int *)ok &= every_task_once(TASKS, ENOUGH_WORK);
        __atomic_store_n(&running, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void test_fork(void)
{
    pydl_set_num_threads(3);
    check(use_the_pool(), "before the fork");
    check(child_succeeds(use_the_pool), "a forked child has a pool of its own");
    check(child_succeeds(fork_again), "a forked child may fork");
    check(use_the_pool(), "the parent goes on after the fork");

    pthread_t other;
    int ok = 1, children = 1;
    pthread_create(&other, NULL, busy_caller, &ok);
    while (!__atomic_load_n(&running, __ATOMIC_RELAXED))
        sched_yield();
    for (int i = 0; i < 20; i++)
        children &= child_succeeds(use_the_pool);
    __atomic_store_n(&stop_callers, 1, __ATOMIC_RELAXED);
    pthread_join(other, NULL);
    check(children, "fork while another thread runs loops");
    check(ok, "loops during forks");
}

static volatile float tiny = 1e-40f;

static void is_tiny_lost(void *context, pydl_idx task)
{
    ((int *)context)[task] = tiny * 1.0f == 0;
}

static void test_flush_to_zero(void)
{
    for (int threads = 1; threads <= 3; threads++) {
        int lost[TASKS] = {0}, all = 1;
        pydl_set_num_threads(threads);
        check(tiny * 1.0f != 0, "denormal numbers before a loop");
        pydl_parallel_for(TASKS, ENOUGH_WORK, is_tiny_lost, lost);
        for (int i = 0; i < TASKS; i++)
            all &= lost[i];
        check(all, "flush-to-zero in every task");
        check(tiny * 1.0f != 0, "denormal numbers after a loop");
    }
}

/* Every number of threads gives the same bits. */
void test_same_bits(void)
{
    const pydl_conv2d_shape s = {2, 19, 33, 29, 23, 33, 29, 3, 3, 1, 1, 1, 1, 1, 1, 1, PYDL_AUTO};
    const idx sizes[] = {s.n * s.oc * s.oh * s.ow, s.n * s.c * s.h * s.w, s.oc * s.c * 9};
    const int before = pydl_get_num_threads();
    array x = randoms(sizes[1]), w = randoms(sizes[2]), dy = randoms(sizes[0]);
    void *tx = typed(x), *tw = typed(w), *tdy = typed(dy);
    void *first[3] = {NULL};
    for (int threads = 1; threads <= 5; threads++) {
        pydl_set_num_threads(threads);
        void *got[3] = {blank(sizes[0]), blank(sizes[1]), blank(sizes[2])};
        RUN_OK(conv2d_forward, &s, tx, tw, NULL, NULL, 0, PYDL_AS_GIVEN, got[0]);
        RUN_OK(conv2d_backward_input, &s, tdy, tw, got[1]);
        RUN_OK(conv2d_backward_weight, &s, tdy, tx, got[2]);
        for (int i = 0; i < 3; i++) {
            if (!first[i]) {
                first[i] = got[i];
                continue;
            }
            check(!memcmp(first[i], got[i], (size_t)sizes[i] * item_size()),
                  "conv2d: the same bits on every number of threads");
            discard(got[i]);
        }
    }
    for (int i = 0; i < 3; i++)
        discard(first[i]);
    release(x), release(w), release(dy);
    discard(tx), discard(tw), discard(tdy);
    pydl_set_num_threads(before);
}

enum { STEPS = 60, STAGES = 2, MOST_TASKS = 40 };

typedef struct {
    pydl_idx tasks;
    int done[STEPS * STAGES][MOST_TASKS], busy[16], wrong;
} step_log;

static void note_wrong(step_log *log) { __atomic_store_n(&log->wrong, 1, __ATOMIC_RELAXED); }

/* Reads, unprotected, what all tasks of the stage before wrote; each member's place is one thread's at a time. */
static void step_task(void *context, pydl_idx stage, pydl_idx task, int member)
{
    step_log *log = context;
    if (member < 0 || member >= pydl_get_num_threads() || __atomic_exchange_n(&log->busy[member], 1, __ATOMIC_ACQUIRE))
        note_wrong(log);
    for (pydl_idx i = 0; stage && i < log->tasks; i++)
        if (log->done[stage - 1][i] != stage)
            note_wrong(log);
    if (log->done[stage][task])
        note_wrong(log);
    log->done[stage][task] = (int)stage + 1;
    __atomic_store_n(&log->busy[member], 0, __ATOMIC_RELEASE);
}

static int steps_in_order(pydl_idx tasks, double work)
{
    static __thread step_log log;
    memset(&log, 0, sizeof log);
    log.tasks = tasks;
    pydl_parallel_steps(STEPS, STAGES, tasks, work, step_task, &log);
    for (int stage = 0; stage < STEPS * STAGES; stage++)
        for (int task = 0; task < MOST_TASKS; task++)
            if (log.done[stage][task] != (task < tasks ? stage + 1 : 0))
                return 0;
    return !log.wrong;
}

static void steps_within_a_task(void *context, pydl_idx task)
{
    ((int *)context)[task] = steps_in_order(5, ENOUGH_WORK);
}

static void test_steps(void)
{
    const pydl_idx sizes[] = {0, 1, 2, 5, MOST_TASKS};
    for (int threads = 1; threads <= 5; threads++) {
        int ok = 1, within[7] = {0};
        pydl_set_num_threads(threads);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int round = 0; round < 5; round++)
                ok &= steps_in_order(sizes[i], ENOUGH_WORK) && steps_in_order(sizes[i], 0);
        check(ok, "every task of every stage runs once, after all of the stage before");
        pydl_parallel_for(7, ENOUGH_WORK, steps_within_a_task, within);
        for (int i = 0; i < 7; i++)
            ok &= within[i];
        check(ok, "steps within a task are its own thread's");
        pydl_parallel_steps(0, 1, 5, ENOUGH_WORK, step_task, NULL);
    }
    check(every_task_once(TASKS, ENOUGH_WORK), "tasks run as before after steps");
}

#if defined(__linux__)
static int spin_until_stopped = 1;

static void *spin_on_a_cpu(void *unused)
{
    while (__atomic_load_n(&spin_until_stopped, __ATOMIC_RELAXED))
        pydl_cpu_relax();
    return unused;
}

/* With a stranger on each CPU, threads lose theirs in the middle of a task and are lent others; nobody's affinity is the worse
 * for it. */
static void test_busy_neighbours(void)
{
    cpu_set_t before, after;
    pthread_t strangers[2];
    int ok = !pthread_getaffinity_np(pthread_self(), sizeof before, &before), started = 0;
    pydl_set_num_threads(3);
    for (; started < 2 && !pthread_create(&strangers[started], NULL, spin_on_a_cpu, NULL); started++)
        ;
    for (int round = 0; round < ROUNDS; round++)
        ok &= every_task_once(TASKS, ENOUGH_WORK) && steps_in_order(MOST_TASKS, ENOUGH_WORK);
    __atomic_store_n(&spin_until_stopped, 0, __ATOMIC_RELAXED);
    for (int i = 0; i < started; i++)
        pthread_join(strangers[i], NULL);
    check(ok, "every task runs once beside busy neighbours");
    check(!pthread_getaffinity_np(pthread_self(), sizeof after, &after) && CPU_EQUAL(&before, &after),
          "the caller's affinity after loops beside busy neighbours");
}
#else
static void test_busy_neighbours(void) {}
#endif

void test_thread_pool(int may_fork)
{
    test_steps();
    test_every_task_once();
    test_busy_neighbours();
    test_nesting();
    test_callers();
    test_scoped_count();
    if (may_fork)
        test_fork();
    else
        printf("skipped: a forked child with threads of its own\n");
    test_flush_to_zero();
}
