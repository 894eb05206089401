#!/usr/bin/env bash
# `make install` as a distribution would call it: everything is where it belongs and works
# from there.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

say "make install"
dest=$DEMO_DIR/dest
make -s install B="$B" DESTDIR="$dest" PREFIX=/usr > "$DEMO_DIR/install.out" 2>&1 ||
	fail "make install: $(cat "$DEMO_DIR/install.out")"
daemons="ucloud-api ucloud-scheduler ucloud-host ucloud-otp ucloud-filescan ucloud-image"
# It changes the network of the machine, so it is not started here.
installed="$daemons ucloud-network"
is_file() { # PATH MODE
	[ -f "$dest$1" ] || fail "$1 is missing"
	[ "$(stat -c %a "$dest$1")" = "$2" ] || fail "$1 has the mode $(stat -c %a "$dest$1")"
}
for d in $installed; do
	is_file "/usr/sbin/$d" 755
	is_file "/lib/systemd/system/$d.service" 644
	is_file "/etc/init.d/$d" 755
done
is_file /usr/bin/ucloud-cli 755
is_file /usr/lib/sysusers.d/ucloud.conf 644
is_file /usr/share/man/man1/ucloud-cli.1 644
is_file /usr/share/bash-completion/completions/ucloud-cli 644
is_file /usr/share/doc/ucloud/README.md 644
is_file /usr/share/doc/ucloud/admin-guide.md 644
[ -d "$dest/etc/ucloud" ] || fail "/etc/ucloud is missing"
odd=$(find "$dest" -type f | grep -vE '/(usr/s?bin/ucloud-|lib/systemd/system/ucloud-|etc/init.d/ucloud-|usr/share/(doc|man|bash-completion)/|usr/lib/sysusers.d/)')
[ -z "$odd" ] || fail "what is this? $odd"
! grep -rlF "$dest" "$dest" || fail "a file names the directory that it was staged in"

say "elsewhere: the units call what was installed there"
make -s install B="$B" DESTDIR="$DEMO_DIR/local" PREFIX=/opt/ucloud > /dev/null || fail "make install"
for d in $installed; do
	[ -x "$DEMO_DIR/local/opt/ucloud/sbin/$d" ] || fail "$d is not below PREFIX"
	grep -rqF "/opt/ucloud/sbin/$d" "$DEMO_DIR/local/opt/ucloud/lib/systemd/system/$d.service" ||
		fail "the unit of $d does not call it"
	grep -qF "/opt/ucloud/sbin/$d" "$DEMO_DIR/local/etc/init.d/$d" ||
		fail "the OpenRC script of $d does not call it"
done
! grep -rF /usr/sbin/ucloud "$DEMO_DIR/local" --include='*.service' || fail "a unit names /usr/sbin"

