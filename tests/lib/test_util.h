/*
 * What every test may need: waiting for a condition, a private directory, a free port,
 * things to undo at the end, and saying why a test is skipped.
 *
 * The private directory is removed however the test ends, also by abort() or SIGKILL: a
 * small process of its own waits for our death. None of this uses clock.h, whose time a
 * test may have replaced. The main thread only, except wait_until() and test_now_msec().
 */
#ifndef UCLOUD_TEST_UTIL_H
#define UCLOUD_TEST_UTIL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/mem.h"

/* Real monotonic time. */
int64_t test_now_msec(void);

/* Asks fn(aux) every few milliseconds until it is true; false when limit_msec are over. */
bool wait_until(bool (*fn)(void *aux), void *aux, int64_t limit_msec);

/* The test program's private directory below $TMPDIR or /tmp, made by the first call. */
const char *test_dir(void);
/* "<test_dir>/<formatted>", the caller's. */
char *test_path(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Makes PATH, whose parent exists; fine when it is there. Aborts when it cannot. */
void test_mkdir(const char *path);
/* Removes PATH and all below it. */
void test_remove(const char *path);
void test_write_file(const char *path, const char *text);
/* The whole file, the caller's; NULL when it cannot be read. */
char *test_read_file(const char *path);

/* A TCP port of [::1] that nobody listens on now. Somebody else may take it before you do:
 * whoever starts a server with it tries again with another one. */
uint16_t test_free_port(void);

/* Called when the program ends by exit() or by returning from main(); last one first. */
void test_on_exit(void (*fn)(void *aux), void *aux);

/* Prints the reason as the last line and exits with status 77. */
void test_skip(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((noreturn));
/* Skips the program unless this command is in PATH. */
void test_need_command(const char *name);

/* Starts argv (NULL-terminated, looked up in PATH); output is appended to log_path (NULL:
 * ours). It is killed when we die. */
pid_t test_spawn(const char *const *argv, const char *log_path);
/* Runs argv to its end, at most limit_msec; its output goes to *out (may be NULL, the
 * caller's). Returns the exit status, 128 + the signal, or -1 when it took too long. */
int test_run(const char *const *argv, int64_t limit_msec, char **out);
/* Waits for a child that test_spawn() made; the status as in test_run(). */
int test_wait(pid_t pid, int64_t limit_msec);

#endif
