# For the tests in the lab that look at what VMs send: captures, VMs that start beside each other,
# what is left of a cloud; sourced after lib.bash.
# shellcheck shell=bash
command -v tcpdump > /dev/null || skip "tcpdump is not installed"

# ---------------------------------------------------------------- captures
# All frames on an interface, in both directions, from now until `captured` asks for them. A
# capture has a name. tcpdump, and not the counters of interfaces or filters: it sees what they do
# not know to look for, and a failure can be read.
capture() { # NAME NODE INTERFACE
	local out=$LAB_DIR/$1.pcap
	# Not through `on`: $! is tcpdump itself.
	ip netns exec "$(lab node "$2")" tcpdump -Z root -n -s 256 -B 8192 --immediate-mode -U -w "$out" -i "$3" \
		2> "$out.log" &
	echo $! > "$out.pid"
	wait_until 60 "tcpdump listens on $3 of $2" grep -q 'listening on' "$out.log"
}
capture_end() { # NAME
	local out=$LAB_DIR/$1.pcap
	[ -e "$out.pid" ] || return 0
	kill -TERM "$(cat "$out.pid")" 2> /dev/null
	# Perhaps from a subshell, whose child it is not.
	wait_until 30 "the end of the capture $1" grep -q 'dropped by kernel' "$out.log"
	rm "$out.pid"
	grep -q '^0 packets dropped by kernel' "$out.log" || fail "the capture $1 is not whole: $(cat "$out.log")"
}
# What was seen so far.
frames() { tcpdump -r "$LAB_DIR/$1.pcap" -n -e "${@:2}" 2> /dev/null; } # NAME [OPTION...] FILTER
n_frames() { frames "$@" | grep -c . || true; }
# How many frames match, of all.
captured() { # NAME FILTER
	capture_end "$1"
	n_frames "$1" "$2"
}
# shellcheck disable=SC2034
is_ra='icmp6 and ip6[40] == 134'

# ---------------------------------------------------------------- VMs
# Like vm_on, and beside what comes next, until wait_vms.
starting=()
start_on() {
	vm_on "$@" &
	starting+=($!)
}
wait_vms() {
	local pid
	for pid in "${starting[@]}"; do wait "$pid" || exit 1; done
	starting=()
}
bridge() { echo "ucb$(net_field "$1" "$2" vni)"; } # WHO NETWORK
link_mac() { on "$1" cat "/sys/class/net/$2/address"; } # NODE INTERFACE

# ---------------------------------------------------------------- leaks
# All that networks and VMs make, wherever that is: the same before and after.
traces() {
	local node
	for node in h1 h2 r1; do
		on $node ip -o link | awk -v n=$node '{ print n, $2 }' | sed 's/@.*//'
		# A router forwards from its first network on, and so has anycast addresses.
		on $node ip -6 route show table all | grep -v '^anycast ' | sed "s/^/$node /"
		on $node nft list ruleset | sed "s/packets [0-9]* bytes [0-9]*//; s/^/$node /"
		(cd "$LAB_DIR/$node" && find run -type f 2> /dev/null | sort | sed "s/^/$node /")
	done
	cat "$LAB_DIR"/r1/run/radvd.conf 2> /dev/null
	on h1 bridge fdb
	etcdctl3 get --prefix /v1/ --keys-only | grep -vE '^(/v1/(session|idempotency|user)/.*)?$'
	etcdctl3 get --prefix /v1/user/ --print-value-only | jq -c '.use // {} | with_entries(select(.value != 0)) | select(. != {})'
}
nothing_left() { [ "$(traces)" = "$1" ]; } # TRACES
wait_nothing_left() { # TRACES
	local end=$((SECONDS + 30))
	until nothing_left "$1"; do
		[ $SECONDS -lt $end ] || fail "it is not as before: $(diff <(echo "$1") <(traces))"
		sleep 0.5
	done
}
