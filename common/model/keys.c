#include "common/model/keys.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/model/names.h"

#define PREFIX_MAX 255

/* The key behind the request prefix: "scheduler/<uuid>", "host/<host>/<uuid>", ... */
#define SCHEDULER "scheduler/"
#define HOST	  "host/"
#define IMAGE	  "image/"
#define NETWORK	  "network/"

static int prefix_check(const char *s, struct err *e);

/* Every prefix that can be changed: its option, where it is, what it is by itself. */
#define PREFIX_OPT(member, text)                                                         \
	{                                                                                \
		.name = #member "_prefix", .kind = CONF_STR,                             \
		.off = offsetof(struct keys, member), .def = "/v1/" #member "/",         \
		.meta = "PREFIX", .help = text, .check = prefix_check                    \
	}

const struct conf_opt keys_opts[] = {
	PREFIX_OPT(vm, "where the entries of VMs are in etcd"),
	PREFIX_OPT(host, "where the entries of hosts are in etcd"),
	PREFIX_OPT(request, "where requests are in etcd"),
	PREFIX_OPT(file, "where the entries of uploaded files are in etcd"),
	PREFIX_OPT(image, "where the entries of images are in etcd"),
	PREFIX_OPT(network, "where the entries of networks are in etcd"),
	{ 0 },
};

static const char *const fixed_prefixes[] = { KEY_VM_NAME, KEY_PLACEMENT, KEY_ALIVE,
	KEY_LOCK, KEY_FILE_NAME, KEY_IMAGE_NAME, KEY_IMAGE_PUBLIC, KEY_IMAGE_STORE,
	KEY_USER, KEY_OTP, KEY_SESSION, KEY_IDEMPOTENCY, KEY_CONSOLE, KEY_PORT,
	KEY_NETWORK_NAME, KEY_NETWORK_HOST, KEY_UNDERLAY, KEY_VNI, KEY_PREFIX };

static char **prefix_at(struct keys *k, const struct conf_opt *opt)
{
	return (char **)((char *)k + opt->off);
}

static int prefix_check(const char *s, struct err *e)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789._-/";
	size_t len = strlen(s);

	if (len >= 2 && len <= PREFIX_MAX && s[0] == '/' && !strstr(s, "//") &&
		strspn(s, allowed) == len)
		return 0;
	return err_set(e, ERR_INVALID,
		"\"%.80s\" is not a valid prefix of keys: use one like \"/v1/vm/\", "
		"beginning with \"/\", of A-Z, a-z, 0-9, \".\", \"_\", \"-\" and \"/\", "
		"at most %d",
		s, PREFIX_MAX);
}

void keys_set_defaults(struct keys *k)
{
	for (const struct conf_opt *opt = keys_opts; opt->name; opt++)
		str_set(prefix_at(k, opt), xstrdup(opt->def));
}

void keys_done(struct keys *k)
{
	for (const struct conf_opt *opt = keys_opts; opt->name; opt++)
		str_set(prefix_at(k, opt), NULL);
}

/* Is one of them inside the other? Both end in "/". */
static bool prefixes_overlap(const char *a, const char *b)
{
	return str_has_prefix(a, b) || str_has_prefix(b, a);
}

static int overlap_error(
	const struct conf_opt *opt, const char *a, const char *b, struct err *e)
{
	return err_set_field(e, ERR_INVALID, opt->name,
		"%s \"%s\" and \"%s\" lie inside each other: their keys would be mixed "
		"up",
		opt->name, a, b);
}

/* Against the fixed ones and against those that come before it in the table. */
static int prefix_check_overlaps(
	struct keys *k, const struct conf_opt *opt, struct err *e)
{
	const char *prefix = *prefix_at(k, opt);

	for (size_t i = 0; i < ARRAY_LEN(fixed_prefixes); i++)
		if (prefixes_overlap(prefix, fixed_prefixes[i]))
			return overlap_error(opt, prefix, fixed_prefixes[i], e);
	for (const struct conf_opt *o = keys_opts; o != opt; o++)
		if (prefixes_overlap(prefix, *prefix_at(k, o)))
			return overlap_error(opt, prefix, *prefix_at(k, o), e);
	return 0;
}

int keys_check(struct keys *k, struct err *e)
{
	for (const struct conf_opt *opt = keys_opts; opt->name; opt++) {
		char **prefix = prefix_at(k, opt);

		if (!*prefix)
			str_set(prefix, xstrdup(opt->def));
		if (prefix_check(*prefix, e) != 0) {
			CLEANUP_STR char *why = xstrdup(e ? e->msg : "");

			return err_set_field(
				e, ERR_INVALID, opt->name, "%s: %s", opt->name, why);
		}
		if (!str_has_suffix(*prefix, "/"))
			str_set(prefix, xasprintf("%s/", *prefix));
		if (prefix_check_overlaps(k, opt, e) != 0)
			return -1;
	}
	return 0;
}

