/* The time of the day, set by as many seconds as a file says; the monotonic clock and every wait stay as they are.
   libfaketime wraps sleeps too, and fails those of a busy machine: "Invalid argument". */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static _Atomic long ahead, looked_at = -1000;

static long seconds_ahead(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    long at = now.tv_sec * 1000 + now.tv_nsec / 1000000;
    const char *file = getenv("SET_CLOCK_FILE");
    if (file && at - looked_at > 200) {
        char text[32] = {0};
        int descriptor = open(file, O_RDONLY | O_CLOEXEC);
        looked_at = at;
        if (descriptor >= 0) {
            if (read(descriptor, text, sizeof text - 1) > 0) ahead = atol(text);
            close(descriptor);
        }
    }
    return ahead;
}

int clock_gettime(clockid_t which, struct timespec *found) {
    int failed = syscall(SYS_clock_gettime, which, found);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) found->tv_sec += seconds_ahead();
    return failed;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    int failed = syscall(SYS_gettimeofday, found, zone);
    if (!failed) found->tv_sec += seconds_ahead();
    return failed;
}

time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
