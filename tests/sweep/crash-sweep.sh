#!/usr/bin/env bash
# shellcheck disable=SC2016 # order() evaluates its first argument
# Kills each daemon at each of its crash points (common/base/crash.h) while it does everything
# that it can do, starts it again, and checks that every order completes, none twice, and that
# nothing is left behind. A leading scheduler is also stopped at each point past its lease, and
# continued when another one leads. Real etcd, real libvirt and QEMU.
#
#	[STORE=ceph] B=build/crash tests/sweep/crash-sweep.sh [all|short] [WHAT]...
#
# WHAT is a daemon (host scheduler api otp filescan image network), "upload" (the API again,
# while it takes files), "stop", the scheduler that is stopped, or "router", a leading
# ucloud-network that is.
# short tries a few points of each, other ones each day of the year.
# SWEEP_ONLY=REGEX tries only points whose name matches.
# shellcheck source=../e2e/lib.bash
. "$(dirname "$0")/../e2e/lib.bash"

mode=${1:-short}
shift
[ $# != 0 ] || set -- host scheduler api upload otp filescan image network stop router
declare -A n_short=([host]=5 [scheduler]=3 [api]=5 [upload]=3 [otp]=3 [filescan]=3 [image]=4
	[network]=5 [stop]=3 [router]=2)
# shellcheck source=networks.bash
. tests/sweep/networks.bash
export DEMO_SCHEDULER_OPTIONS="--lease_ttl 2"
export DEMO_HOST_OPTIONS="--lease_ttl 2 --shutdown_timeout 2s"
export DEMO_FILESCAN_OPTIONS="--lease_ttl 2"
export DEMO_IMAGE_OPTIONS="--lease_ttl 2 --resync 2s"
export DEMO_NETWORK_OPTIONS="${net_options[*]}"
points=$DEMO_DIR/points
crashed=$DEMO_DIR/crashed
otp() { "$B/ucloud-otp/ucloud-otp" "$@" --config "$DEMO_DIR/conf/ucloud-otp.conf"; }

# Gives an order until it is accepted. One whose answer was lost is looked at, never simply
# given again.
order() { # HAS-IT-BEEN-CARRIED-OUT COMMAND...
	local done=$1 end=$((SECONDS + 60))
	shift
	until "$@" > "$DEMO_DIR/order.out" 2>&1; do
		[ $SECONDS -lt $end ] || fail "never accepted: $* ($(cat "$DEMO_DIR/order.out"))"
		wait_until 30 "the API answers" user vm list
		! eval "$done" > /dev/null 2>&1 || return 0
	done
}

# ---------------------------------------------------------------- what is done meanwhile
reached() { # NAME STATUS
	wait_until 60 "$1 becomes $2 ($(user vm show "$1" 2>&1))" status_is "$1" "$2"
}
qemu_pid() { cat "$DEMO_DIR/libvirt/run/qemu/ucloud-$uuid.pid" 2> /dev/null; }
runs_anew() { # OLD-PID
	local now
	now=$(qemu_pid) && [ -n "$now" ] && [ "$now" != "$1" ] && status_is life RUNNING
}
create_vm() { user vm create --name "$1" --image "$2" --ram 64MiB --disk 1GiB; }
is_there() { user vm show "$1"; }

change_is_done() { wait_until 60 "life is as ordered ($(user vm show life 2>&1))" no_requests; }
disk_is() { # INDEX SIZE
	user disk list life --json | jq -e ".disks[] | select(.index == $1).size_gib == $2"
}
snapshot_is() { # STATE
	user vm snapshot list life --json | jq -e ".snapshots[] | select(.name == \"s\").state == \"$1\""
}
snapshots_in_store() {
	if on_ceph; then
		rbd snap ls "uservms/$uuid$([ "$1" = 0 ] || echo ".$1")"
	else
		qemu-img snapshot -U -l "$DEMO_DIR/store/vms/$uuid/$1.qcow2"
	fi | grep -c ' s '
}
# While it runs.
live_changes() {
	order 'disk_is 1 1' user disk attach life 1GiB
	change_is_done
	order 'disk_is 1 2' user disk grow life 1 2GiB
	change_is_done
	order 'snapshot_is creating || snapshot_is ready' user vm snapshot create life s
	change_is_done
	disk_is 1 2 > /dev/null || fail "the disk is not as ordered: $(user vm show life)"
	snapshot_is ready > /dev/null || fail "no snapshot: $(user vm show life)"
	[ "$(snapshots_in_store 0) $(snapshots_in_store 1)" = "1 1" ] ||
		fail "the snapshot is not of both disks"
	[ "$(vsh domstate "ucloud-$uuid")" = running ] || fail "it does not run"
}
# While it is stopped.
offline_changes() {
	order 'snapshot_is restoring || snapshot_is ready' user vm snapshot restore life s --yes
	change_is_done
	snapshot_is ready > /dev/null || fail "the snapshot is gone: $(user vm show life)"
	order '! disk_is 1 2' user disk detach life 1 --yes
	change_is_done
	order '! snapshot_is ready' user vm snapshot delete life s
	change_is_done
	! stored_disks | grep -E '/1\.qcow2$|\.1$' || fail "the disk is left"
	[ "$(snapshots_in_store 0)" = 0 ] || fail "the snapshot is left"
}

# A VM's whole life, and a VM that cannot live.
vm_life() {
	local pid
	order 'is_there life' create_vm life demo-guest
	order 'is_there bad' create_vm bad missing
	reached life RUNNING
	uuid=$(vm_field life uuid)
	order '[ "$(vm_field life boot)" = 1 ]' user vm reboot life --force
	wait_until 60 "the reboot is done" no_requests
	reached life RUNNING
	[ "$(vm_field life boot)" = 1 ] || fail "$(vm_field life boot) reboots, not 1"
	live_changes
	pid=$(qemu_pid)
	kill -KILL "$pid"
	wait_until 60 "life runs again after its QEMU died" runs_anew "$pid"
	order '! status_is life RUNNING' user vm stop life
	reached life STOPPED
	offline_changes
	order '! status_is life STOPPED' user vm start life
	reached life RUNNING
	reached bad ERROR
	order '! is_there bad' user vm delete bad
	order '! is_there life' user vm delete life
	wait_until 60 "the VMs are gone" no_vms
	wait_until 20 "no request is left" no_requests
}

key='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3n1h0O0Yq0b2bJ9y3m6N2c1J5o8w8Zr1c2v3b4n5m6 sweep'
# Everything that the API writes, but for what vm_life() has.
api_life() {
	order 'is_there life' create_vm life demo-guest
	reached life RUNNING
	order 'user vm show life --json | jq -e ".labels.a == \"b\""' user vm change life --label a=b
	order '[ "$(vm_field life boot)" = 1 ]' user vm reboot life --force
	wait_until 60 "the reboot is done" no_requests
	order '! status_is life RUNNING' user vm stop life --force
	order 'user ssh-key list | grep -q sweep' user ssh-key add --name sweep --key "$key"
	order '! user ssh-key list | grep -q sweep' user ssh-key remove sweep
	order 'admin user show user@demo | grep -q 77' admin user quota user@demo --vms 77
	order '! admin user show user@demo | grep -q 77' admin user quota user@demo --default
	order 'admin host show extra' admin host create --name extra
	order 'admin host show extra --json | jq -e .is_draining' admin host drain extra
	order '! admin host show extra' admin host delete extra
	order 'admin image-store show extra' \
		admin image-store create --name extra --type filesystem --path "$DEMO_DIR/extra"
	order 'user image show extra' admin image create --name extra --store extra --path x.img \
		--format raw --public
	order 'user image show extra --json | jq -e ".public == false"' \
		admin image change extra --public no
	order '! admin image show extra' admin image delete extra
	order '! admin image-store show extra' admin image-store delete extra
	reached life STOPPED
	order '! status_is life STOPPED' user vm start life
	order '! is_there life' user vm delete life
	wait_until 60 "the VM is gone" no_vms
	wait_until 20 "no request is left" no_requests
}

# A user logs in with the tokens of three time steps, each of which serves at most once. When
# ucloud-otp dies under way, one of them may be lost.
log_in() { # TOKEN: prints the status
	curl -s -g --noproxy '*' -m 10 -o /dev/null -w '%{http_code}' -u "sweep@demo:$1" \
		"$(api_url)/v1/vms"
}
otp_life() {
	local seed at token status served=
	seed=$(otp user add sweep --realm demo | awk '/^seed:/ { print $2 }')
	for at in -30 +0 +30; do
		token=$(oathtool --totp -b -N "$(date -u -d "$at seconds" '+%F %T UTC')" "$seed")
		status=$(log_in "$token")
		[ "$status" != 200 ] || served+=" $token"
		[ "$status" != 503 ] || wait_until 30 "ucloud-otp answers" otp_is_ready
	done
	wait_until 30 "ucloud-otp answers" otp_is_ready
	[ "$(wc -w <<< "$served")" -ge 2 ] || fail "of three tokens only these served:$served"
	for token in $served; do
		[ "$(log_in "$token")" = 401 ] || fail "a token served twice"
	done
	otp user delete sweep --realm demo > /dev/null || fail "delete the user"
	# Failed log-ins are slowed down, per address as well: begin anew.
	cloud kill ucloud-api
	cloud start ucloud-api
	wait_until 30 "the API answers" user vm list
}
otp_is_ready() { curl -sf -g --noproxy '*' "http://[::1]:$(cat "$DEMO_DIR/run/ucloud-otp-metrics.port")/healthz"; }

# What is published is what is there, and each name has its index.
files_are_published() {
	local names
	diff <(cd "$DEMO_DIR/upload/user" && find . -type f -printf '%P\0' | sort -z |
		xargs -0r sha512sum | sort) \
		<(etcdctl3 get --prefix /v1/file/ --print-value-only |
			jq -r 'select(.owner == "user") | "\(.sha512)  \(.filename)"' | sort) || return 1
	names=$(etcdctl3 get --prefix /v1/file-name/demo/user/ --keys-only | grep -c .)
	[ "$names" = "$(find "$DEMO_DIR/upload/user" -type f | wc -l)" ]
}

upload() { # PATH NAME
	order "user file show $2" user file upload "$1" --name "$2" --quiet
}
# Over the API, in pieces, again with another content, and away.
upload_life() {
	local part=$DEMO_DIR/upload.part sum
	head -c 3000000 build/guest/guest.img > "$part"
	upload "$part" sweep/one
	upload "$part" two
	head -c 2000000 build/guest/guest.img > "$part"
	sum=$(sha512sum < "$part" | cut -d' ' -f1)
	order 'user file show two --json | jq -e ".sha512 == \"$sum\""' \
		user file upload "$part" --name two --quiet
	wait_until 30 "the files are published" files_are_published
	[ "$(user file show two --json | jq -r .sha512)" = "$sum" ] || fail "two has another content"
	order '! user file show two' user file delete two
	order '! user file show sweep/one' user file delete sweep/one
	wait_until 30 "no file of these is published" files_are_published
	rmdir "$DEMO_DIR/upload/user/sweep" 2> /dev/null
	rm "$part"
}

filescan_life() {
	local dir=$DEMO_DIR/upload/user i
	mkdir -p "$dir/d"
	echo one > "$dir/a"
	for i in {1..100}; do echo "$i" > "$dir/d/$i"; done
	wait_until 30 "the files are published" files_are_published
	mv "$dir/a" "$dir/b"
	mv "$dir/d" "$dir/e"
	echo two > "$dir/e/1"
	rm "$dir/e/2"
	wait_until 30 "what has changed is published" files_are_published
	rm -r "$dir/b" "$dir/e"
	upload build/guest/guest.img sweep.img
	order '! user file show sweep.img' user file delete sweep.img
	wait_until 30 "no file is published" files_are_published
}

# An upload becomes an image, and goes again; and one that no image can be made of.
image_status() { user image show "$1" --json | jq -r .status; }
image_is() { [ "$(image_status "$1")" = "$2" ]; }
image_life() {
	local dir=$DEMO_DIR/upload/user path
	mkdir -p "$dir"
	qemu-img convert -O qcow2 build/guest/guest.img "$dir/.ucloud-new"
	mv "$dir/.ucloud-new" "$dir/sweep.qcow2"
	head -c 1000 build/guest/guest.img > "$dir/sweep.bad"
	wait_until 30 "the files are published" files_are_published
	order 'user image show good' user image create --name good --file sweep.qcow2 --store demo
	order 'user image show bad' user image create --name bad --file sweep.bad --store demo
	wait_until 60 "good is made" image_is good CREATED
	wait_until 60 "bad is refused" image_is bad ERROR
	path=$(user image show good --json | jq -r .path)
	{ if on_ceph; then rbd export --no-progress "images/$path" -; else cat "$DEMO_DIR/store/images/$path"; fi; } |
		cmp -n "$(stat -c %s build/guest/guest.img)" build/guest/guest.img - || fail "good has another content"
	order '! user image show good || image_is good TO_BE_DELETED' user image delete good
	order '! user image show bad || image_is bad TO_BE_DELETED' user image delete bad
	wait_until 60 "the images are gone" sh -c \
		"! '$DEMO_DIR/ucloud-cli' image show good && ! '$DEMO_DIR/ucloud-cli' image show bad"
	rm "$dir"/sweep.*
	wait_until 30 "no file is published" files_are_published
}

# ---------------------------------------------------------------- killing
# Starts a daemon with the environment given and starts it again as soon as it has died.
watched() { # SERVICE VAR=VALUE...
	local s=$1
	shift
	rm -f "$DEMO_DIR/unwatch"
	cloud stop "$s"
	env "$@" scripts/demo start "$s"
	(
		while cloud pid "$s" > /dev/null; do
			[ ! -e "$DEMO_DIR/unwatch" ] || exit 0
			sleep 0.1
		done
		cloud start "$s"
	) &
	watcher=$!
	# Nothing is started again when the sweep itself ends meanwhile.
	others+=("$watcher")
}

unwatch() {
	: > "$DEMO_DIR/unwatch"
	wait "$watcher"
	others=()
}

all_keys() {
	etcdctl3 get --prefix / --keys-only | grep . |
		grep -vE '^/v1/(session|idempotency|console|lock|alive|underlay)/' | sort
}

no_cds() { [ -z "$(ls -A "$DEMO_DIR/host/nocloud" 2> /dev/null)" ]; }

# What was there before is there now, and nothing else.
check_nothing_left() {
	check_no_networks
	check_invariants
	all_keys | diff "$DEMO_DIR/keys" - || fail "keys are left or missing"
	[ -z "$(stored_disks)$(ls -A "$DEMO_DIR/store/vms" 2> /dev/null)" ] || fail "a disk is left: $(stored_disks)"
	[ -z "$(ls -A "$DEMO_DIR/host/console")" ] || fail "a console log is left"
	wait_until 10 "no boot configuration is left" no_cds
}

count_points() { # SERVICE LIFE
	: > "$points"
	cloud stop "$1"
	UCLOUD_CRASH_COUNT_FILE=$points cloud start "$1"
	wait_until 30 "the API answers" user vm list
	$2
	cloud stop "$1"
	cloud start "$1"
	wait_until 30 "the API answers" user vm list
	n=$(wc -l < "$points")
	[ "$n" -gt 0 ] || fail "$1 passes no crash point; was it built with CRASH=1?"
}

# Sets $first and $step: which of $n points to try. The step is odd: "before" and "after" take
# turns.
choose_points() { # WHAT
	step=1 first=1
	if [ "$mode" = short ]; then
		step=$(((n + n_short[$1] - 1) / n_short[$1] | 1))
		first=$((1 + 10#$(date +%j) % step))
	fi
	say "$1: $n points; every $step. from $first"
}

said() { # WHAT: one line for a point that was tried
	local at
	at=$(cat "$crashed" 2> /dev/null) || at="(not reached this time)"
	say "$1 at point $i of $n: $at"
	rm -f "$crashed"
	n_tried=$((n_tried + 1))
}

sweep() { # SERVICE LIFE [WHAT]
	local s=ucloud-$1 n i step first start=$SECONDS
	count_points "$s" "$2"
	choose_points "${3:-$1}"
	for ((i = first; i <= n; i += step)); do
		sed -n "${i}p" "$points" | grep -qE "${SWEEP_ONLY:-}" || continue
		watched "$s" UCLOUD_CRASH_AT="$i" UCLOUD_CRASH_FILE="$crashed"
		wait_until 30 "the API answers" user vm list
		$2
		unwatch
		# A point that was not reached this time must not be met later, unwatched.
		[ -e "$crashed" ] || cloud stop "$s"
		cloud pid "$s" > /dev/null || cloud start "$s"
		check_nothing_left
		said "$s killed"
	done
	say "$s: $n points, $((SECONDS - start)) s"
}

# ---------------------------------------------------------------- stopping
leader_pid() { etcdctl3 get "/v1/lock/${s#ucloud-}" --print-value-only | jq -r '.pid // 0'; }
is_stopped() { grep -q '^State:[[:space:]]*T' "/proc/$1/status"; }
leads() { [ "$(leader_pid)" = "$1" ]; }
leads_or_is_stopped() { leads "$1" || is_stopped "$1"; }
does_not_lead() {
	[ "$("${within[@]}" curl -sf -g --noproxy '*' \
		"http://[::1]:$(cat "$DEMO_DIR/run/$s-metrics.port")/metrics" |
		awk -v name="${s/-/_}_is_leader" '$1 == name { print $2 }')" = 0 ]
}

# Where the other one is.
other_machine=()
elsewhere() { # COMMAND...
	# shellcheck disable=SC2034 # as another() sees it
	local within=("${other_machine[@]}")
	"$@"
}

# The leader is stopped past its lease; another one leads, and goes on with it.
stop_sweep() { # SERVICE LIFE WHAT OPTION-OF-THE-OTHER...
	local s=ucloud-$1 life=$2 what=$3 n i step first pid start=$SECONDS
	shift 3
	count_points "$s" "$life"
	choose_points "$what"
	for ((i = first; i <= n; i += step)); do
		sed -n "${i}p" "$points" | grep -qE "${SWEEP_ONLY:-}" || continue
		cloud stop "$s"
		UCLOUD_CRASH_AT=$i UCLOUD_CRASH_FILE=$crashed UCLOUD_CRASH_SIGNAL=STOP cloud start "$s"
		pid=$(cloud pid "$s")
		wait_until 20 "the first one leads" leads_or_is_stopped "$pid"
		elsewhere another second "$s" --force --lease_ttl 2 "$@"
		$life
		if is_stopped "$pid"; then
			wait_until 6 "the other one leads" leads "${others[0]}"
			kill -CONT "$pid"
			wait_until 10 "the old leader knows that it is none" does_not_lead
			leads "${others[0]}" || fail "the other one does not lead any more"
		fi
		check_nothing_left
		stop_others
		said "the leader was stopped"
	done
	! grep -h ' ERROR ' "$DEMO_DIR/log/$s.log" "$DEMO_DIR/second/$s.log" ||
		fail "a $s logged an ERROR"
	say "stopped $s: $n points, $((SECONDS - start)) s"
}

start_bird
cloud up services || fail "the cloud did not come up"
admin image create --name missing --store demo --path missing.img --format raw --public ||
	fail "register an image without a file"
user vm list > /dev/null || fail "list"
vm_life # makes what is made once, like the user's entry
all_keys > "$DEMO_DIR/keys"
check_nothing_left
n_tried=0
for what; do
	case $what in
	host | scheduler) sweep "$what" vm_life ;;
	api) sweep api api_life ;;
	upload) sweep api upload_life upload ;;
	otp) sweep otp otp_life ;;
	filescan) sweep filescan filescan_life ;;
	image) sweep image image_life ;;
	network) sweep network net_life ;;
	stop) stop_sweep scheduler vm_life stop ;;
	router) as_router stop_sweep network net_life router "${common_options[@]}" --underlay eth0 \
		--hostname second --role router --prefix "$(pool)" --run_dir "$DEMO_DIR/second/run" ;;
	*) fail "what is $what?" ;;
	esac
done
echo "$n_tried passed, 0 failed, 0 skipped"
