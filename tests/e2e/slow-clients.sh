#!/usr/bin/env bash
# Clients that are slow, silent, too big, or guessing; and TLS.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

cli=$top/$B/ucloud-cli/ucloud-cli
ns=ucloud-e2e-$$
link=uce$$
clean_up() {
	ip link del "$link" 2> /dev/null
	ip netns del "$ns" 2> /dev/null
}
cloud up services || fail "the cloud did not come up"

say "an API with TLS, and a network name space for the slow clients"
make_link() {
	ip netns add "$ns" && ip link add "$link" type veth peer name eth0 netns "$ns" &&
		ip addr add fd5f:e2e:1::1/64 dev "$link" nodad && ip link set "$link" up &&
		ip -n "$ns" addr add fd5f:e2e:1::2/64 dev eth0 nodad &&
		ip -n "$ns" link set eth0 up
}
make_link || skip "no network name spaces here"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
	-subj /CN=ucloud-e2e -addext 'subjectAltName=IP:::1' -keyout "$DEMO_DIR/tls.key" \
	-out "$DEMO_DIR/tls.pem" 2> /dev/null || fail "make a certificate"
tls_port=$(free_port)
plain_port=$(free_port)
api_setup=(--auth_name ucloud-api --auth_realm ungleich-auth
	--auth_seed "@$DEMO_DIR/conf/ucloud-api@ungleich-auth.seed" --realm_allowed demo
	--otp_url "http://[::1]:$(cat "$DEMO_DIR/run/otp.port")/verify/")
another tls ucloud-api "${api_setup[@]}" --tls_cert "$DEMO_DIR/tls.pem" \
	--tls_key "$DEMO_DIR/tls.key" --listen "[::1]:$tls_port" --listen "[fd5f:e2e:1::1]:$tls_port"
another plain ucloud-api "${api_setup[@]}" --listen "[::1]:$plain_port" \
	--listen "[fd5f:e2e:1::1]:$plain_port"
https="https://[::1]:$tls_port"
http="http://[::1]:$plain_port"
ask() { curl -s -g --noproxy '*' -m 10 --cacert "$DEMO_DIR/tls.pem" -o "$DEMO_DIR/body" -w '%{http_code}' "$@"; }
is_up() { [ "$(ask "$1/v1/openapi.json")" = 200 ]; }
wait_until 10 "the API with TLS" is_up "$https"
wait_until 10 "the other API" is_up "$http"

say "TLS: with the right authority, and not without"
seed_of_new_user() {
	"$B/ucloud-otp/ucloud-otp" user add "$1" --realm demo \
		--config "$DEMO_DIR/conf/ucloud-otp.conf" | awk '/^seed:/ { print $2 }'
}
seed_of_new_user tls | "$cli" configure --config "$DEMO_DIR/tls.cli" --api "$https" \
	--ca "$DEMO_DIR/tls.pem" --name tls --realm demo --seed - || fail "configure with TLS"
"$cli" --config "$DEMO_DIR/tls.cli" user show | grep -q tls || fail "no answer over TLS"
refused 3 'certificate' user --api "$https" image list
refused 3 '' user --api "http://[::1]:$tls_port" image list

say "300 slow clients at each of the two do not hold up anybody else"
cat > "$DEMO_DIR/slow" <<'S'
# PORT N: opens N connections and sends a byte on each every second, until all were cut off:
# headers that never end, a body that never ends, nothing at all, and TLS that is none.
trap '' PIPE
exec 2> /dev/null
declare -a fds rests
for ((i = 0; i < $2; i++)); do
	exec {fd}<> "/dev/tcp/fd5f:e2e:1::1/$1" || continue
	fds[i]=$fd
	case $((i % 4)) in
	0) rests[i]='GET /v1/vms HTTP/1.1 X: y ' ;;
	1) printf 'POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{' >&"$fd"
		rests[i]=$(printf '%0500d' 0) ;;
	2) rests[i]= ;;
	3) printf '\x16\x03\x01\x02\x00\x01' >&"$fd"
		rests[i]=$(printf '%0500d' 0) ;;
	esac
