# Tests that need an object which is in no library: LINK_<test> := objects.
LINK_test_hostd := $(VIRT_FAKE)
LINK_test_hostd_change := $(VIRT_FAKE)
LINK_test_virt_qemu := $(VIRT_LIBVIRT)
LINK_test_hostd_threads := $(VIRT_FAKE)
LINK_test_hostd_nets := $(VIRT_FAKE)
