/*
 * What clients send: bodies, Authorization headers, paths. The first byte chooses. What is
 * accepted as an order must be an entry that the store's readers accept.
 */
#include <assert.h>
#include <string.h>

#include "common/model/host.h"
#include "ucloud-api/auth.h"
#include "ucloud-api/image_input.h"
#include "ucloud-api/orders.h"
#include "ucloud-api/otp_client.h"
#include "ucloud-api/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define UUID "01234567-89ab-4cde-8123-456789abcdef"

static void fuzz_vm(json_t *json)
{
	static const struct vm_limits limits = { 8, 8192, 100 };
	static const struct who who = { "alice", "users", false };
	char name[] = "image", uuid[] = UUID, store[] = "store";
	struct image image = { .name = name, .uuid = uuid, .store = store };
	struct network nets[VM_NICS_MAX];
	struct user user = { 0 };
	struct vm_parts parts = { .who = &who,
		.uuid = UUID,
		.image = &image,
		.user = &user,
		.networks = nets };
	CLEANUP(vm_input_done) struct vm_input in = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 }, again = { 0 };
	CLEANUP_STR char *text = NULL;
	struct err e;

	for (size_t i = 0; i < VM_NICS_MAX; i++)
		nets[i] = (struct network){ .uuid = uuid };
	if (vm_input_parse(json, &limits, &in, &e) < 0 ||
		vm_input_build(&in, &parts, &limits, 1, &vm, &e) < 0)
		return;
	text = vm_format(&vm);
	assert(vm_parse(text, strlen(text), &again, &e) == 0);
}

static void fuzz_host(json_t *json)
{
	CLEANUP(host_done) struct host host = { 0 }, again = { 0 };
	CLEANUP_STR char *text = NULL;
	struct err e;

	if (jtab_parse(&host_input_jtab, json, JTAB_INPUT, &host, &e) < 0 ||
		labels_check(host.labels, &e) < 0)
		return;
	text = host_format(&host);
	assert(host_parse(text, strlen(text), &again, &e) == 0);
}

static void fuzz_store(json_t *json)
{
	CLEANUP(image_store_done) struct image_store store = { 0 }, again = { 0 };
	CLEANUP_STR char *text = NULL;
	struct err e;

	if (jtab_parse(&image_store_input_jtab, json, JTAB_INPUT, &store, &e) < 0)
		return;
	image_store_set_defaults(&store);
	if (image_store_check(&store, &e) < 0)
		return;
	text = image_store_format(&store);
	assert(image_store_parse(text, strlen(text), &again, &e) == 0);
}

static void fuzz_image(json_t *json)
{
	static const struct who who = { "root", "ungleich-admin", true };
	CLEANUP(image_input_done) struct image_input in = { 0 };
	CLEANUP(image_done) struct image image = { 0 }, again = { 0 };
	CLEANUP_STR char *text = NULL;
	struct err e;

	if (image_input_parse(json, &who, false, &in, &e) < 0)
		return;
	image_input_build(&in, &image);
	if (str_is_empty(image.store)) /* the only one there is */
		str_set(&image.store, xstrdup("store"));
	image.uuid = xstrdup(UUID);
	image.owner = xstrdup("alice");
	image.owner_realm = xstrdup("users");
	text = image_format_text(&image);
	assert(image_parse(text, strlen(text), &again, &e) == 0);
}

static void fuzz_network(json_t *json)
{
	CLEANUP(network_done) struct network n = { 0 }, again = { 0 };
	CLEANUP_STR char *text = NULL;
	struct err e;

	if (jtab_parse(&network_input_jtab, json, JTAB_INPUT, &n, &e) < 0)
		return;
	n.uuid = xstrdup(UUID);
	n.owner = xstrdup("alice");
	n.owner_realm = xstrdup("users");
	text = network_format(&n);
	assert(network_parse(text, strlen(text), &again, &e) == 0);
}

static void fuzz_patch(json_t *json)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(user_done) struct user user = { 0 };
	CLEANUP(network_done) struct network network = { 0 };

	(void)!jtab_patch(&network_patch_jtab, json, &network, NULL);
	(void)!jtab_patch(&vm_patch_jtab, json, &vm, NULL);
	(void)!jtab_patch(&quota_input_jtab, json, &user, NULL);
}

static void fuzz_text(const char *text, size_t size)
{
	CLEANUP(credentials_done) struct credentials c = { 0 };
	CLEANUP(route_match_done) struct route_match m = { 0 };
	struct err e;

	(void)!credentials_parse(text, &c, &e);
	(void)bearer_token(text);
	(void)idempotency_key_check(text, &e);
	route_find(api_routes, "GET", text, &m);
	(void)!otp_answer(200, text, size, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const fns[])(json_t *) = { fuzz_vm, fuzz_host, fuzz_store,
		fuzz_image, fuzz_patch, NULL, fuzz_network };
	CLEANUP_STR char *text = NULL;
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	struct err e;

	if (size == 0)
		return 0;
	text = xstrndup((const char *)data + 1, size - 1);
	if (data[0] % 7 == 5)
		fuzz_text(text, strlen(text));
	else if (json_parse(text, strlen(text), &json, &e) == 0 && json_is_object(json))
		fns[data[0] % 7](json);
	return 0;
}
