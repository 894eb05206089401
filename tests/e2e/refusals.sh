#!/usr/bin/env bash
# Bad input: each gets a clear error, and nothing changes.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

# A store that can be made full; mounted before libvirt gets a mount namespace of its own.
small=$DEMO_DIR/small
mkdir "$small"
mount -t tmpfs -o size=20G ucloud-e2e "$small" || fail "mount"
clean_up() { umount -l "$small"; }
mkdir "$small/images"

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
refused 1 'no image' admin image delete demo-guest
refused 1 '1 VM' admin image delete user@demo:demo-guest
refused 1 '1 VM' user image delete demo-guest
refused 2 '' user vm frobnicate
refused 2 '' user vm create --no-such-option
refused 3 '' user --api 'http://[::1]:9' vm list

say "somebody who is not who they say"
printf 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP\n' > "$DEMO_DIR/wrong.seed"
refused 1 'token' "$cli" configure --config "$DEMO_DIR/wrong.cli" \
	--api "$(api_url)" --name user --realm demo --seed "@$DEMO_DIR/wrong.seed"

say "a token serves once"
add_user() { # NAME
	"$B/ucloud-otp/ucloud-otp" user add "$1" --realm demo \
		--config "$DEMO_DIR/conf/ucloud-otp.conf" | awk '/^seed:/ { print $2 }'
}
token=$(add_user twice | oathtool --totp -b -)
ask_with() { # TOKEN: prints the body, then the status
	curl -s -g --noproxy '*' -m 10 -w '\n%{http_code}\n' -u "twice@demo:$1" "$(api_url)/v1/vms"
}
[ "$(ask_with "$token" | tail -n 1)" = 200 ] || fail "a right token is refused"
ask_with "$token" > "$DEMO_DIR/second"
[ "$(tail -n 1 "$DEMO_DIR/second")" = 401 ] || fail "a token served twice"
grep -q "used once" "$DEMO_DIR/second" || fail "unclear: $(cat "$DEMO_DIR/second")"

say "somebody else's VM is not found"
add_user other | "$cli" configure --config "$DEMO_DIR/other.cli" \
	--api "$(api_url)" --name other --realm demo --seed - || fail "configure other"
uuid=$(vm_field taken uuid)
refused 1 'VM' "$cli" --config "$DEMO_DIR/other.cli" vm show "$uuid"
refused 1 'VM' "$cli" --config "$DEMO_DIR/other.cli" vm delete "$uuid"
other() { "$cli" --config "$DEMO_DIR/other.cli" "$@"; }
refused 1 'image' other image show "$(user image show demo-guest --json | jq -r .uuid)"
refused 1 'image' other vm create --name x --image demo-guest
refused 1 'file' other file show "$(user file show guest.img --json | jq -r .uuid)"
refused 1 'file' other image create --name x --file guest.img
refused 1 'admin' user image create --name x --file guest.img --public
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

say "the quota is used up"
admin user quota user@demo --vms 1 --images 1 --files 1GiB || fail "set the quota"
refused 1 'quota' user vm create --name x --image demo-guest --ram 128MiB
refused 1 'quota.*images' user image create --name x --file guest.img
refused 1 'quota of files is used up' user file upload "$DEMO_DIR/base.raw" --name more
admin user quota user@demo --default || fail "reset the quota"

say "uploads that no image can be made of"
bad=$DEMO_DIR/bad
mkdir "$bad"
admin image-store create --name limited --type filesystem --path "$DEMO_DIR/limited" \
	--max-image 1GiB || fail "create a store"
mkdir -p "$DEMO_DIR/limited/images"
qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw "$bad/backed.qcow2" 64M
qemu-img create -q -f qcow2 -u -F raw -b 'json:{"driver":"file","filename":"/etc/shadow"}' \
	"$bad/json.qcow2" 64M
