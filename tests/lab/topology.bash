# Namespaces and wires of the lab; sourced by tests/lab/lab.
#
#	the underlay, fd00:10::/64, is a bridge in a namespace of its own ("ul"), and so is the
#	wire between routers and world ("wan", 2001:db8:ffff::/64): nothing is in the machine's own
#
# shellcheck shell=bash disable=SC2154

numbered() { # LETTER N: a1 .. aN
	local i
	for ((i = 1; i <= $2; i++)); do echo "$1$i"; done
}
nodes() {
	numbered c "$n_controls"
	numbered s "$n_storages"
	numbered h "$n_hosts"
	numbered r "$n_routers"
	[ "$n_routers" = 0 ] || echo w
}
netns_of() { echo "uclab-$1-$id"; } # NODE, ul or wan
node_exists() { [ -e "/run/netns/$(netns_of "$1")" ]; }

# On the underlay; of the world, on the wan.
address_of() { # NODE
	case $1 in
	c*) echo "fd00:10::c:${1#c}" ;;
	s*) echo "fd00:10::5:${1#s}" ;;
	h*) echo "fd00:10::b:${1#h}" ;;
	r*) echo "fd00:10::f:${1#r}" ;;
	w) echo 2001:db8:ffff::1 ;;
	esac
}
wan_address_of() { echo "2001:db8:ffff::f:${1#r}"; } # ROUTER

# A command on a node: its network, its host name, its own disks in the store's directory, and
# groups for its services (libvirt wants to know those of its clients by name).
# shellcheck disable=SC2016
enter='
hostname "$1"
[ -z "$2" ] || mount --bind "$2/vms" "$3/store/vms"
mount --bind "$3/group" /etc/group
shift 3
exec "$@"
'
node_command() { # NODE: sets $entering
	local own=
	[[ $1 != h* ]] || own=$lab/$1
	entering=(unshare --mount --uts --propagation private bash -c "$enter" lab "$1" "$own" "$lab")
}
in_node() { # NODE COMMAND...
	local entering
	node_command "$1"
	NETNS=$(netns_of "$1") inside "${entering[@]}" "${@:2}"
}
spawn_in_node() { # NODE SERVICE COMMAND...
	local entering
	node_command "$1"
	NETNS=$(netns_of "$1") spawn "$1.$2" "${entering[@]}" "${@:3}"
}

make_ns() { # NAME
	local ns
	ns=$(netns_of "$1")
	ip netns add "$ns"
	ip -n "$ns" link set lo up
	ip -n "$ns" -4 addr flush dev lo
}
switch_up() { # ul or wan
	local ns
	make_ns "$1"
	ns=$(netns_of "$1")
	# It has no addresses itself.
	ip netns exec "$ns" sysctl -qw net.ipv6.conf.default.disable_ipv6=1
	ip -n "$ns" link add switch type bridge mcast_snooping 0 stp_state 0
	ip -n "$ns" link set switch mtu 1500 up
}
wire() { # NODE INTERFACE SWITCH ADDRESS/BITS
	local ns
	ns=$(netns_of "$1")
	ip link add "$2" netns "$ns" type veth peer name "$1" netns "$(netns_of "$3")"
	ip -n "$(netns_of "$3")" link set "$1" master switch up
	ip -n "$ns" link set "$2" mtu 1500 up
	ip -n "$ns" addr add "$4" dev "$2" nodad
}

node_up() { # NODE
	make_ns "$1"
	ip netns exec "$(netns_of "$1")" sysctl -qw net.ipv6.conf.default.accept_dad=0 \
		net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_ra=0
	mkdir -p "$lab/$1/vms"
	case $1 in
	w) wire w eth0 wan "$(address_of w)/64" ;;
	*) wire "$1" eth0 ul "$(address_of "$1")/64" ;;
	esac
	[[ $1 != r* ]] || wire "$1" eth1 wan "$(wan_address_of "$1")/64"
}

# Everything in it dies at once.
ns_down() { # NAMESPACE
	local pids n=0
	while pids=$(ip netns pids "$1" 2> /dev/null) && [ -n "$pids" ] && [ $n -lt 100 ]; do
		# shellcheck disable=SC2086
		kill -KILL $pids 2> /dev/null || true
		n=$((n + 1))
		sleep 0.05
	done
	ip netns del "$1"
}
node_down() {
	node_exists "$1" || return 0
	ns_down "$(netns_of "$1")"
	rm -f "$run/$1."*.pid
	# Their other ends went with the wires.
}

topology_up() {
	local node
	switch_up ul
	[ "$n_routers" = 0 ] || switch_up wan
	for node in $(nodes); do node_up "$node"; done
}
topology_down() {
	local ns
	for ns in $(ip netns list 2> /dev/null | awk -v id="$id" '$1 ~ "^uclab-[a-z0-9]+-" id "$" { print $1 }'); do
		ns_down "$ns"
	done
}

# ---------------------------------------------------------------- cutting off
# From all: its port of the switch is down. Else packets to the addresses are dropped as they
# leave: of the whole node, or of a service, whose group says which packets are its (skgid).
cut_is_there() {
	node_exists "$1" || return 1
	ip -n "$(netns_of ul)" link show "$1" 2> /dev/null | grep -q 'state DOWN' ||
		ip netns exec "$(netns_of "$1")" nft list table inet lab 2> /dev/null | grep -q drop
}
cut_off() { # NODE SERVICE WHAT
	local ns whose='' to='' n
	ns=$(netns_of "$1")
	[ -z "$2" ] || whose="meta skgid $(service_group "$2")"
	case $3 in
	etcd) to="tcp dport { 2379, 2380 }" ;;
	storage)
		for n in $(numbered s "$n_storages"); do to+="${to:+, }$(address_of "$n")"; done
		[ -n "$to" ] || die "this lab has no storage: CEPH=1 tests/lab/lab up"
		to="ip6 daddr { $to }"
		;;
	all) ;;
	*) die "cut off from etcd, storage or all, not from $3" ;;
	esac
	if [ -z "$whose$to" ]; then
		ip -n "$(netns_of ul)" link set "$1" down
		return
	fi
	ip netns exec "$ns" nft -f - <<-N
		add table inet lab
		add chain inet lab out { type filter hook output priority -10; }
		add rule inet lab out oifname != "lo" $whose $to counter drop
	N
	[ "$3$2" != etcd ] || [[ $1 != c* ]] || ip netns exec "$ns" nft -f - <<-N
		add chain inet lab in { type filter hook input priority -10; }
		add rule inet lab in iifname != "lo" tcp dport { 2379, 2380 } counter drop
	N
}
# All of the node's cuts, or (a service's are not kept apart) of all its services.
reconnect() { # NODE
	ip -n "$(netns_of ul)" link set "$1" up 2> /dev/null || true
	ip netns exec "$(netns_of "$1")" nft delete table inet lab 2> /dev/null || true
}
