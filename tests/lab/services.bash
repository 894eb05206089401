# What runs on the lab's nodes, and how it is set up; sourced by tests/lab/lab.
# shellcheck shell=bash disable=SC2154

services_of() { # NODE
	case $1 in
	c1) echo etcd otp api scheduler filescan image ;;
	c*) echo etcd api scheduler ;;
	s*) echo ceph ;;
	h*) echo libvirt host network ;;
	r*) echo network bird ;;
	w) echo bird http ;;
	esac
}

# A group of its own for each: what it sends can be told from what others do.
write_groups() {
	local i=30200 s
	cat /etc/group > "$lab/group"
	for s in etcd otp api scheduler filescan image host network bird http; do
		echo "lab-$s:x:$((i++)):" >> "$lab/group"
	done
}
service_group() { awk -F: -v name="lab-$1" '$1 == name { print $3 }' "$lab/group"; }
service_pid() { # NODE SERVICE
	case $2 in
	libvirt) scripts/private-libvirtd pid "$lab/$1/libvirt" ;;
	ceph) scripts/private-ceph pid "$lab/ceph" osd ;;
	*) pid_of "$1.$2" ;;
	esac
}
conf_of() { echo "$lab/$1/conf/ucloud-$2.conf"; } # NODE SERVICE

# COMMAND in the service's group: neither setpriv nor anything else stays in front of it.
run_service() { # NODE SERVICE COMMAND...
	spawn_in_node "$1" "$2" setpriv --regid "$(service_group "$2")" --clear-groups "${@:3}"
}

service_start() { # NODE SERVICE
	service_pid "$1" "$2" > /dev/null && return
	case $2 in
	etcd) etcd_start "$1" ;;
	ceph) in_node "$1" scripts/private-ceph up "$lab/ceph" --auth --mgr --addr="$(address_of "$1")" > /dev/null ;;
	libvirt) UCLOUD_LAB=$lab in_node "$1" \
		scripts/private-libvirtd start "$lab/$1/libvirt" > "$log/$1.libvirt.log" ;;
	bird) bird_start "$1" ;;
	http) run_service "$1" http busybox httpd -f -p "[$(address_of w)]:80" -h "$lab/w/www" ;;
	*) run_service "$1" "$2" "$build/ucloud-$2/ucloud-$2" --config "$(conf_of "$1" "$2")" ;;
	esac
}
service_stop() { # NODE SERVICE
	case $2 in
	libvirt) scripts/private-libvirtd stop "$lab/$1/libvirt" ;;
	ceph) die "ceph can be frozen, or its node killed" ;;
	*) stop_process "$1.$2" ;;
	esac
}
service_signal() { # NODE SERVICE SIGNAL
	local pid
	pid=$(service_pid "$1" "$2") || die "$1/$2 does not run"
	kill "-$3" "$pid"
}
service_kill() {
	case $2 in
	libvirt | ceph) service_signal "$1" "$2" KILL ;;
	*) kill_process "$1.$2" ;;
	esac
}
service_freeze() { service_signal "$1" "$2" STOP; }
service_thaw() { service_signal "$1" "$2" CONT; }

metrics_port() {
	case $1 in
	api) echo 9471 ;; scheduler) echo 9472 ;; host) echo 9473 ;; otp) echo 9474 ;;
	filescan) echo 9475 ;; image) echo 9476 ;; network) echo 9477 ;;
	*) die "$1 has no metrics" ;;
	esac
}
service_get() { # NODE SERVICE PATH
	in_node "$1" curl -sf -g --noproxy '*' -m 5 "http://[::1]:$(metrics_port "$2")$3"
}
service_metric() { # NODE SERVICE NAME
	service_get "$1" "$2" /metrics | awk -v name="$3" '$1 == name { print $2; found = 1 } END { exit !found }'
}
is_healthy() { service_get "$1" "$2" /healthz; }
host_virsh() { # HOST ARGUMENT...
	virsh -q -c "$(scripts/private-libvirtd uri "$lab/$1/libvirt")" "${@:2}"
}

