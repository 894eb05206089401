#!/usr/bin/env bash
# The lab itself: three hosts within the time, without IPv4; whoever is stopped, killed or cut off
# is so, and comes back; nothing is left of it.
export HOSTS=3 ETCD=3 LAB_HOST_OPTIONS="--lease_ttl 2s" LAB_NETWORK_OPTIONS="--lease_ttl 2s"
export LAB_SCHEDULER_OPTIONS="--lease_ttl 2s --grace 3s"
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

host_is() { admin host show "$1" --json | jq -e --arg s "$2" '.status == $s'; }
is_healthy() { on "$1" curl -sf -g --noproxy '*' "http://[::1]:$2/healthz"; }
sick() { ! is_healthy "$@"; }

say "up"
before=$SECONDS
lab up || fail "the lab did not come up"
took=$((SECONDS - before))
say "it took $took s"
[ $took -lt 30 ] || fail "that is more than 30 s"
for node in c1 c2 c3 h1 h2 h3 r1 w; do
	[ -z "$(on $node ip -4 -o addr)" ] || fail "$node has an IPv4 address"
done
! ip -o link | grep -qF uclab || fail "an interface in the machine's own namespace"

say "the underlay works between all"
out=$(on h1 "$B/ucloud-network/ucloud-network" check --config "$LAB_DIR/h1/conf/ucloud-network.conf") ||
	fail "the check found something: $out"
for node in h2 h3 r1; do
	grep -q "^$node  *$(lab address $node)  *1500  yes  *yes\$" <<< "$out" || fail "not $node: $out"
done

say "a service is killed, and started again"
lab kill h1/host
wait_until 20 "its host is dead" host_is h1 DEAD
lab start h1/host
wait_until 20 "its host is alive" host_is h1 ALIVE
lab freeze h2/host
wait_until 20 "a host that stands still is dead" host_is h2 DEAD
lab thaw h2/host
wait_until 20 "it is alive again" host_is h2 ALIVE

say "cut off from etcd: one service, a host"
lab cut h3/host etcd
wait_until 20 "its host is dead" host_is h3 DEAD
is_healthy h3 9477 > /dev/null || fail "another service is cut off, too"
lab reconnect h3
wait_until 20 "its host is alive" host_is h3 ALIVE
lab cut h3
wait_until 20 "its host is dead" host_is h3 DEAD
! on h3 ping -c 1 -W 1 "$(lab address h2)" > /dev/null || fail "h3 is not cut off"
lab status | grep -q 'h3 .*cut off' || fail "the status does not say so: $(lab status)"
lab reconnect h3
wait_until 20 "its host is alive" host_is h3 ALIVE

say "a member of etcd without power, and a host"
alice network create --name before --ipam auto --wait > /dev/null || fail "network create"
vm_on alice v h1 --network before
lab kill c3
lab kill h1
[ ! -e "/run/netns/$(lab node h1)" ] || fail "its namespace is there"
wait_until 20 "its host is dead" host_is h1 DEAD
alice network create --name after --ipam auto --wait > /dev/null || fail "etcd does not work with two"
say "power again"
lab start h1
lab start c3
wait_until 30 "its host is alive" host_is h1 ALIVE
wait_status alice v RUNNING
say "its VM runs again"
wait_booted alice v
etcd_is_whole() { etcdctl3 endpoint health; }
wait_until 30 "etcd has three members" etcd_is_whole

say "down"
lab down
left=$(ip netns list | grep -E -- "^uclab-.*-$LAB_ID( |\$)"; grep -lF -f <(echo "$LAB_DIR") /proc/[0-9]*/cmdline 2> /dev/null
	ls -A "$LAB_DIR" 2> /dev/null; grep -F "$LAB_DIR" /proc/mounts)
[ -z "$left" ] || fail "left: $left"
echo passed
