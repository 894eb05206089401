/*
 * Frames of any shape, for tests from inside a guest and from the lab's nodes: it needs nothing
 * but a kernel, and is linked statically.
 *
 *	frames INTERFACE send N LABEL LAYER...
 *	frames INTERFACE count LABEL SECONDS
 *
 * Layers, from the outside, each with its arguments; lengths, checksums and the kind of what
 * follows are filled in:
 *
 *	eth TO FROM         type HEX (0x88b5)   vlan PROTOCOL ID     hex BYTES
 *	ip6 FROM TO         hop N, opts N: N * 8 bytes of options that mean nothing
 *	frag N              what follows is sent in two fragments, the first N bytes long; 0: in one
 *	udp FROM TO         vxlan ID            echo           bytes N
 *	ra PREFIX           na TARGET FLAGS     ns TARGET     redirect TARGET DESTINATION     mld
 *
 * LABEL (hex) becomes the IPv6 flow label; of what follows "label LABEL", another one. "count"
 * says "ready", then how many frames of each label passed until it saw LABEL, or until the time
 * is over; frames without IPv6 that have the word "attack" in them are "other".
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE_MAX_FRAME = 1514, LAYERS_MAX = 16, ETH_SIZE = 14, IP6_SIZE = 40 };

struct frame {
	unsigned char b[4096];
	size_t size;
	size_t heads[LAYERS_MAX];	  /* where IPv6, UDP and ICMPv6 headers begin; */
	unsigned char protos[LAYERS_MAX]; /* 41, 17 or 58 */
	size_t n_heads;
	size_t type_at, next_at; /* where the kind of what follows goes; 0: nowhere */
	size_t mac_at;		 /* the sender's MAC */
	size_t frag_at;		 /* the fragment header; 0: none */
	size_t split;
	uint32_t label;
};

static void die(const char *what, const char *arg)
{
	fprintf(stderr, "frames: %s%s%s\n", what, arg ? ": " : "", arg ? arg : "");
	exit(2);
}

/* ---------------------------------------------------------------- bytes */

static unsigned char *add(struct frame *f, const void *p, size_t size)
{
	unsigned char *at = f->b + f->size;

	if (f->size + size > SIZE_MAX_FRAME)
		die("the frame is too long", NULL);
	if (p)
		memcpy(at, p, size);
	else
		memset(at, 0, size);
	f->size += size;
	return at;
}

static void set16(unsigned char *at, unsigned long v)
{
	at[0] = (unsigned char)(v >> 8);
	at[1] = (unsigned char)v;
}

static unsigned long number(const char *s, int base, unsigned long max)
{
	static const char digits[] = "0123456789abcdef";
	unsigned long v = 0;

	if (*s == '\0')
		die("no number", NULL);
	for (const char *c = s; *c; c++) {
		const char *digit = strchr(digits, *c);

		if (!digit || digit - digits >= base || v > max)
			die("no number", s);
		v = v * (unsigned long)base + (unsigned long)(digit - digits);
	}
	if (v > max)
		die("too large", s);
	return v;
}

static void add_hex(struct frame *f, const char *s, bool has_colons)
{
	for (; *s; s += 2) {
		char two[3] = { s[0], s[1] };

		*add(f, NULL, 1) = (unsigned char)number(two, 16, 0xff);
		if (has_colons && s[2] == ':')
			s++;
	}
}

static void add_address(struct frame *f, const char *text)
{
	struct in6_addr a;

	if (inet_pton(AF_INET6, text, &a) != 1)
		die("no address", text);
	add(f, &a, sizeof(a));
}

/* What comes next is of that kind, wherever that is said. */
static void begin_type(struct frame *f, unsigned long type)
{
	if (f->type_at != 0)
		set16(f->b + f->type_at, type);
	f->type_at = 0;
}

static void begin_proto(struct frame *f, unsigned char proto)
{
	if (f->next_at != 0)
		f->b[f->next_at] = proto;
	f->next_at = 0;
}

static void mark_head(struct frame *f, unsigned char proto)
{
	if (f->n_heads == LAYERS_MAX)
		die("too many layers", NULL);
	f->heads[f->n_heads] = f->size;
	f->protos[f->n_heads++] = proto;
}

