/*
 * Condition variables that wait for a number of milliseconds of real time, whatever happens
 * to the wall clock and to clock.h's.
 */
#ifndef UCLOUD_COND_H
#define UCLOUD_COND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

void cond_init(pthread_cond_t *c);

/* When a wait ends. wait_msec below 0 is now; more than a year is a year. */
struct timespec cond_deadline(int64_t wait_msec);
struct timespec cond_earlier(struct timespec a, struct timespec b);
bool cond_is_past(const struct timespec *deadline);
/* Waits, the mutex held as ever; false when the deadline has passed. Wakes up early for no
 * reason, too: look at the condition and wait again. */
bool cond_wait_until(
	pthread_cond_t *c, pthread_mutex_t *mutex, const struct timespec *deadline);

#endif
