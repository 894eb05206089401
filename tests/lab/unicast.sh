#!/usr/bin/env bash
# A network whose switches do not carry multicast: with --flood unicast what floods goes to each
# machine by itself, also to one that comes later.
export LAB_NETWORK_OPTIONS="--flood unicast --lease_ttl 2s" LAB_ROUTER_OPTIONS="--flood unicast --lease_ttl 2s"
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"
# shellcheck source=traffic.bash
. "$(dirname "$0")/traffic.bash"

lab up || fail "the lab did not come up"
# Groups that reach beyond a link; the underlay's own neighbour discovery goes on.
ul=uclab-ul-$LAB_ID
ip netns exec "$ul" nft -f - <<-N || fail "nft"
	table bridge lab {
		chain switch { type filter hook forward priority 0; ether type ip6 ip6 daddr ff15::/16 counter drop; }
	}
N
dropped() { ip netns exec "$ul" nft list table bridge lab | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }

say "a network on the first host and the router"
network alice lan --ipam auto
vm_on alice a1 h1 --network lan
say "the second host comes later, and its ucloud-network once more"
lab stop h2/network
start_on alice a2 h2 --network lan
lab start h2/network
wait_vms
a1=$(address alice a1) a2=$(address alice a2)
for vm in a1 a2; do wait_console alice $vm "GUEST .* eth0 ipv6 $(address alice $vm) mtu 1430\$"; done
for vm in a1 a2; do wait_booted alice $vm; done
guest alice a1 "ping -q -c 20 -i 0.01 -s 1382 $a2 && ping -c 1 -w 5 $(lab address w)" > /dev/null || fail "a1 reaches nobody"
for a in "$a1" "$a2"; do
	on w curl -sf -g --noproxy '*' -m 10 "http://[$a]/" | grep -q "hello from $a" || fail "the world does not reach $a"
done
capture there h2 "$(tap alice a2)"
guest alice a1 "ping -q -c 20 -i 0.01 -W 1 ff02::1%eth0" > /dev/null
[ "$(captured there "ether src $(mac alice a1) and icmp6 and ip6[40] == 128 and ip6 dst ff02::1")" = 20 ] ||
	fail "not each once: $(frames there "ether src $(mac alice a1)")"

say "nothing of that needed a group"
[ "$(dropped)" = 0 ] || fail "frames were sent to groups"
on h1 ping -c 1 -W 1 -I eth0 ff15::75c1:64 > /dev/null
[ "$(dropped)" -gt 0 ] || fail "groups were not blocked"
echo passed