/* ---------------------------------------------------------------- layers */

static void add_eth(struct frame *f, char **args)
{
	add_hex(f, args[0], true);
	f->mac_at = f->size;
	add_hex(f, args[1], true);
	f->type_at = f->size;
	set16(add(f, NULL, 2), 0x88b5);
}

static void add_type(struct frame *f, char **args)
{
	begin_type(f, number(args[0], 16, 0xffff));
}

static void add_vlan(struct frame *f, char **args)
{
	begin_type(f, number(args[0], 16, 0xffff));
	set16(add(f, NULL, 2), number(args[1], 10, 4095));
	f->type_at = f->size;
	set16(add(f, NULL, 2), 0x88b5);
}

static void add_raw(struct frame *f, char **args)
{
	add_hex(f, args[0], false);
}

static void add_ip6(struct frame *f, char **args)
{
	unsigned char head[8] = { 0x60, 0, 0, 0, 0, 0, 59, 255 };

	begin_type(f, ETH_P_IPV6);
	mark_head(f, 41);
	head[1] = (unsigned char)(f->label >> 16 & 0xf);
	set16(head + 2, f->label & 0xffff);
	f->next_at = f->size + 6;
	add(f, head, sizeof(head));
	add_address(f, args[0]);
	add_address(f, args[1]);
}

/* Options of the kind PadN, 8 bytes each. */
static void add_options(struct frame *f, unsigned char proto, const char *n)
{
	unsigned long len = number(n, 10, 100);

	begin_proto(f, proto);
	f->next_at = f->size;
	for (unsigned long i = 0; i < len; i++) {
		unsigned char *at = add(f, NULL, 8);

		if (i == 0)
			at[1] = (unsigned char)(len - 1);
		at[i == 0 ? 2 : 0] = 1;
		at[i == 0 ? 3 : 1] = i == 0 ? 4 : 6;
	}
}

static void add_hop(struct frame *f, char **args)
{
	add_options(f, 0, args[0]);
}

static void add_opts(struct frame *f, char **args)
{
	add_options(f, 60, args[0]);
}

static void add_frag(struct frame *f, char **args)
{
	static const unsigned char head[8] = { 59, 0, 0, 0, 0, 0, 0, 7 };

	begin_proto(f, 44);
	f->split = number(args[0], 10, 1400);
	f->frag_at = f->next_at = f->size;
	add(f, head, sizeof(head));
}

static void add_udp(struct frame *f, char **args)
{
	unsigned char *at;

	begin_proto(f, 17);
	mark_head(f, 17);
	at = add(f, NULL, 8);
	set16(at, number(args[0], 10, 0xffff));
	set16(at + 2, number(args[1], 10, 0xffff));
}

static void add_vxlan(struct frame *f, char **args)
{
	unsigned long vni = number(args[0], 10, 0xffffff);
	unsigned char *at = add(f, NULL, 8);

	at[0] = 0x08;
	at[4] = (unsigned char)(vni >> 16);
	set16(at + 5, vni);
}

/* size: of the header without options. */
static unsigned char *add_icmp(struct frame *f, unsigned char type, size_t size)
{
	unsigned char *at;

	begin_proto(f, 58);
	mark_head(f, 58);
	at = add(f, NULL, size);
	at[0] = type;
	return at;
}

/* kind 1: the sender's, 2: the target's. */
static void add_mac_option(struct frame *f, unsigned char kind)
{
	unsigned char *at = add(f, NULL, 2);

	at[0] = kind;
	at[1] = 1;
	add(f, f->b + f->mac_at, 6);
}

static void add_echo(struct frame *f, char **args)
{
	(void)args;
	add_icmp(f, 128, 8);
	add(f, "12345678", 8);
}

static void add_bytes(struct frame *f, char **args)
{
	add(f, NULL, number(args[0], 10, 1400));
}

