/*
 * Who asks. Borrowed strings; made by the authentication (auth.h), or by a test.
 *
 * A user reaches what is theirs; an admin reaches everything. What an admin creates belongs
 * to that admin.
 */
#ifndef UCLOUD_WHO_H
#define UCLOUD_WHO_H

#include <stdbool.h>

struct who {
	const char *name, *realm;
	bool is_admin;
};

#endif
