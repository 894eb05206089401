/* Interfaces of the fake hypervisor's domains. */
#include "ucloud-host/virt_fake_impl.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "ucloud-host/domxml.h"

static struct fnic *find_nic(struct fdom *f, const char *mac)
{
	for (size_t i = 0; i < FAKE_NICS_MAX; i++)
		if (str_eq(f->nics[i].mac, mac))
			return &f->nics[i];
	return NULL;
}

/* NULL: it has as many as there can be. */
static struct fnic *find_or_add(struct fdom *f, const char *mac)
{
	struct fnic *nic = find_nic(f, mac);

	if (nic != NULL)
		return nic;
	nic = find_nic(f, "");
	if (nic != NULL)
		snprintf(nic->mac, sizeof(nic->mac), "%s", mac);
	return nic;
}

/* One that is nowhere any more is none. */
static void forget(struct fnic *nic)
{
	if (!nic->in_config && !nic->is_live)
		*nic = (struct fnic){ 0 };
}

void virt_fake_nics_define(struct fdom *f, const char *xml)
{
	CLEANUP(strv_done) struct strv macs = { 0 };
	struct err e;

	if (domxml_read_nics(xml, &macs, &e) < 0)
		return;
	for (size_t i = 0; i < FAKE_NICS_MAX; i++) {
		f->nics[i].in_config = false;
		forget(&f->nics[i]);
	}
	for (size_t i = 0; i < macs.len; i++) {
		struct fnic *nic = find_or_add(f, macs.v[i]);

		if (nic != NULL)
			nic->in_config = true;
	}
}

void virt_fake_nics_on(struct fdom *f)
{
	for (size_t i = 0; i < FAKE_NICS_MAX; i++)
		f->nics[i].is_live |= f->nics[i].in_config;
}

void virt_fake_nics_off(struct fdom *f)
{
	for (size_t i = 0; i < FAKE_NICS_MAX; i++) {
		f->nics[i].is_live = false;
		f->nics[i].let_go_msec = 0;
		forget(&f->nics[i]);
	}
}

bool virt_fake_nics_let_go(struct fdom *f, int64_t now_msec)
{
	bool did = false;

	for (size_t i = 0; i < FAKE_NICS_MAX; i++) {
		struct fnic *nic = &f->nics[i];

		if (nic->let_go_msec == 0 || nic->let_go_msec > now_msec)
			continue;
		nic->let_go_msec = 0;
		nic->is_live = false;
		forget(nic);
		did = true;
	}
	return did;
}

/* With the lock held. */
static void get_live(const struct fdom *f, struct strv *macs)
{
	strv_done(macs);
	for (size_t i = 0; f != NULL && i < FAKE_NICS_MAX; i++)
		if (f->nics[i].is_live)
			strv_add(macs, f->nics[i].mac);
}

void fake_hyper_nics(struct fake_hyper *h, const char *uuid, struct strv *macs)
{
	pthread_mutex_lock(&h->lock);
	get_live(virt_fake_find(h, uuid), macs);
	pthread_mutex_unlock(&h->lock);
}

/* ------------------------------------------------------------------ virt.h */

/* What a call is about. */
struct call {
	const char *mac, *xml;
	struct strv *macs;
};

static int do_nics(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct call *c = aux;

	(void)is_event;
	(void)e;
	get_live(virt_fake_find(h, uuid), c->macs);
	return 0;
}

int virt_nics(struct virt *v, const char *uuid, struct strv *macs, struct err *e)
{
	CLEANUP(strv_done) struct strv got = { 0 };
	struct call c = { .macs = &got };

	if (virt_fake_change(v, "nics", uuid, do_nics, &c, e) < 0)
		return -1;
	strv_done(macs);
	*macs = got;
	got = (struct strv){ 0 };
	return 0;
}

static bool is_of(const char *xml, const char *mac)
{
	CLEANUP(strv_done) struct strv macs = { 0 };
	CLEANUP_STR char *whole = NULL;
	const char *start = strstr(xml, "<interface");
	struct err e;

	whole = xasprintf("<domain><devices>%s</devices></domain>", start ? start : "");
	return domxml_read_nics(whole, &macs, &e) == 0 && macs.len == 1 &&
	       str_eq(macs.v[0], mac);
}

static int do_attach(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find_on(h, uuid, e);
	struct call *c = aux;
	struct fnic *nic;

	(void)is_event;
	if (f == NULL)
		return -1;
	if (!is_of(c->xml, c->mac))
		return err_set(e, ERR_INVALID, "the XML is not of interface %s", c->mac);
	nic = find_or_add(f, c->mac);
	if (nic == NULL)
		return err_set(e, ERR_UNSUPPORTED, "there is no slot left");
	if (!nic->is_live)
		nic->let_go_msec = 0;
	nic->in_config = nic->is_live = true;
	return 0;
}

int virt_nic_attach(
	struct virt *v, const char *uuid, const char *mac, const char *xml, struct err *e)
{
	struct call c = { .mac = mac, .xml = xml };

	return virt_fake_change(v, "nic-attach", uuid, do_attach, &c, e);
}

static int do_detach(
	struct fake_hyper *h, const char *uuid, void *aux, bool *is_event, struct err *e)
{
	struct fdom *f = virt_fake_find_on(h, uuid, e);
	struct call *c = aux;
	struct fnic *nic;

	if (f == NULL)
		return -1;
	nic = find_nic(f, c->mac);
	if (nic == NULL)
		return 0;
	nic->in_config = false;
	if (!nic->is_live)
		forget(nic);
	else if (!h->fault.keeps_disks && nic->let_go_msec == 0)
		nic->let_go_msec = clock_mono_msec() + h->fault.detach_msec;
	if (h->fault.detach_msec == 0)
		*is_event = virt_fake_nics_let_go(f, clock_mono_msec());
	return 0;
}

int virt_nic_detach(struct virt *v, const char *uuid, const char *mac, struct err *e)
{
	struct call c = { .mac = mac };

	return virt_fake_change(v, "nic-detach", uuid, do_detach, &c, e);
}
