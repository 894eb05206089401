#include "common/base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What linux/audit.h calls this processor; others do not compile: look at the filter first. */
#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

/* Rights of newer ABIs than the header's here may be (linux/landlock.h). */
#define FS_RIGHTS_1 UINT64_C(0x1fff)	/* ABI 1: EXECUTE ... MAKE_SYM */
#define FS_REFER    (UINT64_C(1) << 13) /* 2 */
#define FS_TRUNCATE (UINT64_C(1) << 14) /* 3 */
#define FS_IOCTL    (UINT64_C(1) << 15) /* 5 */
#define NET_TCP	    UINT64_C(3)		/* 4: bind, connect */
#define SCOPES	    UINT64_C(3)		/* 6: abstract Unix sockets, signals */

#define READ_RIGHTS                                                                      \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |                     \
		LANDLOCK_ACCESS_FS_READ_DIR)

/* struct landlock_ruleset_attr as of ABI 6; older kernels are given its beginning. */
struct ruleset_attr {
	uint64_t fs, net, scoped;
};

struct sandbox {
	struct sandbox_conf conf; /* numbers only */
	int ruleset;		  /* Landlock's, -1 none */
};

int sandbox_landlock_abi(void)
{
	long abi = syscall(
		SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi > 0 ? (int)abi : 0;
}

/* ---------------------------------------------------------------- before fork */

static int make_ruleset(int abi, int *out, struct err *e)
{
	struct ruleset_attr attr = { .fs = FS_RIGHTS_1 };
	size_t size = sizeof(attr.fs);
	int fd;

	attr.fs |= (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) |
		   (abi >= 5 ? FS_IOCTL : 0);
	if (abi >= 4) {
		attr.net = NET_TCP;
		size = 2 * sizeof(uint64_t);
	}
	if (abi >= 6) {
		attr.scoped = SCOPES;
		size = sizeof(attr);
	}
	fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (fd < 0)
		return err_errno(e, errno, "landlock_create_ruleset");
	*out = fd;
	return 0;
}

static int allow_fd(int ruleset, int fd, const char *name, struct err *e)
{
	struct landlock_path_beneath_attr rule = { .parent_fd = fd,
		.allowed_access = READ_RIGHTS };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "%s", name);
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= ~(uint64_t)LANDLOCK_ACCESS_FS_READ_DIR;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule,
		    0) < 0)
		return err_errno(e, errno, "landlock_add_rule: %s", name);
	return 0;
}

static int allow_path(int ruleset, const char *path, struct err *e)
{
	int fd = open(path, O_PATH | O_CLOEXEC), rc;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(e, errno, "%s", path);
	rc = allow_fd(ruleset, fd, path, e);
	close(fd);
	return rc;
}

static int allow_all(const struct sandbox_conf *conf, int ruleset, struct err *e)
{
	for (size_t i = 0; conf->read_paths && conf->read_paths[i]; i++)
		if (allow_path(ruleset, conf->read_paths[i], e) < 0)
			return -1;
	return conf->read_fd > 0 ? allow_fd(ruleset, conf->read_fd, "the file", e) : 0;
}

int sandbox_new(const struct sandbox_conf *conf, struct sandbox **out, struct err *e)
{
	struct sandbox *s = xcalloc(1, sizeof(*s));
	int abi = sandbox_landlock_abi();

	s->conf = *conf;
	s->conf.read_paths = NULL;
	s->conf.may_read_any_mode = conf->may_read_any_mode && abi > 0;
	s->ruleset = -1;
	if (abi > 0 && (make_ruleset(abi, &s->ruleset, e) < 0 ||
			       allow_all(conf, s->ruleset, e) < 0)) {
		sandbox_free(s);
		return err_wrap(e, "the sandbox");
	}
	*out = s;
	return 0;
}

void sandbox_free(struct sandbox *s)
{
	if (!s)
		return;
	if (s->ruleset >= 0)
		close(s->ruleset);
	free(s);
}

/* ---------------------------------------------------------------- in the child */

static int limit(int what, uint64_t value)
{
	const struct rlimit r = { value, value };

	return setrlimit((__rlimit_resource_t)what, &r);
}

