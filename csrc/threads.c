/* The thread pool. Workers start lazily, spin for a short while after each loop, then sleep. A forked child has no
 * workers; it starts its own at its first loop. */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    MAX_THREADS = 256,
    SPINS = 4000,           /* pause instructions before a worker sleeps: 40 to 150 microseconds */
    SERIAL_WORK = 100000,   /* a wake-up costs about as much as this many operations */
    MEETING_SPINS = 2000,   /* pause instructions before a member of a team offers its CPU to others */
};

/* ---- flush-to-zero ---- */
static uint64_t flush_to_zero_on(void)
{
#if defined(__x86_64__)
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* FTZ | DAZ */
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24)));
    return before;
#else
    return 0;
#endif
}

static void flush_to_zero_restore(uint64_t before)
{
#if defined(__x86_64__)
    _mm_setcsr((unsigned)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}

/* ---- how many threads ---- */
static int process_threads;            /* 0: not set yet */
static __thread int scoped_threads;    /* 0: none */
static __thread int inside_loop;

#if defined(__linux__)
/* Whole CPUs that the control group may use: the quota of cgroup v2 or v1; MAX_THREADS if there is none. */
static int cgroup_cpus(void)
{
    long long quota = -1, period = -1;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (file) {
        if (fscanf(file, "%lld %lld", &quota, &period) != 2)
            quota = -1;
        fclose(file);
    } else {
        file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r");
        if (file) {
            if (fscanf(file, "%lld", &quota) != 1)
                quota = -1;
            fclose(file);
        }
        file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r");
        if (file) {
            if (fscanf(file, "%lld", &period) != 1)
                period = -1;
            fclose(file);
        }
    }
    if (quota <= 0 || period <= 0)
        return MAX_THREADS;
    return quota / period < 1 ? 1 : (int)(quota / period);
}
#endif

int pydl_default_num_threads(void)
{
    int count = (int)sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set))
        count = CPU_COUNT(&set);
    const int limit = cgroup_cpus();
    if (count > limit)
        count = limit;
#endif
    return count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count;
}

int pydl_get_scoped_threads(void) { return scoped_threads; }
void pydl_set_scoped_threads(int count) { scoped_threads = count < 0 ? 0 : count; }

void pydl_set_num_threads(int count)
{
    __atomic_store_n(&process_threads, count < 1 ? 1 : count, __ATOMIC_RELAXED);
}

int pydl_get_num_threads(void)
{
    if (scoped_threads)
        return scoped_threads;
    int count = __atomic_load_n(&process_threads, __ATOMIC_RELAXED);
    if (!count) {
        const char *text = getenv("PYDL_NUM_THREADS");
        const int wanted = text ? atoi(text) : 0;
        count = wanted >= 1 ? wanted : pydl_default_num_threads();
        __atomic_store_n(&process_threads, count, __ATOMIC_RELAXED);
    }
    return count;
}

/* ---- the pool ---- */
/* The tasks that a member begins with, one run of them: so the next loop over the same data finds each part in the cache of the
 * core that it was in before. A member without tasks left takes some of another's. */
typedef struct {
    _Alignas(128) pydl_idx next;
    pydl_idx end;
} share;

