#!/usr/bin/env bash
# Attacks from inside a guest on its neighbours, on its router and on the machines of the cloud:
# each frame goes the whole way from the guest's interface. None arrives anywhere, each is counted,
# and nobody is in another state afterwards.
export HOSTS=2
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"
[ -x "$B/tests/lab/frames" ] || fail "there is no $B/tests/lab/frames: make $B/tests/lab/frames"
frames=$PWD/$B/tests/lab/frames

lab up || fail "the lab did not come up"
cp "$frames" "$LAB_DIR/w/www/"
world=$(lab address w)

say "VMs: the attacker and a victim on h1, one on h2"
network alice lan --ipam auto
network alice wild --ipam none
network bob other --ipam auto
pids=()
vm_on alice a h1 --network lan --network wild & pids+=($!)
vm_on alice v h1 --network lan --network wild & pids+=($!)
vm_on alice far h2 --network lan & pids+=($!)
vm_on bob else h2 --network other & pids+=($!)
for pid in "${pids[@]}"; do wait "$pid" || fail "the VMs are not there"; done
for vm in a v far; do wait_console alice $vm 'eth0 ipv6 2001'; done
wait_console bob else 'eth0 ipv6 2001'

mac_a=$(mac alice a) mac_v=$(mac alice v) mac_far=$(mac alice far)
a=$(address alice a) v=$(address alice v) far=$(address alice far)
prefix=$(net_field alice lan prefix) prefix=${prefix%/64}
vni=$(net_field alice lan vni) other_vni=$(net_field bob other vni)
other_prefix=$(net_field bob other prefix) other_prefix=${other_prefix%/64}
gateway=${prefix}1
link_local() { # MAC
	local b
	IFS=: read -ra b <<< "$1"
	printf 'fe80::%x:%x:%x:%x' "0x$(printf %02x $((0x${b[0]} ^ 2)))${b[1]}" "0x${b[2]}ff" "0xfe${b[3]}" "0x${b[4]}${b[5]}"
}
ll_a=$(link_local "$mac_a") ll_v=$(link_local "$mac_v") ll_far=$(link_local "$mac_far")
mac_router=$(on r1 cat "/sys/class/net/ucb$vni/address")
ll_router=$(link_local "$mac_router")

# ---------------------------------------------------------------- what is sent, and what of it arrives
# Frames of an attack have the label bad.., those that may pass 600d.. (and arrive everywhere in the
# network); the last of all is fffff. Counters by reason: what each attack adds.
script='' n_attacks=0 n_legal=0
declare -A expected=() name_of=()
attack() { # REASON N-COUNTED-OF-EACH NAME LAYER...
	local label
	printf -v label 'bad%02x' $((n_attacks++))
	name_of[$label]=$3
	expected[$1]=$((${expected[$1]:-0} + 3 * $2))
	script+="/f eth0 send 3 $label ${*:4} || echo $label failed"$'\n'
}
legal() { # NAME LAYER...
	local label
	printf -v label '60d%02x' $((n_legal++))
	name_of[$label]=$1
	script+="/f eth0 send 3 $label ${*:2} || echo $label failed"$'\n'
}
all="eth 33:33:00:00:00:01 $mac_a" to_v="eth $mac_v $mac_a" to_router="eth $mac_router $mac_a"
bad=2001:db8:bad::
note=61747461636b # "attack"
ipv4=4500001a00000000403b66a70a0000010a000002$note # a whole packet

attack mac 1 "its neighbour's MAC" eth 33:33:00:00:00:01 "$mac_v" ip6 "$ll_a" ff02::1 echo
attack mac 1 "the router's MAC" eth "$mac_v" "$mac_router" ip6 "$ll_a" "$v" echo
attack mac 1 "the router's MAC in RARP" eth ff:ff:ff:ff:ff:ff "$mac_router" type 8035 hex $note

