# A VM's serial console, on which the guest's shell waits; sourced by tests/lab/lab.
# shellcheck shell=bash disable=SC2154

# Prints what COMMAND printed; its exit status is ours. One at a time for each VM.
guest_run() { # WHO VM COMMAND
	local uuid host out tty n=$RANDOM$RANDOM end=$((SECONDS + ${GUEST_LIMIT:-60})) status=''
	read -r uuid host < <("$lab/$1" vm show "$2" --json | jq -r '"\(.uuid) \(.hostname)"')
	[ -n "${host:-}" ] || die "the VM $2 is on no host"
	tty=$(host_virsh "$host" ttyconsole "ucloud-$uuid")
	out=$lab/$host/state/console/$uuid.log
	[ -r "$out" ] || die "there is no $out"
	local from
	from=$(stat -c %s "$out")
	# QEMU looks once a second whether somebody has the terminal open, and reads only then.
	exec 8<> "$tty"
	# What is typed comes back, too: so that it is not taken for the result, it is typed
	# with quotes in the middle.
	printf "echo '=='begin-%s; { %s\r} 2>&1; echo '=='end-%s \$?\r" "$n" "$3" "$n" >&8
	while [ -z "$status" ]; do
		[ $SECONDS -lt $end ] || die "no end of \"$3\" on the console of $2: $(tail -c 500 "$out")"
		sleep 0.1
		status=$(tail -c +"$((from + 1))" "$out" | tr -d '\r' | sed -n "s/^==end-$n \([0-9]*\)$/\1/p")
	done
	tail -c +"$((from + 1))" "$out" | tr -d '\r' |
		sed -n "/^==begin-$n\$/,/^==end-$n /p" | grep -vE "^==(begin|end)-|^GUEST " || true
	return "$status"
}
