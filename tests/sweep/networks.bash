# The crash sweep's networks; sourced. The cloud is one machine that is host and router, on a
# veth; there is another machine, of which only its address is known; BIRD listens, if there
# is one. as_router() makes it three machines.
# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # order() evaluates its first argument

# shellcheck source=../e2e/networks.bash
. tests/e2e/networks.bash

bird_dir=$DEMO_DIR/bird
common_options=(--linger 0 --quarantine 1s --resync 5s --flood unicast)
bird_options=(--bird_include "$bird_dir/routes.conf")
command -v bird > /dev/null && bird_options+=(--bird_socket "$bird_dir/ctl")
# Those that the demo has not got.
net_options=("${common_options[@]}" --lease_ttl 2 "${bird_options[@]}")

start_bird() {
	mkdir -p "$bird_dir"
	command -v bird > /dev/null || return 0
	cat > "$bird_dir/bird.conf" <<-X
		router id 192.0.2.1;
		protocol device {}
		include "$bird_dir/routes.con[f]";
	X
	bird -f -c "$bird_dir/bird.conf" -s "$bird_dir/ctl" > "$bird_dir/bird.log" 2>&1 &
	background+=($!)
}
bird_knows_all() {
	local route
	command -v birdc > /dev/null || return 0
	while read -r route; do
		birdc -s "$bird_dir/ctl" show route | grep -q "^$route " || return 1
	done < <(sed -n 's/^.*route \(.*\) unreachable;/\1/p' "$bird_dir/routes.conf")
	[ -s "$bird_dir/routes.conf" ]
}
bird_left() {
	find "$bird_dir" -name 'routes.conf.*'
	bird_knows_all || echo "bird does not know all routes"
}

background=()
clean_up() {
	[ ${#background[@]} != 0 ] || return 0
	kill -KILL "${background[@]}" 2> /dev/null
	wait "${background[@]}" 2> /dev/null
}

# ---------------------------------------------------------------- what is done meanwhile
far_machine() { # ADDRESS
	etcdctl3 put /v1/underlay/far '{"address": "'"$1"'", "interface": "eth0", "mtu": 1500}' > /dev/null
}
# Its interface is where it should be, and may send what it should.
check_nic() { # NETWORK
	local tap
	tap=$(tap_in "$1")
	wait_until 30 "$tap is in the bridge of $1" link_is "$tap" "master ucb$(vni "$1") "
	wait_until 30 "the filters have $tap" filters_have "\"$tap\""
	wait_until 30 "the VM is closed" closed_have "$(mac_in "$1")"
	wait_until 30 "ucv$(vni "$1") floods" floods_to "$1"
}
floods_to() { bridge fdb show dev "ucv$(vni "$1")" | grep -q "dst $far "; }

# Networks of all kinds, and a VM that moves among them.
net_life() {
	local n
	far=fd00:10::2
	far_machine $far
	order 'net_json a' user network create --name a --ipam auto
	order 'net_json m' user network create --name m --ipam manual
	order 'net_json n' user network create --name n --ipam none
	for n in a m n; do wait_until 30 "$n is made" net_is $n ACTIVE; done
	order 'is_there life' user vm create --name life --image demo-guest --ram 64MiB \
		--network a,rate=100Mbit --network m --ingress tcp/22,icmpv6
	check_routed a auto
	check_routed m manual
	reached life RUNNING
	check_nic a
	check_nic m
	order 'mac_in n' user network attach life n
	change_is_done
	check_nic n
	order '! status_is life RUNNING' user vm stop life --force
	reached life STOPPED
	far=fd00:10::3
	far_machine $far
	order '! mac_in m' user network detach life "$(mac_in m)"
	order '! net_json m || net_is m REQUESTED_DELETE' user network delete m
	order '! status_is life STOPPED' user vm start life
	reached life RUNNING
	check_nic n
	check_nic a
	order '! mac_in n' user network detach life "$(mac_in n)"
	change_is_done
	order '! is_there life' user vm delete life
	wait_until 60 "the VM is gone" no_vms
	for n in a n; do
		order "! net_json $n || net_is $n REQUESTED_DELETE" user network delete $n
	done
	wait_until 30 "the networks are gone" no_keys /v1/network/
	wait_until 20 "no request is left" no_requests
}
no_keys() { [ "$(n_keys "$1")" = 0 ]; }

# ---------------------------------------------------------------- several routers
pool() { sed -n 's/^prefix *= *//p' "$DEMO_DIR/conf/ucloud-network.conf"; }
# One that reaches etcd here, in a network namespace of its own.
new_machine() { # NAME NUMBER
	local pid
	unshare --net sleep 86400 &
	pid=$!
	background+=("$pid")
	machines[$1]=$pid
	wait_until 10 "machine $1" is_machine $pid
	ip link add "$1" type veth peer name eth0 netns $pid || fail "an interface for machine $1"
	ip addr add "fd00:1$2::1/64" dev "$1" nodad
	ip link set "$1" up
	at "$1" ip link set lo up
	at "$1" ip addr add "fd00:1$2::2/64" dev eth0 nodad
	at "$1" ip link set eth0 up
}
is_machine() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }

set_up() { # OPTION...: the cloud's ucloud-network, anew
	"${within[@]}" "$B/ucloud-network/ucloud-network" setup --force --path "$DEMO_DIR/conf" \
		--run_dir "$DEMO_DIR/network" --prefix "$(pool)" --lease_ttl 2 \
		--metrics_listen "[::1]:$(cat "$DEMO_DIR/run/ucloud-network-metrics.port")" \
		"${common_options[@]}" "${bird_options[@]}" "$@" > /dev/null || fail "set ucloud-network up"
}

# Meanwhile the cloud's ucloud-network is a router alone, on a machine "first"; a machine
# "second" is there; and another ucloud-network is this machine's, which is a host.
as_router() { # COMMAND...
	local pid gate
	gate=$(free_port)
	# It takes no addresses in brackets; this /etc/hosts is our own.
	echo "::1 here" > "$DEMO_DIR/hosts"
	mount --bind "$DEMO_DIR/hosts" /etc/hosts || fail "mount a hosts file"
	etcd gateway start --endpoints="here:$(cat "$DEMO_DIR/run/etcd.port")" \
		--listen-addr="[::]:$gate" > "$DEMO_DIR/log/gateway.log" 2>&1 &
	background+=($!)
	cloud stop ucloud-network
	another host-role ucloud-network --underlay $underlay "${common_options[@]}" \
		--hostname demo-host --role host
	pid=${others[0]} others=()
	background+=("$pid")
	new_machine first 1
	new_machine second 2
	routers=([first]=$DEMO_DIR/network [second]=$DEMO_DIR/second/run)
	within=(nsenter -t "${machines[first]}" -n) other_machine=(nsenter -t "${machines[second]}" -n)
	set_up --underlay eth0 --etcd_url "http://[fd00:11::1]:$gate" --hostname first --role router
	etcd_options=(--etcd_url "http://[fd00:12::1]:$gate")
	cloud start ucloud-network
	"$@"
	cloud stop ucloud-network
	kill "$pid"
	wait "$pid"
	umount /etc/hosts
	routers=([here]=$DEMO_DIR/network) machines=() within=() other_machine=() etcd_options=()
	set_up --underlay $underlay --etcd_url "$(etcd_url)" --hostname demo-host --role host,router
	cloud start ucloud-network
}
