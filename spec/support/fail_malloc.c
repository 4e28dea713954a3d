/* LD_PRELOADed into the gateway by spec/e2e/memory_spec.lua: memory that runs out when the test says so.
 *
 * The file that FAIL_MALLOC_SWITCH names is mapped here and written by the test. Which allocations fail is a fixed sequence over a
 * counter, mixed, so that no loop with a regular number of allocations is in step with it.
 *
 * glibc's allocator is called by its own names: looking the next symbol up with dlsym would allocate. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *ptr, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static struct control { /* this machine's byte order */
    _Atomic uint8_t one_in;  /* 0: all is well; N: one allocation in N fails (1: every one) ... */
    _Atomic uint32_t spared; /* ... after so many that do not, */
    _Atomic uint32_t most;   /* ... so many times, then no more; 0: without end */
    _Atomic uint32_t failed; /* how many have failed */
} *control;

static _Atomic uint32_t calls;

static int fails(void);

extern int (*gw_heap_refuses)(void) __attribute__((weak)); /* the gateway's: Lua's memory is not malloc's */

__attribute__((constructor)) static void fail_malloc_start(void)
{
    if (&gw_heap_refuses)
        gw_heap_refuses = fails;
    const char *path = getenv("FAIL_MALLOC_SWITCH");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        control = map;
}

static int fails(void)
{
    uint8_t one_in = control ? atomic_load(&control->one_in) : 0;
    if (one_in == 0)
        return 0;
    uint32_t spared = atomic_load(&control->spared);
    while (spared > 0)
        if (atomic_compare_exchange_weak(&control->spared, &spared, spared - 1))
            return 0;
    uint32_t n = (atomic_fetch_add(&calls, 1) + 1) * 0x9e3779b1u;
    if ((n ^ n >> 16) % one_in != 0)
        return 0;
    uint32_t most = atomic_load(&control->most);
    if (most && atomic_load(&control->failed) >= most)
        return 0;
    atomic_fetch_add(&control->failed, 1);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t bytes)
{
    return fails() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *ptr, size_t bytes)
{
    if (ptr && bytes == 0) { /* gives back: cannot fail */
        free(ptr);
        return NULL;
    }
    return fails() ? NULL : __libc_realloc(ptr, bytes);
}

void *reallocarray(void *ptr, size_t count, size_t bytes)
{
    size_t whole;
    if (__builtin_mul_overflow(count, bytes, &whole)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(ptr, whole);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return fails() ? NULL : __libc_memalign(alignment, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
    return aligned_alloc(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    int before = errno;
    void *got = aligned_alloc(alignment, bytes);
    errno = before;
    if (!got)
        return ENOMEM;
    *out = got;
    return 0;
}
