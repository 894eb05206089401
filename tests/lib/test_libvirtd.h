/*
 * A private libvirtd (scripts/private-libvirtd) for tests that need real guests. It and its
 * guests end when the test program does, however that ends.
 */
#ifndef UCLOUD_TEST_LIBVIRTD_H
#define UCLOUD_TEST_LIBVIRTD_H

/* Starts it; skips the program (test_skip()) when the machine lacks something. Returns the
 * URI. */
const char *test_libvirtd_start(void);
const char *test_libvirtd_dir(void);
/* Kills libvirtd alone (SIGKILL): guests run on. test_libvirtd_start() starts it again. */
void test_libvirtd_kill(void);
/* The pid of a running guest's QEMU, by the domain's name; 0 none. */
int test_libvirtd_guest_pid(const char *domain);

#endif
