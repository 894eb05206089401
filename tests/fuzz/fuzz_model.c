/*
 * Every entry of the model from bytes: the first byte chooses the type, the rest is the
 * value. What is accepted must be accepted again, unchanged, after it was written.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/model/host.h"
#include "common/model/image.h"
#include "common/model/keys.h"
#include "common/model/names.h"
#include "common/model/network.h"
#include "common/model/request.h"
#include "common/model/user.h"
#include "common/model/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size);

#define ROUND_TRIP(type, parse, format, done)                                            \
	static void type##_round_trip(const char *text, size_t size)                     \
	{                                                                                \
		struct type a = { 0 }, b = { 0 };                                        \
		struct err e = { 0 };                                                    \
                                                                                         \
		if (parse(text, size, &a, &e) == 0) {                                    \
			CLEANUP_STR char *one = format(&a);                              \
			int rc = parse(one, strlen(one), &b, &e);                        \
                                                                                         \
			assert(rc == 0);                                                 \
			CLEANUP_STR char *two = format(&b);                              \
			assert(strcmp(one, two) == 0);                                   \
		} else {                                                                 \
			assert(e.kind != ERR_NONE && e.msg[0] != '\0');                  \
		}                                                                        \
		done(&a);                                                                \
		done(&b);                                                                \
	}

ROUND_TRIP(vm, vm_parse, vm_format, vm_done)
ROUND_TRIP(host, host_parse, host_format, host_done)
ROUND_TRIP(image, image_parse, image_format_text, image_done)
ROUND_TRIP(image_store, image_store_parse, image_store_format, image_store_done)
ROUND_TRIP(user, user_parse, user_format, user_done)
ROUND_TRIP(network, network_parse, network_format, network_done)
ROUND_TRIP(request, request_parse, request_format, request_done)

/* A key that parses is built again from its parts. */
static void request_key(const char *text)
{
	struct keys k = { 0 };
	struct request_key r;
	struct err e = { 0 };
	CLEANUP_STR char *again = NULL;

	keys_set_defaults(&k);
	if (request_key_parse(&k, text, &r, &e) == 0) {
		if (strcmp(r.kind, "host") == 0)
			again = key_request_host(&k, r.host, r.subject);
		else if (strcmp(r.kind, "scheduler") == 0)
			again = key_request_scheduler(&k, r.subject);
		assert(!again || strcmp(again, text) == 0);
	}
	keys_done(&k);
}

/* Any bytes as a name, and as a line of a log that must be readable again. */
static void text(const char *s)
{
	static int (*const checks[])(const char *, struct err *) = { name_check,
		hostname_check, user_name_check, realm_check, uuid_check,
		label_name_check, label_value_check, ssh_key_check, rel_path_check,
		mac_check, ipv6_check };
	struct err e = { 0 };
	struct vm vm = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(checks); i++)
		if (checks[i](s, &e) != 0)
			assert(e.kind == ERR_INVALID);
	vm_log(&vm, 1, "%s", s);
	CLEANUP_STR char *line = jtab_format_text(&vm_log_jtab, vm.log.v);
	struct vm_log_line again = { 0 };
	int rc = jtab_parse_text(
		&vm_log_jtab, line, strlen(line), JTAB_STORED, &again, &e);
	assert(rc == 0 && strlen(again.text) <= 500);
	jtab_done(&vm_log_jtab, &again);
	vm_done(&vm);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
	CLEANUP_STR char *s = size > 0 ? xstrndup((const char *)p + 1, size - 1) : NULL;

	if (size == 0)
		return 0;
	switch (p[0] % 9) {
	case 0:
		vm_round_trip((const char *)p + 1, size - 1);
		break;
	case 1:
		host_round_trip((const char *)p + 1, size - 1);
		break;
	case 2:
		image_round_trip((const char *)p + 1, size - 1);
		break;
	case 3:
		image_store_round_trip((const char *)p + 1, size - 1);
		break;
	case 4:
		user_round_trip((const char *)p + 1, size - 1);
		break;
	case 5:
		network_round_trip((const char *)p + 1, size - 1);
		break;
	case 6:
		request_round_trip((const char *)p + 1, size - 1);
		break;
	case 7:
		request_key(s);
		break;
	default:
		text(s);
	}
	return 0;
}
