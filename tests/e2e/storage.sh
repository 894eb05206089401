#!/usr/bin/env bash
# From an upload to a VM, and what can be done with its disks: upload over HTTP, image, VM,
# snapshot and restore, disks that come, grow and go while the guest looks on, sizes, flatten,
# a VM in another store than its image. In the end the store is as it was. STORE=ceph does it
# on Ceph.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"
export STORE=${STORE:-filesystem}
# What is in the store: images and disks, one a line.
in_store() {
	if [ "$STORE" = ceph ]; then
		rbd ls images | sed 's/^/image /'
		rbd ls uservms | sed 's/^/disk /'
		return
	fi
	find "$DEMO_DIR/store/images" -type f | sed 's/^/image /'
	find "$DEMO_DIR/store/vms" -type f -o -mindepth 1 -type d 2> /dev/null | sed 's/^/disk /'
}
n_in_store() { in_store | grep -c "^$1" || true; }
snapshots_of() { # DISK NAME: how often the disk has it
	if [ "$STORE" = ceph ]; then
		local image=$uuid
		[ "$1" = 0 ] || image=$uuid.$1
		rbd snap ls "uservms/$image" | grep -c " $2 "
	else
		qemu-img snapshot -U -l "$DEMO_DIR/store/vms/$uuid/$1.qcow2" | grep -c " $2 "
	fi
}
says_times() { # VM TEXT TIMES
	[ "$(user vm console-log "$1" | tr -d '\r' | grep -c -- "$2")" -ge "$3" ]
}
last_disks() { # VM TEXT: the guest's last word about its disks
	user vm console-log "$1" | tr -d '\r' | grep 'GUEST .* disks' | tail -n 1 | grep -q -- "$2\$"
}
sees() { wait_until 60 "the guest of $1 sees $2" last_disks "$1" "$2"; }
use_of() { user user show --json | jq ".use.$1"; }

say "upload, scan, image ($STORE)"
cloud up services || fail "the cloud did not come up"
sha=$(sha512sum build/guest/guest.img | cut -d' ' -f1)
[ "$(user file show guest.img --json | jq -r .sha512)" = "$sha" ] || fail "the file's SHA-512"
[ "$(user image show demo-guest --json | jq -r .status)" = CREATED ] || fail "the image is not CREATED"
[ "$(user image show demo-guest --json | jq -r .sha512)" = "$sha" ] || fail "the image's SHA-512"
[ "$(n_in_store image)" = 1 ] || fail "one image in the store: $(in_store)"
[ "$(n_in_store disk)" = 0 ] || fail "no disk in the store: $(in_store)"

say "a VM boots from it"
create one --disk 1GiB --wait
uuid=$(vm_field one uuid)
wait_console one 'GUEST .* boot number 1'
sees one 'disks vda=1024MiB'
if [ "$STORE" = ceph ]; then
	vsh dumpxml "$uuid" | grep -q "name='uservms/$uuid'" || fail "the domain's disk is not in Ceph"
	rbd info "uservms/$uuid" | grep -q 'parent: images/' || fail "the disk is no clone"
fi
refused 1 '1 VM' user image delete demo-guest

say "snapshot, while it runs"
user vm snapshot create one before --wait || fail "snapshot create"
user vm snapshot list one | grep -q before || fail "the snapshot is not listed"
[ "$(use_of snapshots)" = 1 ] || fail "the snapshot does not count"
user vm stop one --wait || fail stop
user vm start one --wait || fail start
wait_console one 'GUEST .* boot number 2'
wait_until 60 "ready" says_times one 'ready' 2

say "disks come and grow while it runs"
user disk attach one 1GiB --wait || fail "disk attach"
sees one 'disks vda=1024MiB vdb=1024MiB'
user disk grow one 1 2GiB --wait || fail "grow disk 1"
sees one 'disks vda=1024MiB vdb=2048MiB'
user disk grow one 0 2GiB --wait || fail "grow disk 0"
sees one 'disks vda=2048MiB vdb=2048MiB'
refused 1 'never shrink' user disk grow one 1 1GiB
[ "$(use_of disk_gib)" = 4 ] || fail "disk_gib in use is $(use_of disk_gib), not 4"
[ "$(n_in_store "disk.*$uuid")" -ge 2 ] || fail "two disks: $(in_store)"

say "a snapshot of both disks, at one moment"
user vm snapshot create one both --description 'with two disks' --wait || fail snapshot
refused 1 'already' user vm snapshot create one both
[ "$(snapshots_of 0 both) $(snapshots_of 1 both)" = "1 1" ] || fail "a disk has no snapshot"
user vm snapshot delete one both --wait || fail "snapshot delete"
[ "$(snapshots_of 0 both) $(snapshots_of 1 both)" = "0 0" ] || fail "the snapshot is left"

say "restore needs a VM that is stopped"
refused 1 'stop' user vm snapshot restore one before --yes
user vm stop one --wait || fail stop
user vm snapshot restore one before --yes --wait || fail restore
user vm resize one --cpu 1 --ram 160MiB || fail resize
user vm start one --wait || fail start
wait_until 90 "the second boot once more" says_times one 'boot number 2' 2
sees one 'disks vda=2048MiB vdb=2048MiB'
[ "$(vm_field one specs.ram_mib)" = 160 ] || fail "resize"

say "a disk goes while it runs"
wait_until 60 "ready" says_times one 'ready' 3
refused 1 'yes' user disk detach one 1
refused 1 'boots from' user disk detach one 0 --yes
user disk detach one 1 --yes --wait || fail "disk detach"
sees one 'disks vda=2048MiB'
user vm snapshot delete one before --wait || fail "snapshot delete"
[ "$(use_of disk_gib) $(use_of snapshots)" = "2 0" ] || fail "use is not given back"

say "flatten, and what is stopped changes, too"
user vm stop one --wait || fail stop
refused 1 '' user disk flatten one
admin disk flatten "user@demo:one" --wait || fail flatten
user disk attach one 1GiB:hdd --wait || fail "attach while stopped"
user disk detach one 1 --yes --wait || fail "detach while stopped"
if [ "$STORE" = ceph ]; then
	rbd info "uservms/$uuid" | grep -q parent && fail "the disk still is a clone"
fi
user vm start one --wait || fail start
wait_until 90 "the third boot" says_times one 'boot number 3' 1

say "another store than the image's"
mkdir -p "$DEMO_DIR/other/images"
admin image-store create --name other --type filesystem --path "$DEMO_DIR/other" || fail "a second store"
user vm create --name two --image demo-guest --store other --cpu 1 --ram 128MiB --wait || fail "create two"
wait_console two 'GUEST .* boot number 1'
user vm delete two --wait || fail "delete two"
[ -z "$(ls -A "$DEMO_DIR/other/vms")" ] || fail "a disk is left in the other store"

say "all is removed"
user vm delete one --wait || fail delete
[ "$(n_in_store disk)" = 0 ] || fail "left: $(in_store)"
user image delete demo-guest --wait || fail "image delete"
[ "$(n_in_store image)" = 0 ] || fail "left: $(in_store)"
user file delete guest.img || fail "file delete"
wait_until 10 "the file's entry goes" sh -c "! '$DEMO_DIR/ucloud-cli' file show guest.img"
for prefix in image image-name file file-name request vm; do
	[ "$(n_keys "/v1/$prefix/")" = 0 ] || fail "keys are left below /v1/$prefix/"
done
[ "$(use_of images)" = 0 ] || fail "the image still counts"
echo passed
