#!/usr/bin/env bash
# What `make demo` shows: a cloud in a network namespace of its own, whose VM answers on its
# address from the machine. The machine is a network namespace, too.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

for tool in radvd ping; do
	command -v $tool > /dev/null || skip "$tool is not installed"
done
need_netns
mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns || skip "no namespaces' names of its own"
# A machine that wants no IPv6 on interfaces that it does not know.
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
export DEMO_NET=own
out=$DEMO_DIR.out
clean_up() { rm -f "$out" "$DEMO_DIR.before"; }
in_namespace() { ip netns exec ucloud-demo "$@"; }
# What `scripts/demo` may change outside of its directory.
machine() {
	ip -o link | cut -d: -f2
	ip -o address
	ip -6 route
	ip netns
	grep . /proc/sys/net/ipv6/conf/{all,default,lo}/*
}
machine > "$DEMO_DIR.before" 2> /dev/null

say "up"
cloud up > "$out" || fail "the demo fails: $(cat "$out")"
cat "$out"
grep -q '3 received' "$out" || fail "the VM does not answer ping"
grep -q 'hello from fd' "$out" || fail "the VM does not answer HTTP"
[ "$(cat /proc/sys/net/ipv6/conf/all/forwarding)" = 0 ] || fail "the machine forwards"
[ "$(in_namespace cat /proc/sys/net/ipv6/conf/all/forwarding)" = 1 ] || fail "the cloud does not"
! in_namespace ip -4 -o address | grep . || fail "IPv4 in the cloud"

say "the commands that it names"
address=$(vm_field first 'networks[0].address')
grep -q "ping -6 -c 3 $address" "$out" || fail "it does not tell of ping"
second=$(grep -o 'vm create --name second .*' "$out")
# shellcheck disable=SC2086 # words
user $second || fail "$second"
address2=$(vm_field second 'networks[0].address')
wait_until 60 "the second VM answers" curl -sf -m 2 --noproxy '*' "http://[$address2]/"

say "once more, as it is, and after half of it has gone"
cloud up > "$out" || fail "the demo fails: $(cat "$out")"
ip link delete ucdemo0
cloud kill ucloud-network
cloud kill ucloud-api
cloud up > "$out" || fail "the demo fails: $(cat "$out")"
grep -q "hello from $address\$" "$out" || fail "the VM does not answer"

say "only one on a machine"
refused 1 "another demo runs on this machine, in $DEMO_DIR:" \
	env DEMO_DIR="$DEMO_DIR/other" scripts/demo up
refused 1 "another demo" env DEMO_DIR="$DEMO_DIR/other" scripts/demo down

say "down, though its directory has gone"
mkdir "$DEMO_DIR.gone"
mv "$DEMO_DIR"/* "$DEMO_DIR.gone"
in_namespace sh -c 'exit 0' || fail "the namespace is not there"
cloud down || fail down
machine 2> /dev/null | diff "$DEMO_DIR.before" - || fail "the machine is not as it was"
for d in "$DEMO_DIR.gone"/run/*.pid; do
	! kill -0 "$(cat "$d")" 2> /dev/null || grep -q '^State:.*Z' "/proc/$(cat "$d")/status" ||
		fail "${d##*/} is left"
done
rm -rf "$DEMO_DIR.gone"
echo passed
