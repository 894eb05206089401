#!/usr/bin/env bash
# What networks carry, and what they keep apart: two users, networks of each kind, VMs on two
# hosts, a router, and the world behind it.
export LAB_NETWORK_OPTIONS="--lease_ttl 2s --linger 1s"
export LAB_ROUTER_OPTIONS="--lease_ttl 2s --linger 1s --quarantine 2s"
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"
# shellcheck source=traffic.bash
. "$(dirname "$0")/traffic.bash"

lab up || fail "the lab did not come up"
world=$(lab address w)
before=$(traces)

say "two users, networks of each kind"
network alice lan --ipam auto
network alice man --ipam manual
network alice raw --ipam none
network bob lan --ipam auto
start_on alice a1 h1 --network lan --network raw
start_on alice a2 h2 --network lan --network raw
start_on alice m1 h2 --network man
start_on bob b1 h1 --network lan
wait_vms
# From before they boot: radvd answers those who ask, and says its piece at least every 30 s.
manual_since=$SECONDS
capture manual h2 "$(tap alice m1)"
capture auto h2 "$(tap alice a2)"
a1=$(address alice a1) a2=$(address alice a2) b1=$(address bob b1)
for n in h1 h2 r1; do
	alice network show lan --json | jq -e --arg n $n '[.hosts[].hostname] | index($n)' > /dev/null ||
		fail "the network is not said to be up on $n"
done
bob network show lan --json | jq -e '[.hosts[].hostname] == ["h1", "r1"]' > /dev/null ||
	fail "bob's network is not where his VM is: $(bob network show lan)"
for vm in a1 a2 m1; do wait_booted alice $vm; done
wait_booted bob b1

say "addresses are those that were said before, the MTU is announced"
wait_console alice a1 "GUEST .* eth0 ipv6 $a1 mtu 1430\$"
wait_console alice a2 "GUEST .* eth0 ipv6 $a2 mtu 1430\$"
wait_console bob b1 "GUEST .* eth0 ipv6 $b1 mtu 1430\$"
[ "$(guest alice a1 "ip -6 addr show dev eth0 scope global" | grep -c inet6)" = 1 ] || fail "it has more addresses"
said=$(frames auto -v "$is_ra")
for what in 'mtu option (5), .* 1430' 'prefix info option (3), .* 2001:db8:1000::/64, Flags \[onlink, auto\]' \
	'rdnss option (25), .* 2001:db8:ffff::53'; do
	grep -q -- "$what" <<< "$said" || fail "the router does not announce '$what': $said"
done

say "across hosts: what fills a frame whole, what does not fit in pieces"
out=$(guest alice a1 "n() { awk '/Ip6FragCreates/ { print \$2 }' /proc/net/snmp6; }; ping -q -c 20 -i 0.01 -s 1382 $a2 &&
	echo \"pieces \$(n)\" && ping -q -c 5 -i 0.01 -s 1383 $a2 && echo \"pieces \$(n)\" && ping -q -c 5 -i 0.01 -s 8000 $a2")
grep -q '20 packets transmitted, 20 packets received' <<< "$out" || fail "frames of 1430 are lost: $out"
[ "$(grep pieces <<< "$out" | xargs)" = "pieces 0 pieces 10" ] || fail "other pieces than expected: $out"
[ "$(grep -c '5 packets transmitted, 5 packets received' <<< "$out")" = 2 ] || fail "pieces are lost: $out"

say "the router, the world, and back"
guest alice a1 "ping -c 1 -w 5 2001:db8:1000::1 && ping -c 1 -w 5 -s 1382 $world && wget -q -O - 'http://[$world]/'" |
	grep -q 'hello from the world' || fail "a VM does not reach the world"
on w ip -6 route | grep -q '^2001:db8:1000::/48 .* proto bird' || fail "the world did not learn the way over BGP"
for a in "$a1" "$a2" "$b1"; do
	on w ping -q -c 20 -i 0.01 -W 2 -M "do" -s 1382 "$a" > /dev/null || fail "the world does not reach $a"
	on w curl -sf -g --noproxy '*' -m 10 "http://[$a]/" | grep -q "hello from $a" || fail "no HTTP from $a"
