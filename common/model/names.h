/*
 * What names may look like: the one place. All checks are to the byte, and their errors say
 * what is allowed. s must not be NULL. Signatures fit struct jtab_field's check. Pure.
 */
#ifndef UCLOUD_NAMES_H
#define UCLOUD_NAMES_H

#include "common/base/err.h"

/* VM, image, store, network and key names: an RFC 1123 label: 1-63 of [a-z0-9-], not
 * beginning or ending with "-". */
int name_check(const char *s, struct err *e) MUST_USE;
/* A host name: RFC 1123 labels joined by ".", at most 253. */
int hostname_check(const char *s, struct err *e) MUST_USE;
/* A user's name: 1-64 of [A-Za-z0-9._-], beginning with a letter or digit. */
int user_name_check(const char *s, struct err *e) MUST_USE;
/* A realm: as a user's name. */
int realm_check(const char *s, struct err *e) MUST_USE;
/* 8-4-4-4-12 lower case hexadecimal (RFC 9562). */
int uuid_check(const char *s, struct err *e) MUST_USE;
/* A label's name or value: 1-63 of [A-Za-z0-9._-], beginning and ending with a letter or
 * digit; a value may be empty. */
int label_name_check(const char *s, struct err *e) MUST_USE;
int label_value_check(const char *s, struct err *e) MUST_USE;
/* One OpenSSH public key line: "ssh-ed25519 AAAA... comment", at most 8 KiB. */
int ssh_key_check(const char *s, struct err *e) MUST_USE;
/* A relative path without "", "." and ".." parts, at most 1024 bytes of UTF-8. */
int rel_path_check(const char *s, struct err *e) MUST_USE;

#define MAC_STR_SIZE 18
/* An interface's MAC: lower case, with colons, no multicast address. */
int mac_check(const char *s, struct err *e) MUST_USE;
/* An IPv6 address (RFC 4291 section 2.2), without a prefix length or a zone. */
int ipv6_check(const char *s, struct err *e) MUST_USE;
/* "tcp/<port>", "udp/<port>" or "icmpv6". */
int ingress_check(const char *s, struct err *e) MUST_USE;
/* "<address>/64" whose last 64 bits are zero. */
int prefix64_check(const char *s, struct err *e) MUST_USE;

#define UUID_STR_SIZE 37
void uuid_new(char out[UUID_STR_SIZE]); /* version 4; libuuid */
/* Stable for a name (version 5 with ucloud's own name space). */
void uuid_of_name(const char *name, char out[UUID_STR_SIZE]);

#endif
