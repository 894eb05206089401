/*
 * Orders for the interfaces of a VM that exists: another one, or one less. The host of one that
 * runs carries it out (ChangeVM), and takes what leaves out of the entry. The next start of a
 * STOPPED one finds them in the entry, so that nobody has to: it is done at once.
 */
#include <stdio.h>

#include "common/base/buf.h"
#include "ucloud-api/network_order.h"
#include "ucloud-api/vm_change.h"

struct nic_order {
	struct vm_change c; /* first: it is what vm_change_run() hands on */
	struct nic_input in;
	char mac[MAC_STR_SIZE];	     /* that an earlier run chose, or that is to go */
	char network[UUID_STR_SIZE]; /* that it is in */
};

/* All of them say their interface's index. They change only with the VM's entry. */
static void put_ports(const struct vm *vm, struct draft *d)
{
	for (size_t i = 0; i < vm->networks.len; i++)
		put_port(d, vm, i);
}

/* ---------------------------------------------------------------- attach */

/* The first of its MACs that no interface has. */
static void choose_mac(struct nic_order *c)
{
	const struct vm *vm = &c->c.base.vm;
	size_t i = 0;

	do
		vm_mac(vm->uuid, i++, c->mac);
	while (vm_find_nic(vm, c->mac));
}

/* In a run before, whose answer was lost. */
static bool is_attached(const struct nic_order *c, struct draft *d)
{
	const struct vm_nic *nic = c->mac[0] ? vm_find_nic(&c->c.base.vm, c->mac) : NULL;

	return draft_is_doubtful(d) && nic && str_eq(nic->network, c->network) &&
	       nic->rate_mbit == c->in.rate_mbit;
}

static int attach_edit(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(network_done) struct network net = { 0 };
	struct nic_order *c = aux;
	struct vm *vm = &c->c.base.vm;
	int r;

	if (is_attached(c, d))
		return DRAFT_AS_IT_IS;
	r = look_usable_network(
		c->c.base.o, d, vm->owner, vm->owner_realm, c->in.network, &net, e);
	if (r != 0)
		return r;
	if (vm->networks.len >= VM_NICS_MAX)
		return err_set(e, ERR_CONFLICT,
			"the VM \"%s\" has %d interfaces already: more are not possible",
			vm->name, VM_NICS_MAX);
	choose_mac(c);
	snprintf(c->network, sizeof(c->network), "%s", net.uuid);
	vm_nic_add(vm, &net, c->mac, c->in.rate_mbit);
	vm_change_say(&c->c, "interface %s in network \"%s\"", c->mac, net.name);
	c->c.is_now = vm->status == VM_STOPPED;
	return 0;
}

static void attach_write(void *aux, struct draft *d)
{
	struct nic_order *c = aux;
	CLEANUP_STR char *key = key_network(c->c.base.o->keys, c->network);

	draft_same(d, key);
	put_ports(&c->c.base.vm, d);
}

int orders_nic_attach(struct orders *o, const struct who *who, const char *ref,
	json_t *body, const char *idempotency_key, int64_t now, struct vm *out,
	struct err *e)
{
	struct nic_order c = {
		.c = { .base = { .o = o, .who = who, .ref = ref, .now = now },
			.edit = attach_edit,
			.write = attach_write,
			.done = "given another interface" }
	};
	int r = jtab_parse(&nic_input_jtab, body, JTAB_INPUT, &c.in, e);

	if (r == 0)
		r = vm_change_run_create(
			&c.c, "interface", idempotency_key, body, out, e);
	jtab_done(&nic_input_jtab, &c.in);
	return r;
}

/* ---------------------------------------------------------------- detach */

static int detach_edit(void *aux, struct draft *d, struct err *e)
{
	struct nic_order *c = aux;
	struct vm *vm = &c->c.base.vm;
	struct vm_nic *nic = vm_find_nic(vm, c->mac);

	if (!nic && draft_is_doubtful(d) && c->network[0])
		return DRAFT_AS_IT_IS;
	if (!nic)
		return err_set(e, ERR_NOT_FOUND,
			"the VM \"%s\" has no interface with the MAC %s", vm->name,
			c->mac);
	if (nic->is_leaving)
		return DRAFT_AS_IT_IS;
	snprintf(c->network, sizeof(c->network), "%s", nic->network);
	vm_change_say(&c->c, "removal of interface %s", c->mac);
	c->c.is_now = vm->status == VM_STOPPED;
	if (c->c.is_now)
		vm_drop_nic(vm, c->mac);
	else
		nic->is_leaving = true;
	return 0;
}

/* Its port stays until it is gone. */
static void detach_write(void *aux, struct draft *d)
{
	struct nic_order *c = aux;
	CLEANUP_STR char *key = key_port(c->network, c->mac);

	if (!c->c.is_now)
		return;
	draft_del(d, key);
	put_ports(&c->c.base.vm, d);
}

int orders_nic_detach(struct orders *o, const struct who *who, const char *ref,
	const char *mac, int64_t now, struct vm *out, struct err *e)
{
	struct nic_order c = {
		.c = { .base = { .o = o, .who = who, .ref = ref, .now = now },
			.edit = detach_edit,
			.write = detach_write,
			.done = "parted from an interface" }
	};

	if (mac_check(mac, e) < 0)
		return -1;
	snprintf(c.mac, sizeof(c.mac), "%s", mac);
	return vm_change_run(&c.c, out, e);
}