/*
 * What goes into a key was checked where it came in. It is checked again here, in release
 * builds too: a "/" inside a name would make somebody else's key.
 */
static const char *checked(const char *s, int (*check)(const char *, struct err *))
{
	assert(s && check(s, NULL) == 0);
	return s;
}

#define UUID(s)	    checked((s), uuid_check)
#define HOSTNAME(s) checked((s), hostname_check)
#define REALM(s)    checked((s), realm_check)
#define OWNER(s)    checked((s), user_name_check)
#define NAME(s)	    checked((s), name_check)
#define FILENAME(s) checked((s), rel_path_check)
#define DIGEST(s)   checked((s), digest_check)
#define MAC(s)	    checked((s), mac_check)

static int digest_check(const char *s, struct err *e)
{
	if (strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64)
		return 0;
	return err_set(e, ERR_INVALID, "a SHA-256 digest is 64 hexadecimal digits");
}

char *key_vm(const struct keys *k, const char *uuid)
{
	return xasprintf("%s%s", k->vm, UUID(uuid));
}

char *key_host(const struct keys *k, const char *host)
{
	return xasprintf("%s%s", k->host, HOSTNAME(host));
}

char *key_image(const struct keys *k, const char *uuid)
{
	return xasprintf("%s%s", k->image, UUID(uuid));
}

char *key_network(const struct keys *k, const char *uuid)
{
	return xasprintf("%s%s", k->network, UUID(uuid));
}

char *key_file(const struct keys *k, const char *uuid)
{
	return xasprintf("%s%s", k->file, UUID(uuid));
}

char *key_request_scheduler(const struct keys *k, const char *vm_uuid)
{
	return xasprintf("%s" SCHEDULER "%s", k->request, UUID(vm_uuid));
}

char *key_request_host(const struct keys *k, const char *host, const char *vm_uuid)
{
	return xasprintf("%s" HOST "%s/%s", k->request, HOSTNAME(host), UUID(vm_uuid));
}

char *key_request_image(const struct keys *k, const char *image_uuid)
{
	return xasprintf("%s" IMAGE "%s", k->request, UUID(image_uuid));
}

char *key_requests_image(const struct keys *k)
{
	return xasprintf("%s" IMAGE, k->request);
}

char *key_request_network(const struct keys *k, const char *network_uuid)
{
	return xasprintf("%s" NETWORK "%s", k->request, UUID(network_uuid));
}

char *key_requests_network(const struct keys *k)
{
	return xasprintf("%s" NETWORK, k->request);
}

char *key_requests_scheduler(const struct keys *k)
{
	return xasprintf("%s" SCHEDULER, k->request);
}

char *key_requests_host(const struct keys *k, const char *host)
{
	return xasprintf("%s" HOST "%s/", k->request, HOSTNAME(host));
}

char *key_vm_name(const char *realm, const char *owner, const char *name)
{
	return xasprintf(KEY_VM_NAME "%s/%s/%s", REALM(realm), OWNER(owner), NAME(name));
}

char *key_vm_names(const char *realm, const char *owner)
{
	return xasprintf(KEY_VM_NAME "%s/%s/", REALM(realm), OWNER(owner));
}

char *key_placement(const char *host, const char *vm_uuid)
{
	return xasprintf(KEY_PLACEMENT "%s/%s", HOSTNAME(host), UUID(vm_uuid));
}

char *key_placements(const char *host)
{
	return xasprintf(KEY_PLACEMENT "%s/", HOSTNAME(host));
}

char *key_alive(const char *host)
{
	return xasprintf(KEY_ALIVE "%s", HOSTNAME(host));
}

char *key_lock(const char *service)
{
	return xasprintf(KEY_LOCK "%s", NAME(service));
}

char *key_file_name(const char *realm, const char *owner, const char *filename)
{
	return xasprintf(
		KEY_FILE_NAME "%s/%s/%s", REALM(realm), OWNER(owner), FILENAME(filename));
}

char *key_file_names(const char *realm, const char *owner)
{
	return xasprintf(KEY_FILE_NAME "%s/%s/", REALM(realm), OWNER(owner));
}

char *key_image_name(const char *realm, const char *owner, const char *name)
{
	return xasprintf(
		KEY_IMAGE_NAME "%s/%s/%s", REALM(realm), OWNER(owner), NAME(name));
}

