/*
 * Reads the header of a disk image that nobody may trust: which of five formats it is, and
 * what would make it dangerous or useless. Pure (bytes in, facts out), and fuzzed. Formats:
 * QEMU's docs/interop/qcow2.txt, VMware's "Virtual Disk Format 5.0", the VDI header of
 * VirtualBox, Microsoft's [MS-VHDX].
 *
 * What begins as a file of some format is one: nothing that QEMU would find out to be
 * something else passes as raw.
 */
#ifndef UCLOUD_IMAGE_HEADER_H
#define UCLOUD_IMAGE_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"

/* How much of the file's beginning is read at once. */
#define IMAGE_HEADER_SIZE 65536

enum image_kind {
	IMAGE_KIND_RAW,
	IMAGE_KIND_QCOW2,
	IMAGE_KIND_VMDK, /* monolithic sparse */
	IMAGE_KIND_VDI,
	IMAGE_KIND_VHDX
};
/* As QEMU names its drivers. */
extern const char *const image_kind_names[];

struct image_header {
	enum image_kind kind; /* raw: as far as one can tell */
	int64_t virtual_bytes;
	bool has_backing_file; /* or a parent */
	bool has_data_file;    /* or what it holds is elsewhere */
	bool is_encrypted;
	bool is_corrupt;   /* marked so, or not closed */
	bool is_truncated; /* a table or data are behind the end of the file */
	unsigned n_snapshots;
	/* Raw, but it begins like something that is no disk, or one of a format that is not
	 * taken: what it is and what to do. Static; NULL: nothing of the kind. */
	const char *otherwise;
};

/* Where the bytes come from. */
struct image_reader {
	int64_t file_size;
	/* Up to size bytes at an offset into p. How many there were, fewer only where the
	 * file ends; -1 and e. */
	ssize_t (*read)(void *aux, int64_t offset, void *p, size_t size, struct err *e);
	void *aux;
	/* Follow every table, so that it is known whether a part of the data is missing: as
	 * much is read as the tables have, at most the whole file. Else only the first ones
	 * are looked at. */
	bool is_thorough;
};

/* ERR_INVALID: malformed, or of a kind of vmdk, vdi or vhdx that is not taken; the sentence
 * begins with "the" or "it". What is said in *out is for image_header_check(). */
int image_header_scan(
	const struct image_reader *r, struct image_header *out, struct err *e) MUST_USE;

/* The same with nothing but the file's beginning: tables further back are not looked at, and
 * a vhdx cannot be read (ERR_INVALID). file_size is the whole file's. */
int image_header_parse(const void *p, size_t size, int64_t file_size,
	struct image_header *out, struct err *e) MUST_USE;

/*
 * May an image that a user uploaded be used? ERR_TOO_LARGE: it is larger than
 * max_virtual_bytes; ERR_INVALID: anything else, among it backing and data files, encrypted,
 * damaged and empty images, many snapshots, and raw ones that are not whole sectors of 512
 * bytes or are something else. The sentence says why and what to do; it begins with "it".
 */
int image_header_check(
	const struct image_header *h, int64_t max_virtual_bytes, struct err *e) MUST_USE;

#endif
