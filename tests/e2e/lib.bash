# What the end-to-end tests share; sourced. Each test gets a cloud of its own: real etcd, real
# libvirt and QEMU, every daemon, below a private directory, taken down at the end whatever
# happens. Needs root.
#
# Each runs in a network namespace of its own, where the machine lets it, so that several at
# the same time do not take each other's ports. What makes interfaces calls need_netns.
# shellcheck shell=bash disable=SC2034
set -u
self=$(realpath "$0")
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
top=$PWD
export B=${B:-build/plain}

. tests/lib/shell.bash
[ "$(id -u)" = 0 ] || skip "needs root for a libvirt daemon of its own"
if [ -z "${UCLOUD_TEST_NETNS:-}" ]; then
	export UCLOUD_TEST_NETNS=none
	! unshare --net --mount true 2> /dev/null ||
		UCLOUD_TEST_NETNS=own exec unshare --net --mount --propagation private "$self" "$@"
fi
if [ "$UCLOUD_TEST_NETNS" = own ]; then
	# Interfaces are seen in a sysfs that was mounted from inside only.
	mount -t sysfs sysfs /sys || skip "no sysfs of its own"
	ip link set lo up
fi
need_netns() { [ "$UCLOUD_TEST_NETNS" = own ] || skip "this machine makes no network namespaces"; }

tools="etcd libvirtd qemu-system-x86_64 qemu-img qemu-nbd jq tini"
[ "${STORE:-}" != ceph ] || tools+=" ceph-mon ceph-osd rbd"
for tool in $tools; do
	command -v "$tool" > /dev/null || skip "$tool is not installed"
done

DEMO_DIR=$(mktemp -d "${TMPDIR:-/tmp}/ucloud-e2e.XXXXXX")
export DEMO_DIR XDG_CACHE_HOME=$DEMO_DIR/cache
# How a command is run elsewhere, as in another network namespace: what is started by cloud() and
# another() is.
within=()
cloud() { "${within[@]}" scripts/demo "$@"; }
user() { "$DEMO_DIR/ucloud-cli" "$@"; }
admin() { "$DEMO_DIR/ucloud-cli-admin" "$@"; }
etcd_url() { echo "http://[::1]:$(cat "$DEMO_DIR/run/etcd.port")"; }
etcdctl3() { ETCDCTL_API=3 etcdctl --endpoints "$(etcd_url)" "$@"; }
api_url() { echo "http://[::1]:$(cat "$DEMO_DIR/run/api.port")"; }
vsh() { virsh -q -c "$(scripts/private-libvirtd uri "$DEMO_DIR/libvirt")" "$@"; }

