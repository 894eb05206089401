#!/usr/bin/env bash
# Kills each daemon at each of its crash points (common/base/crash.h) in the course of a VM's
# whole life, restarts it, and checks that every order completes, none twice, and that nothing
# is left behind. Real etcd, real libvirt and QEMU.
#
#	B=build/crash tests/sweep/crash-sweep.sh [all|short]
#
# short takes every seventh point, beginning with another one each day of the year.
# shellcheck source=../e2e/lib.bash
. "$(dirname "$0")/../e2e/lib.bash"

mode=${1:-short}
export DEMO_SCHEDULER_OPTIONS="--lease_ttl 2" DEMO_HOST_OPTIONS="--lease_ttl 2"
points=$DEMO_DIR/points
cloud up services || fail "the cloud did not come up"

# A VM's whole life, with every order given until it is accepted. An order whose answer was
# lost is looked at, never simply sent again; creates carry an Idempotency-Key.
order() { # WHAT-MUST-HOLD-AFTERWARDS COMMAND...
	local done=$1 end=$((SECONDS + 60))
	shift
	until "$@" > "$DEMO_DIR/order.out" 2>&1; do
		[ $SECONDS -lt $end ] || fail "never accepted: $* ($(cat "$DEMO_DIR/order.out"))"
		wait_until 30 "the API answers" user vm list
		! eval "$done" || return 0
	done
}

reached() { # STATUS
	wait_until 60 "the VM becomes $1 ($(user vm show life 2>&1))" status_is life "$1"
}

life() {
	order 'user vm show life > /dev/null 2>&1' create_life
	reached RUNNING
	order '! no_requests' user vm reboot life --force
	wait_until 60 "the reboot is done" no_requests
	reached RUNNING
	[ "$(vm_field life boot)" = 2 ] || fail "boot is $(vm_field life boot), not 2"
	order '! status_is life RUNNING' user vm stop life --force
	reached STOPPED
	order '! status_is life STOPPED' user vm start life
	reached RUNNING
	order '! status_is life RUNNING' user vm delete life
	wait_until 60 "the VM is gone" no_vms
	wait_until 20 "no request is left" no_requests
}
create_life() { user vm create --name life --image demo-guest --ram 128MiB; }

# Starts a daemon with the environment given and starts it again as soon as it has died.
watched() { # SERVICE VAR=VALUE...
	local s=$1
	shift
	cloud stop "$s"
	env "$@" scripts/demo start "$s"
	(
		while cloud pid "$s" > /dev/null; do sleep 0.1; done
		cloud start "$s"
	) &
	watcher=$!
}

unwatch() {
	kill "$watcher" 2> /dev/null
	wait "$watcher" 2> /dev/null
}

sweep() { # SERVICE
	local s=$1 n i step=1 first=1 at
	: > "$points"
	cloud stop "$s"
	UCLOUD_CRASH_COUNT_FILE=$points cloud start "$s"
	wait_until 30 "the API answers" user vm list
	life
	cloud stop "$s"
	cloud start "$s"
	n=$(wc -l < "$points")
	[ "$n" -gt 0 ] || fail "$s passes no crash point; was it built with CRASH=1?"
	if [ "$mode" = short ]; then
		step=7
		first=$((1 + 10#$(date +%j) % 7))
	fi
	say "$s passes $n points; every $step. from $first"
	for ((i = first; i <= n; i += step)); do
		rm -f "$DEMO_DIR/crashed"
		watched "$s" UCLOUD_CRASH_AT="$i" UCLOUD_CRASH_FILE="$DEMO_DIR/crashed"
		wait_until 30 "the API answers" user vm list
		life
		unwatch
		cloud pid "$s" > /dev/null || cloud start "$s"
		check_invariants
		at=$(cat "$DEMO_DIR/crashed" 2> /dev/null) || at="(not reached this time)"
		say "$s killed at point $i of $n: $at"
		n_killed=$((n_killed + 1))
	done
}

n_killed=0
for s in ucloud-host ucloud-scheduler ucloud-api ucloud-otp; do sweep $s; done
echo "$n_killed passed, 0 failed, 0 skipped"
