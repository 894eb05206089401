/*
 * How VMs run here: by the processor (KVM) or emulated (TCG). /dev/kvm may be there and yet
 * not run 64-bit guests (nested virtualization, missing features), so "auto" has QEMU boot a
 * sector of 512 bytes (probe64.S) that proves it. Blocks for some seconds at worst.
 */
#ifndef UCLOUD_ACCEL_H
#define UCLOUD_ACCEL_H

#include "common/base/err.h"

enum accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };
extern const char *const accel_names[]; /* "auto", "kvm", "tcg" */

/* Do 64-bit guests run with this one? accel is ACCEL_KVM or ACCEL_TCG; dir is where a small
 * file may be made for a moment. */
int accel_probe(enum accel accel, const char *dir, struct err *e) MUST_USE;

/* What to use: ACCEL_KVM or ACCEL_TCG. Logs what "auto" found out; asks once per process. */
enum accel accel_choose(enum accel wanted, const char *dir);

#endif
