/*
 * Time. Decisions take the time as an argument; only the outermost layer asks here.
 * Tests and the simulation replace the clock.
 */
#ifndef UCLOUD_CLOCK_H
#define UCLOUD_CLOCK_H

#include <stdint.h>

/* Monotonic (CLOCK_BOOTTIME: a suspended machine's time counts). */
int64_t clock_mono_msec(void);
int64_t clock_mono_usec(void);
/* Seconds since 1970, UTC. */
int64_t clock_unix_sec(void);
int64_t clock_unix_msec(void);

/* Makes all of the above return this time plus what clock_fake_advance() added. For a
 * whole process, before its threads start. */
void clock_fake_start(int64_t unix_msec);
void clock_fake_advance(int64_t msec);

#endif
