#!/usr/bin/env bash
# What a guest is told at its boot: its host name, its owner's keys and user data, on a CD.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

cloud up services || fail "the cloud did not come up"
cds=$DEMO_DIR/host/nocloud
n_cds() { find "$cds" -type f 2> /dev/null | wc -l; }
no_cds() { [ "$(n_cds)" = 0 ]; }

say "a VM without keys has a name"
create bare --wait
wait_console bare 'GUEST .* hostname bare'
wait_console bare 'GUEST .* user data #cloud-config'
console_has bare 'GUEST .* ssh key' && fail "it has keys"

say "keys and user data"
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII9vglRpTRz4Xy7JdOqh9XbBFg2TOJ3x7h2aTE8g8e8R jane@laptop (2)' > "$DEMO_DIR/key.pub"
user ssh-key add --name laptop --key "@$DEMO_DIR/key.pub" || fail "ssh-key add"
printf '#!/bin/sh\necho hello\n' > "$DEMO_DIR/user-data"
create web --user-data "$DEMO_DIR/user-data" --wait
wait_console web 'GUEST .* hostname web'
wait_console web 'GUEST .* ssh key jane@laptop (2)'
wait_console web 'GUEST .* user data #!/bin/sh'
wait_console web 'GUEST .* ready'
uuid=$(vm_field web uuid)
vsh dumpxml "$uuid" | grep -q "nocloud/$uuid.iso" || fail "its CD is not in the domain"
[ "$(stat -c %a "$cds/$uuid.iso")" = 600 ] || fail "others may read its CD"
blkid -p "$cds/$uuid.iso" | grep -q 'LABEL="cidata"' || fail "its CD is not called cidata"
check_invariants

say "its disks are as they were"
console_has web 'disks vda=' || fail "no disk"
console_has web 'disks.*vdb' && fail "the CD is among the disks"

say "a stopped VM leaves none, and has it again"
user vm stop web --wait || fail stop
wait_until 10 "the CD of a stopped VM goes" [ ! -e "$cds/$uuid.iso" ]
user vm start web --wait || fail start
wait_until 90 "it boots again" sh -c "'$DEMO_DIR/ucloud-cli' vm console-log web | grep -c 'hostname web' | grep -qx 2"

say "deleted"
for vm in bare web; do user vm delete "$vm" --wait || fail "delete $vm"; done
wait_until 10 "no CD is left" no_cds
check_invariants
echo passed