static struct {
    pthread_mutex_t taken;   /* held by the thread whose loop runs */
    pthread_mutex_t sleep;   /* with the condition: guards sleepers and changes of the ticket */
    pthread_cond_t wake;
    int workers;             /* threads started */
    pthread_t threads[MAX_THREADS];
    int kept_off;            /* the CPU that no worker may run on; -1: unknown */
    int sleepers;
    uint64_t ticket;         /* loops so far, times 2^16, plus the workers invited to this one: those with a lower number */
    /* the loop, valid until every invited worker has left it */
    pydl_body body;
    void *context;
    share shares[MAX_THREADS];
    int busy;                /* invited workers that have not left yet */
    pydl_team_body team;     /* not NULL: called once per thread in place of the tasks */
    int members;             /* threads of the loop, the caller among them */
    /* the meetings of the team, away from what the others read */
    _Alignas(128) int arrived;
    _Alignas(128) unsigned meeting;
} pool = {.taken = PTHREAD_MUTEX_INITIALIZER, .sleep = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void run_tasks(int member)
{
    const uint64_t before = flush_to_zero_on();
    inside_loop = 1;
    pydl_cache_hold();
    for (int i = 0; i < pool.members; i++) {
        share *from = &pool.shares[(member + i) % pool.members];
        for (;;) {
            const pydl_idx task = __atomic_fetch_add(&from->next, 1, __ATOMIC_RELAXED);
            if (task >= from->end)
                break;
            pool.body(pool.context, task);
        }
    }
    pydl_cache_let_go();
    inside_loop = 0;
    flush_to_zero_restore(before);
}

static void run_team_member(pydl_team_body team, void *context, int member, int members)
{
    const uint64_t before = flush_to_zero_on();
    const int outer = inside_loop;
    inside_loop = 1;
    team(context, member, members);
    inside_loop = outer;
    flush_to_zero_restore(before);
}

static void run_serially(pydl_body body, void *context, pydl_idx tasks)
{
    const uint64_t before = flush_to_zero_on();
    const int outer = inside_loop;
    inside_loop = 1;
    for (pydl_idx task = 0; task < tasks; task++)
        body(context, task);
    inside_loop = outer;
    flush_to_zero_restore(before);
}

static uint64_t wait_for_change(uint64_t seen)
{
    for (int spin = 0; spin < SPINS; spin++) {
        const uint64_t now = __atomic_load_n(&pool.ticket, __ATOMIC_ACQUIRE);
        if (now != seen)
            return now;
        pydl_cpu_relax();
    }
    pthread_mutex_lock(&pool.sleep);
    pool.sleepers++;
    while (pool.ticket == seen)
        pthread_cond_wait(&pool.wake, &pool.sleep);
    pool.sleepers--;
    const uint64_t now = pool.ticket;
    pthread_mutex_unlock(&pool.sleep);
    return now;
}

typedef struct {
    int number;
    uint64_t ticket;
} worker_start;

static void *worker(void *argument)
{
    worker_start *start = argument;
    const int number = start->number;
    uint64_t seen = start->ticket;
    free(start);
    for (;;) {
        seen = wait_for_change(seen);
        /* A loop does not end before its invited workers have left it, so an invited worker never misses one. */
        if (number < (int)(seen & 0xffff)) {
            if (pool.team)
                run_team_member(pool.team, pool.context, number + 1, pool.members);
            else
                run_tasks(number + 1);
            __atomic_fetch_sub(&pool.busy, 1, __ATOMIC_RELEASE);
        }
    }
    return NULL;
}

static void before_fork(void)
{
    pthread_mutex_lock(&pool.taken);
    pthread_mutex_lock(&pool.sleep);
    pydl_cache_lock();
}

static void after_fork_in_parent(void)
{
    pydl_cache_unlock();
    pthread_mutex_unlock(&pool.sleep);
    pthread_mutex_unlock(&pool.taken);
}

static void after_fork_in_child(void)
{
    pydl_cache_unlock();
    pool.workers = 0;
    pool.sleepers = 0;
    pthread_mutex_init(&pool.taken, NULL);
    pthread_mutex_init(&pool.sleep, NULL);
    pthread_cond_init(&pool.wake, NULL);
}

static void register_fork_handlers(void) { pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); }

void pydl_guard_fork(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_fork_handlers);
}

/* Called with the pool taken. Returns how many workers there are, wanted at most. */
static int start_workers(int wanted)
{
    pydl_guard_fork();
    while (pool.workers < wanted) {
        pthread_attr_t attributes;
        worker_start *start = malloc(sizeof *start);
        if (!start)
            break;
        *start = (worker_start){pool.workers, pool.ticket};
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        const int failed = pthread_create(&pool.threads[pool.workers], &attributes, worker, start);
        pthread_attr_destroy(&attributes);
        if (failed) {
            free(start);
            break;
        }
        pool.workers++;
        pool.kept_off = -1;
    }
    return pool.workers < wanted ? pool.workers : wanted;
}

/* How many threads a loop may use, of at most this many. */
static int threads_for(pydl_idx most, double work)
{
    const int threads = inside_loop || most < 2 || work < SERIAL_WORK ? 1 : pydl_get_num_threads();
    const pydl_idx limit = most < MAX_THREADS ? most : MAX_THREADS;
    return threads > limit ? (int)limit : threads;
}