attack source 1 "an address of the world" "$all" ip6 "$world" ff02::1 echo
attack source 1 "another network's address" "$to_v" ip6 "${other_prefix}7" "$v" echo
attack source 1 "the address of a host" "$to_v" ip6 "$(lab address h1)" "$v" udp 1 2
attack source 1 "no address" "$all" ip6 :: ff02::1 echo
attack source 1 "a group's address" "$all" ip6 ff02::1 ff02::1 echo
attack source 1 "its own machine" "$to_v" ip6 ::1 "$v" echo
attack taken 1 "its neighbour's address" "$to_router" ip6 "$v" "$world" echo
attack taken 1 "its neighbour's link-local" "$all" ip6 "$ll_v" ff02::1 echo
attack taken 1 "an address on another host" "$to_v" ip6 "$far" "$v" echo
attack taken 1 "the router's address" "$to_v" ip6 "$gateway" "$v" echo
attack taken 1 "the router's link-local, advertising" "$all" ip6 "$ll_router" ff02::1 ra $bad

attack router 1 "advertisement" "$all" ip6 "$ll_a" ff02::1 ra $bad
attack router 1 "to one" "$to_v" ip6 "$ll_a" "$ll_v" ra $bad
attack router 1 "behind hop-by-hop options" "$all" ip6 "$ll_a" ff02::1 hop 1 ra $bad
attack router 1 "behind many options" "$all" ip6 "$ll_a" ff02::1 hop 2 opts 30 opts 1 opts 1 ra $bad
attack router 1 "redirect" "$to_v" ip6 "$ll_a" "$v" redirect "$ll_a" "$world"
attack router 1 "redirect, behind options" "$to_v" ip6 "$ll_a" "$v" opts 1 redirect "$ll_a" "$world"

attack neighbour 1 "as the router" "$to_v" ip6 "$ll_a" "$v" na "$gateway" e0
attack neighbour 1 "as the router, link-local" "$all" ip6 "$ll_a" ff02::1 na "$ll_router" 20
attack neighbour 1 "as its neighbour" "$all" ip6 "$a" ff02::1 na "$far" 20
attack neighbour 1 "as its neighbour, link-local" "$to_v" ip6 "$ll_a" "$ll_v" na "$ll_far" 60
attack neighbour 1 "as the world" "$to_v" ip6 "$a" "$v" na "$world" 60
attack neighbour 1 "behind options" "$to_v" ip6 "$a" "$v" hop 1 opts 1 na "$gateway" 60
attack neighbour 1 "is its neighbour's address free?" "$all" ip6 :: ff02::1 ns "$v"
attack neighbour 1 "is the router's link-local free?" "$all" ip6 :: ff02::1 ns "$ll_router"

attack hidden 1 "advertisement in one fragment" "$all" ip6 "$ll_a" ff02::1 frag 0 ra $bad
attack hidden 1 "behind options, in one fragment" "$all" ip6 "$ll_a" ff02::1 opts 1 frag 0 ra $bad
attack hidden 2 "options first, advertisement second" "$all" ip6 "$ll_a" ff02::1 frag 8 opts 1 ra $bad
attack hidden 2 "options in both" "$all" ip6 "$ll_a" ff02::1 frag 16 opts 4 ra $bad
attack hidden 1 "neighbour in a fragment" "$to_v" ip6 "$ll_a" "$v" frag 0 na "$gateway" e0
attack hidden 1 "redirect in a fragment" "$to_v" ip6 "$ll_a" "$v" frag 0 redirect "$ll_a" "$world"
attack hidden 1 "a fragment in a fragment" "$all" ip6 "$ll_a" ff02::1 frag 0 frag 0 ra $bad
attack hidden 1 "solicitation in a fragment" "$all" ip6 :: ff02::1 frag 0 ns "$v"
# The second half alone is nothing.
expected[hidden]=$((expected[hidden] + 3))
legal "half an advertisement" "$all" ip6 "$ll_a" ff02::1 frag 16 ra $bad

attack dhcp 1 "server" "$all" ip6 "$ll_a" ff02::1 udp 547 546 hex 02000001
attack dhcp 1 "from another port" "$to_v" ip6 "$ll_a" "$ll_v" udp 4000 546 hex 07000001
attack dhcp 1 "behind options" "$to_v" ip6 "$a" "$v" hop 1 udp 547 546 hex 07000001

