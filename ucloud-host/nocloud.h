/*
 * What a guest is told at its boot: the files of cloud-init's data source "NoCloud", made of
 * the VM's entry. Pure. https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html
 * is the reference; tests/golden/nocloud/ has examples. Files of ours are JSON, which is YAML.
 */
#ifndef UCLOUD_NOCLOUD_H
#define UCLOUD_NOCLOUD_H

#include "ucloud-host/vmnets.h"

struct nocloud {
	char *meta_data;      /* host name, SSH keys */
	char *user_data;      /* the user's, as it is; without: a #cloud-config of ours */
	char *network_config; /* version 2, interfaces by their MACs */
};

/* nets NULL: none. */
void nocloud_format(const struct vm *vm, const struct vmnets *nets, struct nocloud *out);
void nocloud_done(struct nocloud *n);

#endif
