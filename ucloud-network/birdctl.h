/*
 * Tells a running BIRD, through its control socket, to read its configuration again.
 */
#ifndef UCLOUD_NETWORK_BIRDCTL_H
#define UCLOUD_NETWORK_BIRDCTL_H

#include <stdint.h>

#include "common/base/err.h"

int birdctl_configure(
	const char *socket_path, int64_t limit_msec, struct err *e) MUST_USE;

#endif
