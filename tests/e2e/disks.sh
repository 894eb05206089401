#!/usr/bin/env bash
# Disks and snapshots of a VM: attached, grown and detached under a running guest, which sees
# it; snapshots while it runs, and restored.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

cloud up services || fail "the cloud did not come up"
create one --wait
wait_console one 'GUEST .* ready'
uuid=$(vm_field one uuid)

say "attach and grow while it runs"
user disk attach one 1GiB:hdd --wait || fail attach
wait_console one 'GUEST .* disk vdb 1024 MiB'
user disk grow one 1 2GiB --wait || fail grow
wait_console one 'GUEST .* disk vdb 2048 MiB'
user disk list one | grep -q '^1 *2 GiB *hdd' || fail "disk list does not show it"
check_invariants

say "a snapshot while it runs"
user vm snapshot create one first --description 'with two disks' --wait || fail snapshot
user vm snapshot list one | grep -q '^first *ready' || fail "snapshot list does not show it"
refused 1 'stop it first' user vm snapshot restore one first --yes
for n in 0 1; do
	qemu-img snapshot -U -l "$DEMO_DIR/store/vms/$uuid/$n.qcow2" | grep -q first ||
		fail "disk $n has no snapshot"
done
check_invariants

say "detach while it runs"
refused 1 'add --yes' user disk detach one 1
refused 1 'boots from' user disk detach one 0 --yes
user disk detach one 1 --yes --wait || fail detach
wait_console one 'GUEST .* disk vdb gone'
[ ! -e "$DEMO_DIR/store/vms/$uuid/1.qcow2" ] || fail "the disk is left"
check_invariants

say "restore"
user vm reboot one --wait || fail reboot
wait_console one 'GUEST .* boot number 2'
user vm stop one --wait || fail stop
user vm snapshot restore one first --yes --wait || fail restore
user disk attach one 1GiB --wait || fail "attach while stopped"
check_invariants
user vm start one --wait || fail start
wait_until 90 "the guest has forgotten its second boot" \
	sh -c "[ \$('$DEMO_DIR/ucloud-cli' vm console-log one | grep -c 'boot number 2') = 2 ]"
wait_console one 'GUEST .* disk vdb 1024 MiB'

say "resize"
user vm stop one --wait || fail stop
user vm resize one --cpu 2 --ram 160MiB || fail resize
user vm start one --wait || fail start
wait_console one 'GUEST .* 2 cpu'

say "delete"
user vm snapshot delete one first --wait || fail "snapshot delete"
[ "$(vm_field one snapshots)" = null ] || [ "$(vm_field one 'snapshots|length')" = 0 ] ||
	fail "the snapshot is left"
user vm snapshot create one --wait || fail "snapshot without a name"
user vm delete one --wait || fail delete
no_vms || fail "an entry is left"
[ -z "$(ls -A "$DEMO_DIR/store/vms")" ] || fail "a disk is left"
check_invariants
echo passed
