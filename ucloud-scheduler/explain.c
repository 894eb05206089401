#include "ucloud-scheduler/explain.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/parse.h"
#include "ucloud-scheduler/pages.h"
#include "ucloud-scheduler/place.h"

/* How many VMs of the same name are told apart in the error. */
#define SAME_NAME_MAX 8

struct explain {
	struct kv *kv;
	const struct sched_conf *conf;
	const char *wanted;
	struct snap *snap;
	struct vm vm; /* the wanted one */
	bool is_found;
	size_t n_found;
	struct buf found; /* "uuid (owner@realm)", each */
};

static void explain_done(struct explain *x)
{
	snap_free(x->snap);
	vm_done(&x->vm);
	buf_done(&x->found);
}

/* ---------------------------------------------------------------- reading */

static void found(struct explain *x, struct vm *vm)
{
	if (++x->n_found <= SAME_NAME_MAX)
		buf_addf(&x->found, "%s%s (%s@%s)", x->n_found > 1 ? ", " : "", vm->uuid,
			vm->owner, vm->owner_realm);
	vm_copy(vm, &x->vm);
	x->is_found = true;
}

/* What does not parse is left out, as the scheduler leaves it out. */
static void read_vm(void *aux, const struct kv_pair *pair)
{
	struct explain *x = aux;
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e;

	if (vm_parse(pair->value, pair->value_size, &vm, &e) < 0)
		return;
	if (str_eq(vm.uuid, x->wanted) || str_eq(vm.name, x->wanted))
		found(x, &vm);
	struct vm_brief *b = brief_new(&vm, "");
	snap_put_vm(x->snap, vm.uuid, b, pair->mod_rev);
	brief_free(b);
}

static void read_host(void *aux, const struct kv_pair *pair)
{
	struct explain *x = aux;
	CLEANUP(host_done) struct host h = { 0 };
	struct err e;

	if (host_parse(pair->value, pair->value_size, &h, &e) == 0)
		snap_put_host(x->snap, &h, pair->mod_rev);
}

static void read_alive(void *aux, const struct kv_pair *pair)
{
	struct explain *x = aux;

	snap_set_alive(x->snap, pair->key + strlen(KEY_ALIVE), true);
}

static void read_store(void *aux, const struct kv_pair *pair)
{
	struct explain *x = aux;
	CLEANUP(image_store_done) struct image_store st = { 0 };
	struct err e;

	if (image_store_parse(pair->value, pair->value_size, &st, &e) == 0)
		snap_put_store(x->snap, &st);
}

static int read_all(struct explain *x, struct err *e)
{
	const struct keys *keys = &x->conf->keys;

	if (pages_read(x->kv, keys->host, read_host, x, e) < 0 ||
		pages_read(x->kv, KEY_ALIVE, read_alive, x, e) < 0 ||
		pages_read(x->kv, KEY_IMAGE_STORE, read_store, x, e) < 0 ||
		pages_read(x->kv, keys->vm, read_vm, x, e) < 0)
		return -1;
	if (!x->is_found)
		return err_set(e, ERR_NOT_FOUND, "there is no VM \"%s\"", x->wanted);
	if (x->n_found > 1)
		return err_set(e, ERR_CONFLICT,
			"%zu VMs are named \"%s\": say which one by its uuid: %s%s",
			x->n_found, x->wanted, buf_str(&x->found),
			x->n_found > SAME_NAME_MAX ? ", ..." : "");
	return 0;
}

/* ---------------------------------------------------------------- telling */

static void tell_vm(const struct explain *x, struct buf *out)
{
	const struct vm *vm = &x->vm;

	buf_addf(out,
		"VM %s (%s) of %s@%s: CPU %" PRId64 ", RAM %" PRId64 " MiB, disk %" PRId64
		" GiB in store \"%s\"\n",
		vm->name, vm->uuid, vm->owner, vm->owner_realm, vm->specs.cpu,
		vm->specs.ram_mib, vm_disk_gib(vm), vm->store ? vm->store : "");
	buf_addf(out, "status %s%s%s\n", vm_status_names[vm->status],
		vm_has_host(vm) ? " on " : "", vm_has_host(vm) ? vm->hostname : "");
	if (!str_is_empty(vm->why))
		buf_addf(out, "the scheduler's last word: %s\n", vm->why);
	if (vm_has_host(vm))
		buf_add_str(out, "if it were placed now, and not there already:\n");
}

static void tell_host(const struct explain *x, struct placer *p,
	const struct place_ask *ask, int host, struct buf *out)
{
	const struct snap_host *h = &x->snap->hosts[host];
	struct place_result r;
	struct place_ask here = *ask;

	if (ask->pin >= 0 && ask->pin != host) {
		buf_addf(out, "  %-20s no: its disks are on %s\n",
			snap_host_name(x->snap, host), snap_host_name(x->snap, ask->pin));
		return;
	}
	here.pin = -1; /* the reason alone */
	if (placer_look(p, x->snap, &here, host, &r) == PLACE_FITS) {
		buf_addf(out,
			"  %-20s fits: %.1f %% of %s stays free (free now: CPU %" PRId64
			", RAM %" PRId64 " MiB)\n",
			snap_host_name(x->snap, host), r.free * 100,
			place_dim_name(r.scarcest), h->cpu_cap - h->cpu_used,
			h->ram_cap - h->ram_used);
		return;
	}
	CLEANUP_STR char *reasons = place_reasons(x->snap, &here, &r);
	const char *text = strstr(reasons, ": ");
	buf_addf(out, "  %-20s no: %s\n", snap_host_name(x->snap, host),
		text ? text + 2 : reasons);
}

static void tell_hosts(const struct explain *x, struct buf *out)
{
	struct placer *p = placer_new(x->conf->strategy);
	struct snap_vm *vm = snap_find_vm(x->snap, x->vm.uuid);
	struct place_ask ask = place_ask_of(x->snap, vm);
	struct place_result r;

	/* Its own use of a host must not speak against that host. */
	if (vm_has_host(&x->vm))
		snap_del_vm(x->snap, x->vm.uuid);
	for (size_t i = 0; i < x->snap->n_hosts; i++)
		if (x->snap->hosts[i].is_registered)
			tell_host(x, p, &ask, (int)i, out);
	placer_find(p, x->snap, &ask, &r);
	CLEANUP_STR char *why = place_why(x->snap, &ask, &r);
	buf_addf(out, "%s%s\n", r.host < 0 ? "fits nowhere: " : "best is ", why);
	placer_free(p);
}

int explain_vm(struct kv *kv, const struct sched_conf *conf, const char *vm,
	struct buf *out, struct err *e)
{
	CLEANUP(explain_done)
	struct explain x = { .kv = kv, .conf = conf, .wanted = vm, .snap = snap_new() };

	if (read_all(&x, e) < 0)
		return -1;
	tell_vm(&x, out);
	tell_hosts(&x, out);
	return 0;
}
