# Processes that a script starts, remembers by name in pid files, and finds again; sourced. Who
# sources it has a function die MESSAGE and sets
#
#	run=DIR log=DIR        NAME.pid and NAME.port, NAME.log
#	mark=VARIABLE=VALUE    goes into the environment of all it starts, which says whose they are
#	NETNS=NAME             (or nothing) the network namespace in which they live; `NETNS=x spawn
#	                       ...` chooses one for a single call
#
# shellcheck shell=bash disable=SC2154

# Runs COMMAND in the namespace, instead of this process' own.
inside() { # COMMAND...
	if [ -n "${NETNS:-}" ]; then ip netns exec "$NETNS" "$@"; else "$@"; fi
}

# Not even a zombie that process 1 has not reaped yet.
is_alive() { grep -q '^State:[[:space:]]*[^Z]' "/proc/$1/status" 2> /dev/null; } # PID
is_gone() { ! is_alive "$1"; }

# The process of a pid file, if it is still the one that was started: its environment says
# whose it is. One that is dying has none any more, but still its sockets.
pid_of() { # NAME
	local pid
	pid=$(cat "$run/$1.pid" 2> /dev/null) || return 1
	is_alive "$pid" || return 1
	{ tr '\0' '\n' < "/proc/$pid/environ" || echo none; } 2> /dev/null |
		awk -v ours="$mark" '$0 == ours { found = 1 } END { exit NR > 0 && !found }' || return 1
	echo "$pid"
}

# What COMMAND says is appended to the log. It becomes the process of the pid file itself:
# neither setsid nor ip netns exec stays in front of it.
spawn() { # NAME COMMAND...
	local name=$1 enter=()
	shift
	[ -z "${NETNS:-}" ] || enter=(ip netns exec "$NETNS")
	env "$mark" setsid "${enter[@]}" "$@" >> "$log/$name.log" 2>&1 < /dev/null &
	echo $! > "$run/$name.pid"
	# Before it has become another program it does not look like ours.
	while kill -0 $! 2> /dev/null && ! pid_of "$name" > /dev/null; do sleep 0.02; done
}

wait_for() { # SECONDS WHAT COMMAND...
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" > /dev/null 2>&1; do
		[ $SECONDS -lt $end ] || die "$what: not in time; see $log/"
		sleep 0.1
	done
}

# Asks it to end, insists after 10 s; returns when it is gone. Nothing to do is fine.
stop_process() { # NAME
	local pid n=0
	pid=$(pid_of "$1") || { rm -f "$run/$1.pid"; return 0; }
	kill -TERM "$pid" 2> /dev/null || true
	while pid_of "$1" > /dev/null; do
		n=$((n + 1))
		[ $n -lt 100 ] || kill -KILL "$pid" 2> /dev/null || true
		sleep 0.1
	done
	rm -f "$run/$1.pid"
}

# Returns when it is gone, so that it can be started again at once.
kill_process() { # NAME
	local pid
	pid=$(pid_of "$1") || die "$1 does not run"
	kill -KILL "$pid"
	wait_for 10 "the end of $1" is_gone "$pid"
	rm -f "$run/$1.pid"
}

# A port on [::1] that nobody listens on, remembered for the next time.
port() { # NAME
	local f=$run/$1.port p
	if [ ! -s "$f" ]; then
		while :; do
			p=$((20000 + RANDOM % 12000))
			inside ss -Hltn "sport = :$p" | grep -q . || grep -qx "$p" "$run"/*.port 2> /dev/null || break
		done
		echo "$p" > "$f"
	fi
	cat "$f"
}
