#!/usr/bin/env bash
# Networks from the order to the router: ids and prefixes are given, have to rest, run out, and
# are there again; radvd runs when it has something to announce; two routers, of which one leads.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

command -v radvd > /dev/null || skip "radvd is not installed"
need_underlay

cloud up services || fail "the cloud did not come up"
start_router() {
	another "$1" ucloud-network --hostname "$1" --role router --underlay underlay \
		--lease_ttl 2s --linger 0 --quarantine 2s --run_dir "$DEMO_DIR/$1/run" \
		--bird_include "$DEMO_DIR/$1/routes.conf" "${@:2}"
}
stop_router() {
	kill -TERM "$(cat "$DEMO_DIR/$1/ucloud-network.pid")"
	wait "$(cat "$DEMO_DIR/$1/ucloud-network.pid")" || fail "router $1 ended badly"
}
net_field() { user network show "$1" --json | jq -r ".$2"; }
net_is() { [ "$(net_field "$1" "$2")" = "$3" ]; }
wait_net() { wait_until 30 "network $1 has $2 $3" net_is "$1" "$2" "$3"; }
has_address() { ip -6 addr show dev "$1" | grep -q " $2 "; }
no_interface() { [ ! -e "/sys/class/net/$1" ]; }
runs() { kill -0 "$(cat "$1")"; }
runs_not() { ! runs "$1"; }
no_keys() { [ "$(n_keys "$1")" = 0 ]; }

say "without a prefix"
start_router r1
user network create --name lan --ipam auto || fail "network create"
wait_net lan status ERROR
net_field lan reason | grep -q 'no prefix to take a /64 from' || fail "it does not say why"
user network create --name l2 --ipam none --wait || fail "a network without a prefix"
[ "$(net_field l2 vni)" = 100 ] || fail "it has not the lowest id"

say "with one"
stop_router r1
start_router r1 --force --prefix 2001:db8:0:2::/63
wait_net lan status ACTIVE
[ "$(net_field lan prefix)" = 2001:db8:0:2::/64 ] || fail "it has not the lowest prefix"
[ "$(net_field lan vni)" = 101 ] || fail "it has not the lowest id"
[ "$(net_field lan mtu)" = 1430 ] || fail "it has another MTU"
wait_until 20 "the router is in it" has_address ucb101 2001:db8:0:2::1/64
no_interface ucb100 || fail "the router is in a network without a prefix"
wait_until 20 "radvd runs" runs "$DEMO_DIR/r1/run/radvd.pid"
grep -q 'prefix 2001:db8:0:2::/64' "$DEMO_DIR/r1/run/radvd.conf" || fail "it announces something else"
grep -q 'route 2001:db8:0:2::/63 unreachable' "$DEMO_DIR/r1/routes.conf" || fail "bird has no route"
[ "$(cat /proc/sys/net/ipv6/conf/ucb101/forwarding)" = 1 ] || fail "it does not forward"

say "no room, and room again"
user network create --name lan2 --ipam manual --wait || fail "the second network"
user network create --name lan3 --ipam auto || fail "network create"
wait_net lan3 status ERROR
user network delete lan2 || fail "network delete"
wait_net lan3 status ACTIVE
[ "$(net_field lan3 prefix)" = 2001:db8:0:3::/64 ] || fail "not the prefix that was free"

say "another router takes over"
start_router r2 --prefix 2001:db8:0:2::/63
stop_router r1
user network delete lan3 || fail "network delete"
user network create --name lan4 --ipam auto || fail "network create"
wait_net lan4 status ACTIVE
has_address ucb101 2001:db8:0:2::1/64 || fail "the network did not stay"
# The old leader's key went with it.
wait_until 20 "the first router is forgotten" no_keys /v1/underlay/r1

say "nothing is left"
for n in lan lan4 l2; do user network delete "$n" || fail "delete $n"; done
wait_until 30 "all networks are gone" no_keys /v1/network
wait_until 30 "ids are given back" no_keys /v1/vni/
wait_until 30 "prefixes are given back" no_keys /v1/prefix/
for i in ucb100 ucb101 ucv101 ucb102 ucb103; do
	wait_until 20 "$i is gone" no_interface $i
done
wait_until 20 "radvd has ended" runs_not "$DEMO_DIR/r2/run/radvd.pid"
[ "$(etcdctl3 get /v1/user/demo/user --print-value-only | jq '.use.networks // 0')" = 0 ] ||
	fail "the user has a network in use"
no_requests || fail "a request is left open"
echo passed
