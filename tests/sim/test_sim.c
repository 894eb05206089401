/*
 * Runs the simulation for SIM_SEEDS seeds (from SIM_SEED on), SIM_MOVES moves each, each in a
 * process of its own, SIM_JOBS of them at a time. A failure prints its seed, which replays it
 * move by move: SIM_SEED=N SIM_SEEDS=1 SIM_LOG=1. SIM_STOP=1 ends with the first failure.
 *
 * The first seed runs twice: the second time everything must be the same.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/crypt.h"
#include "common/base/log.h"
#include "common/base/parse.h"
#include "tests/sim/sim.h"

#define JOBS_MAX 64

static int64_t env_int(const char *name, int64_t def)
{
	struct err e;
	int64_t v;
	const char *s = getenv(name);
	return s && !parse_int64(s, 0, INT64_MAX, &v, &e) ? v : def;
}

static void report(struct sim *s, bool ok)
{
	uint64_t n_starts = 0;
	for (unsigned i = 0; i < s->n_vms; i++)
		for (unsigned h = 0; h < SIM_HOSTS; h++)
			n_starts += fake_hyper_n_starts(s->hypers[h], s->vms[i]->uuid);
	printf("seed %llu: %s (%u VMs, %u orders, %llu starts, %u deaths, %u pauses, "
	       "revision %lld, digest %016llx)\n",
		(unsigned long long)s->seed, ok ? "ok" : "FAILED", s->n_vms, s->n_orders,
		(unsigned long long)n_starts, s->n_deaths, s->n_pauses,
		(long long)fake_etcd_rev(s->etcd), (unsigned long long)s->digest);
	fflush(stdout);
}

static bool run(uint64_t seed, int64_t n_moves, uint64_t *digest)
{
	static struct sim s; /* large */
	sim_open(&s, seed);
	for (int64_t i = 0; i < n_moves && !s.is_wrong; i++)
		sim_move(&s);
	bool ok = !s.is_wrong && sim_come_to_rest(&s);
	if (!ok && getenv("SIM_LOG"))
		history_dump(&s);
	report(&s, ok);
	*digest = s.digest;
	sim_close(&s);
	return ok;
}

static void no_log(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)level;
	(void)line;
}

static bool run_and_tell(uint64_t seed, int64_t n_moves, int fd)
{
	uint64_t digest;
	bool ok = run(seed, n_moves, &digest);
	if (fd >= 0 && write(fd, &digest, sizeof(digest)) != sizeof(digest))
		ok = false;
	return ok;
}

static pid_t start(uint64_t seed, int64_t n_moves, int fd)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		exit(run_and_tell(seed, n_moves, fd) ? 0 : 1);
	return pid;
}

/* False when a child has failed, or died. */
static bool wait_one(void)
{
	int status;
	pid_t pid;
	while ((pid = wait(&status)) < 0 && errno == EINTR)
		;
	if (pid > 0 && WIFSIGNALED(status))
		fprintf(stderr, "a run was killed by signal %d\n", WTERMSIG(status));
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static unsigned run_many(int64_t first, int64_t n, int64_t n_moves, int64_t jobs)
{
	bool is_stop = env_int("SIM_STOP", 0);
	unsigned n_failed = 0;
	int64_t n_running = 0;
	for (int64_t seed = first; seed < first + n; seed++) {
		if (is_stop && n_failed)
			break;
		if (n_running == jobs) {
			n_failed += !wait_one();
			n_running--;
		}
		if (start((uint64_t)seed, n_moves, -1) < 0)
			n_failed++;
		else
			n_running++;
	}
	for (; n_running; n_running--)
		n_failed += !wait_one();
	return n_failed;
}

/* Two runs of one seed make the same history. */
static bool is_repeatable(uint64_t seed, int64_t n_moves)
{
	uint64_t digests[2] = { 0, 0 };
	int fds[2];
	for (int i = 0; i < 2; i++) {
		if (pipe(fds) < 0 || start(seed, n_moves, fds[1]) < 0)
			return false;
		close(fds[1]);
		bool is_read = read(fds[0], &digests[i], sizeof(digests[i])) ==
			       sizeof(digests[i]);
		close(fds[0]);
		if (!wait_one() || !is_read)
			return false;
	}
	if (digests[0] != digests[1])
		fprintf(stderr, "seed %llu went differently the second time\n",
			(unsigned long long)seed);
	return digests[0] == digests[1];
}

int main(void)
{
	mem_init();
	crypt_init();
	bool is_loud = getenv("SIM_LOG");
	log_init("sim", is_loud ? LOG_DEBUG : LOG_ERROR);
	if (!is_loud)
		log_set_sink(no_log, NULL);
	int64_t first = env_int("SIM_SEED", 1), n = env_int("SIM_SEEDS", 40);
	int64_t n_moves = env_int("SIM_MOVES", 3000),
		n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int64_t jobs = env_int("SIM_JOBS", n_cpus > 0 ? n_cpus : 1);
	unsigned n_failed;
	if (n == 1)
		return run_and_tell((uint64_t)first, n_moves, -1) ? 0 : 1;
	if (jobs < 1 || jobs > JOBS_MAX)
		jobs = 1;
	n_failed = run_many(first, n, n_moves, jobs);
	if (!n_failed && !is_repeatable((uint64_t)first, n_moves))
		n_failed++;
	printf("%lld passed, %u failed\n", (long long)(n - n_failed), n_failed);
	return n_failed ? 1 : 0;
}
