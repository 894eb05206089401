#!/usr/bin/env bash
# What storage.sh leaves out of disks and snapshots: quotas and leftovers after each step, what
# is refused, snapshots of several disks as they are in the files, other numbers of CPUs.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

last_disks() { # TEXT: the guest's last word about its disks
	user vm console-log one | tr -d '\r' | grep 'GUEST .* disks' | tail -n 1 | grep -q -- "$1\$"
}
sees() { wait_until 60 "the guest sees $1" last_disks "$1"; }
snapshots_in() { qemu-img snapshot -U -l "$DEMO_DIR/store/vms/$uuid/$1.qcow2" | grep -c " $2 "; }

cloud up services || fail "the cloud did not come up"
create one --wait
wait_console one 'GUEST .* ready'
uuid=$(vm_field one uuid)

say "attach and grow while it runs"
user disk attach one 1GiB:hdd --wait || fail attach
sees 'vdb=1024MiB'
check_invariants
user disk grow one 1 2GiB --wait || fail grow
sees 'vdb=2048MiB'
user disk list one | grep -q '^1 *2 GiB *hdd' || fail "disk list does not show it"
refused 1 'never shrink' user disk grow one 1 1GiB
check_invariants

say "snapshots of both disks while it runs"
user vm snapshot create one first --description 'with two disks' --wait || fail snapshot
user vm snapshot create one --wait || fail "snapshot without a name"
user vm snapshot list one | grep -q '^first *ready' || fail "snapshot list does not show it"
refused 1 'already' user vm snapshot create one first
refused 1 'stop it first' user vm snapshot restore one first --yes
[ "$(snapshots_in 0 first) $(snapshots_in 1 first)" = "1 1" ] || fail "a disk has no snapshot"
check_invariants
user vm snapshot delete one first --wait || fail "snapshot delete"
[ "$(snapshots_in 0 first) $(snapshots_in 1 first)" = "0 0" ] || fail "the snapshot is left"

say "detach while it runs"
refused 1 'boots from' user disk detach one 0 --yes
user disk detach one 1 --yes --wait || fail detach
sees 'disks vda=[0-9]*MiB'
[ ! -e "$DEMO_DIR/store/vms/$uuid/1.qcow2" ] || fail "the disk is left"
check_invariants

say "other numbers of CPUs"
refused 1 'stop it first' user vm resize one --cpu 2
user vm stop one --wait || fail stop
user disk attach one 1GiB --wait || fail "attach while stopped"
user vm resize one --cpu 2 --ram 160MiB || fail resize
check_invariants
user vm start one --wait || fail start
wait_console one 'GUEST .* 2 cpu'
sees 'vdb=1024MiB'

say "delete"
user vm delete one --wait || fail delete
no_vms || fail "an entry is left"
[ -z "$(ls -A "$DEMO_DIR/store/vms")" ] || fail "a disk is left"
check_invariants
echo passed
