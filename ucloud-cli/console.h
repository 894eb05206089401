/*
 * The serial console's log: what is new in it since the last look.
 */
#ifndef UCLOUD_CLI_CONSOLE_H
#define UCLOUD_CLI_CONSOLE_H

#include <stddef.h>

/* The log is the last bytes of an endless text. Where does what was not in `old` begin in
 * `new`? Pure. */
size_t cli_console_new_at(
	const char *old, size_t old_size, const char *new, size_t new_size);

#endif
