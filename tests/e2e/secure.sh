#!/usr/bin/env bash
# The whole stack on an etcd of three members with TLS in both directions, users and passwords;
# the services' user may touch nothing but ucloud's keys; the API with TLS, uploads too. Then
# members die. The host is a ucloud-host on libvirt's test driver.
# shellcheck source=lib.bash
. "$(dirname "$0")/lib.bash"

tls=$DEMO_DIR/tls
mkdir -p "$tls" "$DEMO_DIR"/{log,run,host,upload,store/images} || exit 1
cli=$top/$B/ucloud-cli/ucloud-cli

make_ca() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
		-subj '/CN=e2e authority' -keyout "$tls/ca.key" -out "$tls/ca.pem" 2> /dev/null
}
make_cert() { # NAME SUBJECT
	printf 'subjectAltName = IP:::1\nextendedKeyUsage = serverAuth, clientAuth\n' > "$tls/ext"
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" \
		-keyout "$tls/$1.key" -out "$tls/$1.csr" 2> /dev/null &&
		openssl x509 -req -in "$tls/$1.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" \
			-CAcreateserial -days 2 -extfile "$tls/ext" -out "$tls/$1.pem" 2> /dev/null
}

say "three members of etcd"
make_ca || fail "make an authority"
make_cert server '/CN=etcd' || fail "make a certificate"
make_cert client '/O=ucloud' || fail "make a certificate"
declare -a url peer member_pid
cluster=
for m in 0 1 2; do
	url[m]="https://[::1]:$(free_port)"
	peer[m]="https://[::1]:$(free_port)"
	cluster+="${cluster:+,}m$m=${peer[m]}"
done
start_member() { # NUMBER
	etcd --name "m$1" --data-dir "$DEMO_DIR/etcd$1" --logger zap --log-level error \
		--listen-client-urls "${url[$1]}" --advertise-client-urls "${url[$1]}" \
		--listen-peer-urls "${peer[$1]}" --initial-advertise-peer-urls "${peer[$1]}" \
		--initial-cluster "$cluster" --cert-file "$tls/server.pem" --key-file "$tls/server.key" \
		--trusted-ca-file "$tls/ca.pem" --client-cert-auth \
		--peer-cert-file "$tls/server.pem" --peer-key-file "$tls/server.key" \
		--peer-trusted-ca-file "$tls/ca.pem" --peer-client-cert-auth --bcrypt-cost 4 \
		>> "$DEMO_DIR/log/etcd$1.log" 2>&1 &
	member_pid[$1]=$!
	others+=($!)
}
kill_member() { # NUMBER
	kill -KILL "${member_pid[$1]}"
	wait "${member_pid[$1]}" 2> /dev/null
}
ctl() {
	ETCDCTL_API=3 etcdctl --endpoints "${url[0]},${url[1]},${url[2]}" --cacert "$tls/ca.pem" \
		--cert "$tls/client.pem" --key "$tls/client.key" "$@"
}
for m in 0 1 2; do start_member $m; done
wait_until 30 "etcd is up" ctl endpoint health

say "users and passwords: the services' user has ucloud's keys and nothing else"
{
	ctl user add root:root-password && ctl user grant-role root root &&
		ctl role add ucloud && ctl role grant-permission ucloud readwrite --prefix /v1/ &&
		ctl user add 'ucloud:a pass=word "with" #signs' && ctl user grant-role ucloud ucloud &&
		ctl auth enable
} > /dev/null || fail "enable authentication"
root_ctl() { ctl --user root:root-password "$@"; }
root_ctl put /elsewhere "not for ucloud" > /dev/null || fail "put"
printf '%s' 'a pass=word "with" #signs' > "$tls/password"
etcd_options=(--etcd_url "${url[0]}" --etcd_url "${url[1]}" --etcd_url "${url[2]}"
	--etcd_ca "$tls/ca.pem" --etcd_cert "$tls/client.pem" --etcd_key "$tls/client.key"
	--etcd_user ucloud --etcd_password "@$tls/password")
try_setup() { "$B/ucloud-scheduler/ucloud-scheduler" setup --path "$DEMO_DIR/try" "$@"; }
refused 1 'certificate' try_setup --etcd_url "${url[0]}"
refused 1 'password|authenticat|user' try_setup "${etcd_options[@]}" --etcd_password wrong