inner="eth 33:33:00:00:00:01 $mac_a label bad99 ip6 $ll_a ff02::1 echo"
name_of[bad99]="from a VXLAN frame"
for node in h1 h2 r1; do
	attack vxlan 1 "to $node" "$to_router" ip6 "$a" "$(lab address $node)" udp 1000 4789 vxlan "$other_vni" "$inner"
done
# These end at the router.
for to in "$gateway" "$ll_router" 2001:db8:ffff::f:1; do
	script+="/f eth0 send 3 c0de0 $to_router ip6 $a $to udp 1000 4789 vxlan $other_vni $inner"$'\n'
done

attack protocol 1 "IPv4" "$all" type 0800 hex $ipv4
attack protocol 1 "ARP" eth ff:ff:ff:ff:ff:ff "$mac_a" type 0806 hex $note bytes 40
attack protocol 1 "in a VLAN" "$all" vlan 8100 5 ip6 "$ll_a" ff02::1 ra $bad
attack protocol 1 "in no VLAN" "$all" vlan 8100 0 ip6 "$ll_a" ff02::1 ra $bad
attack protocol 1 "in a provider's VLAN" "$all" vlan 88a8 5 ip6 "$ll_a" ff02::1 ra $bad
attack protocol 1 "in two VLANs" "$all" vlan 8100 5 vlan 8100 6 ip6 "$ll_a" ff02::1 ra $bad
attack protocol 1 "spanning tree" eth 01:80:c2:00:00:00 "$mac_a" type 0026 hex 424203$note
attack protocol 1 "802.2" "$all" type 0026 hex aaaa0300000086dd$note
attack protocol 1 "PPPoE" "$all" type 8863 hex $note
attack to_host 1 "LLDP" eth 01:80:c2:00:00:0e "$mac_a" type 88cc hex $note
attack to_host 1 "to all bridges" eth 01:80:c2:00:00:0e "$mac_a" ip6 "$ll_a" ff02::1 ra $bad

legal "ping" "$all" ip6 "$ll_a" ff02::1 echo
legal "another address of its own" "$all" ip6 "${prefix}77:1" ff02::1 echo
legal "its own address" "$all" ip6 "$a" ff02::1 na "$a" 20
legal "is a free address free?" "$all" ip6 :: ff02::1 ns "${prefix}77:2"
legal "behind options" "$all" ip6 "$a" ff02::1 hop 1 opts 2 echo
legal "a large ping" "$all" ip6 "$a" ff02::1 frag 1000 echo bytes 1100
legal "in a fragment" "$all" ip6 "$a" ff02::1 frag 0 udp 1000 1001 bytes 9
legal "DHCPv6 client" "$all" ip6 "$ll_a" ff02::1 udp 546 547 hex 01000001
legal "asking for groups" "$all" ip6 "$ll_a" ff02::1 hop 1 mld
script+="/f eth0 send 3 fffff $all ip6 $ll_a ff02::1 echo"$'\n'

