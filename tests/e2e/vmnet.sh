#!/usr/bin/env bash
# A VM on a network: it is not started before its network is there, and finds it when it boots;
# it gets another interface and loses it again, while it runs and while it is stopped. The test
# plays the router.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

need_underlay

cloud up services || fail "the cloud did not come up"
start_network() {
	another "$1" ucloud-network --hostname demo-host --role host \
		--underlay underlay --linger 1s
}
log_has() { user vm log "$1" | grep -q -- "$2"; }

# make_network NAME VXLAN-ID: orders it, and makes it as the router would; $uuid.
make_network() {
	local key entry
	uuid=$(user network create --name "$1" --ipam auto --json | jq -r .uuid) || fail "network create"
	key=/v1/network/$uuid
	entry=$(etcdctl3 get --print-value-only "$key" | jq -c --argjson id "$2" \
		'.status = "ACTIVE" | .vni = $id | .mtu = 1430 | .prefix = "2001:db8:\($id)::/64"')
	etcdctl3 put "$key" "$entry" > /dev/null
	etcdctl3 del --prefix /v1/request/network/ > /dev/null
}
tap_of() { echo "uct${1//:/}"; }
is_in_bridge() { ip -o link show master "$1" | grep -q "$2"; }
has_port() { etcdctl3 get "/v1/port/$1/$2" --keys-only | grep -q .; }
has_no() { ! [ -e "$1" ]; }
last_nics() { # TEXT: the guest's last word about its interfaces
	user vm console-log web | tr -d '\r' | grep 'GUEST .* nics' | tail -n 1 | grep -q -- "nics $1\$"
}
sees() { wait_until 120 "the guest sees $1" last_nics "$1"; }
metrics_url=
n_filters_is() {
	metrics_url=${metrics_url:-http://$(sed -n 's/^metrics_listen *= *//p' "$DEMO_DIR/net/ucloud-network.conf")/metrics}
	curl -s -g --noproxy '*' -m 10 "$metrics_url" | grep -q "^ucloud_network_ports $1\$"
}
have_passed() { [ "$(cat "/sys/class/net/$1/statistics/tx_packets")" -gt 0 ]; }

say "a network"
make_network lan 1

say "a VM does not start before its network is there"
user vm create --name web --image demo-guest --cpu 1 --ram 128MiB --network lan || fail create
wait_until 30 "its log says why" log_has web 'network lan is not ready on this host: is ucloud-network running there'
[ -z "$(vsh list --all --uuid)" ] || fail "it has a domain already"
start_network net
wait_status web RUNNING
[ "$(cat /sys/class/net/ucb1/ifalias)" = "$uuid" ] || fail "the bridge is not that network's"
mac=$(vm_field web 'networks[0].mac')
tap=$(tap_of "$mac")
is_in_bridge ucb1 "$tap" || fail "its interface is not in the network's bridge"
[ "$(cat "/sys/class/net/$tap/mtu")" = 1430 ] || fail "its MTU is wrong"

say "the guest"
wait_console web 'GUEST .* hostname web'
wait_console web "GUEST .* eth0 mac $mac"
wait_console web 'GUEST .* ready'
has_sent() { [ "$(cat "/sys/class/net/$tap/statistics/rx_packets")" -gt 0 ]; }
wait_until 20 "it sends frames" has_sent

sees "eth0=$mac"

say "another interface while it runs"
make_network back 2
user network attach web back --wait || fail attach
second=$(vm_field web 'networks[1].mac')
is_in_bridge ucb2 "$(tap_of "$second")" || fail "the interface is not in its network's bridge"
has_port "$uuid" "$second" || fail "it has no port"
sees "eth0=$mac eth1=$second"
n_filters_is 2 || fail "it has no filter"
wait_until 20 "what it sends passes" have_passed ucv2
user network delete back 2> /dev/null && fail "a network in use was deleted"

say "and one less"
user network detach web "$second" --wait || fail detach
[ "$(vm_field web 'networks | length')" = 1 ] || fail "it is in the entry still"
has_port "$uuid" "$second" && fail "its port is left"
has_no "/sys/class/net/$(tap_of "$second")" || fail "its tap is left"
sees "eth0=$mac"
wait_until 10 "its filter goes" n_filters_is 1
wait_until 20 "nobody needs its bridge" has_no /sys/class/net/ucb2
status_is web RUNNING || fail "it does not run any more"

say "stopped and started"
user vm stop web --wait || fail stop
has_no "/sys/class/net/$tap" || fail "its interface is left"
user network attach web back || fail "attach while it is stopped"
user network attach web back --wait || fail "attach while it is stopped"
third=$(vm_field web 'networks[2].mac')
user network detach web "$third" || fail "detach while it is stopped"
has_port "$uuid" "$third" && fail "its port is left"
no_requests || fail "a request is open"
user vm start web --wait || fail start
[ -e "/sys/class/net/$tap" ] || fail "it has no interface"
is_in_bridge ucb2 "$(tap_of "$second")" || fail "it has not got the other one"
sees "eth0=$mac eth1=$second"
user vm delete web --wait || fail delete
has_port "$uuid" "$second" && fail "a port is left"
check_invariants
echo passed
