/*
 * Interfaces of a VM that exists: another one, or one less. Only of one that is STOPPED: its
 * next start finds them in the entry, so that nobody has to carry anything out.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/network_order.h"
#include "ucloud-api/vm_order.h"

struct nic_order {
	struct vm_order base; /* first: it is what vm_order_run() hands on */
	struct nic_input in;
	char mac[MAC_STR_SIZE]; /* that an earlier run chose, or that is to go */
	const char *done;	/* "given another interface": for refusals */
};

static struct vm_nic *find_nic(const struct vm *vm, const char *mac)
{
	for (size_t i = 0; i < vm->networks.len; i++) {
		struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &vm->networks, i);

		if (str_eq(nic->mac, mac))
			return nic;
	}
	return NULL;
}

/* The VM, which may be changed now. */
static int look_vm(struct nic_order *c, struct draft *d, struct err *e)
{
	CLEANUP(slots_done) struct slots s = { 0 };
	const struct vm *vm = &c->base.vm;
	const struct slot *open;
	int r = vm_order_look(&c->base, d, &s, e);

	if (r != 0)
		return r;
	open = slots_open(&s);
	if (open)
		return vm_order_is_busy(vm, c->done, open, e);
	if (vm->status != VM_STOPPED)
		return vm_order_not_while(vm, c->done, "stop it first", e);
	return 0;
}

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
	size_t i = 0;

	do
		vm_mac(c->base.vm.uuid, i++, c->mac);
	while (find_nic(&c->base.vm, c->mac));
}

static int attach_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(network_done) struct network net = { 0 };
	CLEANUP_STR char *what = NULL;
	CLEANUP_STR char *key = NULL;
	struct nic_order *c = aux;
	struct vm *vm = &c->base.vm;
	int r = look_vm(c, d, e);

	/* In a run before, whose answer was lost. */
	if (r <= 0 && draft_is_doubtful(d) && c->mac[0] && find_nic(vm, c->mac))
		return DRAFT_AS_IT_IS;
	if (r == 0)
		r = look_usable_network(
			c->base.o, d, vm->owner, vm->owner_realm, c->in.network, &net, e);
	if (r != 0)
		return r;
	if (vm->networks.len >= VM_NICS_MAX)
		return err_set(e, ERR_CONFLICT,
			"the VM \"%s\" has %d interfaces already: more are not possible",
			vm->name, VM_NICS_MAX);
	choose_mac(c);
	vm_nic_add(vm, &net, c->mac, c->in.rate_mbit);
	what = xasprintf("interface %s in network \"%s\"", c->mac, net.name);
	if (vm_order_save(&c->base, d, what, NULL, e) < 0)
		return -1;
	key = key_network(c->base.o->keys, net.uuid);
	draft_same(d, key);
	put_ports(vm, d);
	return 0;
}

int orders_nic_attach(struct orders *o, const struct who *who, const char *ref,
	json_t *body, int64_t now, struct vm *out, struct err *e)
{
	struct nic_order c = { .base = { .o = o, .who = who, .ref = ref, .now = now },
		.done = "given another interface" };
	int r = jtab_parse(&nic_input_jtab, body, JTAB_INPUT, &c.in, e);

	if (r == 0)
		r = vm_order_run(&c.base, attach_fn, out, e);
	jtab_done(&nic_input_jtab, &c.in);
	return r;
}

/* ---------------------------------------------------------------- detach */

static void drop_nic(struct vm *vm, struct vm_nic *nic)
{
	struct vm_nic *v = vm->networks.v;
	size_t i = (size_t)(nic - v);

	jtab_done(&vm_nic_jtab, nic);
	memmove(nic, nic + 1, (vm->networks.len - i - 1) * sizeof(*nic));
	vm->networks.len--;
}

static int detach_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *what = NULL;
	CLEANUP_STR char *key = NULL;
	struct nic_order *c = aux;
	struct vm *vm = &c->base.vm;
	struct vm_nic *nic;
	int r = look_vm(c, d, e);

	if (r != 0)
		return r;
	nic = find_nic(vm, c->mac);
	if (!nic && draft_is_doubtful(d))
		return DRAFT_AS_IT_IS;
	if (!nic)
		return err_set(e, ERR_NOT_FOUND,
			"the VM \"%s\" has no interface with the MAC %s", vm->name,
			c->mac);
	key = key_port(nic->network, nic->mac);
	drop_nic(vm, nic);
	what = xasprintf("removal of interface %s", c->mac);
	if (vm_order_save(&c->base, d, what, NULL, e) < 0)
		return -1;
	draft_del(d, key);
	put_ports(vm, d);
	return 0;
}

int orders_nic_detach(struct orders *o, const struct who *who, const char *ref,
	const char *mac, int64_t now, struct vm *out, struct err *e)
{
	struct nic_order c = { .base = { .o = o, .who = who, .ref = ref, .now = now },
		.done = "parted from an interface" };

	if (mac_check(mac, e) < 0)
		return -1;
	snprintf(c.mac, sizeof(c.mac), "%s", mac);
	return vm_order_run(&c.base, detach_fn, out, e);
}