# ---------------------------------------------------------------- who looks
counters=()
watch_link() { # NODE INTERFACE NAME
	on "$1" "$frames" "$2" count fffff 100 > "$LAB_DIR/$3.count" &
	counters+=($!)
	wait_until 10 "the capture $3" grep -q ready "$LAB_DIR/$3.count"
}
# A line that goes into a guest's console is not long; a script comes over the network.
guest_script() { # WHO VM SCRIPT
	printf '%s' "$3" > "$LAB_DIR/w/www/script"
	guest "$1" "$2" "[ -x /f ] || wget -q -O /f http://[$world]/frames && chmod 755 /f && wget -q -O /s http://[$world]/script && sh /s"
}
metric() { lab metric "$1/network" "ucloud_network_dropped_total{reason=\"$2\"}"; }
# The daemon looks at its counters when an interface changes.
look() {
	on "$1" ip link add uclook type veth peer name uclook2
	on "$1" ip link del uclook
}
dropped_is() { # NODE REASON N
	[ "$(metric "$1" "$2")" = "$3" ] && return
	look "$1"
	return 1
}
# Addresses and routes, without what counts down.
state_of() { # VM
	guest alice "$1" "ip -6 addr; ip -6 route" | grep -vE 'valid_lft|^[0-9]*:' | sed 's/ expires [^ ]*//' | sort
}
neighbour_is() { # VM ADDRESS MAC
	guest alice "$1" "ping -c 1 -w 5 $2 > /dev/null; ip -6 neigh show dev eth0" |
		awk -v a="$2" -v m="$3" '$1 == a && index($0, m) { found = 1 } END { exit !found }'
}
all_is_well() {
	neighbour_is v "$gateway" "$mac_router" || fail "$1: v's router"
	neighbour_is v "$far" "$mac_far" || fail "$1: v's neighbour"
	neighbour_is far "$v" "$mac_v" || fail "$1: far's neighbour"
	guest_pings alice v "$world" || fail "$1: v does not reach the world"
	guest_pings alice a "$v" || fail "$1: a does not reach v"
}

say "before"
all_is_well before
state_v=$(state_of v) state_far=$(state_of far)
state_host=$(on h1 ip -6 -o addr; on h1 ip -6 route)
for reason in mac source taken router neighbour hidden dhcp vxlan protocol no_port; do
	look h1
	dropped_is h1 $reason 0 || fail "what guests do by themselves is dropped: $reason $(metric h1 $reason)"
done

say "$n_attacks attacks"
watch_link h1 "$(tap alice v)" v
watch_link h2 "$(tap alice far)" far
watch_link r1 "ucv$vni" router
on h2 "$frames" "$(tap bob else)" count fffff 100 > "$LAB_DIR/else.count" &
else_pid=$!
wait_until 10 "the capture else" grep -q ready "$LAB_DIR/else.count"
out=$(guest_script alice a "$script") || fail "the attacker's program: $out"
[ -z "$out" ] || fail "the attacker's program: $out"
for pid in "${counters[@]}"; do wait "$pid" || fail "a capture did not see the end"; done
# bob's network hears nothing of it; its own last frame comes behind all.
on r1 "$frames" "ucb$other_vni" send 1 fffff eth 33:33:00:00:00:01 "$(on r1 cat "/sys/class/net/ucb$other_vni/address")" \
	ip6 fe80::1 ff02::1 echo
wait $else_pid || fail "the capture in bob's network"

say "none of them arrives anywhere; what is allowed does"
for at in v far router else; do
	while read -r label n; do
		case $label in
		bad*) fail "at $at: $n frames of \"${name_of[$label]}\"" ;;
		other) fail "at $at: $n frames that are no IPv6" ;;
		esac
	done < "$LAB_DIR/$at.count"
done
for ((i = 0; i < n_legal; i++)); do
	printf -v label '60d%02x' $i
	for at in v far router; do
		n=$(awk -v l="$label" '$1 == l { print $2 }' "$LAB_DIR/$at.count")
		[ "${n:-0}" -ge 3 ] || fail "at $at: ${n:-no} frames of \"${name_of[$label]}\""
	done
done

say "each is counted"
for reason in "${!expected[@]}"; do
	[ "$reason" != to_host ] || continue
	wait_until 20 "h1 counts ${expected[$reason]} of $reason" dropped_is h1 "$reason" "${expected[$reason]}"
done
wait_until 20 "r1 counts VXLAN frames to itself" dropped_is r1 vxlan 9

say "nobody's addresses, routes, and neighbours are others"
[ "$(state_of v)" = "$state_v" ] || fail "v was:"$'\n'"$state_v"$'\n'"and is:"$'\n'"$(state_of v)"
[ "$(state_of far)" = "$state_far" ] || fail "far was:"$'\n'"$state_far"$'\n'"and is:"$'\n'"$(state_of far)"
[ "$(on h1 ip -6 -o addr; on h1 ip -6 route)" = "$state_host" ] || fail "the host has other addresses or routes"
all_is_well after

