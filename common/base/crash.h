/*
 * Crash points: proof that a daemon may die at any instruction that matters.
 *
 * A build with -DUCLOUD_CRASH counts every CRASH_POINT() it passes; with
 * UCLOUD_CRASH_AT=N in the environment the N-th one kills the process with SIGKILL, after
 * writing its name to the file in UCLOUD_CRASH_FILE. With UCLOUD_CRASH_SIGNAL=STOP it stops
 * the process instead, which goes on there when it gets SIGCONT: as if the machine had slept.
 * Without the define they are nothing.
 * There is one before and one after every write to etcd, every change through libvirt, every
 * change of a disk, and of the kernel's networks. The effect and our knowledge of it are thus torn apart both ways.
 */
#ifndef UCLOUD_CRASH_H
#define UCLOUD_CRASH_H

#ifdef UCLOUD_CRASH
void crash_point(const char *name);
#define CRASH_POINT(name) crash_point(name)
#else
#define CRASH_POINT(name) ((void)0)
#endif

#endif
