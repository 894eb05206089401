# The network of the demo's cloud; sourced by scripts/demo, after process.bash.
#
# By itself ("own") the cloud is one machine that is host and router at once, in a network
# namespace $NETNS; a veth joins it to the real machine, which has a route to the VMs:
#
#	the machine                  | namespace ucloud-demo
#	ucdemo0 <site>:0::2/64 ------|--- ucdemo1 <site>:0::1/64, forwards --- ucb100 --- VM
#	<site>:100::/56 via ucdemo0  |    <site>:100:: ... are the networks' prefixes
#
# <site> is fd and 40 random bits, chosen once. Nothing else of the machine is touched.
# What it makes is found again by its name, and the machine's end of the veth has the demo's
# directory as its alias: so whatever is left of a demo that died can be taken down.
#
# shellcheck shell=bash disable=SC2154
veth=ucdemo0 veth_inside=ucdemo1

site() {
	local f=$run/site
	[ -s "$f" ] || od -An -N5 -tx1 /dev/urandom |
		awk '{ printf "fd%s:%s%s:%s%s\n", $1, $2, $3, $4, $5 }' > "$f"
	cat "$f"
}
vm_pool() { echo "$(site):100::/56"; }

ns_exists() { [ -e "/run/netns/$NETNS" ]; }
link_exists() { ip link show dev "$1" > /dev/null 2>&1; }

# Somebody else's demo has said so; what was only half made says nothing.
refuse_others() {
	local owner
	owner=$(ip -j link show dev "$veth" 2> /dev/null | jq -r '.[0].ifalias // ""')
	[ -z "$owner" ] || [ "$owner" = "$demo" ] ||
		die "another demo runs on this machine, in $owner: scripts/demo down there first"
}

# What is tried says why it did not work.
try() { # WHAT COMMAND...
	local what=$1 out
	shift
	out=$("$@" 2>&1) || die "$what: $out (with DEMO_NET=none there are no networks)"
}

net_up() {
	[ -d /proc/sys/net/ipv6 ] || die "this machine has no IPv6 (was it booted with ipv6.disable=1?)"
	refuse_others
	ns_exists || try "this machine makes no network namespaces" ip netns add "$NETNS"
	try "loopback in the namespace" inside ip link set lo up
	try "loopback in the namespace" inside ip -4 address flush dev lo
	link_exists "$veth" || try "this machine makes no veth interfaces" \
		ip link add "$veth" type veth peer name "$veth_inside" netns "$NETNS"
	try "$veth" ip link set "$veth" alias "$demo"
	inside ip link show dev "$underlay" > /dev/null 2>&1 || try "the underlay" \
		inside ip link add "$underlay" type veth peer name wire
	echo 0 > "/proc/sys/net/ipv6/conf/$veth/disable_ipv6"
	# shellcheck disable=SC2016 # for the inner shell
	inside sh -c 'for i; do echo 0 > "/proc/sys/net/ipv6/conf/$i/disable_ipv6"; done' sh \
		lo "$veth_inside" "$underlay"
	try "$veth" ip link set "$veth" up
	try "$veth_inside" inside ip link set "$veth_inside" up
	try "the underlay" inside ip link set "$underlay" up
	try "the underlay" inside ip link set wire up
	try "an address" ip address replace "$(site)::2/64" dev "$veth" nodad
	try "an address" inside ip address replace "$(site)::1/64" dev "$veth_inside" nodad
	try "an address" inside ip address replace "$(site):ff::1/64" dev "$underlay" nodad
	try "the route to the VMs" ip -6 route replace "$(vm_pool)" via "$(site)::1" dev "$veth"
}

# All that is in the namespace is ours: what is left ends. The routes go with the veth.
net_down() {
	local pids n=0
	refuse_others
	if ns_exists; then
		while pids=$(ip netns pids "$NETNS" 2> /dev/null) && [ -n "$pids" ] && [ $n -lt 100 ]; do
			# shellcheck disable=SC2086 # several
			kill -KILL $pids 2> /dev/null || true
			n=$((n + 1))
			sleep 0.1
		done
		ip netns delete "$NETNS"
	fi
	# A namespace takes its interfaces along, in its own time.
	! link_exists "$veth" || ip link delete "$veth" 2> /dev/null || true
}