done
on w ping -c 1 -M "do" -s 1383 "$a1" 2>&1 | grep -q 'too big: mtu=1430' || fail "nobody says that it is too big"
on w ping -q -c 5 -i 0.01 -W 2 -s 4000 "$a1" > /dev/null || fail "what comes in pieces is lost"

say "bob's VM is on the same host, and behind the router"
guest alice a1 "ping -c 1 -w 5 $b1" | grep -q 'ttl=63' || fail "not through exactly one router"

say "self-chosen addresses"
on_counter() { on "$1" nft -j list counter bridge ucloud "$2" | jq '.nftables[1].counter.packets'; } # NODE NAME
guest alice a1 "ip addr add 2001:db8:1000::abcd/64 dev eth0 && ping -c 2 -w 5 -I 2001:db8:1000::abcd $a2 &&
	ping -c 1 -w 5 -I 2001:db8:1000::abcd $world" > /dev/null || fail "its own address in the prefix does not work"
on w ping -q -c 2 -i 0.01 -W 2 2001:db8:1000::abcd > /dev/null || fail "the world does not reach it"
taken=$(on_counter h1 taken)
guest alice a1 "ip addr add $a2/64 dev eth0; ping -c 3 -i 0.1 -W 1 -I $a2 $world; s=\$?; ip addr del $a2/64 dev eth0; [ \$s != 0 ]" > /dev/null ||
	fail "the address of another VM works"
[ "$(on_counter h1 taken)" -gt "$taken" ] || fail "that was not counted"
on w curl -sf -g --noproxy '*' -m 10 "http://[$a2]/" | grep -q "hello from $a2" || fail "whose it is has lost it"

say "none: IPv4 passes, and a guest's own router is heard"
files="$(command -v radvd) $(ldd "$(command -v radvd)" | grep -o '/[^ ]*')"
cat > "$LAB_DIR/w/www/radvd.conf" <<-R
	interface eth1 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvDefaultLifetime 0;
	  prefix fd00:75c1::/64 { }; };
R
# shellcheck disable=SC2086
tar -chPf "$LAB_DIR/w/www/radvd.tar" --transform 's,.*/,,' $files
capture raw h2 "$(tap alice a2 1)"
guest alice a2 "ip addr add 10.0.0.2/24 dev eth1; ip link set eth1 up" || fail "eth1 of a2"
guest alice a1 "ip addr add 10.0.0.1/24 dev eth1; ip link set eth1 up; ping -q -c 20 -i 0.01 -s 1402 10.0.0.2" > /dev/null ||
	fail "IPv4 does not pass"
guest alice a1 "cd /tmp && wget -q 'http://[$world]/radvd.tar' && wget -q 'http://[$world]/radvd.conf' && tar xf radvd.tar &&
	echo root:x:0:0::/:/bin/sh > /etc/passwd && ./ld-linux-x86-64.so.2 --library-path . ./radvd -u root -m none -p /tmp/pid -C radvd.conf" ||
	fail "radvd in a guest"
has_own_prefix() { guest alice a2 "ip -6 addr show dev eth1" | grep -q 'inet6 fd00:75c1::'; }
wait_until 20 "the other guest has an address of the guest's prefix" has_own_prefix
[ "$(captured raw "$is_ra and ether src $(mac alice a1 1)")" -gt 0 ] || fail "it has it from somebody else"

say "not a frame goes over"
# What may be in bob's network: his VM, and its router; but nobody pings, and nobody has IPv4.
router=$(link_mac r1 "$(bridge bob lan)")
strange="(not ether src $(mac bob b1) and not ether src $router) or (icmp6 and ip6[40] == 128) or arp or ip"
flood="for x in $a2 ff02::1%eth0 2001:db8:1000::dead 10.0.0.2 10.0.0.255 ff02::1%eth1 10.0.0.77 10.0.0.99; do
	ping -q -W 1 -c 50 -i 0.01 \$x; done"