# ---------------------------------------------------------------- etcd, bird
etcd_urls() {
	local c urls=
	for c in $(numbered c "$n_controls"); do urls+="${urls:+,}http://[$(address_of "$c")]:2379"; done
	echo "$urls"
}
etcd_start() { # NODE
	local c all='' me
	me=$(address_of "$1")
	for c in $(numbered c "$n_controls"); do all+="${all:+,}$c=http://[$(address_of "$c")]:2380"; done
	run_service "$1" etcd etcd --name "$1" --data-dir "$lab/$1/etcd" --log-outputs stderr \
		--listen-client-urls "http://[$me]:2379" --advertise-client-urls "http://[$me]:2379" \
		--listen-peer-urls "http://[$me]:2380" --initial-advertise-peer-urls "http://[$me]:2380" \
		--initial-cluster "$all" --auto-compaction-retention 1h
}
etcd_answers() {
	in_node c1 curl -sf -g --noproxy '*' -m 2 "http://[$(address_of c1)]:2379/health" | grep -q true
}

# The world speaks BGP with all routers; it has their prefixes, they its default route.
bird_conf() { # NODE
	local r
	case $1 in
	w)
		echo "router id 0.0.0.1; log stderr all;"
		echo "protocol device {} protocol kernel { ipv6 { export all; }; }"
		echo "protocol static { ipv6; route ::/0 unreachable; }"
		for r in $(numbered r "$n_routers"); do
			echo "protocol bgp $r { local as 65000; neighbor $(wan_address_of "$r") as 65001;"
			echo "  hold time 6; connect retry time 1; error wait time 1, 4; connect delay time 1;"
			echo "  ipv6 { next hop self; import all; export where source = RTS_STATIC; }; }"
		done
		;;
	r*)
		echo "router id 0.0.1.${1#r}; log stderr all;"
		echo "protocol device {}"
		echo "protocol kernel { ipv6 { export all; }; }"
		echo "include \"$lab/$1/routes.conf\";"
		echo "protocol bgp world { local as 65001; neighbor $(address_of w) as 65000;"
		echo "  hold time 6; connect retry time 1; error wait time 1, 4; connect delay time 1;"
		echo "  ipv6 { import all; export where proto = \"ucloud_networks\"; }; }"
		;;
	esac
}
bird_start() { # NODE
	[ "$1" = w ] || [ -e "$lab/$1/routes.conf" ] || : > "$lab/$1/routes.conf"
	bird_conf "$1" > "$lab/$1/bird.conf"
	run_service "$1" bird bird -f -c "$lab/$1/bird.conf" -s "$lab/$1/bird.sock"
}

# ---------------------------------------------------------------- set-up
# Options that a test wants besides: LAB_HOST_OPTIONS and the like.
setup() { # NODE SERVICE OPTION...
	local node=$1 service=$2 url etcd=() more=LAB_${2^^}_OPTIONS
	shift 2
	for url in $(etcd_urls | tr , ' '); do etcd+=(--etcd_url "$url"); done
	# shellcheck disable=SC2086
	in_node "$node" "$build/ucloud-$service/ucloud-$service" setup --path "$lab/$node/conf" \
		"${etcd[@]}" "$@" ${!more:-} > /dev/null
}
otp_user() { # NAME REALM: prints the seed
	in_node c1 "$build/ucloud-otp/ucloud-otp" user add "$1" --realm "$2" \
		--config "$(conf_of c1 otp)" | awk '/^seed:/ { print $2 }'
}
# A client for one who uses the lab, which runs on c1.
client() { # NAME REALM
	in_node c1 "$build/ucloud-cli/ucloud-cli" configure --config "$lab/c1/conf/$1.cli" \
		--api "http://[$(address_of c1)]:8080" --name "$1" --realm "$2" --seed - \
		< <(otp_user "$1" "$2") > /dev/null 2> "$log/c1.cli.log" || die "ucloud-cli configure: $(cat "$log/c1.cli.log")"
	cat > "$lab/$1" <<-C
		#!/bin/sh
		XDG_CACHE_HOME="$lab/cache" exec ip netns exec $(netns_of c1) "$build/ucloud-cli/ucloud-cli" --config "$lab/c1/conf/$1.cli" "\$@"
	C
	chmod 755 "$lab/$1"
}

