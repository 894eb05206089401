# ucloud: one Makefile for everything. `make help` lists the targets.
#
#	V=1                      show commands
#	SAN=address,undefined    build with sanitizers (own directory)
#	CRASH=1                  build with crash points (common/base/crash.h)

VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= gcc
comma   := ,

flavour := $(if $(SAN),san-$(subst $(comma),-,$(SAN)),$(if $(CRASH),crash,plain))
B       ?= build/$(flavour)
Q       := $(if $(V),,@)
say      = $(if $(V),,@printf '  %-6s %s\n' $(1) $(2))

PROGRAMS := $(patsubst %/main.c,%,$(wildcard ucloud-*/main.c))

# ---------------------------------------------------------------- flags
CFLAGS_STD  := -std=gnu17 -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 -O2 -g -I. \
	-DUCLOUD_VERSION='"$(VERSION)"' -fno-strict-aliasing -fno-common -fstack-protector-strong \
	-fstack-clash-protection -fPIE -pthread -ffunction-sections -fdata-sections
CFLAGS_WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wformat=2 -Wvla -Wno-missing-field-initializers -Wpointer-arith -Wcast-qual -Wundef
LDFLAGS_STD := -pie -Wl,-z,relro,-z,now -Wl,--as-needed -Wl,--gc-sections -pthread
ifneq ($(SAN),)
CFLAGS_STD  := $(filter-out -D_FORTIFY_SOURCE=2,$(CFLAGS_STD)) -O1 -fno-omit-frame-pointer \
	-fsanitize=$(SAN) $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=undefined)
LDFLAGS_STD += -fsanitize=$(SAN)
endif
ifneq ($(CRASH),)
CFLAGS_STD  += -DUCLOUD_CRASH
endif

PKGS       := libcurl jansson libmicrohttpd libsodium liboath inih uuid libxml-2.0 libvirt \
	libvirt-qemu
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) libnl-route-3.0 libnftables 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
# What one program alone is linked with (and tests, where they use it).
LIBS_ucloud-host := -lisofs
LIBS_ucloud-image := -lnbd
LIBS_ucloud-network := $(shell pkg-config --libs libnl-route-3.0 libnftables 2>/dev/null)
TEST_LIBS  := $(shell pkg-config --libs cmocka 2>/dev/null) -lm

ALL_CFLAGS  = $(CFLAGS_STD) $(CFLAGS_WARN) $(PKG_CFLAGS) $(CFLAGS)

# ---------------------------------------------------------------- sources
obj         = $(patsubst %.c,$(B)/%.o,$(1))
# Crash points are in few sources: the objects of all others are those of the plain flavour.
ifneq ($(CRASH),)
WITH_POINTS := $(shell grep -l '"common/base/crash.h"' common/*/*.c ucloud-*/*.c)
obj         = $(patsubst %.c,$(B)/%.o,$(filter $(WITH_POINTS),$(1))) \
	$(patsubst %.c,build/plain/%.o,$(filter-out $(WITH_POINTS),$(1)))
