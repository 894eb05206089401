#!/usr/bin/env bash
# The main job: a VM is created, boots, is stopped, started, rebooted, deleted; its disk keeps
# what the guest wrote.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

cloud up services || fail "the cloud did not come up"
say "create"
create one --wait
wait_status one RUNNING
wait_console one 'GUEST .* boot number 1'
wait_console one 'GUEST .* ready'
uuid=$(vm_field one uuid)
[ "$(vsh list --uuid)" = "$uuid" ] || fail "libvirt does not run $uuid"
[ "$(vm_field one hostname)" = demo-host ] || fail "hostname is wrong"
[ -n "$(vm_field one why)" ] || fail "the scheduler did not say why"
check_invariants

say "stop and start: the disk is the same"
user vm stop one --wait || fail stop
[ "$(vm_field one status)" = STOPPED ] || fail "not STOPPED"
[ -z "$(vsh list --all --uuid)" ] || fail "a stopped VM left a domain"
check_invariants
user vm start one --wait || fail start
wait_console one 'GUEST .* boot number 2'
check_invariants

say "reboot"
wait_console one 'GUEST .* ready'
user vm reboot one || fail reboot
wait_console one 'GUEST .* boot number 3'
wait_until 20 "the reboot's request ends" no_requests
check_invariants

say "the guest powers itself off"
wait_until 60 "the guest obeys" sh -c "virsh -q -c '$(scripts/private-libvirtd uri "$DEMO_DIR/libvirt")' shutdown $uuid; sleep 2; '$DEMO_DIR/ucloud-cli' vm show one --json | jq -e '.status == \"STOPPED\"'"
check_invariants

say "force"
user vm start one --wait || fail start
user vm stop one --force --wait || fail "stop --force"
check_invariants

say "delete"
user vm delete one --wait || fail delete
refused 1 'one' user vm show one
no_vms || fail "an entry is left"
[ "$(n_keys /v1/placement/)" = 0 ] || fail "a placement is left"
[ -z "$(ls -A "$DEMO_DIR/store/vms")" ] || fail "a disk is left"
check_invariants

say "several at once"
for n in 1 2 3 4; do create "many-$n" & done
wait
for n in 1 2 3 4; do wait_status "many-$n" RUNNING 120; done
check_invariants
for n in 1 2 3 4; do user vm delete "many-$n" || fail "delete many-$n"; done
wait_until 90 "all are gone" no_vms
check_invariants
echo passed
