#!/usr/bin/env bash
# etcd is frozen: it takes calls and never answers. All daemons end in time all the same, on
# their own.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

cloud up services || fail "the cloud did not come up"
user vm list > /dev/null || fail "list"
etcd_pid=$(cloud pid etcd)
services="ucloud-api ucloud-scheduler ucloud-host ucloud-otp ucloud-filescan ucloud-image"
clean_up() { kill -CONT "$etcd_pid" 2> /dev/null; }
has_noticed() { grep -q 'no etcd answers' "$DEMO_DIR/log/$1.log"; }
ends() { ! cloud pid "$1"; }

kill -STOP "$etcd_pid"
user vm list > /dev/null 2>&1 &
asker=$!
for s in ucloud-scheduler ucloud-host ucloud-filescan ucloud-image; do wait_until 40 "$s notices" has_noticed $s; done
say "calls hang; all are told to stop"
for s in $services; do
	kill -TERM "$(cloud pid "$s")" || fail "$s does not run"
done
for s in $services; do
	wait_until 8 "$s ends" ends "$s"
	tail -n 1 "$DEMO_DIR/log/$s.log" | grep -q " INFO $s: stopped" ||
		fail "$s: $(tail -n 1 "$DEMO_DIR/log/$s.log")"
	! grep ' ERROR ' "$DEMO_DIR/log/$s.log" || fail "$s logged an ERROR"
	say "$s: $(grep -h ' INFO .*: stop' "$DEMO_DIR/log/$s.log" | cut -c12-23 | xargs)"
done
wait $asker
kill -CONT "$etcd_pid"
