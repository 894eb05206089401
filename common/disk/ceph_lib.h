/*
 * Ceph's libraries, loaded when a store needs them: so a daemon without such a store stays
 * small, and runs where they are not installed. Building needs their headers.
 *
 * Who uses another function of theirs adds it to a list here. Any thread.
 */
#ifndef UCLOUD_CEPH_LIB_H
#define UCLOUD_CEPH_LIB_H

#include <rados/librados.h>
#include <rbd/librbd.h>

#include "common/base/err.h"

#define CEPH_LIB_RADOS(X)                                                                \
	X(rados_buffer_free)                                                             \
	X(rados_conf_get)                                                                \
	X(rados_conf_read_file)                                                          \
	X(rados_conf_set)                                                                \
	X(rados_connect)                                                                 \
	X(rados_create2)                                                                 \
	X(rados_ioctx_create)                                                            \
	X(rados_ioctx_destroy)                                                           \
	X(rados_mon_command)                                                             \
	X(rados_read)                                                                    \
	X(rados_remove)                                                                  \
	X(rados_set_pool_full_try)                                                       \
	X(rados_shutdown)                                                                \
	X(rados_write)

#define CEPH_LIB_RBD(X)                                                                  \
	X(rbd_clone3)                                                                    \
	X(rbd_close)                                                                     \
	X(rbd_create4)                                                                   \
	X(rbd_diff_iterate2)                                                             \
	X(rbd_flatten)                                                                   \
	X(rbd_flush)                                                                     \
	X(rbd_get_parent)                                                                \
	X(rbd_get_size)                                                                  \
	X(rbd_image_options_create)                                                      \
	X(rbd_image_options_destroy)                                                     \
	X(rbd_image_options_set_uint64)                                                  \
	X(rbd_image_spec_list_cleanup)                                                   \
	X(rbd_linked_image_spec_cleanup)                                                 \
	X(rbd_linked_image_spec_list_cleanup)                                            \
	X(rbd_list2)                                                                     \
	X(rbd_list_children3)                                                            \
	X(rbd_metadata_get)                                                              \
	X(rbd_metadata_set)                                                              \
	X(rbd_open)                                                                      \
	X(rbd_open_read_only)                                                            \
	X(rbd_remove)                                                                    \
	X(rbd_rename)                                                                    \
	X(rbd_resize)                                                                    \
	X(rbd_snap_create)                                                               \
	X(rbd_snap_get_namespace_type)                                                   \
	X(rbd_snap_is_protected)                                                         \
	X(rbd_snap_list)                                                                 \
	X(rbd_snap_list_end)                                                             \
	X(rbd_snap_protect)                                                              \
	X(rbd_snap_remove)                                                               \
	X(rbd_snap_rollback)                                                             \
	X(rbd_snap_spec_cleanup)                                                         \
	X(rbd_snap_unprotect)                                                            \
	X(rbd_watchers_list)                                                             \
	X(rbd_watchers_list_cleanup)                                                     \
	X(rbd_write)

/* Their functions, under their own names. */
struct ceph_lib {
#define CEPH_LIB_MEMBER(name) typeof(name) *name;
	CEPH_LIB_RADOS(CEPH_LIB_MEMBER)
	CEPH_LIB_RBD(CEPH_LIB_MEMBER)
#undef CEPH_LIB_MEMBER
};

/* Loads them when they are not loaded yet; NULL, and ERR_UNAVAILABLE that names the package,
 * when they are missing. They stay loaded. */
const struct ceph_lib *ceph_lib_get(struct err *e) MUST_USE;

#endif
