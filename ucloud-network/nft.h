/*
 * Loading what filter.h writes into the kernel, through libnftables. One thread at a time; the
 * network namespace is that of the calling thread.
 */
#ifndef UCLOUD_NETWORK_NFT_H
#define UCLOUD_NETWORK_NFT_H

#include "ucloud-network/filter.h"

struct nft;

int nft_open(struct nft **out, struct err *e) MUST_USE;
void nft_close(struct nft *n);
/* One transaction: all of the text, or nothing. */
int nft_load(struct nft *n, const char *text, struct err *e) MUST_USE;
/* ERR_NOT_FOUND: there is no such table. */
int nft_counts(struct nft *n, struct filter_counts *out, struct err *e) MUST_USE;
/* What is loaded, without its counters' values, the caller's: equal texts are equal rules.
 * NULL: there is no such table. */
char *nft_list(struct nft *n);

#endif
