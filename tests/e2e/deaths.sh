#!/usr/bin/env bash
# Whoever dies when: daemons, QEMU, libvirtd, the whole machine, etcd. Every accepted order
# completes and nothing is done twice.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

export DEMO_FILESCAN_OPTIONS="--lease_ttl 3" DEMO_IMAGE_OPTIONS="--lease_ttl 3"
cloud up services || fail "the cloud did not come up"
say "etcd is not there when daemons start: they wait and go on when it comes"
for s in ucloud-api ucloud-scheduler ucloud-host ucloud-otp ucloud-filescan ucloud-image; do cloud stop $s; done
cloud stop etcd
for s in ucloud-otp ucloud-api ucloud-scheduler ucloud-host ucloud-filescan ucloud-image; do
	: > "$DEMO_DIR/log/$s.log"
	cloud start $s
done
start=$SECONDS
refused 1 'etcd' curl_status 503
[ $((SECONDS - start)) -le 6 ] || fail "the answer took $((SECONDS - start)) s"
for s in ucloud-api ucloud-scheduler ucloud-host ucloud-otp ucloud-filescan ucloud-image; do
	cloud pid $s > /dev/null || fail "$s died without etcd"
	wait_until 20 "$s says that etcd is not there" grep -q 'no etcd answers' "$DEMO_DIR/log/$s.log"
done
cloud etcd > /dev/null
wait_until 40 "the host is back" sh -c "'$DEMO_DIR/ucloud-cli-admin' host show demo-host --json | jq -e '.status == \"ALIVE\"'"
for s in ucloud-api ucloud-scheduler ucloud-host ucloud-otp ucloud-filescan ucloud-image; do
	[ "$(grep -c 'no etcd answers' "$DEMO_DIR/log/$s.log")" = 1 ] ||
		fail "$s does not say once that etcd is not there"
done
create one --wait
wait_console one 'GUEST .* ready'
uuid=$(vm_field one uuid)
qemu_pid() { cat "$DEMO_DIR/libvirt/run/qemu/ucloud-$uuid.pid"; }
first_pid=$(qemu_pid)

say "etcd goes away in the middle: nothing else dies, all resumes"
cloud stop etcd
start=$SECONDS
refused 1 'etcd' curl_status 503
[ $((SECONDS - start)) -le 6 ] || fail "the answer took $((SECONDS - start)) s"
until=$(($(date +%s) + 15))
wait_until 20 "15 s pass, more than a lease" sh -c "[ \$(date +%s) -ge $until ]"
for s in ucloud-api ucloud-scheduler ucloud-host ucloud-otp ucloud-filescan ucloud-image; do
	cloud pid $s > /dev/null || fail "$s died with etcd"
done
kill -0 "$first_pid" || fail "the guest was touched"
cloud etcd > /dev/null
wait_until 40 "the API answers" user vm show one
create two --wait
user vm delete two --wait || fail "delete two"
[ "$(vm_field one status)" = RUNNING ] || fail "one is $(vm_field one status)"

for s in ucloud-host ucloud-scheduler ucloud-api ucloud-otp; do
	say "kill -9 of $s while an order is under way"
	create "during" > /dev/null &
	order=$!
	cloud kill $s
	cloud start $s
	# An order that was not accepted may fail; one that was must be carried out.
	if ! wait $order; then
		wait_until 30 "the API is back" user vm list
		user vm show during > /dev/null 2>&1 || create during
	fi
	wait_status during RUNNING 60
	[ "$(vm_field one status)" = RUNNING ] || fail "one is $(vm_field one status)"
	user vm delete during --wait || fail "delete during"
	check_invariants
done
[ "$(qemu_pid)" = "$first_pid" ] || fail "a daemon's death restarted the guest"

say "kill -9 in the middle of an upload, of its publishing, of an import: all are completed"
big=$DEMO_DIR/big.raw
head -c 300M /dev/urandom > "$big"
big_sha=$(sha512sum < "$big" | cut -d' ' -f1)
part_grows() { find "$DEMO_DIR/upload" -name '*.part' -size +1M | grep -q .; }
is_uploaded() { [ -e "$DEMO_DIR/upload/user/big-$1" ]; }
is_being_made() { find "$DEMO_DIR/store/images" -name '.*.tmp' -size +0 | grep -q .; }
has_ended() { ! kill -0 "$1" 2> /dev/null; }
# die_when SERVICE PID CONDITION...: kills it once that is so, unless the order has ended.
die_when() {
	local s=$1 order=$2 end=$((SECONDS + 60))
	shift 2
	until "$@" || has_ended "$order"; do
		[ $SECONDS -lt $end ] || fail "never: $*"
	done
	! has_ended "$order" || say "(too late for $s: it was done)"
	cloud kill "$s"
	cloud start "$s"
}
for s in ucloud-api ucloud-filescan; do
	user file upload "$big" --name "big-$s" --quiet > "$DEMO_DIR/upload.out" 2>&1 &
	order=$!
	case $s in
	ucloud-api) die_when $s $order part_grows ;;
	ucloud-filescan) die_when $s $order is_uploaded $s ;;
	esac
	wait $order || fail "the upload did not survive $s: $(cat "$DEMO_DIR/upload.out")"
	[ "$(user file show "big-$s" --json | jq -r .sha512)" = "$big_sha" ] ||
		fail "big-$s has another content"
