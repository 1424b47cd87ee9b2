/* The wall clock of a process and its children, moved: by so many nanoseconds as the file named by MOVED_CLOCK says.

   Preloaded before libc. The file holds one signed 64-bit number and is mapped, so that whoever writes to it moves the
   clock of every process that has it at once, forwards and back. Monotonic clocks are left alone, as a machine whose
   clock is set leaves them alone. A deadline that is given by the wall clock is taken back by as much before libc waits
   for it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static volatile const int64_t *moved_ns;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_clock_nanosleep)(clockid_t, int, const struct timespec *, struct timespec *);
static int (*real_cond_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*real_sem_timedwait)(sem_t *, const struct timespec *);
static int (*real_mutex_timedlock)(pthread_mutex_t *, const struct timespec *);

static void *of_libc(const char *name) {
    /* libc keeps an older pthread_cond_timedwait under the same name, of another layout. */
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_clock_nanosleep = dlsym(RTLD_NEXT, "clock_nanosleep");
    real_cond_timedwait = of_libc("pthread_cond_timedwait");
    real_sem_timedwait = dlsym(RTLD_NEXT, "sem_timedwait");
    real_mutex_timedlock = dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
    const char *path = getenv("MOVED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) moved_ns = mapped;
}

static int64_t shift(void) { return moved_ns ? *moved_ns : 0; }

static struct timespec plus(struct timespec at, int64_t by_ns) {
    int64_t total = (int64_t)at.tv_sec * SECOND + at.tv_nsec + by_ns;
    return (struct timespec){.tv_sec = total / SECOND, .tv_nsec = total % SECOND};
}

static int is_of_the_wall(const struct timespec *at) {
    /* No machine of ours has been up for fifteen years: what is later than that is a date. */
    return at->tv_sec > 500000000;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (!real_clock_gettime) begin();
    int done = real_clock_gettime(clock, at);
    if (!done && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI)) *at = plus(*at, shift());
    return done;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    (void)zone;
    struct timespec now;
    int done = clock_gettime(CLOCK_REALTIME, &now);
    if (!done) *at = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return done;
}

time_t time(time_t *at) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, at) ? base : 0;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
    if (!real_clock_nanosleep) begin();
    if (clock == CLOCK_REALTIME && (flags & TIMER_ABSTIME)) {
        struct timespec truly = plus(*until, -shift());
        return real_clock_nanosleep(clock, flags, &truly, left);
    }
    return real_clock_nanosleep(clock, flags, until, left);
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    if (!real_cond_timedwait) begin();
    struct timespec truly = is_of_the_wall(until) ? plus(*until, -shift()) : *until;
    return real_cond_timedwait(cond, mutex, &truly);
}

int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict until) {
    if (!real_sem_timedwait) begin();
    struct timespec truly = plus(*until, -shift());
    return real_sem_timedwait(sem, &truly);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
    if (!real_mutex_timedlock) begin();
    struct timespec truly = plus(*until, -shift());
    return real_mutex_timedlock(mutex, &truly);
}