endif
LIB_SRC    := $(wildcard common/*/*.c)
# Two implementations of one header: linked explicitly, never out of an archive.
VIRT_LIBVIRT := $(patsubst %.c,$(B)/%.o,$(wildcard ucloud-host/virt_libvirt*.c))
VIRT_FAKE  := $(patsubst %.c,$(B)/%.o,$(wildcard ucloud-host/virt_fake*.c))
SEAM_SRC   := $(wildcard ucloud-host/virt_libvirt*.c ucloud-host/virt_fake*.c)
prog_src    = $(filter-out $(1)/main.c $(SEAM_SRC),$(wildcard $(1)/*.c))
TESTLIB_SRC := $(wildcard tests/lib/*.c)
tests_in    = $(patsubst %.c,$(B)/%,$(wildcard tests/$(1)/test_*.c))

LIB      := $(B)/libucloud.a
PROG_LIBS := $(foreach p,$(PROGRAMS),$(B)/$(p)/lib$(p).a)
TESTLIB  := $(B)/tests/lib/libtest.a

.PHONY: all
all: $(foreach p,$(PROGRAMS),$(B)/$(p)/$(p))

# ---------------------------------------------------------------- rules
$(B)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

ifneq ($(CRASH),)
build/plain/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -DUCLOUD_CRASH,$(ALL_CFLAGS)) -MMD -MP -c -o $@ $<
endif

# Assembler for the processor test of ucloud-host.
$(B)/%.o: %.S
	$(call say,AS,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -I. -MMD -MP -c -o $@ $<

define ar_rule
$(call say,AR,$@)
@mkdir -p $(@D)
$(Q)rm -f $@; ar rcs $@ $^
endef

$(LIB): $(call obj,$(LIB_SRC))
	$(ar_rule)

$(TESTLIB): $(call obj,$(TESTLIB_SRC))
	$(ar_rule)

define program
$(B)/$(1)/lib$(1).a: $(call obj,$(call prog_src,$(1))) $(patsubst %.S,$(B)/%.o,$(wildcard $(1)/*.S))
	$$(ar_rule)
$(B)/$(1)/$(1): $(B)/$(1)/main.o $(if $(filter ucloud-host,$(1)),$(VIRT_LIBVIRT)) \
		$(B)/$(1)/lib$(1).a $(LIB)
	$$(call say,LD,$$@)
	$(Q)$(CC) $(LDFLAGS_STD) $(LDFLAGS) -o $$@ $$^ $(LIBS_$(1)) $(PKG_LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

# A test is one .c file; what it needs beyond the libraries is said in a line of its own:
#	LINK_<name> := objects
LINK_test_virt_fake    := $(VIRT_FAKE)
LINK_test_virt_libvirt := $(VIRT_LIBVIRT)
LINK_test_sim          := $(VIRT_FAKE) \
	$(call obj,$(filter-out tests/sim/test_%,$(wildcard tests/sim/*.c)))
-include tests/tests.mk

.SECONDEXPANSION:
$(B)/tests/%: $(B)/tests/%.o $$(LINK_$$(notdir $$*)) $(PROG_LIBS) $(TESTLIB) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_STD) $(LDFLAGS) -o $@ $(filter %.o,$^) $(TESTLIB) $(PROG_LIBS) \
		$(TESTLIB) $(LIB) $(TEST_LIBS) $(foreach p,$(PROGRAMS),$(LIBS_$(p))) $(PKG_LIBS)

.PRECIOUS: $(B)/%.o

# ---------------------------------------------------------------- tests
UNIT     := $(call tests_in,unit)
CONTRACT := $(call tests_in,contract)
SIM      := $(call tests_in,sim)
BUGS     := $(call tests_in,bugs)
BENCH    := $(patsubst %.c,$(B)/%,$(wildcard tests/bench/*.c))

# How many run at the same time: most of them mostly wait, so more than there are processors.
TEST_JOBS ?= $(shell echo $$(($$(nproc) * 3 / 2)))
run_tests := TEST_JOBS=$(TEST_JOBS) tests/run

# The longest, which mostly wait for etcd, QEMU and Ceph to die and to come back: first, so that
# the others run beside them. With sanitizers the first two not at all: test_kv, test_store and
# test_virt_libvirt take our code the same ways.
NOT_SAN  := %/test_kv_etcd %/test_virt_qemu
LONGEST  := $(if $(SAN),,$(NOT_SAN)) %/test_disk_ceph %/test_disk_ceph_deaths \
	%/test_filescan %/test_network_router
CONTRACT := $(filter $(LONGEST),$(CONTRACT)) $(filter-out $(NOT_SAN) $(LONGEST),$(CONTRACT))

.PHONY: tests unit contract sim units e2e lab-tests
tests: $(UNIT) $(CONTRACT) $(SIM) $(BUGS)
unit: $(UNIT) $(BUGS)
	$(Q)$(run_tests) $^
contract: $(CONTRACT) all
	$(Q)$(run_tests) $(CONTRACT)
sim: $(SIM)
	$(Q)$(run_tests) $^
# All three: the simulation, which needs a processor for itself, beside those that wait.
units: $(UNIT) $(BUGS) $(CONTRACT) $(SIM) all
	$(Q)$(run_tests) $(SIM) $(CONTRACT) $(UNIT) $(BUGS)
# Each has a cloud of its own, and mostly waits; the longest first.
E2E_LONGEST := %/deaths.sh %/slow-clients.sh %/storage-ceph.sh %/storage.sh
E2E := $(sort $(wildcard tests/e2e/*.sh))
E2E := $(filter $(E2E_LONGEST),$(E2E)) $(filter-out $(E2E_LONGEST),$(E2E))
# Scenarios in the lab (tests/lab/lab): several hosts, routers, a world.
LAB := $(sort $(wildcard tests/lab/*.sh))
e2e: all build/guest/guest.img
	$(Q)B=$(B) TEST_LIMIT=600 $(run_tests) $(E2E) $(LAB)
lab-tests: all build/guest/guest.img
	$(Q)B=$(B) TEST_LIMIT=600 $(run_tests) $(LAB)

build/guest/guest.img: scripts/guest-image $(wildcard scripts/guest/*)
	$(call say,IMAGE,$@)
	@mkdir -p $(@D)
	$(Q)scripts/guest-image $@ build/guest/work

# The README's second command: installs what the tests need, runs them all.
.PHONY: check
check:
	$(Q)scripts/install-deps test
	$(Q)scripts/check

# Heavier runs. CI runs a short form of each (scripts/check), so that they cannot rot.
.PHONY: torture bench fuzz crash-sweep threaded
torture:
	$(Q)scripts/install-deps test
	$(Q)scripts/torture
bench:
	$(Q)scripts/install-deps test
	$(Q)+$(MAKE) -s all $(BENCH) build/guest/guest.img
	$(Q)B=$(B) scripts/bench
# SWEEP=all kills at every point, short at some.
SWEEP ?= all
crash-sweep:
	$(Q)+$(MAKE) -s CRASH=1 all build/guest/guest.img
	$(Q)B=build/crash TEST_JOBS=$(TEST_JOBS) tests/sweep/run $(SWEEP)
# The tests of modules with threads, for SAN=thread.
THREADED ?= $(filter $(addprefix %/test_,accel api auth cache ctl daemon disk_fake disk_file domxml \
	fs_publish fs_scan group hostd_threads http httpd httpd_body httpd_limits \
	httpd_wait image image_import kv kv_conn kv_epoch kv_fake log metrics network_check network_filter network_links net_radvdrun network_router proc sched \
	sched_threads session store virt_fake virt_libvirt watch wq),$(UNIT) $(CONTRACT))
threaded: $(THREADED) all
	$(Q)$(run_tests) $(THREADED)

# ---------------------------------------------------------------- fuzz
# Each target runs FUZZ_SEC seconds over its corpus in tests/fuzz/corpus/<name>/.
FUZZ_SEC ?= 60
FUZZ     := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_CFLAGS := $(CFLAGS_WARN) -std=gnu17 -D_GNU_SOURCE -O1 -g -I. -DUCLOUD_VERSION='"$(VERSION)"' -pthread \
	-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined $(PKG_CFLAGS)
FUZZ_OBJ := $(patsubst %.c,build/fuzz/obj/%.o,$(LIB_SRC) $(foreach p,$(PROGRAMS),$(call prog_src,$(p))))

build/fuzz/obj/%.o: %.c
	$(call say,FUZZCC,$<)
	@mkdir -p $(@D)
	$(Q)clang $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<
build/fuzz/libucloud.a: $(FUZZ_OBJ)
	$(ar_rule)
build/fuzz/%: build/fuzz/obj/tests/fuzz/%.o build/fuzz/libucloud.a
	$(call say,FUZZLD,$@)
	$(Q)clang -fsanitize=fuzzer,address,undefined -o $@ $^ $(PKG_LIBS) -pthread
fuzz: $(FUZZ)
	$(Q)FUZZ_SEC=$(FUZZ_SEC) scripts/fuzz $^

# ---------------------------------------------------------------- demo
.PHONY: demo demo-down
demo:
	$(Q)scripts/install-deps $(if $(filter ceph,$(STORE)),ceph,run)
	$(Q)+$(MAKE) --no-print-directory all build/guest/guest.img
	$(Q)B=$(B) IMAGE="$(IMAGE)" STORE="$(STORE)" scripts/demo up
demo-down:
	$(Q)scripts/demo down

# A data centre of several hosts on this machine: HOSTS=3 ROUTERS=1 ETCD=3 CEPH=1.
.PHONY: lab lab-shell lab-down
lab:
	$(Q)scripts/install-deps test
	$(Q)+$(MAKE) --no-print-directory all build/guest/guest.img
	$(Q)B=$(B) HOSTS="$(HOSTS)" ROUTERS="$(ROUTERS)" ETCD="$(ETCD)" CEPH="$(CEPH)" tests/lab/lab up
lab-shell:
	@tests/lab/lab shell $(or $(NODE),h1)
lab-down:
	$(Q)tests/lab/lab down

# ---------------------------------------------------------------- lint
.PHONY: lint format cflags
C_FILES := $(wildcard common/*/*.[ch] ucloud-*/*.[ch] tests/*/*.[ch])
lint:
	$(Q)scripts/lint