int sandbox_prepare(const struct sandbox *s)
{
	/* May not be allowed to us; then the filter alone keeps the network away. */
	if (unshare(CLONE_NEWNET) < 0 && errno != EPERM)
		return -1;
	/* Or else a change of user takes all capabilities away. */
	return s->conf.may_read_any_mode ? prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) : 0;
}

/* Keeps the one capability that it may have, also through execve(). */
static int keep_capability(bool is_wanted)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct has[2] = { 0 }, want[2] = { 0 };
	const uint32_t bit = 1u << CAP_DAC_READ_SEARCH;

	if (syscall(SYS_capget, &head, has) < 0)
		return -1;
	if (is_wanted && (has[0].permitted & bit))
		want[0].effective = want[0].permitted = want[0].inheritable = bit;
	if (syscall(SYS_capset, &head, want) < 0)
		return -1;
	if (!want[0].permitted)
		return 0;
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0);
}

#define LOAD(member)                                                                     \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define ANSWER(what) BPF_STMT(BPF_RET | BPF_K, (what))
/* When the loaded value is this one: answer, else go on. */
#define WHEN(value, what) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, 1), ANSWER(what)
#define DENY(call)	  WHEN(__NR_##call, SECCOMP_RET_ERRNO | EPERM)

/*
 * What a program that answers on descriptors never needs. clone3() is said to be missing, so
 * that libc takes clone(), whose flags can be seen: threads are fine, processes are not.
 */
static const struct sock_filter filter[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
	ANSWER(SECCOMP_RET_KILL_PROCESS),
	LOAD(nr),
#ifdef __x86_64__
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* the x32 ABI */
	ANSWER(SECCOMP_RET_KILL_PROCESS),
	DENY(fork),
	DENY(vfork),
#endif
	WHEN(__NR_clone3, SECCOMP_RET_ERRNO | ENOSYS),
	DENY(socket),
	DENY(socketpair),
	DENY(connect),
	DENY(bind),
	DENY(listen),
	DENY(io_uring_setup),
	DENY(ptrace),
	DENY(process_vm_readv),
	DENY(process_vm_writev),
	DENY(pidfd_open),
	DENY(pidfd_getfd),
	DENY(kill),
	DENY(setsid),
	DENY(setpgid),
	DENY(open_by_handle_at),
	DENY(mount),
	DENY(umount2),
	DENY(pivot_root),
	DENY(chroot),
	DENY(fsopen),
	DENY(open_tree),
	DENY(unshare),
	DENY(setns),
	DENY(bpf),
	DENY(perf_event_open),
	DENY(userfaultfd),
	DENY(keyctl),
	DENY(add_key),
	DENY(request_key),
	DENY(shmget),
	DENY(msgget),
	DENY(semget),
	DENY(mq_open),
	DENY(fchmod),
	DENY(fchmodat),
	DENY(fchown),
	DENY(fchownat),
	DENY(utimensat),
	DENY(setxattr),
	DENY(fsetxattr),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 0, 3),
	LOAD(args[0]), /* the lower half, on these processors */
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0),
	ANSWER(SECCOMP_RET_ERRNO | EPERM),
	ANSWER(SECCOMP_RET_ALLOW),
};

static int enter_filter(void)
{
	const struct sock_fprog prog = { sizeof(filter) / sizeof(filter[0]),
		(struct sock_filter *)(uintptr_t)filter };

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
}

int sandbox_enter(const struct sandbox *s)
{
	if (limit(RLIMIT_FSIZE, 0) < 0 || limit(RLIMIT_CORE, 0) < 0 ||
		limit(RLIMIT_MEMLOCK, 0) < 0 || limit(RLIMIT_MSGQUEUE, 0) < 0)
		return -1;
	if ((s->conf.limit_cpu_sec && limit(RLIMIT_CPU, s->conf.limit_cpu_sec) < 0) ||
		(s->conf.limit_threads &&
			limit(RLIMIT_NPROC, s->conf.limit_threads) < 0) ||
		(s->conf.limit_fds && limit(RLIMIT_NOFILE, s->conf.limit_fds) < 0))
		return -1;
	if (keep_capability(s->conf.may_read_any_mode) < 0 ||
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	if (s->ruleset >= 0 && syscall(SYS_landlock_restrict_self, s->ruleset, 0) < 0)
		return -1;
	return enter_filter();
}
