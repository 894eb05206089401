#include "ucloud-network/nft.h"

#include <nftables/libnftables.h>
#include <string.h>

#include "common/base/crash.h"

struct nft {
	struct nft_ctx *ctx;
};

int nft_open(struct nft **out, struct err *e)
{
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);

	if (!ctx)
		return err_set(e, ERR_IO, "nftables cannot be used");
	nft_ctx_buffer_output(ctx);
	nft_ctx_buffer_error(ctx);
	*out = xcalloc(1, sizeof(**out));
	(*out)->ctx = ctx;
	return 0;
}

void nft_close(struct nft *n)
{
	if (!n)
		return;
	nft_ctx_free(n->ctx);
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

int nft_load(struct nft *n, const char *text, struct err *e)
{
	int rc;

	nft_ctx_output_set_flags(n->ctx, 0);
	CRASH_POINT("nft.load.before");
	rc = nft_run_cmd_from_buffer(n->ctx, text);
	CRASH_POINT("nft.load.after");
	return rc == 0 ? 0 : failed(n, "the port filters cannot be loaded", e);
}

int nft_counts(struct nft *n, struct filter_counts *out, struct err *e)
{
	const char *text;

	nft_ctx_output_set_flags(n->ctx, NFT_CTX_OUTPUT_JSON);
	if (nft_run_cmd_from_buffer(n->ctx, "list counters table bridge " FILTER_TABLE) !=
		0)
		return failed(n, "the port filters' counters", e);
	text = nft_ctx_get_output_buffer(n->ctx);
	return filter_counts_parse(text ? text : "", text ? strlen(text) : 0, out, e);
}

char *nft_list(struct nft *n)
{
	nft_ctx_output_set_flags(n->ctx, NFT_CTX_OUTPUT_STATELESS);
	if (nft_run_cmd_from_buffer(n->ctx, "list table bridge " FILTER_TABLE) != 0) {
		(void)nft_ctx_get_error_buffer(n->ctx);
		return NULL;
	}
	return xstrdup(nft_ctx_get_output_buffer(n->ctx));
}