# another DIR SERVICE OPTION...: sets one more SERVICE up below $DEMO_DIR/DIR and starts it;
# DIR/SERVICE.pid, DIR/SERVICE.log. $etcd_options are how it reaches etcd.
others=() etcd_options=()
another() {
	local dir=$DEMO_DIR/$1 s=$2
	shift 2
	mkdir -p "$dir"
	[ ${#etcd_options[@]} != 0 ] || etcd_options=(--etcd_url "$(etcd_url)")
	"${within[@]}" "$B/$s/$s" setup --path "$dir" "${etcd_options[@]}" \
		--metrics_listen "[::1]:$(free_port)" "$@" > /dev/null || fail "set $s up"
	"${within[@]}" "$B/$s/$s" --config "$dir/$s.conf" >> "$dir/$s.log" 2>&1 &
	echo $! > "$dir/$s.pid"
	others+=($!)
}
stop_others() {
	local pid
	for pid in "${others[@]}"; do
		kill -CONT "$pid" 2> /dev/null
		kill -TERM "$pid" 2> /dev/null
	done
	for pid in "${others[@]}"; do wait "$pid" 2> /dev/null; done
	others=()
}

# A test may have its own to add to what is done at the end.
clean_up() { :; }

# A daemon that ended itself (abort) says where.
ulimit -c 500000 2> /dev/null || true
show_core() {
	local core
	for core in core core.*; do
		[ -f "$core" ] || continue
		echo "--- $core: $(file -b "$core" 2> /dev/null)"
		gdb -batch -ex 'thread apply all bt' -c "$core" "$B/ucloud-host/ucloud-host" 2> /dev/null |
			tail -n 150
		rm -f "$core"
	done
}

at_end() {
	local status=$? f
	trap - EXIT
	show_core
	if [ $status != 0 ] && [ $status != 77 ]; then
		for f in "$DEMO_DIR"/*/*.log; do
			[ -s "$f" ] || continue
			echo "--- $f"
			tail -n 40 "$f"
		done
	fi
	stop_others
	cloud down > /dev/null 2>&1
	clean_up
	rm -rf "$DEMO_DIR"
	exit $status
}
trap at_end EXIT
trap 'exit 1' INT TERM

vm_field() { user vm show "$1" --json | jq -r ".$2"; }
status_is() { [ "$(vm_field "$1" status)" = "$2" ]; }
wait_status() { wait_until "${3:-60}" "VM $1 becomes $2" status_is "$1" "$2"; }
console_has() { user vm console-log "$1" | tr -d '\r' | grep -q -- "$2"; }
wait_console() { wait_until "${3:-90}" "console of $1 says '$2'" console_has "$1" "$2"; }
create() { user vm create --name "$1" --image demo-guest --cpu 1 --ram 128MiB "${@:2}" || fail "create $1"; }
no_requests() { [ -z "$(etcdctl3 get --prefix /v1/request/ --keys-only)" ]; }
no_vms() { [ -z "$(etcdctl3 get --prefix /v1/vm/ --keys-only)" ]; }

# For refused(): asks the API once without a token but past it; prints the body, fails unless
# the status is not the one wanted (then 1).
curl_status() {
	local code
	code=$(curl -s -g --noproxy '*' -m 10 -o "$DEMO_DIR/body" -w '%{http_code}' \
		-H "Authorization: Basic $(printf 'user@demo:000000' | base64)" "$(api_url)/v1/vms")
	cat "$DEMO_DIR/body"
	[ "$code" != "$1" ]
}

n_keys() { etcdctl3 get --prefix "$1" --keys-only | grep -c . || true; }

# What is in the store "demo", one name a line.
on_ceph() { [ "${STORE:-}" = ceph ]; }
rbd() { command rbd -c "$DEMO_DIR/ceph/ceph.conf" --id admin "$@"; }
stored_images() {
	if on_ceph; then rbd ls images; else find "$DEMO_DIR/store/images" -type f -printf '%f\n'; fi
}
stored_disks() {
	if on_ceph; then rbd ls uservms; else find "$DEMO_DIR/store/vms" -name '*.qcow2' 2> /dev/null; fi
}

# What must hold whenever nothing is under way.
check_invariants() {
	local vms domains uuid disks
	vms=$(n_keys /v1/vm/)
	disks=$(etcdctl3 get --prefix /v1/vm/ --print-value-only | jq -s '[.[].specs.disks[]] | length')
	[ "$(n_keys /v1/vm-name/)" = "$vms" ] || fail "vm-name keys do not match $vms VMs"
	no_requests || fail "a request is left open"
	for uuid in $(vsh list --all --uuid); do
		etcdctl3 get "/v1/placement/demo-host/$uuid" --keys-only | grep -q . ||
			fail "domain $uuid has no placement"
	done
	domains=$(vsh list --all --uuid | grep -c . || true)
	[ "$(n_keys /v1/placement/)" = "$domains" ] ||
		fail "placements do not match $domains domains"
	[ "$(vsh list --all --uuid | sort | uniq -d | grep -c .)" = 0 ] || fail "a domain twice"
	[ "$(stored_disks | wc -l)" = "$disks" ] ||
		fail "disks do not match the $disks of $vms VMs: $(stored_disks)"
	[ -z "$(find "$DEMO_DIR/store" -name '*.tmp')" ] || fail "a temporary file is left"
	check_images
	check_quota
}

# Images that were made: what is in the store is what is CREATED, and each has its name.
check_images() {
	local left
	left=$(diff <(stored_images | grep -E '^\.?[0-9a-f]{8}-' | sort) \
		<(etcdctl3 get --prefix /v1/image/ --print-value-only |
			jq -r 'select(.made and .store == "demo" and .status == "CREATED") | .path' | sort)) ||
		fail "store and images differ: $left"
	[ "$(n_keys /v1/image-name/)" = "$(n_keys /v1/image/)" ] || fail "image-name keys do not match"
	left=$(find "$DEMO_DIR/upload" -name '*.part' | head -n 3)
	[ -z "$left" ] || fail "a part of an upload is left: $left"
}

# Use of quota = sum over the user's VMs, images and networks.
check_quota() {
	local sum use images networks
	images=$(etcdctl3 get --prefix /v1/image/ --print-value-only | jq -s '[.[] | select(.owner == "user")] | length')
	networks=$(n_keys /v1/network/)
	sum=$(etcdctl3 get --prefix /v1/vm/ --print-value-only | jq -s -c --argjson images "$images" --argjson networks "$networks" \
		'[length, ([.[].specs.cpu] | add // 0), ([.[].specs.ram_mib] | add // 0), ([.[].specs.disks[].size_gib] | add // 0), ([.[] | .snapshots // [] | length] | add // 0), $images, $networks]')
	use=$(etcdctl3 get /v1/user/demo/user --print-value-only | jq -c \
		'[.use.vms // 0, .use.cpu // 0, .use.ram_mib // 0, .use.disk_gib // 0, .use.snapshots // 0, .use.images // 0, .use.networks // 0]')
	[ "$sum" = "${use:-[0,0,0,0,0,0,0]}" ] || fail "quota use $use, sum over VMs, images and networks $sum"
}
