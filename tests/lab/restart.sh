#!/usr/bin/env bash
# Networks go on while ucloud-network does not: it is stopped and killed on hosts and router,
# etcd is away, somebody changes its work by hand. A ping every 10 ms sees whether a packet is lost.
ttl=2
export LAB_NETWORK_OPTIONS="--lease_ttl ${ttl}s" LAB_ROUTER_OPTIONS="--lease_ttl ${ttl}s"
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"
# shellcheck source=traffic.bash
. "$(dirname "$0")/traffic.bash"

lab up || fail "the lab did not come up"
network alice lan --ipam auto
start_on alice a1 h1 --network lan
start_on alice a2 h2 --network lan
wait_vms
a1=$(address alice a1) a2=$(address alice a2) br=$(bridge alice lan) vni=$(net_field alice lan vni)
for vm in a1 a2; do wait_booted alice $vm; done
for vm in a1 a2; do wait_console alice $vm "GUEST .* eth0 ipv6 $(address alice $vm)"; done

# ---------------------------------------------------------------- pings
# From the world through the router to each VM, and from one VM to the other, every 10 ms.
ping_from_world() { # VM
	ip netns exec "$(lab node w)" ping -i 0.01 "$(address alice "$1")" > "$LAB_DIR/ping.$1" 2>&1 < /dev/null &
	echo $! > "$LAB_DIR/ping.$1.pid"
}
ping_from_world_end() { # VM
	kill -INT "$(cat "$LAB_DIR/ping.$1.pid")"
	wait "$(cat "$LAB_DIR/ping.$1.pid")"
	whole "from the world to $1" "$LAB_DIR/ping.$1"
}
pings_begin() {
	ping_from_world a1
	ping_from_world a2
	guest alice a1 "ping -i 0.01 $a2 > /www/ping 2>&1 & echo \$! > /run/ping.pid" || fail "ping in a1"
}
pings_end() {
	ping_from_world_end a1
	ping_from_world_end a2
	guest alice a1 "kill -INT \$(cat /run/ping.pid)" || fail "ping in a1"
	on w curl -sf -g --noproxy '*' -m 20 "http://[$a1]/ping" > "$LAB_DIR/ping.a1" || fail "what a1 says of its pings"
	whole "from a1 to a2" "$LAB_DIR/ping.a1"
}
# Not one was lost before the last that came, and none came twice. The first is 0 or 1.
whole() { # WHAT FILE
	local got lost twice
	read -r got lost twice < <(sed -n 's/.*seq=\([0-9]*\) .*/\1/p' "$2" | awk '
		{ got++; twice += seen[$1]++ > 0; if ($1 > last) last = $1 }
		END { print got + 0, last + (0 in seen) - got + twice, twice + 0 }')
	[ "$got" -ge 300 ] || fail "$1: too few pings to say anything: $(tail -n 3 "$2")"
	[ "$lost $twice" = "0 0" ] || fail "$1: of $got $lost were lost, and $twice came twice"
	say "$1: $got pings, none lost"
}

# ---------------------------------------------------------------- restarts
healthy() { on "$1" curl -sf -g --noproxy '*' "http://[::1]:9477/healthz" > /dev/null; }
holds() { etcdctl3 get "/v1/underlay/$1" --keys-only | grep -q .; }
n_steps() { # NODE: changes of interfaces since it started
	on "$1" curl -sf -g --noproxy '*' "http://[::1]:9477/metrics" | awk '/^ucloud_network_steps_total/ { n += $2 } END { print n + 0 }'
}
looked() { on "$1" curl -sf -g --noproxy '*' "http://[::1]:9477/metrics" | grep -q '^ucloud_network_ready 1$'; }
restart() { # stop or kill
	local m
	for m in h1 h2 r1; do
		lab "$1" $m/network
		lab start $m/network
		wait_until 20 "ucloud-network on $m has looked at its network" looked $m
		[ "$(n_steps $m)" = 0 ] || fail "it changed interfaces on $m"
	done
}

say "ucloud-network is stopped and started, then killed and started, everywhere"
for m in h1 h2 r1; do wait_until 20 "$m" looked $m; done
keys=$(etcdctl3 get --prefix /v1/network-host/ --keys-only)
pings_begin
restart stop
restart kill
pings_end

say "hosts and router lose etcd for longer than their leases"
out=$LAB_DIR/h1/state/console/$(vm_field alice a1 uuid).log
boots() { tr -d '\r' < "$out" | grep -c "GUEST .* eth0 ipv6 $a1 mtu 1430\$"; }
has_booted_again() { [ "$(boots)" -ge 2 ]; }
for m in h1 h2 r1; do lab cut $m etcd; done
capture gone h2 "$(tap alice a2)"
no_one_holds() { ! etcdctl3 get --prefix /v1/underlay/ --keys-only | grep -q .; }
wait_until 20 "their leases are over" no_one_holds
ping_from_world a2
guest alice a1 "(sleep 1; reboot) < /dev/null > /dev/null 2>&1 &" || fail "a1 does not obey"
wait_until 200 "a1 boots, and has its address by SLAAC" has_booted_again
# Unasked, one comes every 3 to 30 s.
is_announced() { [ "$(n_frames gone "$is_ra")" -gt 0 ]; }
wait_until 40 "somebody announces something" is_announced
guest alice a1 "ping -q -c 5 -i 0.1 $a2 && ping -q -c 5 -i 0.1 $(lab address w)" > /dev/null || fail "a1 reaches nobody"
say "and while that is so ucloud-network is stopped and killed, and starts without etcd"
for m in h1 h2 r1; do
	for how in stop kill; do
		lab $how $m/network
		lab start $m/network
	done
done
guest alice a1 "ping -q -c 5 -i 0.1 $a2 && ping -q -c 5 -i 0.1 $(lab address w)" > /dev/null || fail "a1 reaches nobody"
n_before=$(n_frames gone "$is_ra")
solicited() { [ "$(n_frames gone "$is_ra")" -gt "$n_before" ]; }
guest alice a1 "ip link set eth0 down; ip link set eth0 up" || fail "eth0 of a1"
wait_until 40 "radvd goes on announcing" solicited
ping_from_world_end a2
for m in h1 h2 r1; do lab reconnect $m; done
as_before() { [ "$(etcdctl3 get --prefix /v1/network-host/ --keys-only)" = "$keys" ]; }
wait_until 30 "all networks are said to be up as before" as_before
for m in h1 h2 r1; do wait_until 30 "$m is healthy" healthy $m; done
for m in h1 h2 r1; do wait_until 30 "$m" looked $m; done
for m in h1 h2 r1; do [ "$(n_steps $m)" = 0 ] || fail "interfaces on $m were changed"; done
for vm in a1 a2; do wait_status alice $vm RUNNING; done

say "by hand: each is mended at once"
# MSEC since the change until the world reaches both VMs and ALSO...
msec() { date +%s%3N; }
reached() { ip netns exec "$(lab node w)" ping -q -c 1 -W 1 "$1" > /dev/null 2>&1; }
mended() { # NODE WHAT COMMAND...; then a function that says whether it is right
	local node=$1 what=$2 right=$3 from
	shift 3
	"$right" "$node" || fail "it is not as it should be to begin with: $what"
	on "$node" "$@" || fail "$*"
	from=$(msec)
	until reached "$a1" && reached "$a2" && "$right" "$node"; do
		[ $(($(msec) - from)) -lt 10000 ] || fail "not mended: $what on $node"
	done
	say "$what on $node: mended after $(($(msec) - from)) ms"
}
bridge_is_right() {
	on "$1" ip -o link show "$br" | grep -q "mtu 1430 .* state UP .*alias $uuid" &&
		on "$1" ip -o link show "ucv$vni" | grep -q "mtu 1430 .*master $br state UNKNOWN"
}
filter_of() { on "$1" nft list table bridge ucloud | sed 's/packets .* bytes .*//'; }
filter_is_right() { [ "$(filter_of "$1")" = "$filter" ]; }
uuid=$(net_field alice lan uuid)
for m in h1 h2 r1; do
	filter=$(filter_of $m)
	mended $m "a bridge that was deleted" bridge_is_right ip link del "$br"
	mended $m "a VXLAN that was deleted" bridge_is_right ip link del "ucv$vni"
	mended $m "another MTU" bridge_is_right ip link set "$br" mtu 1300
	mended $m "a bridge that is down" bridge_is_right ip link set "$br" down
	mended $m "filters that were flushed" filter_is_right nft flush table bridge ucloud
	mended $m "filters that were deleted" filter_is_right nft delete table bridge ucloud
done
mended r1 "an address that was deleted" bridge_is_right ip addr del 2001:db8:1000::1/64 dev "$br"
echo passed
