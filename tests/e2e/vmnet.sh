#!/usr/bin/env bash
# A VM on a network: it is not started before its network is there, and finds it when it boots.
# The test plays the router.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

need_netns
ip link add underlay type veth peer name wire || skip "this kernel has no veth interfaces"
ip addr add fd00:10::1/64 dev underlay nodad
ip link set underlay up
ip link set wire up

cloud up services || fail "the cloud did not come up"
start_network() {
	another "$1" ucloud-network --hostname demo-host --role host \
		--underlay underlay --linger 1s
}
log_has() { user vm log "$1" | grep -q -- "$2"; }

say "a network"
user network create --name lan --ipam auto || fail "network create"
key=$(etcdctl3 get --prefix /v1/network/ --keys-only | head -n 1)
entry=$(etcdctl3 get --print-value-only "$key" |
	jq -c '.status = "ACTIVE" | .vni = 1 | .mtu = 1430 | .prefix = "2001:db8:1::/64"')
etcdctl3 put "$key" "$entry" > /dev/null
etcdctl3 del --prefix /v1/request/network/ > /dev/null
uuid=${key##*/}

say "a VM does not start before its network is there"
user vm create --name web --image demo-guest --cpu 1 --ram 128MiB --network lan || fail create
wait_until 30 "its log says why" log_has web 'network lan is not ready on this host: is ucloud-network running there'
[ -z "$(vsh list --all --uuid)" ] || fail "it has a domain already"
start_network net
wait_status web RUNNING
[ "$(cat /sys/class/net/ucb1/ifalias)" = "$uuid" ] || fail "the bridge is not that network's"
mac=$(vm_field web 'networks[0].mac')
tap=uct${mac//:/}
ip -o link show master ucb1 | grep -q "$tap" || fail "its interface is not in the network's bridge"
[ "$(cat "/sys/class/net/$tap/mtu")" = 1430 ] || fail "its MTU is wrong"

say "the guest"
wait_console web 'GUEST .* hostname web'
wait_console web "GUEST .* eth0 mac $mac"
wait_console web 'GUEST .* ready'
has_sent() { [ "$(cat "/sys/class/net/$tap/statistics/rx_packets")" -gt 0 ]; }
wait_until 20 "it sends frames" has_sent

say "stopped and started"
user vm stop web --wait || fail stop
[ ! -e "/sys/class/net/$tap" ] || fail "its interface is left"
user vm start web --wait || fail start
[ -e "/sys/class/net/$tap" ] || fail "it has no interface"
user vm delete web --wait || fail delete
check_invariants
echo passed
