#include "common/store/cond.h"

#include <assert.h>
#include <time.h>

#define YEAR_MSEC (365LL * 24 * 3600 * 1000)

void cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;
	int failed;

	failed = pthread_condattr_init(&attr);
	assert(!failed);
	/* CLOCK_BOOTTIME is none of the clocks that a condition variable can have. */
	failed = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	assert(!failed);
	failed = pthread_cond_init(c, &attr);
	assert(!failed);
	pthread_condattr_destroy(&attr);
}

struct timespec cond_deadline(int64_t wait_msec)
{
	struct timespec ts;

	if (wait_msec < 0)
		wait_msec = 0;
	if (wait_msec > YEAR_MSEC)
		wait_msec = YEAR_MSEC;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += wait_msec / 1000;
	ts.tv_nsec += wait_msec % 1000 * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	return ts;
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec ||
	       (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

struct timespec cond_earlier(struct timespec a, struct timespec b)
{
	return is_before(&a, &b) ? a : b;
}

bool cond_is_past(const struct timespec *deadline)
{
	struct timespec now = cond_deadline(0);

	return !is_before(&now, deadline);
}

bool cond_wait_until(
	pthread_cond_t *c, pthread_mutex_t *mutex, const struct timespec *deadline)
{
	return pthread_cond_timedwait(c, mutex, deadline) == 0;
}