qemu-img create -q -f qcow2 -o data_file="$bad/elsewhere,data_file_raw=on" "$bad/data.qcow2" 64M
qemu-img create -q -f vmdk -o subformat=monolithicFlat "$bad/flat.vmdk" 64M
qemu-img create -q -f qcow2 "$bad/large.qcow2" 2G
qemu-img convert -O qcow2 build/guest/guest.img "$bad/whole"
half() { head -c "$(($(stat -c %s "$1") / 2))" "$1"; }
half "$bad/whole" > "$bad/truncated.qcow2"
qemu-img convert -O vmdk build/guest/guest.img "$bad/whole.vmdk"
half "$bad/whole.vmdk" > "$bad/truncated.vmdk"
head -c 60 "$bad/whole" > "$bad/header.qcow2"
echo 'not an image' > "$bad/text.raw"
: > "$bad/empty.raw"
refuse_upload() { # FILE REASON: it is uploaded and published, and ends as an image in ERROR
	local name=${1%.*} out status
	user file upload "$bad/$1" --quiet > /dev/null || fail "upload $1"
	out=$(user image create --name "$name" --file "$1" --store limited --wait 2>&1)
	status=$?
	[ $status = 1 ] || fail "exit status $status for $1: $out"
	grep -q -- "$2" <<< "$(tail -n 1 <<< "$out")" || fail "the reason for $1 is not '$2': $out"
	say "$1: $(tail -n 1 <<< "$out")"
	[ "$(user image show "$name" --json | jq -r .status)" = ERROR ] || fail "$name is no ERROR"
	user image show "$name" | grep -q -- "$2" || fail "image show lacks the reason for $1"
	refused 1 "ERROR|$2" user vm create --name x --image "$name"
	user image delete "$name" --wait || fail "delete $name"
	user file delete "$1" || fail "delete $1"
}
refuse_upload backed.qcow2 'backing file'
refuse_upload json.qcow2 'backing file'
refuse_upload data.qcow2 'another file'
refuse_upload flat.vmdk 'other files'
refuse_upload large.qcow2 'at most 1 GiB'
refuse_upload truncated.qcow2 'not copied to the end'
refuse_upload truncated.vmdk 'not copied to the end'
refuse_upload header.qcow2 'header is damaged: the file ends in the middle of it'
refuse_upload text.raw 'whole number of sectors'
refuse_upload empty.raw 'it is empty'
[ -z "$(find "$DEMO_DIR/limited" -type f)" ] || fail "left: $(find "$DEMO_DIR/limited" -type f)"
admin image-store delete limited || fail "delete the store"
user file list --quiet | grep -qx guest.img || fail "the good file is gone"
# ucloud-filescan takes a file back when it sees that it is gone.
one_file() { [ "$(user file list --quiet | wc -l)" = 1 ]; }
wait_until 20 "only that file is left ($(user file list))" one_file

say "the disk is full: the VM says so, and comes up when there is room"
qemu-img create -q -f qcow2 "$small/images/blank.qcow2" 64M
admin image-store create --name small --type filesystem --path "$small" || fail "create a store"
admin image create --name blank --store small --path blank.qcow2 --format qcow2 --public ||
	fail "register blank"
wait_until 10 "the host reaches the store" sh -c \
	"'$DEMO_DIR/ucloud-cli-admin' host show demo-host --json | jq -e '.stores[] | select(.name == \"small\")'"
mount -o remount,size=1M "$small" || fail "make it full"
user vm create --name full --image blank --ram 64MiB || fail "create full"
log_has() { user vm log "$1" | grep -q -- "$2"; }
wait_until 20 "the VM's log says that the store is full" log_has full 'store "small" is full'
user vm log full | grep full
mount -o remount,size=20G "$small" || fail "make room"
wait_status full RUNNING 60
user vm delete full --wait || fail "delete full"
admin image delete blank || fail "delete the image"
admin image-store delete small || fail "delete the store"

say "garbage in etcd is left alone"
uuid=$(cat /proc/sys/kernel/random/uuid)
garbage() { # KEY VALUE: every daemon goes on, and nobody touches it
	etcdctl3 put "$1" "$2" > /dev/null || fail "put $1"
	garbage_keys+=("$1")
	garbage_values+=("$2")
}
garbage "/v1/vm/$uuid" 'not json'
garbage /v1/vm/not-a-uuid '{"uuid": 7}'
garbage "/v1/vm/$(cat /proc/sys/kernel/random/uuid)" '{"uuid": [], "specs": 7, "status": "SINGING"}'
garbage "/v1/request/scheduler/$uuid" '[1, 2'
garbage "/v1/request/host/demo-host/$uuid" '{"type": "Dance"}'
garbage "/v1/host/Bad Host" '{}'
garbage /v1/host/other-host '{"hostname": "demo-host", "cpus": -1'
garbage /v1/alive/ghost '"x"'
garbage /v1/placement/demo-host/nonsense ''
garbage /v1/image_store/broken '{'
garbage "/v1/image/$uuid" 'null'
garbage /v1/vm-name/demo/user/ghost 'no uuid'
create among-garbage --wait
user vm list | grep -q among-garbage || fail "the list lacks a VM"
user image list | grep -q demo-guest || fail "the list lacks an image"
admin host list | grep -q demo-host || fail "the list lacks a host"
admin image-store list | grep -q demo || fail "the list lacks a store"
user vm delete among-garbage --wait || fail "delete among garbage"
for s in scheduler host; do
	n=$(grep -c "$uuid" "$DEMO_DIR/log/ucloud-$s.log")
	{ [ "$n" -ge 1 ] && [ "$n" -le 3 ]; } || fail "garbage is logged $n times by the $s"
done
for ((i = 0; i < ${#garbage_keys[@]}; i++)); do
	[ "$(etcdctl3 get "${garbage_keys[i]}" --print-value-only)" = "${garbage_values[i]}" ] ||
		fail "${garbage_keys[i]} was touched"
	etcdctl3 del "${garbage_keys[i]}" > /dev/null
done

say "nothing fits: the reason is told"
user vm create --name big --image demo-guest --ram 60GiB || fail "create big"
wait_until 20 "the reason" sh -c "'$DEMO_DIR/ucloud-cli' vm show big --json | jq -r .why | grep -q RAM"
say "$(vm_field big why)"
status_is big REQUESTED_NEW || fail "big is not waiting"
user vm delete big --wait || fail "delete big"
user vm delete taken --wait || fail "delete taken"
check_invariants
echo passed
