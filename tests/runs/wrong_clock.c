/* A machine's clock that is set wrong, for one process: LD_PRELOAD this, WRONG_CLOCK names a file that holds how far the wall clock is off
   (int64, ns), which may be rewritten while the process runs. The monotonic clock is true, as it is when somebody sets a machine's clock.

   What asks for the time of day gets it with the offset. What waits until a time of day is given the true one: a deadline within a day of
   the wrong clock is meant on it, all others are times since the start of the machine. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define DAY (86400 * SECOND)

static volatile int64_t *offset;

__attribute__((constructor)) static void opened(void) {
    const char *path = getenv("WRONG_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    offset = page == MAP_FAILED ? 0 : page;
    if (file >= 0) close(file);
}

static int64_t off(void) { return offset ? *offset : 0; }
static int64_t ns_of(const struct timespec *t) { return t->tv_sec * SECOND + t->tv_nsec; }
static struct timespec spec_of(int64_t ns) { return (struct timespec){ns / SECOND, ns % SECOND}; }

static int64_t wrong_now(void) {
    struct timespec t;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
    return ns_of(&t) + off();
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    int failed = syscall(SYS_clock_gettime, clock, t);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) *t = spec_of(ns_of(t) + off());
    return failed;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    (void)zone;
    int64_t now = wrong_now();
    t->tv_sec = now / SECOND, t->tv_usec = now % SECOND / 1000;
    return 0;
}

time_t time(time_t *t) {
    time_t now = wrong_now() / SECOND;
    if (t) *t = now;
    return now;
}

int timespec_get(struct timespec *t, int base) {
    *t = spec_of(wrong_now());
    return base;
}

static struct timespec true_deadline(const struct timespec *deadline) {
    int64_t until = ns_of(deadline), ahead = until - wrong_now();
    return spec_of(-DAY < ahead && ahead < DAY ? until - off() : until);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int pthread_cond_timedwait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m, const struct timespec *restrict deadline) {
    static __typeof__(&pthread_cond_timedwait) real;
    if (!real) real = (__typeof__(real))dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    struct timespec until = true_deadline(deadline);
    return real(c, m, &until);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict m, const struct timespec *restrict deadline) {
    struct timespec until = true_deadline(deadline);
    return REAL(pthread_mutex_timedlock)(m, &until);
}

int sem_timedwait(sem_t *restrict s, const struct timespec *restrict deadline) {
    struct timespec until = true_deadline(deadline);
    return REAL(sem_timedwait)(s, &until);
}

int cnd_timedwait(void *c, void *m, const struct timespec *deadline) {
    static int (*real)(void *, void *, const struct timespec *);
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec until = true_deadline(deadline);
    return real(c, m, &until);
}
