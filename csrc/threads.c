/* The thread pool. Workers start lazily, spin for a short while after each loop, then sleep. A forked child has no
 * workers; it starts its own at its first loop. */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    MAX_THREADS = 256,
    SPINS = 4000,           /* pause instructions before a worker sleeps: 40 to 150 microseconds */
    SERIAL_WORK = 100000,   /* a wake-up costs about as much as this many operations */
    STAGE_SPINS = 2000,     /* pause instructions before one that waits for the next stage offers its CPU to others */
    LOOK_SPINS = 1000,      /* ... between two looks at whether those that are waited for run at all */
    STILL_SPINS = 200,      /* ... in which the clock of a running thread moves on */
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

long long pydl_number_from_environment(const char *name)
{
    const char *text = getenv(name);
    char *end;
    const long long number = text ? strtoll(text, &end, 10) : -1;
    return number < 0 || end == text || end[strspn(end, " \t\r\n")] ? -1 : number;
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
        const long long wanted = pydl_number_from_environment("PYDL_NUM_THREADS");
        int unknown = 0;
        count = wanted < 1 ? pydl_default_num_threads() : wanted > INT_MAX ? INT_MAX : (int)wanted;
        if (!__atomic_compare_exchange_n(&process_threads, &unknown, count, 0, __ATOMIC_RELAXED,
                                         __ATOMIC_RELAXED))
            count = unknown;
    }
    return count;
}

/* ---- the pool ---- */
/* How far a worker is with a loop. One that has not begun when all is done is not waited for: it sleeps still, or is in the queue
 * of a CPU that somebody else keeps busy. */
enum { INVITED, BEGUN, LEFT, STATES };

/* A thread of the loop: the caller (0) or a worker, and the run of tasks that it begins with: so the next loop over the same data
 * finds each part in the cache of the core that it was in before. Whoever has none left takes some of another's. */
typedef struct {
    _Alignas(128) uint64_t next; /* the stage times 2^32, plus how many tasks of it are taken; an old stage's: none yet */
    pydl_idx first, end;
    uint64_t state;              /* of a worker: the loop's number times STATES, plus how far it is */
    int holds;                   /* has tasks of a stage that it has not reported as done */
    int guest;                   /* was moved to the CPU of one that waits for it */
    pthread_t thread;
} seat;

