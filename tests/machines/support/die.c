/* Loaded into the product before the C library: the process ends, as by kill -9, right after its n-th fdatasync (DIE_AT=n). The product
 * syncs nothing in that way but a record of its journal. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_int left;

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("DIE_AT");
    left = at ? atoi(at) : 0;
    /* What it starts lives on. */
    unsetenv("LD_PRELOAD");
    unsetenv("DIE_AT");
}

int fdatasync(int file) {
    int (*sync)(int) = dlsym(RTLD_NEXT, "fdatasync");
    int result = sync(file);
    if (atomic_fetch_sub(&left, 1) == 1)
        kill(getpid(), SIGKILL);
    return result;
}
