#!/usr/bin/env bash
# VMs on Ceph in the lab: one whose host is cut off from storage waits, and goes on; one that
# stops on a host starts on another.
export HOSTS=2 CEPH=1 ROUTERS=0
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

lab up || fail "the lab did not come up"
# What it writes is read back from its disk.
writes() { guest alice v "echo $1 > /data/x && sync && cat /data/x"; }
starts_to_wait() { [ "$(packets)" -gt 0 ]; }
packets() { on h1 nft list chain inet lab out | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }

say "a VM on h1"
admin host drain h2 > /dev/null || fail "drain"
alice vm create --name v --image guest-ceph --store ceph --cpu 1 --ram 128MiB --wait > /dev/null || fail "VM v"
lab rbd ls uservms | grep -qx "$(vm_field alice v uuid)" || fail "its disk is not in Ceph"
wait_booted alice v
[ "$(writes one)" = one ] || fail "it cannot write"

say "h1 is cut off from storage: what the guest writes waits"
lab cut h1 storage
guest alice v "(echo two > /data/x && sync && echo done > /run/done) &" || fail "the guest does not obey"
wait_until 20 "packets to Ceph are dropped" starts_to_wait
! guest alice v "cat /run/done" > /dev/null || fail "the guest could write"
status_is alice v RUNNING || fail "the VM does not run"
lab reconnect h1
has_written() { guest alice v "cat /run/done"; }
wait_until 60 "the write is done" has_written
[ "$(guest alice v "cat /data/x")" = two ] || fail "it wrote something else"

say "the host service alone"
lab cut h1/host storage
[ "$(writes three)" = three ] || fail "QEMU is cut off, too"
lab reconnect h1

say "it is stopped, h1 takes no more VMs, and it starts on h2 with what it wrote"
admin host undrain h2 > /dev/null || fail "undrain"
admin host drain h1 > /dev/null || fail "drain"
alice vm stop v --wait > /dev/null || fail "stop"
alice vm start v --wait > /dev/null || fail "start"
[ "$(vm_field alice v hostname)" = h2 ] || fail "it is not on h2"
wait_console alice v 'GUEST .* boot number 2'
alice vm delete v --wait > /dev/null || fail "delete"
[ -z "$(lab rbd ls uservms)" ] || fail "a disk is left"
echo passed
