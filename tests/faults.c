/* Preloaded into a process, it makes one system call on the files of a folder fail: the one numbered fault_at, from 0,
   with errno fault_errno. Calls that are not in fault_calls are neither counted nor made to fail. fault_seen is the
   number of calls so far. A test sets these by ctypes, in a forked process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

long fault_at = -1, fault_seen = 0;
int fault_errno = EIO;
char fault_calls[256] = ""; /* names, each between spaces */
char fault_folder[PATH_MAX] = "";

static int fails(const char *call, const char *path) {
    if (fault_folder[0] == 0 || path == NULL || strncmp(path, fault_folder, strlen(fault_folder)) != 0) return 0;
    if (strstr(fault_calls, call) == NULL) return 0;
    if (fault_seen++ != fault_at) return 0;
    errno = fault_errno;
    return 1;
}

static int fails_of(const char *call, int handle) {
    char link[64], path[PATH_MAX];
    if (fault_folder[0] == 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(call, path);
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPEN(name)                                          \
    int name(const char *path, int flags, ...) {            \
        REAL(name);                                         \
        mode_t mode = 0;                                    \
        if (flags & O_CREAT) {                              \
            va_list more;                                   \
            va_start(more, flags);                          \
            mode = va_arg(more, mode_t);                    \
            va_end(more);                                   \
        }                                                   \
        return fails(" open ", path) ? -1 : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int handle, const void *data, size_t size) {
    REAL(write);
    if (fails_of(" write ", handle)) {
        int number = errno;
        (void)!real(handle, data, size / 2); /* what a disk that fails has taken by then */
        errno = number;
        return -1;
    }
    return real(handle, data, size);
}

int fsync(int handle) {
    REAL(fsync);
    return fails_of(" fsync ", handle) ? -1 : real(handle);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return fails(" rename ", to) ? -1 : real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    return fails(" unlink ", path) ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return fails(" mkdir ", path) ? -1 : real(path, mode);
}

int flock(int handle, int operation) {
    __typeof__(int (*)(int, int)) real = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    return fails_of(" flock ", handle) ? -1 : real(handle, operation);
}
