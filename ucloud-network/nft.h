/*
 * Loading what filter.h writes into the kernel, through libnftables. Any thread; one
 * call at a time. The network namespace is that of the calling thread.
 */
#ifndef UCLOUD_NETWORK_NFT_H
#define UCLOUD_NETWORK_NFT_H

#include "ucloud-network/filter.h"

struct nft;

int nft_open(struct nft **out, struct err *e) MUST_USE;
void nft_close(struct nft *n);
/* Do frames on bridges come to the ip6 table, as closed VMs need it? Turns it on when it is
 * off; the error says what is missing. */
int nft_check_bridges(struct err *e) MUST_USE;
/* One transaction: all of the text, or nothing. */
int nft_load(struct nft *n, const char *text, struct err *e) MUST_USE;
/* Of both tables. ERR_NOT_FOUND: there is no table of the bridge family. */
int nft_counts(struct nft *n, struct filter_counts *out, struct err *e) MUST_USE;
/* A number that every change of any rules by anybody makes another one: nobody has to look
 * at the rules themselves while it stays the same. */
int nft_generation(struct nft *n, uint32_t *out, struct err *e) MUST_USE;
/* What is loaded, without its counters' values, the caller's: equal texts are equal rules.
 * NULL: there is no table of the bridge family. */
char *nft_list(struct nft *n);

#endif
