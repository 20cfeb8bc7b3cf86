/* A disk that fails or dawdles for as long as a file says so: preloaded, below SQLite, for one directory.
   AAM_DISK is that directory; "read-only" and "slow" are files in the directory that AAM_TROUBLE names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int troubled(const char *trouble, int file) {
    char place[4096], flag[4096], link[64];
    const char *disk = getenv("AAM_DISK"), *troubles = getenv("AAM_TROUBLE");
    if (!disk || !troubles) return 0;
    snprintf(flag, sizeof flag, "%s/%s", troubles, trouble);
    if (access(flag, F_OK)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, place, sizeof place - 1);
    return length > 0 && !strncmp(place, disk, strlen(disk));
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define REFUSED(file) if (troubled("read-only", file)) { errno = EROFS; return -1; }
#define DAWDLE(file) while (troubled("slow", file)) usleep(20000)

ssize_t write(int file, const void *from, size_t size) { REFUSED(file) return NEXT(write)(file, from, size); }
ssize_t pwrite(int file, const void *from, size_t size, off_t at) { REFUSED(file) return NEXT(pwrite)(file, from, size, at); }
ssize_t pwrite64(int file, const void *from, size_t size, off64_t at) { REFUSED(file) return NEXT(pwrite64)(file, from, size, at); }
int ftruncate(int file, off_t size) { REFUSED(file) return NEXT(ftruncate)(file, size); }
int ftruncate64(int file, off64_t size) { REFUSED(file) return NEXT(ftruncate64)(file, size); }
int fsync(int file) { REFUSED(file) DAWDLE(file); return NEXT(fsync)(file); }
int fdatasync(int file) { REFUSED(file) DAWDLE(file); return NEXT(fdatasync)(file); }
