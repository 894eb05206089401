# Tests that need an object which is in no library: LINK_<test> := objects.
LINK_test_hostd := $(B)/ucloud-host/virt_fake.o
LINK_test_virt_qemu := $(B)/ucloud-host/virt_libvirt.o
LINK_test_hostd_threads := $(B)/ucloud-host/virt_fake.o