done
echo "${#fds[@]} are connected"
began=$SECONDS
n_open=${#fds[@]}
while [ $n_open -gt 0 ] && [ $((SECONDS - began)) -lt 90 ]; do
	n_open=0
	for i in "${!fds[@]}"; do
		rest=${rests[i]}
		if [ -n "$rest" ]; then
			printf %s "${rest:0:1}" >&"${fds[i]}" || unset "fds[i]"
			rests[i]=${rest:1}
		elif read -r -t 0.001 -n 1 -u "${fds[i]}" || [ $? -le 128 ]; then
			unset "fds[i]" # an answer, or the end
		fi
	done
	n_open=${#fds[@]}
	sleep 1
done
echo "$n_open are open after $((SECONDS - began)) s"
S
for port in "$plain_port" "$tls_port"; do
	ip netns exec "$ns" bash "$DEMO_DIR/slow" "$port" 300 > "$DEMO_DIR/slow.$port" &
	others+=($!)
done
for port in "$plain_port" "$tls_port"; do
	wait_until 20 "300 connections" grep -q connected "$DEMO_DIR/slow.$port"
	say "port $port: $(cat "$DEMO_DIR/slow.$port")"
done
token=$(jq -r .token "$XDG_CACHE_HOME"/ucloud/session-"$(printf '%s\ntls\ndemo' "$https" | sha256sum | cut -d' ' -f1)".json)
slowest=0
for i in {1..60}; do
	for url in "$http" "$https"; do
		start=$(date +%s%3N)
		[ "$(ask -H "Authorization: Bearer $token" "$url/v1/vms")" = 200 ] ||
			fail "an ordinary request failed at $url: $(cat "$DEMO_DIR/body")"
		took=$(($(date +%s%3N) - start))
		[ $took -le $slowest ] || slowest=$took
	done
done
say "the slowest of 120 ordinary requests took $slowest ms"
[ $slowest -lt 2000 ] || fail "slow clients hold up others"

say "a body above 1 MiB is refused, one of 1 MiB is read"
head -c 1048577 /dev/zero | tr '\0' ' ' > "$DEMO_DIR/big"
head -c 1048576 "$DEMO_DIR/big" > "$DEMO_DIR/limit"
post() { ask -X POST -H "Authorization: Bearer $token" -H 'Content-Type: application/json' "$@"; }
for url in "$http" "$https"; do
	for how in 'Expect:' 'Expect: 100-continue' 'Transfer-Encoding: chunked'; do
		got=$(post -H "$how" --data-binary "@$DEMO_DIR/big" "$url/v1/vms")
		[ "$got" = 413 ] || fail "a big body ($how) gets $got: $(head -c 300 "$DEMO_DIR/body")"
		got=$(post -H "$how" --data-binary "@$DEMO_DIR/limit" "$url/v1/vms")
		[ "$got" = 400 ] || fail "1 MiB of spaces ($how) gets $got"
	done
done

say "who guesses tokens is slowed down, and nobody else"
seed=$(seed_of_new_user victim)
log_in() { ask -u "$1@demo:$2" -D "$DEMO_DIR/headers" "$http/v1/vms"; }
for i in {1..12}; do
	got=$(log_in victim 000000)
	[ "$got" = 401 ] || break
done
[ "$got" = 429 ] || fail "guess $i gets $got"
grep -qi '^retry-after: [1-9]' "$DEMO_DIR/headers" || fail "no Retry-After: $(cat "$DEMO_DIR/headers")"
say "slowed down at guess $i: $(jq -r .detail "$DEMO_DIR/body")"
wait_right() { [ "$(log_in victim "$(oathtool --totp -b "$seed")")" = 200 ]; }
[ "$(log_in bystander "$(oathtool --totp -b "$(seed_of_new_user bystander)")")" = 200 ] ||
	fail "somebody else is slowed down: $(cat "$DEMO_DIR/body")"
wait_until 40 "the right token is taken after the wait" wait_right

say "slow clients are cut off"
for port in "$plain_port" "$tls_port"; do
	wait_until 90 "the slow clients of $port are cut off" grep -q ' open after' "$DEMO_DIR/slow.$port"
	say "port $port: $(tail -n 1 "$DEMO_DIR/slow.$port")"
	grep -q '^0 are open' "$DEMO_DIR/slow.$port" || fail "slow clients stay"
done
! grep -h ' ERROR ' "$DEMO_DIR"/*/ucloud-api.log || fail "an API logged an ERROR"
echo passed