guest alice a1 "arp -s 10.0.0.77 02:00:00:00:00:77" || fail arp
capture bobs h1 "$(tap bob b1)"
capture wire h1 "ucv$(net_field bob lan vni)"
capture lan h2 "$(tap alice a2)"
capture none h2 "$(tap alice a2 1)"
guest alice a1 "$flood" > /dev/null
reached() { # CAPTURE INTERFACE OF a1 AT LEAST FILTER
	local n
	n=$(captured "$1" "ether src $(mac alice a1 "$2") and ($4)")
	[ "$n" -ge "$3" ] || fail "$n frames, less than $3, reached where they may go: $4"
	say "$n reached where they may go: $4"
}
reached lan 0 45 "icmp6 and ip6[40] == 128 and ip6 dst $a2"
reached lan 0 45 "icmp6 and ip6[40] == 128 and ip6 dst ff02::1"
reached lan 0 2 "icmp6 and ip6[40] == 135 and ether multicast"
reached none 1 45 "icmp and ether dst $(mac alice a2 1)"
reached none 1 45 "icmp and ether broadcast"
reached none 1 2 "arp and ether broadcast"
reached none 1 45 "icmp6 and ip6[40] == 128 and ip6 dst ff02::1"
reached none 1 45 "ether dst 02:00:00:00:00:77"
for c in bobs wire; do
	[ "$(captured $c "$strange")" = 0 ] || fail "frames of others in bob's network: $(frames $c "$strange" | head)"
done
[ "$(n_frames lan "ether src $(mac alice a1 1) or arp or ip")" = 0 ] || fail "frames of one network of alice in the other"
[ "$(n_frames none "ether src $(mac alice a1)")" = 0 ] || fail "frames of one network of alice in the other"

say "the same capture does see them when bob's interface is put into alice's network"
lab freeze h1/network
capture wrong h1 "$(tap bob b1)"
on h1 ip link set "$(tap bob b1)" master "$(bridge alice lan)"
guest alice a1 "ping -q -c 20 -i 0.01 ff02::1%eth0" > /dev/null
[ "$(captured wrong "$strange")" -ge 20 ] || fail "it does not: not a frame going over means nothing"
lab thaw h1/network
is_in() { on h1 ip -o link show "$1" | grep -q " master $2 "; }
wait_until 10 "it is put back" is_in "$(tap bob b1)" "$(bridge bob lan)"

say "manual: a static address works, and nobody advertised anything for 30 s"
prefix=$(net_field alice man prefix) prefix=${prefix%/64}
[ -z "$(guest alice m1 "ip -6 addr show dev eth0 scope global")" ] || fail "it has an address"
guest alice m1 "ip addr add ${prefix}5/64 dev eth0; ip -6 route add default via ${prefix}1; ping -c 1 -w 5 ${prefix}1 &&
	ping -q -c 5 -i 0.1 -s 1382 $world" > /dev/null || fail "it reaches neither router nor world"
on w ping -q -c 20 -i 0.01 -W 2 -M "do" -s 1382 "${prefix}5" > /dev/null || fail "the world does not reach it"
say "watched for $((SECONDS - manual_since)) s"
for_long() { [ $((SECONDS - manual_since)) -ge 31 ]; }
wait_until 31 "30 s are over" for_long
[ "$(captured manual "$is_ra")" = 0 ] || fail "router advertisements: $(frames manual "$is_ra")"
[ "$(captured manual "icmp6 and ip6[40] == 133")" -gt 0 ] || fail "the guest did not ask: the capture sees nothing"
[ "$(captured auto "$is_ra")" -gt 0 ] || fail "the same capture sees none in the other network"

say "in use, so not deleted"
refused 1 'a1.*a2|a2.*a1' alice network delete lan
refused 1 'b1' bob network delete lan
for vm in a1 a2 m1; do alice vm delete $vm --wait > /dev/null & starting+=($!); done
bob vm delete b1 --wait > /dev/null & starting+=($!)
wait_vms
for n in lan man raw; do alice network delete $n --wait > /dev/null || fail "network $n"; done
bob network delete lan --wait > /dev/null || fail "network of bob"
wait_nothing_left "$before"
echo passed