static void add_ra(struct frame *f, char **args)
{
	static const unsigned char info[16] = { 3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14,
		16 };
	unsigned char *at = add_icmp(f, 134, 16);

	at[4] = 64;
	set16(at + 6, 1800);
	add_mac_option(f, 1);
	add(f, info, sizeof(info));
	add_address(f, args[0]);
}

static void add_na(struct frame *f, char **args)
{
	add_icmp(f, 136, 8)[4] = (unsigned char)number(args[1], 16, 0xff);
	add_address(f, args[0]);
	add_mac_option(f, 2);
}

static void add_ns(struct frame *f, char **args)
{
	static const unsigned char none[16];
	const unsigned char *from = f->b + f->heads[f->n_heads - 1] + 8;
	bool is_homeless = memcmp(from, none, sizeof(none)) == 0;

	add_icmp(f, 135, 8);
	add_address(f, args[0]);
	if (!is_homeless)
		add_mac_option(f, 1);
}

static void add_redirect(struct frame *f, char **args)
{
	add_icmp(f, 137, 8);
	add_address(f, args[0]);
	add_address(f, args[1]);
	add_mac_option(f, 2);
}

static void add_mld(struct frame *f, char **args)
{
	(void)args;
	set16(add_icmp(f, 130, 24) + 4, 1000);
}

static void set_label(struct frame *f, char **args)
{
	f->label = (uint32_t)number(args[0], 16, 0xfffff);
}

static const struct layer {
	const char *name;
	int n_args;
	void (*add)(struct frame *, char **args);
} layers[] = {
	{ "eth", 2, add_eth },
	{ "type", 1, add_type },
	{ "vlan", 2, add_vlan },
	{ "hex", 1, add_raw },
	{ "bytes", 1, add_bytes },
	{ "ip6", 2, add_ip6 },
	{ "hop", 1, add_hop },
	{ "opts", 1, add_opts },
	{ "frag", 1, add_frag },
	{ "udp", 2, add_udp },
	{ "vxlan", 1, add_vxlan },
	{ "echo", 0, add_echo },
	{ "ra", 1, add_ra },
	{ "na", 2, add_na },
	{ "ns", 1, add_ns },
	{ "redirect", 2, add_redirect },
	{ "mld", 0, add_mld },
	{ "label", 1, set_label },
};

static const struct layer *find_layer(const char *name)
{
	for (size_t i = 0; i < sizeof(layers) / sizeof(*layers); i++)
		if (strcmp(layers[i].name, name) == 0)
			return &layers[i];
	die("no layer", name);
	return NULL;
}

/* ---------------------------------------------------------------- lengths and checksums */

/* RFC 8200, section 8.1: with the header at `ip`. */
static unsigned checksum(
	const struct frame *f, size_t ip, size_t from, unsigned char proto)
{
	uint32_t sum = proto + (uint32_t)(f->size - from);

	for (size_t i = ip + 8; i < ip + IP6_SIZE; i += 2)
		sum += (uint32_t)f->b[i] << 8 | f->b[i + 1];
	for (size_t i = from; i < f->size; i++)
		sum += i % 2 == from % 2 ? (uint32_t)f->b[i] << 8 : f->b[i];
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

/* From the inside, since a checksum is over what is inside. */
static void finish(struct frame *f)
{
	for (size_t i = f->n_heads; i-- > 0;) {
		unsigned char *head = f->b + f->heads[i];
		size_t rest = f->size - f->heads[i], ip = i;

		if (f->protos[i] == 41) {
			set16(head + 4, rest - IP6_SIZE);
			continue;
		}
		while (ip > 0 && f->protos[ip] != 41)
			ip--;
		if (f->protos[i] == 17)
			set16(head + 4, rest);
		set16(head + (f->protos[i] == 17 ? 6 : 2),
			checksum(f, f->heads[ip], f->heads[i], f->protos[i]));
	}
}

/* ---------------------------------------------------------------- sending */

static int open_raw(const char *name)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(name) };
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

	if (fd < 0 || at.sll_ifindex == 0 ||
		bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0)
		die("the interface cannot be opened", name);
	return fd;
}

static void send_all(int fd, const struct frame *f)
{
	if (send(fd, f->b, f->size, 0) != (ssize_t)f->size)
		die("it cannot be sent", NULL);
}