say "the services"
otp_port=$(free_port) api_port=$(free_port)
api="https://[::1]:$api_port"
another sec ucloud-otp --listen "[::1]:$otp_port" --key_file "$DEMO_DIR/sec/otp.key"
otp_user() { # NAME REALM: prints the seed
	"$B/ucloud-otp/ucloud-otp" user add "$1" --realm "$2" --config "$DEMO_DIR/sec/ucloud-otp.conf" |
		awk '/^seed:/ { print $2 }'
}
otp_user ucloud-api ungleich-auth > "$tls/api.seed"
another sec ucloud-api --auth_name ucloud-api --auth_realm ungleich-auth \
	--auth_seed "@$tls/api.seed" --realm_allowed demo \
	--otp_url "http://[::1]:$otp_port/verify/" --listen "[::1]:$api_port" \
	--base_dir "$DEMO_DIR/upload" --tls_cert "$tls/server.pem" --tls_key "$tls/server.key"
another sec ucloud-filescan --base_dir "$DEMO_DIR/upload" --realm_allowed demo --lease_ttl 3
another sec ucloud-image --base_dir "$DEMO_DIR/upload" --realm_allowed demo --lease_ttl 3 \
	--convert_user nobody
another sec ucloud-scheduler --lease_ttl 3
another sec ucloud-host --hostname h1 --state_dir "$DEMO_DIR/host" --libvirt_uri test:///default
wait_until 15 "the API answers" curl -sf -g --noproxy '*' --cacert "$tls/ca.pem" "$api/v1/openapi.json"
configure() { # NAME REALM
	otp_user "$1" "$2" | "$cli" configure --config "$DEMO_DIR/$1.conf" \
		--api "$api" --ca "$tls/ca.pem" --name "$1" --realm "$2" --seed - > /dev/null
}
configure user demo || fail "configure the user"
configure admin ungleich-admin || fail "configure the admin"
user() { "$cli" --config "$DEMO_DIR/user.conf" "$@"; }
admin() { "$cli" --config "$DEMO_DIR/admin.conf" "$@"; }
{
	admin host create --name h1 --cpu-overcommit 1000 &&
		admin image-store create --name demo --type filesystem --path "$DEMO_DIR/store"
} || fail "register"
qemu-img create -q -f qcow2 "$DEMO_DIR/blank.qcow2" 64M
qemu-io -f qcow2 -c 'write -P 7 0 20M' "$DEMO_DIR/blank.qcow2" > /dev/null || fail "write to an image"
make_image() { # NAME: uploaded over TLS
	user file upload "$DEMO_DIR/blank.qcow2" --name "$1.qcow2" --quiet > /dev/null || fail "upload $1"
	user image create --name "$1" --file "$1.qcow2" --wait || fail "make image $1"
}
make_image blank
refused 3 'certificate' env HOME=/nonexistent "$cli" --config "$DEMO_DIR/user.conf" --ca "$tls/client.pem" \
	file upload "$DEMO_DIR/blank.qcow2" --name other
life() { # NAME: a VM's life
	user vm create --name "$1" --image blank --ram 64MiB --wait --timeout 60s || fail "create $1"
	user vm reboot "$1" --force --wait || fail "reboot $1"
	user vm stop "$1" --force --wait || fail "stop $1"
	user vm delete "$1" --wait || fail "delete $1"
}
life first

say "one member after the other dies, and comes back"
for m in 0 1 2; do
	kill_member $m
	start=$SECONDS
	# An election may take longer than the API waits: until then it answers 503.
	wait_until 20 "the others have a leader" user vm list
	life "without-$m"
	make_image "without-$m"
	say "a VM's life without member $m took $((SECONDS - start)) s"
	start_member $m
	wait_until 30 "member $m is back" ctl endpoint health
done

say "two of three are gone: 503, and all resumes"
kill_member 1
kill_member 2
token=$(jq -r .token "$XDG_CACHE_HOME"/ucloud/session-"$(printf '%s\nuser\ndemo' \
	"$api" | sha256sum | cut -d' ' -f1)".json)
for _ in 1 2 3; do
	start=$(date +%s%3N)
	got=$(curl -s -g --noproxy '*' --cacert "$tls/ca.pem" -m 10 -o "$DEMO_DIR/body" \
		-w '%{http_code}' -H "Authorization: Bearer $token" "$api/v1/vms")
	took=$(($(date +%s%3N) - start))
	[ "$got" = 503 ] || fail "without a majority of etcd the API answers $got"
	[ $took -le 5500 ] || fail "the answer took $took ms"
	say "after $took ms: $(jq -r .detail "$DEMO_DIR/body" | cut -c1-70)..."
done
start_member 1
start_member 2
wait_until 40 "the API answers again" user vm list
life last
make_image last
[ "$(root_ctl get /elsewhere --print-value-only)" = "not for ucloud" ] || fail "a foreign key was touched"
for pid in "${others[@]:3:6}"; do kill -0 "$pid" || fail "a service died"; done
! grep -h ' ERROR ' "$DEMO_DIR"/sec/*.log || fail "a service logged an ERROR"
! grep -hE 'a pass=word|root-password' "$DEMO_DIR"/sec/*.log || fail "a password is in a log"
echo passed
