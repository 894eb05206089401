#include "common/model/host.h"
#include "common/model/image.h"
#include "common/model/network.h"
#include "common/model/request.h"
#include "common/model/user.h"
#include "common/model/vm.h"
#include "ucloud-api/calls.h"
#include "ucloud-api/network_use.h"
#include "ucloud-api/orders.h"
#include "ucloud-api/upload.h"

#define LIMIT_AFTER                                                                      \
	{ "limit", "entries on a page, 1 to 1000 (default 100)" },                       \
	{                                                                                \
		"after", "what `next` of the page before said"                           \
	}
#define OWNER                                                                            \
	{                                                                                \
		"owner", "name@realm: admins reach others' VMs by name with it"          \
	}

static const struct route_query page_query[] = { LIMIT_AFTER, { 0 } };
static const struct route_query owner_query[] = { OWNER, { 0 } };
static const struct route_query request_query[] = { LIMIT_AFTER,
	{ "owner", "name@realm: only those for this user's VMs" }, { 0 } };
static const struct route_query vm_list_query[] = { LIMIT_AFTER,
	{ "status", "only VMs in this status" }, { "host", "only VMs on this host" },
	{ "name", "only VMs whose name begins so" },
	{ "owner", "name@realm: admins list others' VMs with it" },
	{ "all", "yes: everybody's (admins)" }, { 0 } };
static const struct route_query vm_show_query[] = { OWNER,
	{ "wait", "answer when the VM has this status, or is gone (DELETED); at once "
		  "when it is in ERROR; 504 when the time is up" },
	{ "timeout", "seconds to wait, 0 to 300 (default 60)" }, { 0 } };

static const struct route_query image_show_query[] = {
	{ "wait", "answer when the image has this status (CREATED), or is gone "
		  "(DELETED); at once when it is in ERROR; 504 when the time is up" },
	{ "timeout", "seconds to wait, 0 to 300 (default 60)" }, { 0 }
};
static const struct route_query network_list_query[] = { LIMIT_AFTER,
	{ "owner", "name@realm: admins list others' networks with it" },
	{ "all", "yes: everybody's (admins)" }, { 0 } };
static const struct route_query network_query[] = {
	{ "owner", "name@realm: admins reach others' networks by name with it" }, { 0 }
};
static const struct route_query network_show_query[] = {
	{ "owner", "name@realm: admins reach others' networks by name with it" },
	{ "wait", "answer when the network has this status (ACTIVE), or is gone "
		  "(DELETED), with its entry only; at once when it is in ERROR; 504 when "
		  "the time is up" },
	{ "timeout", "seconds to wait, 0 to 300 (default 60)" }, { 0 }
};
static const struct route_query file_query[] = { LIMIT_AFTER,
	{ "owner", "name@realm: admins list others' files with it" }, { 0 } };
static const struct route_query file_show_query[] = {
	{ "owner", "name@realm: admins reach others' files by name with it" },
	{ "wait", "SHA-512 in hexadecimal: answer when the file is listed with this "
		  "content; 504 when the time is up" },
	{ "timeout", "seconds to wait, 0 to 300 (default 60)" }, { 0 }
};

#define VMS	  "/v1/vms"
#define VM	  VMS "/{vm}"
#define DISKS	  VM "/disks"
#define DISK	  DISKS "/{index}"
#define SNAPSHOTS VM "/snapshots"
#define SNAPSHOT  SNAPSHOTS "/{snapshot}"
#define HOSTS	  "/v1/hosts"
#define HOST	  HOSTS "/{host}"
#define IMAGES	  "/v1/images"
#define IMAGE	  IMAGES "/{image}"
#define NETWORKS  "/v1/networks"
#define NETWORK	  NETWORKS "/{network}"
#define FILES	  "/v1/files"
#define FILE_	  FILES "/{name...}"
#define STORES	  "/v1/image_stores"
#define STORE	  STORES "/{store}"
#define REQUESTS  "/v1/requests"
#define REQUEST	  REQUESTS "/{uuid}"
#define USER	  "/v1/users/{user}"

