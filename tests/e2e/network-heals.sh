#!/usr/bin/env bash
# What somebody breaks of a running cloud's networks is mended at once, what is not ours stays
# untouched, a guest's frames go through while ucloud-network is killed and started again, with
# etcd and without, and in the end nothing is left.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"
# shellcheck source=networks.bash
. tests/e2e/networks.bash

command -v ping > /dev/null || skip "ping is not installed"
# Far below --resync: it is the kernel's news that matter.
soon=8
export DEMO_NETWORK_OPTIONS="--lease_ttl 2 --linger 1s --quarantine 1s"
cloud up services || fail "the cloud did not come up"

say "two networks and a VM in them"
vm=web
user network create --name a --ipam auto --wait || fail "network create"
user network create --name m --ipam manual --wait || fail "network create"
user vm create --name $vm --image demo-guest --ram 128MiB --network a --network m \
	--ingress tcp/22,icmpv6 --wait || fail create
uuid=$(net_field a uuid) id=$(vni a) tap=$(tap_in a) prefix=$(net_field a prefix)
other=$(tap_in m) other_id=$(vni m)
bridge=ucb$id vxlan=ucv$id
address=$(vm_field $vm 'networks[0].address')
answers() { ping -6 -n -c 1 -W 2 "$address"; }
wait_console $vm 'GUEST .* ready'
wait_until 60 "the guest answers" answers

# ---------------------------------------------------------------- what must be so
link_field() { ip -j -d link show "$1" | jq -r ".[0] | $2"; }
# All words of both tables, in whatever order.
filters() {
	{ nft -s list table bridge ucloud && nft -s list table ip6 ucloud; } | tr -s ' ,\t' '\n' | sort
}
has_filters() { filters="$(filters)" && grep -q "$tap" <<< "$filters" && grep -q "$other" <<< "$filters"; }
wait_until 20 "the filters are there" has_filters
is_right() {
	[ "$(link_field "$bridge" '"\(.ifalias) \(.mtu) \(.linkinfo.info_kind) \(.flags | index("UP") != null)"')" = "$uuid 1430 bridge true" ] &&
		[ "$(link_field "$vxlan" '"\(.master) \(.mtu) \(.linkinfo.info_data.id) \(.flags | index("UP") != null)"')" = "$bridge 1430 $id true" ] &&
		[ "$(link_field "$tap" .master)" = "$bridge" ] && [ "$(link_field "$other" .master)" = "ucb$other_id" ] &&
		[ "$(filters)" = "$filters" ] &&
		ip -6 addr show dev "$bridge" | grep -q " ${prefix%/64}1/64 " &&
		[ "$(conf_of here "$bridge" forwarding)$(conf_of here "$bridge" disable_ipv6)" = 10 ] &&
		[ "$(conf_of here all forwarding)" = 1 ] && radvd_runs here
}
# How far it is right.
wrong() { (set -x && is_right) 2>&1 | tail -n 4; }
all_is_right() { # WHEN
	local end=$((SECONDS + 20))
	until is_right 2> /dev/null; do
		[ $SECONDS -lt $end ] || fail "not right $1: $(wrong)"
		sleep 0.2
	done
}
all_is_right "before anything is broken"

broken() { # COMMAND...
	local start
	start=$(date +%s%N)
	"$@" || fail "$*: cannot be done"
	until is_right 2> /dev/null; do
		[ $((($(date +%s%N) - start) / 1000000000)) -lt $soon ] || fail "not mended within $soon s: $*: $(wrong)"
		sleep 0.02
	done
	say "$*: mended after $((($(date +%s%N) - start) / 1000000)) ms"
}
sysctl_is() { echo "$3" > "/proc/sys/net/ipv6/conf/$1/$2"; }