static struct {
    pthread_mutex_t taken;   /* held by the thread whose loop runs */
    pthread_mutex_t sleep;   /* with the condition: guards sleepers and changes of the ticket */
    pthread_cond_t wake;
    int workers;             /* threads started */
    int kept_off;            /* the CPU that no worker may run on; -1: unknown */
    int sleepers;
    uint64_t ticket;         /* loops so far, times 2^16, plus the workers invited to this one: those with a lower number */
    /* the loop, valid until every worker that has begun with it has left it */
    pydl_body body;
    pydl_stage_body stage_body;  /* of a loop of steps, in place of the other */
    void *context;
    int members;             /* threads of the loop, the caller among them */
    uint64_t stages, stages_of_step, tasks; /* of a stage */
    _Alignas(128) uint64_t done; /* tasks of all stages, as far as reported; none of the last one need be */
    seat seats[MAX_THREADS + 1];
} pool = {.taken = PTHREAD_MUTEX_INITIALIZER, .sleep = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* ---- lending a CPU ---- */
/* A thread that another process has pushed off its CPU comes back after that one's slice, 3 ms and more, while whoever waits for
 * it has a CPU and no work. So that one moves it there and gives way until it has done what it holds. */
#if defined(__linux__)
static int64_t time_on_cpu(pthread_t thread)
{
    clockid_t clock;
    struct timespec time;
    if (pthread_getcpuclockid(thread, &clock) || clock_gettime(clock, &time))
        return -1;
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static int stands_still(pthread_t thread)
{
    const int64_t before = time_on_cpu(thread);
    for (int spin = 0; spin < STILL_SPINS; spin++)
        pydl_cpu_relax();
    return before >= 0 && time_on_cpu(thread) == before;
}

/* Moves a thread that does not run to this CPU. Returns whether it did. */
static int lend_cpu(seat *to)
{
    cpu_set_t here, before;
    const int cpu = sched_getcpu();
    if (cpu < 0 || __atomic_load_n(&to->guest, __ATOMIC_RELAXED) || !stands_still(to->thread) ||
        pthread_getaffinity_np(to->thread, sizeof before, &before) || __atomic_exchange_n(&to->guest, 1, __ATOMIC_RELAXED))
        return 0;
    CPU_ZERO(&here);
    CPU_SET(cpu, &here);
    pthread_setaffinity_np(to->thread, sizeof here, &here);
    if (to == pool.seats) /* the caller's affinity is not the pool's: it only moves */
        pthread_setaffinity_np(to->thread, sizeof before, &before);
    sched_yield();
    return 1;
}

/* Called by a thread that has just done what others may wait for. */
static void let_host_run(seat *own)
{
    if (__atomic_load_n(&own->guest, __ATOMIC_RELAXED))
        sched_yield();
}

/* Called by the host: the guest has done what it held, and goes elsewhere. If that is the caller, the host does. */
static void part_from(seat *guest)
{
    cpu_set_t set;
    const int cpu = sched_getcpu();
    if (cpu >= 0 && !pthread_getaffinity_np(pool.seats[0].thread, sizeof set, &set)) {
        if (CPU_COUNT(&set) > 1)
            CPU_CLR(cpu, &set);
        pthread_setaffinity_np(guest == pool.seats ? pthread_self() : guest->thread, sizeof set, &set);
    }
    __atomic_store_n(&pool.kept_off, -1, __ATOMIC_RELAXED);
    __atomic_store_n(&guest->guest, 0, __ATOMIC_RELAXED);
}
#else
static int lend_cpu(seat *to) { (void)to; return 0; }
static void let_host_run(seat *own) { (void)own; }
static void part_from(seat *guest) { (void)guest; }
#endif

/* ---- the tasks ---- */
/* A task of a stage out of somebody's run; -1: there is none any more. */
static pydl_idx take(seat *from, uint64_t stage, int backwards)
{
    const uint64_t count = (uint64_t)(from->end - from->first), first = stage << 32;
    uint64_t next = __atomic_load_n(&from->next, __ATOMIC_RELAXED), mine;
    do {
        mine = next < first ? first : next;
        if (mine >= first + count)
            return -1;
    } while (!__atomic_compare_exchange_n(&from->next, &next, mine + 1, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    const pydl_idx taken = (pydl_idx)(mine - first);
    return backwards ? from->end - 1 - taken : from->first + taken;
}

/* Does tasks of a stage until all are taken, and reports them. */
static void run_stage(int member, uint64_t stage)
{
    seat *own = &pool.seats[member];
    const int backwards = stage / pool.stages_of_step % 2;
    uint64_t done = 0;
    for (int i = 0; i < pool.members; i++) {
        seat *from = &pool.seats[(member + i) % pool.members];
        for (pydl_idx task; (task = take(from, stage, backwards)) >= 0; done++) {
            if (!done)
                __atomic_store_n(&own->holds, 1, __ATOMIC_RELAXED);
            if (pool.stage_body)
                pool.stage_body(pool.context, (pydl_idx)stage, task, member);
            else
                pool.body(pool.context, task);
        }
    }
    if (!done || stage + 1 == pool.stages)
        return;
    __atomic_fetch_add(&pool.done, done, __ATOMIC_RELEASE);
    __atomic_store_n(&own->holds, 0, __ATOMIC_RELAXED);
    let_host_run(own);
}

/* Waits until so many tasks are done. Returns how many are. */
static uint64_t wait_for_tasks(const seat *own, uint64_t tasks)
{
    /* Where there are fewer CPUs than threads, spinning only delays the others: patience shrinks. */
    static __thread int patience = STAGE_SPINS;
    seat *guest = NULL;
    uint64_t done;
    int spin = 0;
    for (; (done = __atomic_load_n(&pool.done, __ATOMIC_ACQUIRE)) < tasks; spin++) {
        if (guest && !__atomic_load_n(&guest->holds, __ATOMIC_RELAXED)) {
            part_from(guest);
            guest = NULL;
        }
        if (spin % LOOK_SPINS == LOOK_SPINS - 1)
            for (int i = 0; i < pool.members && !guest; i++) {
                seat *of = &pool.seats[i];
                if (of != own && __atomic_load_n(&of->holds, __ATOMIC_RELAXED) && lend_cpu(of))
                    guest = of;
            }
        if (spin < patience)
            pydl_cpu_relax();
        else
            sched_yield();
    }
    if (guest)
        part_from(guest);
    if (spin > patience)
        patience = patience / 2 + 1;
    else if (patience < STAGE_SPINS)
        patience += patience;
    return done;
}

static void run_seat(int member)
{
    const uint64_t before = flush_to_zero_on();
    inside_loop = 1;
    pydl_cache_hold();
    for (uint64_t stage = 0;;) {
        run_stage(member, stage);
        if (stage + 1 == pool.stages)
            break;
        /* Others may have done several stages since. */
        stage = wait_for_tasks(&pool.seats[member], (stage + 1) * pool.tasks) / pool.tasks;
    }
    pydl_cache_let_go();
    inside_loop = 0;
    flush_to_zero_restore(before);
}

static void run_serially(uint64_t stages, int stages_of_step, pydl_idx tasks, pydl_body body, pydl_stage_body stage_body,
                         void *context)
{
    const uint64_t before = flush_to_zero_on();
    const int outer = inside_loop;
    inside_loop = 1;
    for (uint64_t stage = 0; stage < stages; stage++)
        for (pydl_idx i = 0; i < tasks; i++) {
            const pydl_idx task = stage / (unsigned)stages_of_step % 2 ? tasks - 1 - i : i;
            if (stage_body)
                stage_body(context, (pydl_idx)stage, task, 0);
            else
                body(context, task);
        }
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
    __atomic_fetch_add(&pool.sleepers, 1, __ATOMIC_RELAXED);
    while (pool.ticket == seen)
        pthread_cond_wait(&pool.wake, &pool.sleep);
    __atomic_fetch_sub(&pool.sleepers, 1, __ATOMIC_RELAXED);
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
        if (number >= (int)(seen & 0xffff))
            continue;
        seat *own = &pool.seats[number + 1];
        uint64_t state = (seen >> 16) * STATES + INVITED;
        /* A loop does not end before the workers that have begun with it have left it. */
        if (!__atomic_compare_exchange_n(&own->state, &state, state + BEGUN, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            continue;
        run_seat(number + 1);
        __atomic_store_n(&own->state, state + LEFT, __ATOMIC_RELEASE);
        let_host_run(own);
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
        const int failed = pthread_create(&pool.seats[pool.workers + 1].thread, &attributes, worker, start);
        pthread_attr_destroy(&attributes);
        if (failed) {
            free(start);
            break;
        }
        pool.workers++;
        __atomic_store_n(&pool.kept_off, -1, __ATOMIC_RELAXED);
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
    if (cpu == __atomic_load_n(&pool.kept_off, __ATOMIC_RELAXED) && CPU_EQUAL(&set, &allowed))
        return;
    allowed = set;
    __atomic_store_n(&pool.kept_off, cpu, __ATOMIC_RELAXED);
    if (CPU_COUNT(&set) > 1)
        CPU_CLR(cpu, &set);
    for (int i = 0; i < pool.workers; i++)
        pthread_setaffinity_np(pool.seats[i + 1].thread, sizeof set, &set);
}
#else
static void keep_workers_off_this_cpu(void) {}
#endif

/* Starts the loop that the pool holds on so many helpers. */
static void invite(int helpers)
{
    if (__atomic_load_n(&pool.sleepers, __ATOMIC_RELAXED))
        keep_workers_off_this_cpu();
    const uint64_t loop = (pool.ticket >> 16) + 1;
    for (int i = 1; i <= helpers; i++)
        __atomic_store_n(&pool.seats[i].state, loop * STATES + INVITED, __ATOMIC_RELEASE);
    pthread_mutex_lock(&pool.sleep);
    __atomic_store_n(&pool.ticket, loop << 16 | (uint64_t)helpers, __ATOMIC_RELEASE);
    if (pool.sleepers)
        pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.sleep);
}

/* Until every helper has left, but for those that have not begun: they need not any more. If that is because they are in the
 * queue of this CPU, where the system has moved the caller, they go elsewhere. */
static void wait_for_helpers(void)
{
    const uint64_t loop = (pool.ticket >> 16) * STATES;
    int spin = 0, absent = 0;
    for (int i = 1; i < pool.members; i++) {
        seat *of = &pool.seats[i];
        uint64_t state = loop + INVITED;
        if (__atomic_compare_exchange_n(&of->state, &state, loop + LEFT, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            absent = 1;
            continue;
        }
        int guest = 0;
        for (; __atomic_load_n(&of->state, __ATOMIC_ACQUIRE) != loop + LEFT; spin++) {
            if (spin % LOOK_SPINS == LOOK_SPINS - 1)
                guest |= lend_cpu(of);
            if (spin < SPINS)
                pydl_cpu_relax();
            else
                sched_yield();
        }
        if (guest)
            part_from(of);
    }
    if (absent)
        keep_workers_off_this_cpu();
}

static void run_loop(uint64_t stages, int stages_of_step, pydl_idx tasks, double work, pydl_body body,
                     pydl_stage_body stage_body, void *context)
{
    const int threads = threads_for(tasks, work);
    if (threads < 2 || (stages | (uint64_t)tasks) >> 31 || pthread_mutex_trylock(&pool.taken)) {
        run_serially(stages, stages_of_step, tasks, body, stage_body, context);
        return;
    }
    const int helpers = start_workers(threads - 1);
    pool.body = body;
    pool.stage_body = stage_body;
    pool.context = context;
    pool.members = helpers + 1;
    pool.stages = stages;
    pool.stages_of_step = (uint64_t)stages_of_step;
    pool.tasks = (uint64_t)tasks;
    __atomic_store_n(&pool.done, 0, __ATOMIC_RELAXED);
    pool.seats[0].thread = pthread_self();
    for (int i = 0; i <= helpers; i++) {
        seat *of = &pool.seats[i];
        __atomic_store_n(&of->next, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&of->holds, 0, __ATOMIC_RELAXED);
        of->first = tasks * i / (helpers + 1);
        of->end = tasks * (i + 1) / (helpers + 1);
    }
    invite(helpers);
    run_seat(0);
    wait_for_helpers();
    pthread_mutex_unlock(&pool.taken);
}

void pydl_parallel_for(pydl_idx tasks, double work, pydl_body body, void *context)
{
    run_loop(1, 1, tasks, work, body, NULL, context);
}

void pydl_parallel_steps(pydl_idx steps, int stages, pydl_idx tasks, double work, pydl_stage_body body, void *context)
{
    if (steps > 0)
        run_loop((uint64_t)steps * (uint64_t)stages, stages, tasks, work, NULL, body, context);
}