const struct route api_routes[] = {
	{ "POST", "/v1/session", call_session_create, ROUTE_USER, "Open a session",
		"With Basic authorization. The token serves until `expires`.",
		.out = &session_jtab, .status = 201 },
	{ "DELETE", "/v1/session", call_session_delete, ROUTE_USER,
		"End the session whose token is sent", .status = 204 },

	{ "POST", VMS, call_vm_create, ROUTE_USER, "Order a VM",
		"Accepted when it answers; `GET /v1/vms/{vm}?wait=RUNNING` tells when it "
		"runs.",
		ROUTE_BODY, &vm_input_jtab, &vm_jtab, .status = 202, .is_create = true },
	{ "GET", VMS, call_vm_list, ROUTE_USER, "List VMs",
		"One's own; admins may ask for others'. Ordered by name (by uuid when "
		"they are of several owners).",
		.out = &vm_jtab, .out_list = "vms", .out_leaves = LIST_VM_LEAVES,
		.status = 200, .query = vm_list_query },
	{ "GET", VM, call_vm_show, ROUTE_USER, "Show a VM",
		"By name or uuid. With ?wait= the answer is held until the VM gets "
		"there.",
		.out = &vm_jtab, .status = 200, .query = vm_show_query },
	{ "PATCH", VM, call_vm_patch, ROUTE_USER, "Change a VM",
		"Members left out stay as they are.", ROUTE_BODY, &vm_patch_jtab,
		&vm_jtab, .status = 200, .query = owner_query },
	{ "DELETE", VM, call_vm_delete, ROUTE_USER, "Delete a VM with its disks",
		.out = &vm_jtab, .status = 202, .query = owner_query },
	{ "POST", VM "/start", call_vm_start, ROUTE_USER, "Start a VM",
		"200 when it runs, or is being started, already.", ROUTE_MAY_BODY,
		&force_jtab, &vm_jtab, .status = 202, .query = owner_query },
	{ "POST", VM "/stop", call_vm_stop, ROUTE_USER, "Stop a VM",
		"It keeps its disks. 200 when it is, or is being, stopped already.",
		ROUTE_MAY_BODY, &force_jtab, &vm_jtab, .status = 202,
		.query = owner_query },
	{ "POST", VM "/reboot", call_vm_reboot, ROUTE_USER, "Reboot a VM",
		.body_kind = ROUTE_MAY_BODY, .in = &force_jtab, .out = &vm_jtab,
		.status = 202, .query = owner_query },
	{ "GET", VM "/explain", call_vm_explain, ROUTE_USER,
		"Why it is where it is, or why it still waits", .out = &explain_jtab,
		.status = 200, .query = owner_query },
	{ "GET", VM "/console-log", call_vm_console, ROUTE_USER,
		"The end of the serial console's output",
		"Asked of the VM's host; 504 when that does not answer within 10 s.",
		.out = &console_jtab, .status = 200, .query = owner_query },

	{ "GET", DISKS, call_disk_list, ROUTE_USER, "List the disks of a VM",
		.out = &vm_disk_jtab, .out_list = "disks", .status = 200,
		.query = owner_query },
	{ "POST", DISKS, call_disk_attach, ROUTE_USER, "Give a VM another disk",
		"Of a VM that is RUNNING (its guest sees it at once) or STOPPED. It is "
		"there when `GET /v1/requests/{uuid}` finds no request any more.",
		ROUTE_BODY, &vm_disk_input_jtab, &vm_jtab, .status = 202,
		.query = owner_query, .is_create = true },
	{ "PATCH", DISK, call_disk_patch, ROUTE_USER, "Grow a disk",
		"Its guest sees it at once; it never shrinks.", ROUTE_BODY,
		&disk_patch_jtab, &vm_jtab, .status = 202, .query = owner_query },
	{ "DELETE", DISK, call_disk_detach, ROUTE_USER,
		"Take a disk from a VM and remove it",
		"Its content is lost. A guest that runs must let go of it. Not disk 0.",
		.out = &vm_jtab, .status = 202, .query = owner_query },
	{ "GET", SNAPSHOTS, call_snapshot_list, ROUTE_USER, "List the snapshots of a VM",
		.out = &vm_snapshot_jtab, .out_list = "snapshots", .status = 200,
		.query = owner_query },
	{ "POST", SNAPSHOTS, call_snapshot_create, ROUTE_USER,
		"Make a snapshot of a VM's disks",
		"Of all of them at one moment, while it is RUNNING or STOPPED. It can be "
		"used when its `state` is `ready`.",
		ROUTE_MAY_BODY, &snapshot_input_jtab, &vm_jtab, .status = 202,
		.query = owner_query, .is_create = true },
	{ "POST", SNAPSHOT "/restore", call_snapshot_restore, ROUTE_USER,
		"Make a VM's disks what they were",
		"Only of a STOPPED VM. What was written since is lost; disks that are "
		"newer than the snapshot stay as they are.",
		.out = &vm_jtab, .status = 202, .query = owner_query },
	{ "DELETE", SNAPSHOT, call_snapshot_delete, ROUTE_USER, "Delete a snapshot",
		.out = &vm_jtab, .status = 202, .query = owner_query },

	{ "POST", VM "/networks", call_nic_attach, ROUTE_USER,
		"Give a VM another interface",
		"In a network of its owner's. The guest of a VM that is RUNNING sees it "
		"at once: it is there when `GET /v1/requests/{uuid}` finds no request "
		"any "
		"more. One that is STOPPED (200) has it at the next start.",
		ROUTE_BODY, &nic_input_jtab, &vm_jtab, .status = 202,
		.query = owner_query, .is_create = true },
	{ "DELETE", VM "/networks/{mac}", call_nic_detach, ROUTE_USER,
		"Take an interface from a VM",
		"A guest that runs must let go of it. 200 when the VM is STOPPED: it is "
		"done then.",
		.out = &vm_jtab, .status = 202, .query = owner_query },

	{ "POST", "/v1/ssh-keys", call_key_add, ROUTE_USER, "Store an SSH public key",
		"New VMs get all stored keys, unless their order names some.", ROUTE_BODY,
		&ssh_key_jtab, &ssh_key_jtab, .status = 201 },
	{ "GET", "/v1/ssh-keys", call_key_list, ROUTE_USER, "List stored SSH keys",
		.out = &ssh_key_jtab, .out_list = "ssh_keys", .status = 200,
		.query = page_query },
	{ "DELETE", "/v1/ssh-keys/{key}", call_key_delete, ROUTE_USER,
		"Remove a stored SSH key", "VMs that have it keep it.", .status = 204 },
	{ "GET", "/v1/user", call_me, ROUTE_USER, "Oneself: keys, quota and its use",
		.out = &user_jtab, .status = 200 },

	{ "PUT", FILE_, call_file_put, ROUTE_USER, "Upload a file",
		"The body is the file, of any size. An upload that breaks off can go on "
		"where it stands (`Content-Range`), within a week. The file is there, "
		"all of it, when this answers 201; it is listed when its content was "
		"read. Who waits for `100 Continue` is told of every refusal, and where "
		"else to send it, before the body is sent.",
		ROUTE_BYTES, .out = &upload_jtab, .status = 201 },
	{ "GET", FILES, call_file_list, ROUTE_USER, "List one's own files",
		.out = &file_jtab, .out_list = "files", .out_leaves = LIST_FILE_LEAVES,
		.status = 200, .query = file_query },
	{ "GET", FILE_, call_file_show, ROUTE_USER, "Show a file", "By name or uuid.",
		.out = &file_jtab, .status = 200, .query = file_show_query },
	{ "DELETE", FILE_, call_file_delete, ROUTE_USER, "Delete a file",
		"Images that were made of it stay. Also ends an upload that broke off. "
		"The entry goes as soon as that is noticed.",
		.status = 204, .query = owner_query },

	{ "POST", IMAGES, call_image_create, ROUTE_USER, "Make an image of a file",
		"Accepted when it answers; `GET /v1/images/{image}?wait=CREATED` tells "
		"when it can be used. Admins may also register what is in a store "
		"already, with `path` and `format` instead of `file`: that is made at "
		"once (201).",
		ROUTE_BODY, &image_input_jtab, &image_jtab, .status = 202,
		.is_create = true },
	{ "GET", IMAGES, call_image_list, ROUTE_USER, "List one's own and public images",
		.out = &image_jtab, .out_list = "images", .status = 200,
		.query = page_query },
	{ "GET", IMAGE, call_image_show, ROUTE_USER, "Show an image",
		"By name or uuid. With ?wait= the answer is held until the image gets "
		"there.",
		.out = &image_jtab, .status = 200, .query = image_show_query },
	{ "PATCH", IMAGE, call_image_patch, ROUTE_USER, "Change an image",
		.body_kind = ROUTE_BODY, .in = &image_patch_jtab, .out = &image_jtab,
		.status = 200 },
	{ "DELETE", IMAGE, call_image_delete, ROUTE_USER, "Delete an image",
		"Refused while VMs use it. Of one that was made of a file everything is "
		"removed, then its entry; of one that was registered only the entry, at "
		"once (204).",
		.out = &image_jtab, .status = 202 },
	{ "POST", NETWORKS, call_network_create, ROUTE_USER, "Order a network",
		"Accepted when it answers; `GET /v1/networks/{network}?wait=ACTIVE` "
		"tells when it can be used.",
		ROUTE_BODY, &network_input_jtab, &network_jtab, .status = 202,
		.is_create = true },
	{ "GET", NETWORKS, call_network_list, ROUTE_USER, "List networks",
		"One's own; admins may ask for others'. Ordered by name (by uuid when "
		"they are of several owners).",
		.out = &network_jtab, .out_list = "networks", .status = 200,
		.query = network_list_query },
	{ "GET", NETWORK, call_network_show, ROUTE_USER, "Show a network",
		"By name or uuid; also which VMs use it, and where it is up. With ?wait= "
		"the answer is held until the network gets there.",
		.out = &network_jtab, .out_more = &network_use_jtab, .status = 200,
		.query = network_show_query },
	{ "PATCH", NETWORK, call_network_patch, ROUTE_USER, "Change a network",
		.body_kind = ROUTE_BODY, .in = &network_patch_jtab, .out = &network_jtab,
		.status = 200, .query = network_query },
	{ "DELETE", NETWORK, call_network_delete, ROUTE_USER, "Delete a network",
		"Refused while VMs use it, with their names. 200 when it is being "
		"deleted already.",
		.out = &network_jtab, .status = 202, .query = network_query },

	{ "POST", STORES, call_store_create, ROUTE_ADMIN, "Register an image store",
		.body_kind = ROUTE_BODY, .in = &image_store_input_jtab,
		.out = &image_store_jtab, .status = 201, .is_create = true },
	{ "GET", STORES, call_store_list, ROUTE_ADMIN, "List image stores",
		.out = &image_store_jtab, .out_list = "image_stores", .status = 200,
		.query = page_query },
	{ "GET", STORE, call_store_show, ROUTE_ADMIN, "Show an image store",
		.out = &image_store_jtab, .status = 200 },
	{ "DELETE", STORE, call_store_delete, ROUTE_ADMIN, "Remove an image store",
		"Refused while images are in it.", .status = 204 },

	{ "GET", REQUESTS, call_request_list, ROUTE_USER, "List open requests",
		"Those for one's own VMs, images and networks; admins get all.",
		.out = &request_jtab, .out_list = "requests", .status = 200,
		.query = request_query },
	{ "GET", REQUEST, call_request_show, ROUTE_USER,
		"Show the open request for a VM, an image or a network", "By its uuid.",
		.out = &request_jtab, .status = 200 },
	{ "POST", REQUEST "/retry", call_request_retry, ROUTE_ADMIN,
		"Try a request again at once", .out = &request_jtab, .status = 200 },
	{ "POST", REQUEST "/abort", call_request_abort, ROUTE_ADMIN, "Give up a request",
		"Its VM (or image or network, which is then answered) becomes ERROR. "
		"DeleteVM, DeleteImage and DeleteNetwork cannot be aborted.",
		.out = &vm_jtab, .status = 200 },

	{ "POST", HOSTS, call_host_create, ROUTE_ADMIN, "Register a host",
		.body_kind = ROUTE_BODY, .in = &host_input_jtab, .out = &host_jtab,
		.status = 201, .is_create = true },
	{ "GET", HOSTS, call_host_list, ROUTE_ADMIN, "List hosts", .out = &host_jtab,
		.out_list = "hosts", .status = 200, .query = page_query },
	{ "GET", HOST, call_host_show, ROUTE_ADMIN, "Show a host", .out = &host_jtab,
		.status = 200 },
	{ "PATCH", HOST, call_host_patch, ROUTE_ADMIN, "Change a host",
		.body_kind = ROUTE_BODY, .in = &host_patch_jtab, .out = &host_jtab,
		.status = 200 },
	{ "DELETE", HOST, call_host_delete, ROUTE_ADMIN, "Remove a host",
		"Refused while VMs are placed there, or have their disks there.",
		.status = 204 },
	{ "POST", HOST "/drain", call_host_drain, ROUTE_ADMIN,
		"Place no VMs there any more", .out = &host_jtab, .status = 200 },
	{ "POST", HOST "/undrain", call_host_undrain, ROUTE_ADMIN,
		"Place VMs there again", .out = &host_jtab, .status = 200 },

	{ "GET", "/v1/users", call_user_list, ROUTE_ADMIN, "List users",
		"Those who ever ordered something.", .out = &user_jtab,
		.out_list = "users", .status = 200, .query = page_query },
	{ "GET", USER, call_user_show, ROUTE_USER, "Show a user",
		"Written name@realm. Others than oneself: admins.", .out = &user_jtab,
		.status = 200 },
	{ "PATCH", USER, call_user_patch, ROUTE_ADMIN, "Set a user's quota",
		"Members left out stay as they are; null: the default again.", ROUTE_BODY,
		&quota_input_jtab, &user_jtab, .status = 200 },

	{ "DELETE", USER "/sessions", call_user_sessions_delete, ROUTE_USER,
		"End all sessions of a user",
		"Written name@realm. Others' than one's own: admins.", .status = 204 },

	{ "GET", "/v1/events", call_events, ROUTE_USER, "Follow what happens",
		"Server-sent events: `vm`, `image`, `network`, `file`, `host` with "
		"{\"change\":\"put\"|\"delete\", ...} as data; `reset` when something "
		"may have been missed: list again.",
		.status = 200, .out_type = "text/event-stream" },
	{ "GET", "/v1/openapi.json", call_openapi, ROUTE_OPEN, "This description",
		.status = 200 },
	{ "GET", "/healthz", call_health, ROUTE_OPEN, "Does it work?",
		.out = &health_jtab, .status = 200 },
	{ "GET", "/metrics", call_metrics, ROUTE_OPEN,
		"Figures in Prometheus text format", .status = 200,
		.out_type = "text/plain" },
	{ 0 },
};