#if defined(__linux__)
/* A sleeping worker is often woken on the CPU of the thread that wakes it, and then both share one while another is idle. So the
 * workers may run where the caller may, except on its CPU. Called with the pool taken. */
static void keep_workers_off_this_cpu(void)
{
    static cpu_set_t allowed;
    cpu_set_t set;
    const int cpu = sched_getcpu();
    if (cpu < 0 || sched_getaffinity(0, sizeof set, &set))
        return;
    if (cpu == pool.kept_off && CPU_EQUAL(&set, &allowed))
        return;
    allowed = set;
    pool.kept_off = cpu;
    if (CPU_COUNT(&set) > 1)
        CPU_CLR(cpu, &set);
    for (int i = 0; i < pool.workers; i++)
        pthread_setaffinity_np(pool.threads[i], sizeof set, &set);
}
#else
static void keep_workers_off_this_cpu(void) {}
#endif

/* Starts the loop that the pool holds on so many helpers. */
static void invite(int helpers)
{
    if (__atomic_load_n(&pool.sleepers, __ATOMIC_RELAXED))
        keep_workers_off_this_cpu();
    __atomic_store_n(&pool.busy, helpers, __ATOMIC_RELAXED);
    pthread_mutex_lock(&pool.sleep);
    __atomic_store_n(&pool.ticket, ((pool.ticket >> 16) + 1) << 16 | (uint64_t)helpers, __ATOMIC_RELEASE);
    if (pool.sleepers)
        pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.sleep);
}

static void wait_for_helpers(void)
{
    for (int spin = 0; __atomic_load_n(&pool.busy, __ATOMIC_ACQUIRE); spin++) {
        if (spin < SPINS)
            pydl_cpu_relax();
        else
            sched_yield();
    }
}

void pydl_parallel_for(pydl_idx tasks, double work, pydl_body body, void *context)
{
    const int threads = threads_for(tasks, work);
    if (threads < 2 || pthread_mutex_trylock(&pool.taken)) {
        run_serially(body, context, tasks);
        return;
    }
    const int helpers = start_workers(threads - 1);
    pool.team = NULL;
    pool.body = body;
    pool.context = context;
    pool.members = helpers + 1;
    for (int i = 0; i <= helpers; i++) {
        __atomic_store_n(&pool.shares[i].next, tasks * i / (helpers + 1), __ATOMIC_RELAXED);
        pool.shares[i].end = tasks * (i + 1) / (helpers + 1);
    }
    invite(helpers);
    run_tasks(0);
    wait_for_helpers();
    pthread_mutex_unlock(&pool.taken);
}

void pydl_run_team(int most, double work, pydl_team_body body, void *context)
{
    const int threads = threads_for(most, work);
    if (threads < 2 || pthread_mutex_trylock(&pool.taken)) {
        run_team_member(body, context, 0, 1);
        return;
    }
    const int helpers = start_workers(threads - 1);
    pool.team = body;
    pool.context = context;
    pool.members = helpers + 1;
    invite(helpers);
    run_team_member(body, context, 0, helpers + 1);
    wait_for_helpers();
    pthread_mutex_unlock(&pool.taken);
}

void pydl_meet(int members)
{
    /* Where there are fewer CPUs than members, spinning only delays the others: patience shrinks. */
    static __thread int patience = MEETING_SPINS;
    if (members < 2)
        return;
    const unsigned meeting = __atomic_load_n(&pool.meeting, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&pool.arrived, 1, __ATOMIC_ACQ_REL) == members) {
        __atomic_store_n(&pool.arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&pool.meeting, meeting + 1, __ATOMIC_RELEASE);
        return;
    }
    int spin = 0;
    for (; __atomic_load_n(&pool.meeting, __ATOMIC_ACQUIRE) == meeting; spin++) {
        if (spin < patience)
            pydl_cpu_relax();
        else
            sched_yield();
    }
    if (spin > patience)
        patience = patience / 2 + 1;
    else if (patience < MEETING_SPINS)
        patience += patience;
}
