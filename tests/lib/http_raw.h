/*
 * A client that speaks to an HTTP server byte by byte, as no library would: halves of
 * requests, several at once, and none of its answer read. Fails the test when it must wait
 * for more than 30 s.
 */
#ifndef UCLOUD_TEST_HTTP_RAW_H
#define UCLOUD_TEST_HTTP_RAW_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"

/* The rest of the headers of a request after which the connection ends. */
#define RAW_CLOSE "Host: x\r\nConnection: close\r\n"

/* A socket, connected to that port of [::1]. */
int raw_dial(unsigned port);
/* False: the other end has hung up. */
bool raw_put_bytes(int fd, const char *p, size_t size);
/* As much of it as the other end takes: what it said before it hung up is read later. */
void raw_put(int fd, const char *text);
/* Reads, and appends to b, until the text contains want, or the connection ends (want NULL).
 * False: it ended before. */
bool raw_get_until(int fd, struct buf *b, const char *want);

void assert_starts(const char *text, const char *start);
void assert_contains(const char *text, const char *part);

#endif