say "what somebody breaks"
index=$(link_field "$bridge" .ifindex)
broken ip link del "$bridge"
[ "$(link_field "$bridge" .ifindex)" != "$index" ] || fail "the bridge was not made anew"
broken ip link del "$vxlan"
broken ip link set "$bridge" mtu 1300
broken ip link set "$vxlan" mtu 1280
broken ip link set dev "$bridge" alias something
broken ip link set "$vxlan" nomaster
broken ip link set "$bridge" down
broken ip link set "$vxlan" down
broken ip link set "$tap" nomaster
broken nft delete table bridge ucloud
broken nft flush table bridge ucloud
broken nft flush set bridge ucloud taps
broken nft delete table ip6 ucloud
broken nft flush ruleset
broken ip -6 addr flush dev "$bridge" scope global
broken sysctl_is "$bridge" forwarding 0
broken sysctl_is all forwarding 0
broken sysctl_is "$bridge" disable_ipv6 1
broken kill -KILL "$(cat "$DEMO_DIR/network/radvd.pid")"
wait_until 20 "the guest answers" answers

say "what is not ours"
ip link add ucb9999 type bridge
ip link add ucb0100 type bridge
ip link add ucvx type veth peer name ucb
ip link set ucb0100 group 30145
broken ip link set "$bridge" mtu 1300
for name in ucb9999 ucb0100 ucvx ucb; do
	[ -e "/sys/class/net/$name" ] || fail "$name is gone"
done
ip link del ucb9999
ip link del ucb0100
ip link del ucvx

# ---------------------------------------------------------------- restarts
# The guest is asked all the time meanwhile, every 10 ms. (tests/contract/test_network_filter.c
# counts each frame; here ping may give up waiting for a busy guest's last answer.)
nothing_is_lost() { # COMMAND...
	local doer sent=0 lost=0 n
	"$@" &
	doer=$!
	while [ $sent = 0 ] || kill -0 $doer 2> /dev/null; do
		n=$(ping -6 -n -q -c 50 -i 0.01 -W 10 "$address" | awk '/received/ { print $4 }')
		sent=$((sent + 50)) lost=$((lost + 50 - ${n:-0}))
	done
	wait $doer || fail "$* failed"
	say "$*: $lost of $sent frames lost"
	[ $lost -le 1 ] || fail "frames were lost"
}
is_healthy() { curl -sf -g --noproxy '*' "http://[::1]:$(cat "$DEMO_DIR/run/ucloud-network-metrics.port")/healthz"; }
restart() { # VERB
	cloud "$1" ucloud-network
	cloud start ucloud-network
	wait_until 20 "ucloud-network is healthy" is_healthy
}

say "ucloud-network is killed, and stopped, and starts again"
index=$(link_field "$bridge" .ifindex)
nothing_is_lost restart kill
nothing_is_lost restart stop
all_is_right "after restarts"

say "without etcd"
cloud kill etcd
broken ip link set "$bridge" mtu 1300
broken nft delete table bridge ucloud
restart_blind() {
	local end=$((SECONDS + 4))
	cloud kill ucloud-network
	! radvd_runs here || fail "radvd outlives ucloud-network"
	cloud start ucloud-network
	wait_until 20 "radvd runs again" radvd_runs here
	# It has time to do what is wrong.
	while [ $SECONDS -lt $end ]; do
		is_right || fail "something was taken away: $(wrong)"
		sleep 0.3
	done
}
nothing_is_lost restart_blind
cloud etcd
wait_until 60 "ucloud-network is healthy" is_healthy
all_is_right "when etcd answers again"
wait_until 60 "the API answers" user network create --name n --ipam auto
wait_until 60 "it is made" net_is n ACTIVE
[ "$(link_field "$bridge" .ifindex)" = "$index" ] || fail "the bridge was made anew"

say "nothing is left"
user vm delete $vm --wait || fail delete
for n in a m n; do user network delete $n --wait || fail "network delete $n"; done
check_no_networks
check_invariants
! grep -h ' ERROR ' "$DEMO_DIR/log/ucloud-network.log" || fail "ucloud-network logged an ERROR"
echo passed
