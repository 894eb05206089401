#!/usr/bin/env bash
# Bad input: each gets a clear error, and nothing changes.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

cloud up services || fail "the cloud did not come up"
cli=$top/$B/ucloud-cli/ucloud-cli
create taken --wait
say "orders that cannot be"
refused 1 'taken' user vm create --name taken --image demo-guest
refused 1 'image' user vm create --name x --image no-such-image
refused 1 'name' user vm create --name 'Not_A_Name' --image demo-guest
refused 1 'quota|at most|limit' user vm create --name x --image demo-guest --ram 128MiB --disk 5000GiB
refused 1 'ram' user vm create --name x --image demo-guest --ram 1MiB
refused 1 'admin|may' user host list
refused 1 'host' admin host show no-such-host
refused 1 'VM' admin image delete demo-guest
refused 2 '' user vm frobnicate
refused 2 '' user vm create --no-such-option
refused 3 '' user --api 'http://[::1]:9' vm list

say "somebody who is not who they say"
printf 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP\n' > "$DEMO_DIR/wrong.seed"
refused 1 'token' "$cli" configure --config "$DEMO_DIR/wrong.cli" \
	--api "$(api_url)" --name user --realm demo --seed "@$DEMO_DIR/wrong.seed"

say "somebody else's VM is not found"
"$B/ucloud-otp/ucloud-otp" user add other --realm demo --config "$DEMO_DIR/conf/ucloud-otp.conf" |
	awk '/^seed:/ { print $2 }' | "$cli" configure --config "$DEMO_DIR/other.cli" \
	--api "$(api_url)" --name other --realm demo --seed - || fail "configure other"
uuid=$(vm_field taken uuid)
refused 1 'VM' "$cli" --config "$DEMO_DIR/other.cli" vm show "$uuid"
refused 1 'VM' "$cli" --config "$DEMO_DIR/other.cli" vm delete "$uuid"
[ "$(vm_field taken status)" = RUNNING ] || fail "somebody else deleted the VM"

say "images that are none"
echo 'not an image' > "$DEMO_DIR/store/images/text.qcow2"
qemu-img create -q -f raw "$DEMO_DIR/base.raw" 1G
qemu-img create -q -f qcow2 -b "$DEMO_DIR/base.raw" -F raw "$DEMO_DIR/store/images/backed.qcow2" 1G
for i in text backed missing; do
	admin image create --name $i --store demo --path $i.qcow2 --format qcow2 --public ||
		fail "register $i"
	user vm create --name "vm-$i" --image "$i" --ram 128MiB || fail "create vm-$i"
	wait_status "vm-$i" ERROR 30
	reason=$(user vm show "vm-$i" --json | jq -r '.log[-1].text')
	say "$i: $reason"
	grep -q "image" <<< "$reason" || fail "no reason for $i"
	user vm delete "vm-$i" --wait || fail "delete vm-$i"
done

say "garbage in etcd is left alone"
uuid=$(cat /proc/sys/kernel/random/uuid)
etcdctl3 put "/v1/vm/$uuid" 'not json' > /dev/null
etcdctl3 put "/v1/vm/not-a-uuid" '{"uuid": 7}' > /dev/null
etcdctl3 put "/v1/request/scheduler/$uuid" '[1, 2' > /dev/null
etcdctl3 put "/v1/host/Bad Host" '{}' > /dev/null
etcdctl3 put "/v1/placement/demo-host/nonsense" '' > /dev/null
create among-garbage --wait
user vm delete among-garbage --wait || fail "delete among garbage"
[ "$(etcdctl3 get "/v1/vm/$uuid" --print-value-only)" = 'not json' ] || fail "garbage was touched"
n=$(grep -c "$uuid" "$DEMO_DIR/log/ucloud-scheduler.log")
{ [ "$n" -ge 1 ] && [ "$n" -le 2 ]; } || fail "garbage is logged $n times by the scheduler"
for k in "/v1/vm/$uuid" /v1/vm/not-a-uuid "/v1/request/scheduler/$uuid" "/v1/host/Bad Host" \
	/v1/placement/demo-host/nonsense; do etcdctl3 del "$k" > /dev/null; done

say "nothing fits: the reason is told"
user vm create --name big --image demo-guest --ram 60GiB || fail "create big"
wait_until 20 "the reason" sh -c "'$DEMO_DIR/ucloud-cli' vm show big --json | jq -r .why | grep -q RAM"
say "$(vm_field big why)"
status_is big REQUESTED_NEW || fail "big is not waiting"
user vm delete big --wait || fail "delete big"
user vm delete taken --wait || fail "delete taken"
check_invariants
echo passed
