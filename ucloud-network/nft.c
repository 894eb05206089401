#include "ucloud-network/nft.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <nftables/libnftables.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/crash.h"

#define BRIDGES_PATH "/proc/sys/net/bridge/bridge-nf-call-ip6tables"

/* libnftables calls what is not safe among threads (getprotobynumber(3)). */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

struct nft {
	struct nft_ctx *ctx;
	/* For generations. It stays open: the kernel lets nobody close one before it has
	 * freed the rules that were replaced, which takes it ten milliseconds. */
	int fd;
	uint32_t seq; /* of the last question */
};

int nft_open(struct nft **out, struct err *e)
{
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	int fd;

	if (!ctx)
		return err_set(e, ERR_IO, "nftables cannot be used");
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0) {
		nft_ctx_free(ctx);
		return err_errno(e, errno, "a socket of nftables");
	}
	nft_ctx_buffer_output(ctx);
	nft_ctx_buffer_error(ctx);
	*out = xcalloc(1, sizeof(**out));
	(*out)->ctx = ctx;
	(*out)->fd = fd;
	return 0;
}

void nft_close(struct nft *n)
{
	if (!n)
		return;
	nft_ctx_free(n->ctx);
	close(n->fd);
	free(n);
}

/* The first line of what it complains about; the rest only repeats the text. */
static int failed(struct nft *n, const char *what, struct err *e)
{
	const char *why = nft_ctx_get_error_buffer(n->ctx);
	enum err_kind kind = why && strstr(why, "No such file") ? ERR_NOT_FOUND : ERR_IO;

	return err_set(e, kind, "%s: %.*s", what, (int)strcspn(why ? why : "", "\n"),
		why ? why : "");
}

static int turn_on(int fd, struct err *e)
{
	ssize_t n;
	int errnum;

	CRASH_POINT("nft.bridges.before");
	n = pwrite(fd, "1", 1, 0);
	errnum = errno;
	CRASH_POINT("nft.bridges.after");
	return n == 1 ? 0 : err_errno(e, errnum, "%s", BRIDGES_PATH);
}

int nft_check_bridges(struct err *e)
{
	int fd = open(BRIDGES_PATH, O_RDWR | O_CLOEXEC);
	char is_on = '0';
	int rc = 0;

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_UNSUPPORTED,
			"VMs that let in only some ports need the kernel module "
			"br_netfilter: "
			"modprobe br_netfilter, and have it loaded at each start");
	if (fd < 0)
		return err_errno(e, errno, "%s", BRIDGES_PATH);
	if (pread(fd, &is_on, 1, 0) != 1)
		rc = err_errno(e, errno, "%s", BRIDGES_PATH);
	else if (is_on != '1')
		rc = turn_on(fd, e);
	close(fd);
	return rc;
}

int nft_load(struct nft *n, const char *text, struct err *e)
{
	int rc;

	pthread_mutex_lock(&one_at_a_time);
	nft_ctx_output_set_flags(n->ctx, 0);
	CRASH_POINT("nft.load.before");
	rc = nft_run_cmd_from_buffer(n->ctx, text);
	CRASH_POINT("nft.load.after");
	if (rc != 0)
		rc = failed(n, "the port filters cannot be loaded", e);
	pthread_mutex_unlock(&one_at_a_time);
	return rc;
}

static int add_counts(
	struct nft *n, const char *cmd, struct filter_counts *io, struct err *e)
{
	const char *text;

	if (nft_run_cmd_from_buffer(n->ctx, cmd) != 0)
		return failed(n, "the port filters' counters", e);
	text = nft_ctx_get_output_buffer(n->ctx);
	return filter_counts_parse(text ? text : "", text ? strlen(text) : 0, io, e);
}

