# What tests of networks share; sourced after lib.bash. The cloud (DEMO_NET=1) is one machine
# that is host and router, on a veth; $vm is the VM that is looked at.
# shellcheck shell=bash disable=SC2034,SC2154

underlay=underlay
for tool in ip nft radvd; do
	command -v $tool > /dev/null || skip "$tool is not installed"
done
need_underlay
export DEMO_NET=1 DEMO_UNDERLAY=$underlay
vm=life

# ---------------------------------------------------------------- what is there
net_json() { user network show "$1" --json; }
net_field() { net_json "$1" | jq -r ".$2 // empty"; }
net_is() { [ "$(net_field "$1" status)" = "$2" ]; }
vni() { net_field "$1" vni; }
mac_in() { # NETWORK: of $vm's interface there
	local uuid
	uuid=$(net_field "$1" uuid) && [ -n "$uuid" ] || return 1
	user vm show "$vm" --json | jq -er --arg n "$uuid" '.networks[] | select(.network == $n).mac'
}
tap_in() {
	local mac
	mac=$(mac_in "$1") && echo "uct${mac//:/}"
}
link_is() { ip -o link show "$1" 2> /dev/null | grep -q -- "$2"; } # NAME WHAT
filters_have() { nft list table bridge ucloud | grep -q -- "$1"; }
closed_have() { nft list table ip6 ucloud | grep -q -- "$1"; }

# Machines that route, and where they keep radvd's files.
declare -A routers=([here]=$DEMO_DIR/network) machines=()
at() { # MACHINE COMMAND...
	local machine=$1
	shift
	if [ "$machine" = here ]; then "$@"; else nsenter -t "${machines[$machine]}" -n "$@"; fi
}
radvd_runs() { kill -0 "$(cat "${routers[$1]}/radvd.pid")"; } 2> /dev/null # MACHINE
conf_of() { at "$1" cat "/proc/sys/net/ipv6/conf/$2/$3"; } # MACHINE INTERFACE WHAT

# What a router does in a network of that kind.
routes() { # MACHINE NETWORK IPAM
	local prefix bridge
	bridge=ucb$(vni "$2")
	prefix=$(net_field "$2" prefix)
	at "$1" ip -6 addr show dev "$bridge" | grep -q " ${prefix%/64}1/64 " || return 1
	[ "$(conf_of "$1" "$bridge" forwarding)$(conf_of "$1" "$bridge" accept_ra)" = 10 ] || return 1
	[ "$3" = manual ] || { radvd_runs "$1" && grep -q "^interface $bridge\$" "${routers[$1]}/radvd.conf"; }
}
some_router() { # COMMAND...: with a machine as its first argument
	local machine
	for machine in "${!routers[@]}"; do ! "$1" "$machine" "${@:2}" || return 0; done
	return 1
}
check_routed() { wait_until 30 "$1 is routed" some_router routes "$@"; } # NETWORK IPAM

# ---------------------------------------------------------------- what must be gone
# Prints what is left of networks when there are none any more.
left_on() { # MACHINE
	at "$1" ip -o link | awk -F '[ :@]+' '$2 ~ /^uc[bvt]/ { print $2 }'
	at "$1" nft list ruleset | grep -E 'uct[0-9a-f]{12}|ucb[0-9]|02(:[0-9a-f]{2}){5}'
	at "$1" nft list table ip6 ucloud 2> /dev/null | grep 'chain ' | grep -v ' machine '
	[ -n "${routers[$1]:-}" ] || return 0
	! radvd_runs "$1" || echo "radvd of $1"
	find "${routers[$1]}" -name 'radvd.conf*' 2> /dev/null
}
# What a test adds to it.
bird_left() { :; }
networks_left() {
	local key machine
	for machine in here "${!machines[@]}"; do left_on "$machine"; done
	for key in vni/ prefix/ network port/ request/network/; do
		etcdctl3 get --prefix "/v1/$key" --keys-only
	done
	bird_left
	etcdctl3 get /v1/user/demo/user --print-value-only | jq -r 'select(.use.networks > 0).use'
}
has_no_networks() { left=$(networks_left) && [ -z "$left" ]; }
check_no_networks() {
	local left end=$((SECONDS + 40))
	until has_no_networks; do
		[ $SECONDS -lt $end ] || fail "left of networks: $left"
		sleep 0.1
	done
}
