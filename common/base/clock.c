#include "common/base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

/* Read by every thread, changed by the test that drives them. */
static atomic_bool is_fake;
static _Atomic int64_t fake_msec;

static int64_t read_usec(clockid_t id)
{
	struct timespec ts;

	if (atomic_load(&is_fake))
		return atomic_load(&fake_msec) * 1000;
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_mono_usec(void)
{
	return read_usec(CLOCK_BOOTTIME);
}

int64_t clock_mono_msec(void)
{
	return clock_mono_usec() / 1000;
}

int64_t clock_unix_msec(void)
{
	return read_usec(CLOCK_REALTIME) / 1000;
}

int64_t clock_unix_sec(void)
{
	return clock_unix_msec() / 1000;
}

void clock_fake_start(int64_t unix_msec)
{
	atomic_store(&fake_msec, unix_msec);
	atomic_store(&is_fake, true);
}

void clock_fake_advance(int64_t msec)
{
	atomic_fetch_add(&fake_msec, msec);
}