static int read_counts(struct nft *n, struct filter_counts *out, struct err *e)
{
	struct filter_counts counts = { 0 };
	struct err none = { 0 };

	nft_ctx_output_set_flags(n->ctx, NFT_CTX_OUTPUT_JSON);
	if (add_counts(n, "list counters table bridge " FILTER_TABLE, &counts, e) < 0)
		return -1;
	/* One of an older version had the other table only while a VM was closed. */
	if (add_counts(n, "list counters table ip6 " FILTER_TABLE, &counts, &none) < 0 &&
		none.kind != ERR_NOT_FOUND)
		return err_set(e, none.kind, "%s", none.msg);
	*out = counts;
	return 0;
}

int nft_counts(struct nft *n, struct filter_counts *out, struct err *e)
{
	int rc;

	pthread_mutex_lock(&one_at_a_time);
	rc = read_counts(n, out, e);
	pthread_mutex_unlock(&one_at_a_time);
	return rc;
}

static void add_list(struct nft *n, const char *cmd, struct buf *out)
{
	const char *text;

	if (nft_run_cmd_from_buffer(n->ctx, cmd) != 0) {
		(void)nft_ctx_get_error_buffer(n->ctx);
		return;
	}
	text = nft_ctx_get_output_buffer(n->ctx);
	buf_add_str(out, text ? text : "");
}

char *nft_list(struct nft *n)
{
	struct buf out = { 0 };

	pthread_mutex_lock(&one_at_a_time);
	nft_ctx_output_set_flags(n->ctx, NFT_CTX_OUTPUT_STATELESS);
	add_list(n, "list table bridge " FILTER_TABLE, &out);
	if (out.size > 0)
		add_list(n, "list table ip6 " FILTER_TABLE, &out);
	pthread_mutex_unlock(&one_at_a_time);
	return out.size > 0 ? buf_take(&out) : NULL;
}

/* ---------------------------------------------------------------- generations */

struct generation {
	struct nlmsghdr head;
	struct nfgenmsg family;
};

static int read_generation(const char *bytes, size_t size, uint32_t *out)
{
	struct nlmsghdr *head = (struct nlmsghdr *)(uintptr_t)bytes;
	struct nlattr *a[NFTA_GEN_MAX + 1];

	if (!nlmsg_ok(head, (int)size) ||
		head->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN) ||
		nlmsg_parse(head, sizeof(struct nfgenmsg), a, NFTA_GEN_MAX, NULL) < 0 ||
		!a[NFTA_GEN_ID])
		return -1;
	*out = nla_get_u32(a[NFTA_GEN_ID]);
	return 0;
}

/* The answer to this question; not to an earlier one, whose asking was interrupted. */
static ssize_t receive(int fd, uint32_t seq, struct nlmsghdr *head, size_t size)
{
	ssize_t n;

	do
		n = recv(fd, head, size, 0);
	while ((n < 0 && errno == EINTR) ||
		(n >= (ssize_t)sizeof(*head) && head->nlmsg_seq != seq));
	return n;
}

static int ask_generation(struct nft *n, uint32_t *out)
{
	const struct generation ask = {
		.head = { .nlmsg_len = sizeof(ask),
			.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN,
			.nlmsg_flags = NLM_F_REQUEST,
			.nlmsg_seq = ++n->seq },
	};
	union {
		struct nlmsghdr head;
		char bytes[4096];
	} u;
	ssize_t size;

	if (send(n->fd, &ask, sizeof(ask), 0) < 0)
		return -1;
	size = receive(n->fd, n->seq, &u.head, sizeof(u));
	errno = size < 0 ? errno : EPROTO;
	return size < 0 ? -1 : read_generation(u.bytes, (size_t)size, out);
}

int nft_generation(struct nft *n, uint32_t *out, struct err *e)
{
	int rc;

	pthread_mutex_lock(&one_at_a_time);
	rc = ask_generation(n, out);
	if (rc < 0)
		err_errno(e, errno, "the port filters' generation");
	pthread_mutex_unlock(&one_at_a_time);
	return rc;
}
