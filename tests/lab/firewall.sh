#!/usr/bin/env bash
# A VM that lets in only some ports, and one with a rate: from the world and from a neighbour.
export HOSTS=1
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

RATE_MBIT=4
BURST=$((RATE_MBIT * 125 * 1024 + 262144)) # what may come at once: a second's worth, and 256 KiB
SIZE=4194304

lab up || fail "the lab did not come up"
world=$(lab address w) www=$LAB_DIR/w/www
head -c $SIZE /dev/zero > "$www/big"
mkdir "$www/cgi-bin"
# A line five times a second, until it is told that it is enough.
cat > "$www/cgi-bin/ticks" <<-SCRIPT
	#!/bin/sh
	printf 'Content-type: text/plain\r\n\r\n'
	until [ -e "$LAB_DIR/enough" ]; do echo tick; sleep 0.2; done
	echo end
SCRIPT
chmod 755 "$www/cgi-bin/ticks"

say "VMs"
network alice lan --ipam auto
vm_on alice shut h1 --network lan --ingress tcp/22,icmpv6 & pid=$!
vm_on alice slow h1 --network lan,rate=${RATE_MBIT}Mbit
wait $pid || fail "the VM is not there"
wait_console alice shut 'eth0 ipv6 2001'
wait_console alice slow 'eth0 ipv6 2001'
shut=$(address alice shut) slow=$(address alice slow)
guest alice shut "httpd -p '[::]:22' -h /www" || fail "a server on port 22"
metric() { lab metric h1/network "ucloud_network_dropped_total{reason=\"$1\"}"; }
has_dropped() { # REASON
	# The daemon looks at its counters when an interface changes.
	on h1 ip link add uclook type veth peer name uclook2
	on h1 ip link del uclook
	[ "$(metric "$1")" -gt 0 ]
}
fetch() { on w curl -sf -g --noproxy '*' -m 5 "$@"; }

say "from the world"
wait_until 30 "ping" on w ping -c 1 -W 2 "$shut"
wait_until 10 "port 22 is open" fetch "http://[$shut]:22/"
! fetch "http://[$shut]/" > /dev/null || fail "port 80 is open"
wait_until 10 "its neighbour's port 80 is open" fetch "http://[$slow]/"
wait_until 20 "what was not let in is counted" has_dropped closed

say "from a neighbour on the same host"
guest_pings alice slow "$shut" || fail "no ping"
guest alice slow "timeout 10 wget -q -O /dev/null http://[$shut]:22/" || fail "port 22 is closed"
! guest alice slow "timeout 5 wget -q -O /dev/null http://[$shut]/" > /dev/null || fail "port 80 is open"

say "its own connections"
guest_pings alice shut "$world" || fail "it does not reach the world"
[ "$(guest alice shut "timeout 20 wget -q -O - http://[$world]/")" = "hello from the world" ] || fail "it cannot ask the world"
guest alice shut "timeout 20 wget -q -O /dev/null http://[$slow]/" || fail "it cannot ask its neighbour"

say "a connection goes on while ucloud-network stops and starts"
n_ticks() { guest alice shut "wc -l < /run/ticks"; }
more_than() { [ "$(n_ticks)" -gt "$1" ]; }
guest alice shut "wget -q -O /run/ticks http://[$world]/cgi-bin/ticks < /dev/null > /dev/null 2>&1 &"
wait_until 20 "the first lines" more_than 3
lab stop h1/network
n=$(n_ticks)
wait_until 20 "lines without ucloud-network" more_than "$n"
lab start h1/network
is_loaded() { on h1 curl -sf -g --noproxy '*' 'http://[::1]:9477/metrics' | grep -qE 'filter_loads_total [1-9]'; }
wait_until 20 "the filters are loaded anew" is_loaded
n=$(n_ticks)
wait_until 20 "lines after the restart" more_than $((n + 3))
! fetch "http://[$shut]/" > /dev/null || fail "port 80 is open after the restart"
touch "$LAB_DIR/enough"
has_end() { guest alice shut "tail -n 1 /run/ticks" | grep -qx end; }
wait_until 20 "it ends" has_end

# ---------------------------------------------------------------- rates
# Mbit/s, beyond the burst.
mbits() { # SECONDS
	awk -v t="$1" -v size=$SIZE -v burst=$BURST 'BEGIN { printf "%.1f\n", (size - burst) * 8 / 1e6 / t }'
}
is_below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }'; }
download() { # VM; by the guest's clock
	local t
	t=$(guest alice "$1" "read t0 x < /proc/uptime; timeout 50 wget -q -O /dev/null http://[$world]/big || echo failed
		read t1 x < /proc/uptime; echo \$t0 \$t1" | awk '/failed/ { exit 1 } { print $2 - $1 }') || return 1
	mbits "$t"
}
upload() { # URL
	local t
	t=$(on w curl -sf -g --noproxy '*' -m 60 -o /dev/null -w '%{time_total}' "$1") || return 1
	mbits "$t"
}
say "a rate of $RATE_MBIT Mbit"
for vm in shut slow; do guest alice $vm "head -c $SIZE /dev/zero > /www/big" || fail "a file in $vm"; done
free_down=$(download shut) || fail "download"
free_up=$(upload "http://[$shut]:22/big") || fail "upload"
slow_down=$(download slow) || fail "download with a rate"
slow_up=$(upload "http://[$slow]/big") || fail "upload with a rate"
say "Mbit/s down and up: $slow_down $slow_up; without a rate $free_down $free_up"
for x in "$slow_down" "$slow_up"; do
	is_below "$x" "$(awk "BEGIN { print 1.2 * $RATE_MBIT }")" || fail "$x Mbit/s are more than the rate"
	is_below 0.1 "$x" || fail "next to nothing comes through"
done
is_below "$slow_down" "$free_down" || fail "without a rate it is no faster: $free_down Mbit/s"
is_below "$slow_up" "$free_up" || fail "without a rate it is no faster: $free_up Mbit/s"
wait_until 20 "what was above it is counted" has_dropped rate
echo passed
