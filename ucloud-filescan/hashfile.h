/*
 * Hashing files in threads of their own, which have idle priority for the disk and little for
 * the processor. What is read is not kept in memory: nobody else is to suffer from it.
 */
#ifndef UCLOUD_FILESCAN_HASHFILE_H
#define UCLOUD_FILESCAN_HASHFILE_H

#include <stdatomic.h>

#include "common/base/sha512.h"
#include "ucloud-filescan/tree.h"

enum hash_end {
	HASH_DONE,
	HASH_CHANGED, /* it is not, or no longer, what the job says */
	HASH_FAILED,  /* errnum */
	HASH_GAVE_UP, /* we are stopping, or base_dir is not there */
};

struct hash_result {
	enum hash_end end;
	int errnum;
	int64_t n_read; /* bytes */
	char sha512[SHA512_HEX_SIZE];
};

/* Reads the file through. *is_stopping ends it. */
void hash_file(int base_fd, const struct hash_job *job, const atomic_bool *is_stopping,
	struct hash_result *out);

struct hashers;

struct hashers_conf {
	const char *base_dir;
	unsigned
		n_threads; /* at most HASHERS_MAX; of several, one takes small files only */
	/* Waits for a job; false when stopping. */
	bool (*take)(void *aux, bool small_only, struct hash_job *out);
	/* The job is the caller's again. */
	void (*end)(void *aux, struct hash_job *job, const struct hash_result *result);
	void *aux;
};
#define HASHERS_MAX 16

/* conf's string is borrowed. */
struct hashers *hashers_new(const struct hashers_conf *conf);
void hashers_start(struct hashers *h);
/* take() must return by itself. Twice is fine. */
void hashers_stop(struct hashers *h);
void hashers_free(struct hashers *h);

#endif
