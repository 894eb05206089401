# Tests that need an object which is in no library: LINK_<test> := objects.
LINK_test_hostd := $(VIRT_FAKE)
LINK_test_hostd_change := $(VIRT_FAKE)
LINK_test_hostd_machine := $(VIRT_FAKE)
LINK_test_virt_qemu := $(VIRT_LIBVIRT)
LINK_test_hostd_threads := $(VIRT_FAKE)
LINK_test_hostd_nets := $(VIRT_FAKE)

# Runs in guests, which have no libraries: static, and without sanitizers.
$(B)/tests/lab/frames: tests/lab/frames.c
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(CFLAGS_WARN) -O1 -s -static -o $@ $<
e2e lab-tests: $(B)/tests/lab/frames