setup_controls() {
	local c seed
	setup c1 otp --listen "[$(address_of c1)]:8441" --key_file "$lab/c1/otp.key"
	service_start c1 otp
	wait_for 30 "ucloud-otp" is_healthy c1 otp
	seed=$(otp_user ucloud-api ungleich-auth)
	for c in $(numbered c "$n_controls"); do
		setup "$c" api --auth_name ucloud-api --auth_realm ungleich-auth --auth_seed - \
			--realm_allowed lab --otp_url "http://[$(address_of c1)]:8441/verify/" \
			--base_dir "$lab/upload" --users_may_publish <<< "$seed"
		setup "$c" scheduler
		service_start "$c" api
		service_start "$c" scheduler
	done
	setup c1 filescan --base_dir "$lab/upload" --realm_allowed lab --settle 1s
	setup c1 image --base_dir "$lab/upload" --realm_allowed lab --convert_user nobody
	service_start c1 filescan
	service_start c1 image
	client admin ungleich-admin
	client alice lab
	client bob lab
	wait_for 30 "the API" is_healthy c1 api
}
setup_routers() {
	local r
	for r in $(numbered r "$n_routers"); do
		LAB_NETWORK_OPTIONS=${LAB_ROUTER_OPTIONS:-} setup "$r" network --hostname "$r" --role router \
			--underlay eth0 --prefix 2001:db8:1000::/48 --dns 2001:db8:ffff::53 \
			--run_dir "$lab/$r/run" --bird_include "$lab/$r/routes.conf" \
			--bird_socket "$lab/$r/bird.sock"
		service_start "$r" bird
		service_start "$r" network
	done
	mkdir -p "$lab/w/www"
	echo "hello from the world" > "$lab/w/www/index.html"
	[ "$n_routers" = 0 ] || { service_start w bird && service_start w http; }
}
setup_host() { # HOST
	setup "$1" network --hostname "$1" --underlay eth0
	service_start "$1" network
	service_start "$1" libvirt
	setup "$1" host --hostname "$1" --state_dir "$lab/$1/state" \
		--libvirt_uri "$(scripts/private-libvirtd uri "$lab/$1/libvirt")"
	service_start "$1" host
}

# What an admin does once.
register() {
	local h
	for h in $(numbered h "$n_hosts"); do "$lab/admin" host create --name "$h" --label "name=$h" --cpu-overcommit 800 --quiet > /dev/null; done
	"$lab/admin" image-store create --name local --type filesystem --path "$lab/store" > /dev/null
	[ "$n_storages" = 0 ] || "$lab/admin" image-store create --name ceph --type ceph \
		--ceph-conf "$lab/ceph/ceph.conf" --ceph-user libvirt > /dev/null
}
# alice has the image "guest" (and "guest-ceph") for all.
make_images() {
	"$lab/alice" file upload build/guest/guest.img --quiet > /dev/null
	wait_for 30 "the file is published" "$lab/alice" file show guest.img
	"$lab/alice" image create --name guest --file guest.img --store local --public --wait --quiet > /dev/null
	[ "$n_storages" = 0 ] || "$lab/alice" image create --name guest-ceph --file guest.img --store ceph \
		--public --wait --quiet > /dev/null
}
hosts_are_alive() {
	[ "$("$lab/admin" host list --json | jq '[.hosts[] | select(.status == "ALIVE")] | length')" = "$n_hosts" ]
}

# Whoever waits for nobody comes up beside the others; the first that fails ends it.
cloud_up() {
	local c h pid pids=()
	for c in $(numbered c "$n_controls"); do service_start "$c" etcd; done
	[ "$n_storages" = 0 ] || { service_start s1 ceph & pids+=($!); }
	wait_for 30 etcd etcd_answers
	for h in $(numbered h "$n_hosts"); do setup_host "$h" & pids+=($!); done
	setup_routers & pids+=($!)
	setup_controls
	[ "$n_storages" = 0 ] || wait "${pids[0]}"
	register
	make_images
	for pid in "${pids[@]}"; do wait "$pid"; done
	wait_for 60 "heartbeats of all hosts" hosts_are_alive
}