say "the host is out of reach"
ip netns exec "$(lab node h1)" busybox httpd -f -p "[::]:8088" -h "$LAB_DIR/w/www" &
httpd_pid=$!
hosts=$(on h1 ip -6 -o addr | sed -n 's/.*inet6 \([^ /]*\).*/\1/p' | grep -v '^::1$')
script='ping -c 3 -w 4 -I eth0 ff02::1'$'\n'
for address in $hosts; do
	script+="ping -c 1 -w 3 -I eth0 $address > /dev/null && echo pings $address &"$'\n'
	[[ $address != fe80:* ]] || address+=%eth0
	script+="echo | nc -w 3 $address 8088 > /dev/null && echo connects to $address &"$'\n'
done
out=$(guest_script alice a "$script wait") || true
kill $httpd_pid 2> /dev/null
grep -q "from $ll_router" <<< "$out" || fail "not even the router answers: $out"
! grep -E 'pings|connects' <<< "$out" || fail "the guest reaches the host: $out"
for address in $hosts; do
	! grep -qF "from $address:" <<< "$out" || fail "the host answers from $address"
done

say "from the world: no VXLAN to a router"
watch_link h1 "$(tap alice v)" v2
on w "$frames" eth0 send 3 c0de1 eth "$(on r1 cat /sys/class/net/eth1/address)" "$(on w cat /sys/class/net/eth0/address)" \
	ip6 "$world" 2001:db8:ffff::f:1 udp 1000 4789 vxlan "$vni" eth 33:33:00:00:00:01 "$mac_a" label bad98 ip6 "$ll_a" ff02::1 echo
wait_until 20 "r1 counts it" dropped_is r1 vxlan 12
guest_script alice a "/f eth0 send 1 fffff $all ip6 $ll_a ff02::1 echo" > /dev/null || fail "the last frame"
wait "${counters[3]}" || fail "the capture"
! grep bad "$LAB_DIR/v2.count" || fail "it came through"

say "in a network of the kind none only the MAC counts"
guest alice v "ip link set eth1 up" || fail "v's second interface"
guest alice a "ip link set eth1 up" || fail "a's second interface"
on h1 "$frames" "$(tap alice v 1)" count fffff 60 > "$LAB_DIR/wild.count" &
pid=$!
wait_until 10 "the capture wild" grep -q ready "$LAB_DIR/wild.count"
mac_wild=$(mac alice a 1) all="eth 33:33:00:00:00:01 $mac_wild" ll_wild=$(link_local "$mac_wild")
guest_script alice a "/f eth1 send 3 bad01 eth 33:33:00:00:00:01 $mac_v ip6 $ll_wild ff02::1 echo
/f eth1 send 3 60d01 $all ip6 $ll_wild ff02::1 ra 2001:db8:600d::
/f eth1 send 3 60d02 $all ip6 $ll_wild ff02::1 udp 547 546 hex 02000001
/f eth1 send 3 60d03 $all ip6 $ll_v ff02::1 frag 8 opts 1 na $ll_v 20
/f eth1 send 3 60d04 $all type 0800 hex $ipv4
/f eth1 send 3 60d04 $all vlan 8100 5 type 0806 hex $note bytes 40
/f eth1 send 1 fffff $all ip6 $ll_wild ff02::1 echo" > /dev/null || fail "the program"
wait $pid || fail "the capture"
for want in "60d01 3" "60d02 3" "60d03 6" "other 6"; do
	grep -qx "$want" "$LAB_DIR/wild.count" || fail "not \"$want\": $(cat "$LAB_DIR/wild.count")"
done
! grep bad "$LAB_DIR/wild.count" || fail "another's MAC came through"
wait_until 20 "that is counted" dropped_is h1 mac $((expected[mac] + 3))
has_believed() { guest alice v "ip -6 addr show dev eth1" | grep -q 2001:db8:600d:; }
wait_until 20 "v believes the advertisement there" has_believed
echo passed