# What clang-tidy must be told.
cflags:
	@: $(info $(filter-out -g,$(ALL_CFLAGS)))
format:
	clang-format -i $(C_FILES)

# ---------------------------------------------------------------- install
DAEMONS  := $(filter-out ucloud-cli,$(PROGRAMS))
SBINDIR  ?= $(PREFIX)/sbin
BINDIR   ?= $(PREFIX)/bin
DATADIR  ?= $(PREFIX)/share
UNITDIR  ?= $(if $(filter /usr/local,$(PREFIX)),/usr/local/lib,$(if $(filter /usr,$(PREFIX)),/lib,$(PREFIX)/lib))/systemd/system

.PHONY: install
install: all
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)/etc/init.d \
		$(DESTDIR)/etc/ucloud $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(DATADIR)/doc/ucloud \
		$(DESTDIR)$(DATADIR)/man/man1 $(DESTDIR)$(DATADIR)/bash-completion/completions
	$(foreach p,$(DAEMONS),install -m 755 $(B)/$(p)/$(p) $(DESTDIR)$(SBINDIR)/ && ) true
	install -m 755 $(B)/ucloud-cli/ucloud-cli $(DESTDIR)$(BINDIR)/
	for f in units/systemd/*.service; do sed 's#/usr/sbin/#$(SBINDIR)/#' $$f \
		> $(DESTDIR)$(UNITDIR)/$${f##*/} || exit 1; done
	for f in units/openrc/*; do sed 's#/usr/sbin/#$(SBINDIR)/#' $$f \
		> $(DESTDIR)/etc/init.d/$${f##*/} && chmod 755 $(DESTDIR)/etc/init.d/$${f##*/} || exit 1; done
	install -m 644 units/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/ucloud.conf
	install -m 644 README.md docs/*.md $(DESTDIR)$(DATADIR)/doc/ucloud/
	$(B)/ucloud-cli/ucloud-cli manual > $(DESTDIR)$(DATADIR)/man/man1/ucloud-cli.1
	install -m 644 ucloud-cli/ucloud-cli.bash \
		$(DESTDIR)$(DATADIR)/bash-completion/completions/ucloud-cli

.PHONY: clean help
clean:
	rm -rf build
help:
	@printf '%s\n' 'make            build (build/plain/)' \
		'make demo       a whole cloud on this machine, below demo/' \
		'make demo-down  take it down' \
		'make check      install what the tests need and run them all' \
		'make unit | contract | sim | e2e | lab-tests    parts of it' \
		'make lab | lab-shell | lab-down     a data centre of several hosts on this machine' \
		'make torture | bench | fuzz         heavier runs' \
		'make lint | format' \
		'make install DESTDIR= PREFIX='

-include $(shell find $(B) build/fuzz $(if $(CRASH),build/plain) -name '*.d' 2>/dev/null)
