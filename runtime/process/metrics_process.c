/* The process_* metrics, by the names that Prometheus' client libraries use. */
#include "process/metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FAMILY(p, name, type, help) gw_page_family((p), GW_SLICE(name), GW_PAGE_##type, (help))

static void write_memory(gw_page *p)
{
    unsigned long long size, resident;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return;
    if (fscanf(file, "%llu %llu", &size, &resident) == 2) {
        unsigned long long page = (unsigned long long)sysconf(_SC_PAGESIZE);
        FAMILY(p, "process_resident_memory_bytes", GAUGE, "Resident memory.");
        gw_page_u64(p, GW_NO_SLICE, resident * page);
        FAMILY(p, "process_virtual_memory_bytes", GAUGE, "Virtual memory.");
        gw_page_u64(p, GW_NO_SLICE, size * page);
    }
    fclose(file);
}

static void write_files(gw_page *p)
{
    struct rlimit limit;
    struct stat st;
    uint64_t open = 0;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) {
        open = (uint64_t)st.st_size; /* since Linux 6.2 */
    } else {
        DIR *dir = opendir("/proc/self/fd");
        if (dir) {
            while (readdir(dir))
                open++;
            closedir(dir);
            open = open > 3 ? open - 3 : 0; /* ".", "..", and the directory's own */
        }
    }
    if (open) {
        FAMILY(p, "process_open_fds", GAUGE, "Open file descriptors.");
        gw_page_u64(p, GW_NO_SLICE, open);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        FAMILY(p, "process_max_fds", GAUGE, "Most file descriptors that may be open.");
        gw_page_double(p, GW_NO_SLICE, limit.rlim_cur == RLIM_INFINITY ? __builtin_inf() : (double)limit.rlim_cur);
    }
}

void gw_metrics_process(gw_page *p, double started)
{
    struct rusage used;
    if (getrusage(RUSAGE_SELF, &used) == 0) {
        FAMILY(p, "process_cpu_seconds", COUNTER, "User and system CPU time.");
        gw_page_double(p, GW_NO_SLICE,
                       (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    }
    FAMILY(p, "process_start_time_seconds", GAUGE, "When the process began, in seconds since 1970.");
    gw_page_double(p, GW_NO_SLICE, started);
    write_memory(p);
    write_files(p);
}