char *key_image_names(const char *realm, const char *owner)
{
	return xasprintf(KEY_IMAGE_NAME "%s/%s/", REALM(realm), OWNER(owner));
}

char *key_image_public(const char *name)
{
	return xasprintf(KEY_IMAGE_PUBLIC "%s", NAME(name));
}

char *key_image_store(const char *name)
{
	return xasprintf(KEY_IMAGE_STORE "%s", NAME(name));
}

char *key_user(const char *realm, const char *name)
{
	return xasprintf(KEY_USER "%s/%s", REALM(realm), OWNER(name));
}

char *key_otp(const char *realm, const char *name)
{
	return xasprintf(KEY_OTP "%s/%s", REALM(realm), OWNER(name));
}

char *key_session(const char *token_sha256)
{
	return xasprintf(KEY_SESSION "%s", DIGEST(token_sha256));
}

char *key_idempotency(const char *realm, const char *owner, const char *id_sha256)
{
	return xasprintf(KEY_IDEMPOTENCY "%s/%s/%s", REALM(realm), OWNER(owner),
		DIGEST(id_sha256));
}

char *key_console(const char *host, const char *vm_uuid)
{
	return xasprintf(KEY_CONSOLE "%s/%s", HOSTNAME(host), UUID(vm_uuid));
}

char *key_consoles(const char *host)
{
	return xasprintf(KEY_CONSOLE "%s/", HOSTNAME(host));
}

char *key_port(const char *network_uuid, const char *mac)
{
	return xasprintf(KEY_PORT "%s/%s", UUID(network_uuid), MAC(mac));
}

char *key_ports(const char *network_uuid)
{
	return xasprintf(KEY_PORT "%s/", UUID(network_uuid));
}

char *key_network_name(const char *realm, const char *owner, const char *name)
{
	return xasprintf(
		KEY_NETWORK_NAME "%s/%s/%s", REALM(realm), OWNER(owner), NAME(name));
}

char *key_network_names(const char *realm, const char *owner)
{
	return xasprintf(KEY_NETWORK_NAME "%s/%s/", REALM(realm), OWNER(owner));
}

char *key_network_host(const char *network_uuid, const char *host)
{
	return xasprintf(KEY_NETWORK_HOST "%s/%s", UUID(network_uuid), HOSTNAME(host));
}

char *key_network_hosts(const char *network_uuid)
{
	return xasprintf(KEY_NETWORK_HOST "%s/", UUID(network_uuid));
}

char *key_underlay(const char *host)
{
	return xasprintf(KEY_UNDERLAY "%s", HOSTNAME(host));
}

char *key_vni(int64_t vni)
{
	assert(vni > 0 && vni < 1 << 24);
	return xasprintf(KEY_VNI "%jd", (intmax_t)vni);
}

char *key_prefix(const char *prefix)
{
	return xasprintf(KEY_PREFIX "%s", checked(prefix, prefix64_check));
}

static const char *const request_kinds[] = { "scheduler", "host", "network", "image",
	NULL };

/* Takes the part up to the next "/" (or the end) off *s. False when it does not fit. */
static bool take_part(const char **s, char *out, size_t out_size)
{
	size_t len = strcspn(*s, "/");

	if (len == 0 || len >= out_size)
		return false;
	memcpy(out, *s, len);
	out[len] = '\0';
	*s += len + ((*s)[len] == '/');
	return true;
}

static bool is_request_kind(const char *kind)
{
	for (const char *const *k = request_kinds; *k; k++)
		if (strcmp(*k, kind) == 0)
			return true;
	return false;
}

static bool parse_behind_prefix(const char *s, struct request_key *r)
{
	if (!take_part(&s, r->kind, sizeof(r->kind)) || !is_request_kind(r->kind))
		return false;
	if (strcmp(r->kind, "host") == 0 && (!take_part(&s, r->host, sizeof(r->host)) ||
						    hostname_check(r->host, NULL) != 0))
		return false;
	if (strlen(s) >= sizeof(r->subject) || uuid_check(s, NULL) != 0)
		return false;
	memcpy(r->subject, s, strlen(s) + 1);
	return true;
}

int request_key_parse(
	const struct keys *k, const char *key, struct request_key *out, struct err *e)
{
	struct request_key r = { 0 };

	if (!str_has_prefix(key, k->request) ||
		!parse_behind_prefix(key + strlen(k->request), &r))
		return err_set(e, ERR_INVALID,
			"\"%.200s\" is not the key of a request: one looks like "
			"\"%s" SCHEDULER "<uuid>\" or \"%s" HOST "<host>/<uuid>\"",
			key, k->request, k->request);
	*out = r;
	return 0;
}