say "units"
if command -v systemd-analyze > /dev/null; then
	# What the units wait for exists on a machine with libvirt.
	for unit in network-online.target libvirtd.service virtlogd.service sysinit.target \
		basic.target multi-user.target shutdown.target network.target; do
		[ -e "$dest/lib/systemd/system/$unit" ] || printf '[Unit]\nDescription=%s\n%s\n' $unit \
			"$([ "${unit##*.}" = target ] || printf '[Service]\nExecStart=/usr/bin/ucloud-cli\n')" \
			> "$dest/lib/systemd/system/$unit"
	done
	for d in $installed; do
		systemd-analyze verify --root="$dest" --man=no "$d.service" > "$DEMO_DIR/verify" 2>&1 ||
			fail "systemd-analyze verify: $(cat "$DEMO_DIR/verify")"
		! grep -F "$d" "$DEMO_DIR/verify" || fail "systemd-analyze finds fault with $d"
	done
else
	say "no systemd-analyze here: units not verified"
fi
for d in $installed; do sh -n "$dest/etc/init.d/$d" || fail "$dest/etc/init.d/$d"; done

say "--help, --version, and wrong usage"
version=$(sed -n 's/^VERSION := //p' Makefile)
for p in $installed ucloud-cli; do
	prog=$(echo "$dest"/usr/*bin/"$p")
	"$prog" --help > "$DEMO_DIR/out" 2> "$DEMO_DIR/err" || fail "$p --help"
	grep -qi "usage: $p" "$DEMO_DIR/out" || fail "$p --help says: $(cat "$DEMO_DIR/out")"
	[ ! -s "$DEMO_DIR/err" ] || fail "$p --help writes to stderr: $(cat "$DEMO_DIR/err")"
	[ "$("$prog" --version)" = "$p $version" ] || fail "$p --version: $("$prog" --version)"
	refused 2 'no-such-option' "$prog" --no-such-option
done
for d in $installed; do
	refused 1 'nowhere.conf' "$dest/usr/sbin/$d" --config "$DEMO_DIR/nowhere.conf"
done
refused 1 'etcd' "$dest/usr/sbin/ucloud-scheduler" setup --path "$DEMO_DIR" --etcd_url '[::1]:9'
[ ! -e "$DEMO_DIR/ucloud-scheduler.conf" ] || fail "a setup that failed wrote a file"

say "setup from the installed tree"
mkdir -p "$DEMO_DIR"/{run,log,host,conf,upload}
cloud etcd || fail "etcd did not come up"
etc=$dest/etc/ucloud
declare -A options=(
	[ucloud-otp]="--listen [::1]:$(free_port) --key_file $etc/ucloud-otp.key"
	[ucloud-api]="--auth_name a --auth_realm ungleich-auth --auth_seed JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP
		--realm_allowed demo --otp_url http://[::1]:9/verify/ --listen [::1]:$(free_port)"
	[ucloud-scheduler]="--lease_ttl 2"
	[ucloud-image]="--base_dir $DEMO_DIR/upload --realm_allowed demo --convert_user nobody"
	[ucloud-host]="--hostname h1 --state_dir $DEMO_DIR/host --libvirt_uri test:///default"
	[ucloud-filescan]="--base_dir $DEMO_DIR/upload --realm_allowed demo"
)
setup() { # SERVICE OPTION...
	# shellcheck disable=SC2086 # several words
	"$dest/usr/sbin/$1" setup --path "$etc" --etcd_url "$(etcd_url)" ${options[$1]} "${@:2}"
}
is_healthy() { curl -sf -g --noproxy '*' "http://[::1]:$1/healthz"; }
answers() { [ "$(curl -s -g --noproxy '*' -o /dev/null -w '%{http_code}' "http://[::1]:$1/healthz")" != 000 ]; }
for d in $daemons; do
	port=$(free_port)
	setup "$d" --metrics_listen "[::1]:$port" > "$DEMO_DIR/out" 2>&1 ||
		fail "setup of $d: $(cat "$DEMO_DIR/out")"
	[ "$(stat -c %a "$etc/$d.conf")" = 600 ] || fail "$d.conf has the mode $(stat -c %a "$etc/$d.conf")"
	cp "$etc/$d.conf" "$DEMO_DIR/first"
	refused 1 "$d.conf" setup "$d" --log_level debug
	cmp "$etc/$d.conf" "$DEMO_DIR/first" || fail "the second setup of $d changed the file"
	setup "$d" --metrics_listen "[::1]:$port" --log_level debug --force > /dev/null 2>&1 ||
		fail "setup --force of $d"
	cmp "$etc/$d.conf.old" "$DEMO_DIR/first" || fail "setup --force of $d did not keep the file"
	grep -q '^log_level *= *debug' "$etc/$d.conf" || fail "setup --force of $d wrote nothing"

	"$dest/usr/sbin/$d" --config "$etc/$d.conf" > "$DEMO_DIR/log/$d.log" 2>&1 &
	pid=$!
	others+=("$pid")
	wait_until 10 "$d serves its metrics" answers "$port"
	case $d in ucloud-host) ;; *) wait_until 10 "$d is healthy" is_healthy "$port" ;; esac
	start=$(date +%s%3N)
	kill -TERM $pid
	wait $pid || fail "$d ended with $?: $(cat "$DEMO_DIR/log/$d.log")"
	[ $(($(date +%s%3N) - start)) -lt 5000 ] || fail "$d took $(($(date +%s%3N) - start)) ms to end"
	! grep ' ERROR ' "$DEMO_DIR/log/$d.log" || fail "$d logged an ERROR"
	grep -qF JBSWY3DP "$DEMO_DIR/log/$d.log" && fail "$d logged a secret"
	say "$d: set up, started, stopped"
done

say "the manual page and the completion"
if command -v mandoc > /dev/null; then
	mandoc -T lint -W warning "$dest/usr/share/man/man1/ucloud-cli.1" || fail "the manual page has faults"
	mandoc "$dest/usr/share/man/man1/ucloud-cli.1" | col -b | grep -q 'vm console-log' ||
		fail "the manual page lacks a command"
fi
complete_line() { # WORD...: what comes for the last one
	PATH=$dest/usr/bin:$PATH bash -c '
		. "$0"
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		$(complete -p ucloud-cli | sed "s/.*-F \([^ ]*\).*/\1/")
		echo "${COMPREPLY[*]}"' "$dest/usr/share/bash-completion/completions/ucloud-cli" "$@"
}
[ "$(complete_line ucloud-cli vm cre)" = create ] || fail "vm cre: $(complete_line ucloud-cli vm cre)"
grep -q -- --image <<< "$(complete_line ucloud-cli vm create --)" || fail "no options are completed"
grep -qw host <<< "$(complete_line ucloud-cli "")" || fail "no nouns are completed"
echo passed
