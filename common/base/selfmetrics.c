#include "common/base/selfmetrics.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/daemon.h"
#include "common/base/file.h"
#include "common/base/metrics.h"
#include "common/base/parse.h"

/* The n-th number (from 0) of a file in /proc; 0 when there is none. */
static double proc_number(const char *path, size_t n)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	CLEANUP(strv_done) struct strv words = { 0 };
	struct err ignored; /* a gauge that cannot be read is 0 */
	int64_t value = 0;

	if (file_read(path, 65536, &text, &ignored) < 0)
		return 0;
	strv_split(&words, buf_str(&text), ' ');
	if (n >= words.len || parse_int64(words.v[n], 0, INT64_MAX, &value, &ignored) < 0)
		return 0;
	return (double)value;
}

static double read_resident(void *aux)
{
	(void)aux;
	return proc_number("/proc/self/statm", 1) * (double)sysconf(_SC_PAGESIZE);
}

static double read_cpu(void *aux)
{
	struct timespec ts = { 0 };

	(void)aux;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double read_open_fds(void *aux)
{
	struct dirent **names = NULL;
	int n = scandir("/proc/self/fd", &names, NULL, alphasort);

	(void)aux;
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

static double read_max_fds(void *aux)
{
	struct rlimit r = { 0 };

	(void)aux;
	getrlimit(RLIMIT_NOFILE, &r);
	return (double)r.rlim_cur;
}

static struct metric self[] = {
	{ METRIC_GAUGE, "process_resident_memory_bytes", "Memory that is in RAM.",
		.read = read_resident },
	{ METRIC_COUNTER, "process_cpu_seconds_total", "Processor time used.",
		.read = read_cpu },
	{ METRIC_GAUGE, "process_open_fds", "Open file descriptors.",
		.read = read_open_fds },
	{ METRIC_GAUGE, "process_max_fds", "File descriptors that may be open.",
		.read = read_max_fds },
};
static struct metric start_time = { METRIC_GAUGE, "process_start_time_seconds",
	"When the process started, in seconds since 1970." };
static struct metric build = { METRIC_GAUGE, "ucloud_build_info",
	"Always 1; the label says which version runs.", .label = "version" };

void selfmetrics_register(void)
{
	for (size_t i = 0; i < ARRAY_LEN(self); i++)
		metric_register(&self[i]);
	metric_set(&start_time, NULL, (double)clock_unix_sec());
	metric_set(&build, ucloud_version(), 1);
}