done
for n in 1 2; do
	user image create --name "big-$n" --file big-ucloud-api --wait --quiet > "$DEMO_DIR/image.out" 2>&1 &
	order=$!
	die_when ucloud-image $order is_being_made
	wait $order || fail "the image did not survive: $(cat "$DEMO_DIR/image.out")"
	cmp "$big" "$DEMO_DIR/store/images/$(user image show "big-$n" --json | jq -r .path)" ||
		fail "big-$n has another content"
	[ "$(user image show "big-$n" --json | jq -r '.status + " " + .sha512')" = "CREATED $big_sha" ] ||
		fail "big-$n is not as it should be"
	user image delete "big-$n" > /dev/null || fail "delete big-$n"
	cloud kill ucloud-image
	cloud start ucloud-image
done
no_big_images() { ! user image list --quiet | grep -q '^big-'; }
wait_until 60 "the images are gone" no_big_images
for s in ucloud-api ucloud-filescan; do user file delete "big-$s" || fail "delete big-$s"; done
rm "$big"
check_invariants

say "libvirtd dies and comes back: the guest is adopted"
kill -KILL "$(cat "$DEMO_DIR/libvirt/libvirtd-own.pid")"
wait_until 10 "libvirtd is gone" sh -c "! scripts/private-libvirtd pid '$DEMO_DIR/libvirt'"
scripts/private-libvirtd start "$DEMO_DIR/libvirt" > /dev/null || fail "libvirtd did not start again"
create three --wait
user vm delete three --wait || fail "delete three"
[ "$(qemu_pid)" = "$first_pid" ] || fail "libvirtd's death restarted the guest"
[ "$(vm_field one status)" = RUNNING ] || fail "one is $(vm_field one status)"

say "QEMU dies: the VM is KILLED and comes back"
kill -KILL "$first_pid"
runs_anew() {
	local now
	now=$(qemu_pid) && [ -n "$now" ] && [ "$now" != "$first_pid" ] && status_is one RUNNING
}
wait_until 60 "the VM runs again" runs_anew
user vm show one --json | jq -r '.log[].text'
wait_console one 'GUEST .* boot number 2'
check_invariants

say "the whole machine is reset: everything but etcd dies at once, domains are gone"
for s in ucloud-host ucloud-scheduler ucloud-api ucloud-otp ucloud-filescan ucloud-image; do cloud kill $s; done
scripts/private-libvirtd kill-guests "$DEMO_DIR/libvirt"
scripts/private-libvirtd stop "$DEMO_DIR/libvirt"
rm -rf "$DEMO_DIR"/libvirt/run/*
scripts/private-libvirtd start "$DEMO_DIR/libvirt" > /dev/null || fail "libvirtd did not start again"
for s in ucloud-otp ucloud-api ucloud-scheduler ucloud-host ucloud-filescan ucloud-image; do cloud start $s; done
wait_until 60 "the API is back" user vm list
wait_console one 'GUEST .* boot number 3' 120
wait_status one RUNNING
check_invariants

say "a domain that is not ours is left alone; one that is not placed here is removed"
vsh define /dev/stdin > /dev/null <<-X || fail define
	<domain type='qemu'><name>foreign</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>
X
vsh dumpxml "$uuid" > "$DEMO_DIR/stale.xml" || fail dumpxml
user vm stop one --force --wait || fail "stop one"
vsh define "$DEMO_DIR/stale.xml" > /dev/null || fail "define the stale domain"
vsh start "ucloud-$uuid" > /dev/null
no_domain() { ! vsh list --all --uuid | grep -qF "$uuid"; }
wait_until 15 "the stale domain is removed" no_domain
cloud stop ucloud-host
vsh define "$DEMO_DIR/stale.xml" > /dev/null || fail "define the stale domain"
vsh start "ucloud-$uuid" > /dev/null
cloud start ucloud-host
wait_until 15 "the stale domain is removed by a new daemon" no_domain
[ "$(vm_field one status)" = STOPPED ] || fail "one is $(vm_field one status)"
vsh list --all --name | grep -qx foreign || fail "the foreign domain was touched"
vsh undefine foreign > /dev/null
user vm delete one --wait || fail "delete one"
check_invariants
echo passed
