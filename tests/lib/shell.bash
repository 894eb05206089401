# What all tests in shell share; sourced.
# shellcheck shell=bash

skip() {
	echo "skipped: $*"
	exit 77
}
say() { echo "--- $(date +%T) $*"; }
fail() {
	echo "FAILED: $*" >&2
	exit 1
}

# wait_until SECONDS WHAT COMMAND...: no fixed sleeps, a condition with a deadline.
wait_until() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" > /dev/null 2>&1; do
		[ $SECONDS -lt $end ] || fail "not within the time: $what"
		sleep 0.2
	done
}

# refused STATUS TEXT COMMAND...: exits so, and its message has the text.
refused() {
	local want=$1 text=$2 out status
	shift 2
	out=$("$@" 2>&1)
	status=$?
	[ $status = "$want" ] || fail "exit status $status instead of $want from: $* ($out)"
	grep -qiE -- "$text" <<< "$out" || fail "message of '$*' lacks '$text': $out"
	say "refused as it should: $(tail -n 1 <<< "$out")"
}

# A port on [::1] that nobody listens on now.
free_port() {
	local p
	while :; do
		p=$((20000 + RANDOM % 12000))
		ss -Hltn "sport = :$p" | grep -q . || break
	done
	echo "$p"
}