/* The part of f behind its fragment header that begins at `from`. */
static void send_part(int fd, const struct frame *f, size_t from, size_t size)
{
	size_t body = f->frag_at + 8, ip = f->heads[0];
	struct frame part = *f;

	memmove(part.b + body, part.b + body + from, size);
	part.size = body + size;
	set16(part.b + f->frag_at + 2, from | (body + from + size < f->size ? 1 : 0));
	set16(part.b + ip + 4, part.size - ip - IP6_SIZE);
	send_all(fd, &part);
}

static void send_frame(int fd, const struct frame *f)
{
	size_t body = f->frag_at + 8;

	if (f->frag_at == 0)
		send_all(fd, f);
	else if (f->split == 0)
		send_part(fd, f, 0, f->size - body);
	else {
		send_part(fd, f, 0, f->split);
		send_part(fd, f, f->split, f->size - body - f->split);
	}
}

static int do_send(const char *name, unsigned long n, const char *label, char **args)
{
	struct frame f = { .label = (uint32_t)number(label, 16, 0xfffff) };
	int fd = open_raw(name);

	while (*args) {
		const struct layer *layer = find_layer(*args++);

		for (int i = 0; i < layer->n_args; i++)
			if (!args[i])
				die("it needs more arguments", layer->name);
		layer->add(&f, args);
		args += layer->n_args;
	}
	finish(&f);
	if (f.frag_at != 0 && f.frag_at + 8 + f.split >= f.size)
		die("there is not so much to split", NULL);
	while (n-- > 0)
		send_frame(fd, &f);
	return 0;
}

/* ---------------------------------------------------------------- counting */

enum { LABELS_MAX = 256, OTHER = 0x100000 };

struct tally {
	uint32_t labels[LABELS_MAX];
	unsigned long counts[LABELS_MAX];
	size_t n;
};

static void tally_add(struct tally *t, uint32_t label)
{
	size_t i = 0;

	while (i < t->n && t->labels[i] != label)
		i++;
	if (i == LABELS_MAX)
		return;
	if (i == t->n)
		t->n++;
	t->labels[i] = label;
	t->counts[i]++;
}

/* 0: nothing of ours. */
static uint32_t label_of(const unsigned char *b, size_t size)
{
	bool is_ip6 = size >= ETH_SIZE + IP6_SIZE && b[12] == 0x86 && b[13] == 0xdd;

	if (!is_ip6)
		return memmem(b, size, "attack", 6) ? OTHER : 0;
	return (uint32_t)(b[15] & 0xf) << 16 | (uint32_t)b[16] << 8 | b[17];
}

static long seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static int do_count(const char *name, uint32_t last, long limit_sec)
{
	struct pollfd p = { .fd = open_raw(name), .events = POLLIN };
	long end_sec = seconds_now() + limit_sec;
	struct tally t = { 0 };
	uint32_t label = 0;

	puts("ready");
	fflush(stdout);
	while (label != last && seconds_now() < end_sec) {
		unsigned char b[4096];
		ssize_t size;

		if (poll(&p, 1, 1000) <= 0)
			continue;
		size = recv(p.fd, b, sizeof(b), 0);
		label = size > 0 ? label_of(b, (size_t)size) : 0;
		if (label != 0)
			tally_add(&t, label);
	}
	for (size_t i = 0; i < t.n; i++) {
		if (t.labels[i] == OTHER)
			printf("other %lu\n", t.counts[i]);
		else
			printf("%05x %lu\n", t.labels[i], t.counts[i]);
	}
	puts(label == last ? "end" : "the last one did not come");
	return label == last ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc > 6 && strcmp(argv[2], "send") == 0)
		return do_send(argv[1], number(argv[3], 10, 1000000), argv[4], argv + 5);
	if (argc == 5 && strcmp(argv[2], "count") == 0)
		return do_count(argv[1], (uint32_t)number(argv[3], 16, 0xfffff),
			(long)number(argv[4], 10, 3600));
	die("frames INTERFACE send N LABEL LAYER... | count LABEL SECONDS", NULL);
	return 2;
}
