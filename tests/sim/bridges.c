/*
 * What ucloud-network does on the hosts, as ucloud-host sees it: bridges whose alias is a
 * network's uuid, that come some time after a VM is placed there, or not at all for a while, and
 * go when nobody needs them any more.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "tests/lib/test_util.h"
#include "tests/sim/sim.h"

static void write_alias(const struct sim_bridges *h, int64_t vni, const char *uuid)
{
	char name[NETWORK_NAME_SIZE];
	network_bridge_name(vni, name);
	CLEANUP_STR char *dir = xasprintf("%s/class/net/%s", h->sysfs, name);
	CLEANUP_STR char *path = xasprintf("%s/ifalias", dir);
	CLEANUP_STR char *text = xasprintf("%s\n", uuid);
	test_mkdir(dir);
	test_write_file(path, text);
}

static void remove_bridge(struct sim_bridges *h, size_t i)
{
	char name[NETWORK_NAME_SIZE];
	network_bridge_name(h->v[i].vni, name);
	CLEANUP_STR char *dir = xasprintf("%s/class/net/%s", h->sysfs, name);
	CLEANUP_STR char *path = xasprintf("%s/ifalias", dir);
	if (h->v[i].ready_at == 0) {
		unlink(path);
		rmdir(dir);
	}
	h->v[i] = h->v[--h->len];
}

void bridges_open(struct sim *s)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		struct sim_bridges *h = &s->bridges[i];
		CLEANUP_STR char *class = NULL;
		CLEANUP_STR char *net = NULL;
		h->sysfs = test_path("sys-%d-h%u", (int)getpid(), i);
		class = xasprintf("%s/class", h->sysfs);
		net = xasprintf("%s/net", class);
		test_mkdir(h->sysfs);
		test_mkdir(class);
		test_mkdir(net);
	}
}

void bridges_close(struct sim *s)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		test_remove(s->bridges[i].sysfs);
		free(s->bridges[i].sysfs);
	}
}

static struct sim_bridge *find(struct sim_bridges *h, const char *uuid)
{
	for (size_t i = 0; i < h->len; i++)
		if (str_eq(h->v[i].uuid, uuid))
			return &h->v[i];
	return NULL;
}

bool bridges_has(struct sim *s, unsigned host, const char *network)
{
	const struct sim_bridge *b = find(&s->bridges[host], network);
	return b && b->ready_at == 0;
}

static void plan(struct sim *s, struct sim_bridges *h, const struct network *net)
{
	if (h->len == SIM_BRIDGES)
		return;
	uint32_t most = s->is_calm || sim_chance(s, 70) ? 800 : 20000;
	struct sim_bridge *b = &h->v[h->len++];
	*b = (struct sim_bridge){ .vni = net->vni,
		.ready_at = s->now + 1 + sim_random(s, most) };
	snprintf(b->uuid, sizeof(b->uuid), "%s", net->uuid);
}

static void want_all(struct sim *s, const struct sim_vm *v)
{
	int host = sim_host_index(v->vm.hostname);
	for (size_t i = 0; host >= 0 && i < v->vm.networks.len; i++) {
		const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &v->vm.networks, i);
		const struct sim_net *net = sim_find_net(s, nic->network);
		struct sim_bridges *h = &s->bridges[host];
		struct sim_bridge *b = find(h, nic->network);
		if (b)
			b->gone_at = 0;
		else if (!h->is_down && net && net->exists &&
			 net->net.status == NET_ACTIVE)
			plan(s, h, &net->net);
	}
}

/* The id may be one that another network had: then its bridge is there until now. */
static void make(struct sim_bridges *h, size_t i)
{
	struct sim_bridge b = h->v[i];
	b.ready_at = 0;
	for (size_t k = 0; k < h->len;)
		if (h->v[k].vni == b.vni)
			remove_bridge(h, k);
		else
			k++;
	h->v[h->len++] = b;
	write_alias(h, b.vni, b.uuid);
}

static void act(struct sim *s, struct sim_bridges *h)
{
	for (size_t i = 0; i < h->len; i++) {
		struct sim_bridge *b = &h->v[i];
		if (b->ready_at && s->now >= b->ready_at && !b->gone_at)
			make(h, i);
		else if (b->gone_at && s->now >= b->gone_at)
			remove_bridge(h, i--);
	}
}

void bridges_step(struct sim *s)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		for (size_t k = 0; k < s->bridges[i].len; k++)
			if (!s->bridges[i].v[k].gone_at)
				s->bridges[i].v[k].gone_at =
					s->now + 1 + sim_random(s, 30000);
	for (unsigned i = 0; i < s->n_vms; i++)
		if (s->vms[i]->exists && s->vms[i]->vm.networks.len)
			want_all(s, s->vms[i]);
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		if (!s->bridges[i].is_down)
			act(s, &s->bridges[i]);
}

/* What the kernel had is gone. */
void bridges_reboot(struct sim *s, unsigned host)
{
	while (s->bridges[host].len)
		remove_bridge(&s->bridges[host], 0);
}

void move_bridges(struct sim *s)
{
	struct sim_bridges *h = &s->bridges[sim_random(s, SIM_HOSTS)];
	h->is_down = !h->is_down;
	log_debug("sim: bridges %s", h->is_down ? "are not made" : "are made again");
}
