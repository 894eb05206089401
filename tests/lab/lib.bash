# What the tests in the lab share; sourced. Each has a lab of its own, taken down at the end
# whatever happens. HOSTS=, CEPH= and so on, and LAB_..._OPTIONS, are set before.
# shellcheck shell=bash disable=SC2034
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
export B=${B:-build/plain}
. tests/lib/shell.bash

[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
tools="etcd libvirtd qemu-system-x86_64 radvd bird jq tini nft"
[ "${CEPH:-0}" = 0 ] || tools+=" ceph-mon ceph-osd rbd"
for tool in $tools; do
	command -v "$tool" > /dev/null || skip "$tool is not installed"
done
probe=uclab-probe-$$
ip netns add $probe 2> /dev/null || skip "network namespaces cannot be made here"
ip -n $probe link add vx0 type vxlan id 1 local ::1 dstport 4789 2> /dev/null
status=$?
ip netns del $probe
[ $status = 0 ] || skip "this kernel has no VXLAN interfaces"

LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/uclab.XXXXXX")
export LAB_DIR LAB_ID=$$ LAB_QUIET=1
lab() { tests/lab/lab "$@"; }
alice() { "$LAB_DIR/alice" "$@"; }
bob() { "$LAB_DIR/bob" "$@"; }
admin() { "$LAB_DIR/admin" "$@"; }
etcdctl3() { lab etcdctl "$@"; }

# A test may have its own to add to what is done at the end.
clean_up() { :; }
at_end() {
	local status=$? f
	trap - EXIT
	if [ $status != 0 ] && [ $status != 77 ]; then
		lab status
		for f in "$LAB_DIR"/log/*.log; do
			[ -s "$f" ] || continue
			echo "--- $f"
			grep -v ' DEBUG ' "$f" | tail -n 30
		done
	fi
	clean_up
	lab down
	rm -rf "$LAB_DIR"
	exit $status
}
trap at_end EXIT
trap 'exit 1' INT TERM

# ---------------------------------------------------------------- VMs and networks of WHO
n_keys() { etcdctl3 get --prefix "$1" --keys-only | grep -c . || true; }
vm_field() { "$1" vm show "$2" --json | jq -r ".$3"; } # WHO VM PATH
net_field() { "$1" network show "$2" --json | jq -r ".$3"; }
status_is() { [ "$(vm_field "$1" "$2" status)" = "$3" ]; }
wait_status() { wait_until "${4:-60}" "VM $2 of $1 becomes $3" status_is "$1" "$2" "$3"; }
network() { "$1" network create --name "$2" --wait "${@:3}" > /dev/null || fail "network $2 of $1"; }
# WHO VM HOST OPTION...: a VM that runs on that host.
vm_on() {
	"$1" vm create --name "$2" --image guest --cpu 1 --ram 128MiB --host-label "name=$3" "${@:4}" --wait > /dev/null ||
		fail "VM $2 of $1"
	[ "$(vm_field "$1" "$2" hostname)" = "$3" ] || fail "VM $2 is not on $3"
}
console_has() { "$1" vm console-log "$2" | tr -d '\r' | grep -q -- "$3"; }
# WHO VM TEXT [SECONDS]: it says so on its console.
wait_console() { wait_until "${4:-240}" "console of $2 says '$3'" console_has "$1" "$2" "$3"; }
wait_booted() { wait_console "$1" "$2" 'GUEST .* ready'; }
# Of interface N (0).
address() { vm_field "$1" "$2" "networks[${3:-0}].address"; }
mac() { vm_field "$1" "$2" "networks[${3:-0}].mac"; }
tap() { local m; m=$(mac "$@"); echo "uct${m//:/}"; }
# WHO VM COMMAND: on the guest's console.
guest() { lab guest "$@"; }
guest_pings() { guest "$1" "$2" "ping -c 1 -w 5 ${*:3}" > /dev/null; } # WHO VM ADDRESS OPTION...
on() { lab exec "$@"; } # NODE COMMAND...
