#include "ucloud-cli/cmdtab.h"

#include <string.h>

#include "ucloud-cli/cli.h"

const struct cli_noun cli_nouns[] = {
	{ "vm", "virtual machines" },
	{ "disk", "disks of VMs" },
	{ "file", "your uploaded files, which images are made of" },
	{ "image", "images that VMs are made from" },
	{ "image-store", "where images and disks are kept" },
	{ "network", "networks that VMs are in" },
	{ "ssh-key", "your SSH keys, which new VMs get" },
	{ "host", "the machines that VMs run on (admins)" },
	{ "request", "orders that are still being carried out" },
	{ "user", "users, their quotas and what they use" },
	{ "event", "changes as they happen" },
	{ "configure", "set this program up" },
	{ "login", "log in now" },
	{ "logout", "end the session" },
	{ "manual", "the manual page" },
	{ "help", "what can be done" },
	{ 0 },
};

static const char *const want_names[] = { "running", "stopped", NULL };
static const char *const format_names[] = { "raw", "qcow2", NULL };
static const char *const store_types[] = { "filesystem", "ceph", NULL };
static const char *const ipam_names[] = { "auto", "manual", "none", NULL };
static const char *const yes_no[] = { "yes", "no", NULL };

const struct cli_opt cli_global_opts[] = {
	{ "config", CLI_PATH, 0, "FILE",
		"configuration to use instead of ~/.ucloud.conf and $UCLOUD_CONFIG" },
	{ "api", CLI_TEXT, 0, "URL",
		"address of the API, instead of the configured one and $UCLOUD_API" },
	{ "ca", CLI_PATH, 0, "FILE",
		"certificates (PEM) to trust, instead of the system's" },
	{ "json", CLI_FLAG, 0, NULL, "print the API's answer as JSON" },
	{ "quiet", CLI_FLAG, 0, NULL,
		"print no notes and no progress; of what is made only its id, of lists "
		"only the names" },
	{ "help", CLI_FLAG, 0, NULL,
		"say what the command does and which options it has" },
	{ "version", CLI_FLAG, 0, NULL, "print the version" },
	{ 0 },
};

static const struct cli_opt wait_opts[] = {
	{ "wait", CLI_FLAG, 0, NULL, "wait until it is done" },
	{ "timeout", CLI_DURATION, 0, "TIME",
		"wait at most so long, like 90s or 10m (300s unless given)" },
	{ 0 },
};

static const struct cli_opt idem_opts[] = {
	{ "idempotency-key", CLI_TEXT, 0, "KEY",
		"the same order with the same key is carried out once only, however "
		"often it is sent (a random key unless given)" },
	{ 0 },
};

static const struct cli_opt vm_create_opts[] = {
	{ "name", CLI_TEXT, CLI_NEED, "NAME", "its name: a-z, 0-9 and -, at most 63",
		"name" },
	{ "image", CLI_TEXT, CLI_NEED, "IMAGE", "name or uuid of the image it is made of",
		"image", .of = "images" },
	{ "cpu", CLI_INT, 0, "NUMBER", "virtual CPUs (1 unless given)", "cpu" },
	{ "ram", CLI_MIB, 0, "SIZE", "memory, like 512MiB or 4GiB (1GiB unless given)",
		"ram_mib" },
	{ "disk", CLI_DISK, CLI_MANY, "SIZE[:CLASS]",
		"a disk, like 20GiB or 20GiB:ssd; the first one boots. Without it: one "
		"disk as large as the image",
		"disks" },
	{ "os-ssd", CLI_BOOT_DISK, 0, "SIZE",
		"the same as a --disk SIZE:ssd before all others", "disks" },
	{ "hdd", CLI_HDD, CLI_MANY, "SIZE",
		"a further disk: the same as --disk SIZE:hdd behind another one",
		"disks" },
	{ "store", CLI_TEXT, 0, "STORE",
		"the image store that is to hold its disks (the image's unless given)",
		"store", .of = "image_stores" },
	{ "label", CLI_LABEL, CLI_MANY, "NAME=VALUE", "a label of the VM", "labels" },
	{ "near", CLI_LABEL, CLI_MANY, "NAME=VALUE",
		"only on a host where a VM of yours with this label is",
		"affinity.near" },
	{ "apart", CLI_LABEL, CLI_MANY, "NAME=VALUE",
		"only on a host where no VM of yours with this label is",
		"affinity.apart" },
	{ "host-label", CLI_LABEL, CLI_MANY, "NAME=VALUE",
		"only on a host that has this label", "affinity.host_labels" },
	{ "ssh-key", CLI_OR_FILE, CLI_MANY, "NAME|@FILE",
		"a stored key (see ssh-key add), or a public key in a file (all stored "
		"keys unless given)",
		"ssh_keys", .of = "ssh-keys" },
	{ "user-data", CLI_FILE, 0, "FILE", "text for cloud-init; - is standard input",
		"user_data" },
	{ "network", CLI_NETWORK, CLI_MANY, "NETWORK[,rate=RATE]",
		"a network of yours that it gets an interface in, in this order; a rate, "
		"like 100Mbit, limits what it sends and gets there",
		"networks", .of = "networks" },
	{ "ingress", CLI_INGRESS, CLI_MANY, "LIST",
		"let nothing in but this and answers, like tcp/22,tcp/443,icmpv6; none: "
		"nothing (all is let in unless given)",
		"ingress" },
	{ "want", CLI_CHOICE, 0, "running|stopped",
		"start it (running), or only make the order (stopped)", "want",
		want_names },
	{ 0 },
};

static const struct cli_opt vm_resize_opts[] = {
	{ "cpu", CLI_INT, 0, "NUMBER", "virtual CPUs", "cpu" },
	{ "ram", CLI_MIB, 0, "SIZE", "memory, like 4GiB", "ram_mib" },
	{ 0 },
};

static const struct cli_opt attach_args[] = {
	{ "SIZE[:CLASS]", CLI_DISK, CLI_NEED },
	{ 0 },
};

static const struct cli_opt index_args[] = {
	{ "INDEX", CLI_INT, CLI_NEED },
	{ 0 },
};

static const struct cli_opt grow_args[] = {
	{ "INDEX", CLI_INT, CLI_NEED },
	{ "SIZE", CLI_GIB, CLI_NEED },
	{ 0 },
};

static const struct cli_opt flatten_args[] = {
	{ "INDEX", CLI_INT, 0 },
	{ 0 },
};

static const struct cli_opt yes_opts[] = {
	{ "yes", CLI_FLAG, 0, NULL, "yes, what is on it may be lost" },
	{ 0 },
};

static const struct cli_opt snapshot_args[] = {
	{ "SNAPSHOT", CLI_TEXT, CLI_NEED },
	{ 0 },
};

static const struct cli_opt new_snapshot_args[] = {
	{ "NAME", CLI_TEXT, 0 },
	{ 0 },
};

static const struct cli_opt snapshot_opts[] = {
	{ "description", CLI_TEXT, 0, "TEXT", "what it is", "description" },
	{ 0 },
};

static const struct cli_opt vm_change_opts[] = {
	{ "name", CLI_TEXT, 0, "NAME", "a new name", "name" },
	{ "cpu", CLI_INT, 0, "NUMBER", "virtual CPUs; the VM must be stopped", "cpu" },
	{ "ram", CLI_MIB, 0, "SIZE", "memory; the VM must be stopped", "ram_mib" },
	{ "no-labels", CLI_EMPTY, 0, NULL, "no labels", "labels" },
	{ "label", CLI_LABEL, CLI_MANY, "NAME=VALUE", "its labels, instead of all it has",
		"labels" },
	{ "no-near", CLI_EMPTY, 0, NULL, "no such rule", "affinity.near" },
	{ "near", CLI_LABEL, CLI_MANY, "NAME=VALUE", "as in vm create", "affinity.near" },
	{ "no-apart", CLI_EMPTY, 0, NULL, "no such rule", "affinity.apart" },
	{ "apart", CLI_LABEL, CLI_MANY, "NAME=VALUE", "as in vm create",
		"affinity.apart" },
	{ "no-host-labels", CLI_EMPTY, 0, NULL, "no such rule", "affinity.host_labels" },
	{ "host-label", CLI_LABEL, CLI_MANY, "NAME=VALUE", "as in vm create",
		"affinity.host_labels" },
	{ 0 },
};

static const char *const vm_statuses[] = { "REQUESTED_NEW", "SCHEDULED", "RUNNING",
	"REQUESTED_SHUTDOWN", "STOPPED", "REQUESTED_START", "REQUESTED_MIGRATE",
	"REQUESTED_DELETE", "KILLED", "ERROR", NULL };

static const struct cli_opt vm_list_opts[] = {
	{ "status", CLI_CHOICE, CLI_QUERY, "STATUS", "only those with this status",
		"status", vm_statuses },
	{ "name", CLI_TEXT, CLI_QUERY, "BEGINNING", "only those whose name begins so",
		"name" },
	{ "owner", CLI_TEXT, CLI_QUERY, "NAME@REALM", "this user's (admins)", "owner" },
	{ "host", CLI_TEXT, CLI_QUERY, "HOST", "everybody's on this host (admins)",
		"host", .of = "hosts" },
	{ "all", CLI_FLAG, CLI_QUERY, NULL, "everybody's (admins)", "all" },
	{ 0 },
};

/* Names of VMs are unique for their owner only. */
static const struct cli_opt owner_opts[] = {
	{ "owner", CLI_TEXT, CLI_QUERY, "NAME@REALM",
		"whose VM it is, when it is named by its name (admins)", "owner" },
	{ 0 },
};

static const struct cli_opt request_list_opts[] = {
	{ "owner", CLI_TEXT, CLI_QUERY, "NAME@REALM",
		"only those for this user's VMs (admins)", "owner" },
	{ 0 },
};

static const struct cli_opt force_opts[] = {
	{ "force", CLI_FLAG, 0, NULL, "do not wait for the guest: pull the plug",
		"force" },
	{ 0 },
};

static const struct cli_opt follow_opts[] = {
	{ "follow", CLI_FLAG, 0, NULL, "go on printing what comes, until interrupted" },
	{ 0 },
};

static const struct cli_opt host_create_opts[] = {
	{ "name", CLI_TEXT, CLI_NEED, "NAME",
		"its name, as in the configuration of its ucloud-host", "hostname" },
	{ "draining", CLI_FLAG, 0, NULL, "place no VM there yet", "draining" },
	{ 0 },
};

static const struct cli_opt host_opts[] = {
	{ "label", CLI_LABEL, CLI_MANY, "NAME=VALUE",
		"a label, like rack=r1 (all labels anew in a change)", "labels" },
	{ "cpu-overcommit", CLI_INT, 0, "PERCENT",
		"virtual CPUs that are handed out, in percent of the real ones",
		"cpu_overcommit" },
	{ "ram-overcommit", CLI_INT, 0, "PERCENT", "the same for memory",
		"ram_overcommit" },
	{ "disk-overcommit", CLI_INT, 0, "PERCENT", "the same for disk space",
		"disk_overcommit" },
	{ "reserved-ram", CLI_MIB, 0, "SIZE", "memory that the host keeps for itself",
		"reserved_ram_mib" },
	{ 0 },
};

static const struct cli_opt host_change_opts[] = {
	{ "no-labels", CLI_EMPTY, 0, NULL, "no labels", "labels" },
	{ 0 },
};

static const struct cli_opt upload_opts[] = {
	{ "name", CLI_TEXT, 0, "NAME",
		"its name there, which may have / in it (the name it has here unless "
		"given)" },
	{ "no-wait", CLI_FLAG, 0, NULL,
		"do not wait until it is listed, and images can be made of it" },
	{ "timeout", CLI_DURATION, 0, "TIME",
		"wait for that at most so long, like 90s or 10m (300s unless given)" },
	{ 0 },
};

/* Names of files are unique for their owner only. */
static const struct cli_opt file_owner_opts[] = {
	{ "owner", CLI_TEXT, CLI_QUERY, "NAME@REALM", "whose it is (admins)", "owner" },
	{ 0 },
};

static const struct cli_opt image_create_opts[] = {
	{ "name", CLI_TEXT, CLI_NEED, "NAME", "its name: a-z, 0-9 and -, at most 63",
		"name" },
	{ "file", CLI_TEXT, 0, "FILE",
		"name or uuid of the uploaded file that it is made of", "file",
		.of = "files" },
	{ "store", CLI_TEXT, 0, "STORE",
		"name of the image store (may be left out when there is only one)",
		"store", .of = "image_stores" },
	{ "description", CLI_TEXT, 0, "TEXT", "what it is", "description" },
	{ "public", CLI_FLAG, 0, NULL,
		"everybody may use it (an admin's right, unless the operator says "
		"otherwise)",
		"public" },
	{ "path", CLI_TEXT, 0, "FILE",
		"instead of --file, to register what is in the store already (admins): "
		"below the directory images/ of the store, or the RBD image",
		"path" },
	{ "format", CLI_CHOICE, 0, "raw|qcow2",
		"with --path: what the file is; that is never guessed", "format",
		format_names },
	{ 0 },
};

static const struct cli_opt image_change_opts[] = {
	{ "public", CLI_BOOL, 0, "yes|no", "may everybody use it?", "public", yes_no },
	{ "description", CLI_TEXT, 0, "TEXT", "what it is", "description" },
	{ 0 },
};

static const struct cli_opt network_create_opts[] = {
	{ "name", CLI_TEXT, CLI_NEED, "NAME", "its name: a-z, 0-9 and -, at most 63",
		"name" },
	{ "ipam", CLI_CHOICE, 0, "auto|manual|none",
		"who gives addresses: its router announces a prefix, and VMs make theirs "
		"of it (auto); the prefix is routed, and addresses are up to you "
		"(manual); there is no router, and any traffic passes (none). auto "
		"unless given",
		"ipam", ipam_names },
	{ "dns", CLI_TEXT, CLI_MANY, "ADDRESS",
		"IPv6 address of a DNS server that its VMs are told of", "dns" },
	{ 0 },
};

static const struct cli_opt network_change_opts[] = {
	{ "no-dns", CLI_NULL, 0, NULL, "no DNS servers", "dns" },
	{ "dns", CLI_TEXT, CLI_MANY, "ADDRESS", "its DNS servers, instead of all it has",
		"dns" },
	{ 0 },
};

static const struct cli_opt nic_args[] = {
	{ "NETWORK[,rate=RATE]", CLI_NETWORK, CLI_NEED },
	{ 0 },
};

static const struct cli_opt mac_args[] = {
	{ "MAC", CLI_TEXT, CLI_NEED },
	{ 0 },
};

static const struct cli_opt network_list_opts[] = {
	{ "owner", CLI_TEXT, CLI_QUERY, "NAME@REALM", "this user's (admins)", "owner" },
	{ "all", CLI_FLAG, CLI_QUERY, NULL, "everybody's (admins)", "all" },
	{ 0 },
};

/* Names of networks are unique for their owner only. */
static const struct cli_opt network_owner_opts[] = {
	{ "owner", CLI_TEXT, CLI_QUERY, "NAME@REALM",
		"whose network it is, when it is named by its name (admins)", "owner" },
	{ 0 },
};

static const struct cli_opt store_create_opts[] = {
	{ "name", CLI_TEXT, CLI_NEED, "NAME", "its name", "name" },
	{ "type", CLI_CHOICE, CLI_NEED, "filesystem|ceph", "what it is", "type",
		store_types },
	{ "path", CLI_TEXT, 0, "DIR",
		"filesystem: its directory, the same on every host that has it", "path" },
	{ "pool", CLI_TEXT, 0, "POOL", "ceph: pool of the images", "pool" },
	{ "vm-pool", CLI_TEXT, 0, "POOL", "ceph: pool of the VMs' disks", "vm_pool" },
	{ "ceph-conf", CLI_TEXT, 0, "FILE", "ceph: its configuration on the hosts",
		"ceph_conf" },
	{ "ceph-user", CLI_TEXT, 0, "NAME", "ceph: who the hosts are", "ceph_user" },
	{ "max-image", CLI_GIB, 0, "SIZE", "largest image that it takes",
		"max_image_gib" },
	{ 0 },
};

static const struct cli_opt key_add_opts[] = {
	{ "name", CLI_TEXT, CLI_NEED, "NAME", "a name for it", "name" },
	{ "key", CLI_OR_FILE, CLI_NEED, "KEY|@FILE",
		"the public key, or the file it is in, like @~/.ssh/id_ed25519.pub",
		"key" },
	{ 0 },
};

static const struct cli_opt quota_opts[] = {
	{ "vms", CLI_INT, 0, "NUMBER", "VMs", "quota.vms" },
	{ "cpu", CLI_INT, 0, "NUMBER", "virtual CPUs", "quota.cpu" },
	{ "ram", CLI_MIB, 0, "SIZE", "memory", "quota.ram_mib" },
	{ "disk", CLI_GIB, 0, "SIZE", "disk space", "quota.disk_gib" },
	{ "snapshots", CLI_INT, 0, "NUMBER", "snapshots of VMs", "quota.snapshots" },
	{ "images", CLI_INT, 0, "NUMBER", "images", "quota.images" },
	{ "networks", CLI_INT, 0, "NUMBER", "networks", "quota.networks" },
	{ "files", CLI_GIB, 0, "SIZE", "space of uploaded files", "quota.file_gib" },
	{ "default", CLI_NULL, 0, NULL, "the default quota again", "quota" },
	{ 0 },
};

static const struct cli_opt configure_opts[] = {
	{ "name", CLI_TEXT, 0, "NAME", "your user name" },
	{ "realm", CLI_TEXT, 0, "REALM", "the realm you belong to" },
	{ "seed", CLI_OR_FILE, 0, "@FILE|-",
		"your seed, which the one-time passwords are made from: in a file, or on "
		"standard input" },
	{ "force", CLI_FLAG, 0, NULL,
		"replace a configuration that exists (it is kept as FILE.old)" },
	{ "no-check", CLI_FLAG, 0, NULL, "do not try to log in" },
	{ 0 },
};

#define CREATE_MORE                                                                      \
	"The order is sent with an Idempotency-Key, so that it is carried out once "     \
	"even "                                                                          \
	"when its answer is lost and it is sent again"

const struct cli_cmd cli_cmds[] = {
	{ "vm", "create", .opts = { vm_create_opts, idem_opts, wait_opts },
		.help = "Order a new VM", .more = CREATE_MORE, .run = cli_vm_create },
	{ "vm", "list", .opts = { vm_list_opts }, .help = "List your VMs",
		.run = cli_vm_list },
	{ "vm", "show", "VM", "vms", .opts = { owner_opts }, .help = "Show a VM",
		.run = cli_vm_show },
	{ "vm", "start", "VM", "vms", .opts = { wait_opts, owner_opts },
		.help = "Start a VM that is stopped, or try one in ERROR again",
		.run = cli_vm_start },
	{ "vm", "stop", "VM", "vms", .opts = { force_opts, wait_opts, owner_opts },
		.help = "Stop a VM; its disk stays",
		.more = "The guest is asked to power itself off, and gets time for it",
		.run = cli_vm_stop },
	{ "vm", "reboot", "VM", "vms", .opts = { force_opts, wait_opts, owner_opts },
		.help = "Boot a VM again", .run = cli_vm_reboot },
	{ "vm", "delete", "VM", "vms", .opts = { wait_opts, owner_opts },
		.help = "Delete a VM and its disks", .run = cli_vm_delete },
	{ "vm", "change", "VM", "vms", .opts = { vm_change_opts, owner_opts },
		.help = "Change a VM", .run = cli_vm_change },
	{ "vm", "resize", "VM", "vms", .opts = { vm_resize_opts, owner_opts },
		.help = "Give a VM that is stopped other amounts of CPUs or memory",
		.run = cli_vm_resize },
	{ "vm", "snapshot create", "VM", "vms", .more_args = new_snapshot_args,
		.opts = { snapshot_opts, wait_opts, owner_opts, idem_opts },
		.help = "Make a snapshot of all disks of a VM, at one moment",
		.more = "Without a name it is called by the date and time. When an agent "
			"answers in the guest, its file systems are quiesced; else the "
			"disks are as after a power failure",
		.run = cli_snapshot_create },
	{ "vm", "snapshot list", "VM", "vms", .opts = { owner_opts },
		.help = "List the snapshots of a VM", .run = cli_snapshot_list },
	{ "vm", "snapshot restore", "VM", "vms", .more_args = snapshot_args,
		.opts = { yes_opts, wait_opts, owner_opts },
		.help = "Make the disks of a VM that is stopped what they were",
		.more = "What was written since is lost: --yes says that this is meant",
		.run = cli_snapshot_restore },
	{ "vm", "snapshot delete", "VM", "vms", .more_args = snapshot_args,
		.opts = { wait_opts, owner_opts }, .help = "Delete a snapshot",
		.run = cli_snapshot_delete },
	{ "vm", "log", "VM", "vms", .opts = { owner_opts },
		.help = "Print what happened to a VM", .run = cli_vm_log },
	{ "vm", "explain", "VM", "vms", .opts = { owner_opts },
		.help = "Say why a VM is where it is, or why it still waits",
		.run = cli_vm_explain },
	{ "vm", "console-log", "VM", "vms", .opts = { follow_opts, owner_opts },
		.help = "Print the last output of a VM's serial console",
		.more = "On a terminal, control sequences of the guest are left out",
		.run = cli_vm_console_log },
	{ "disk", "attach", "VM", "vms", .more_args = attach_args,
		.opts = { wait_opts, owner_opts, idem_opts },
		.help = "Give a VM another disk, while it runs or while it is stopped",
		.run = cli_disk_attach },
	{ "disk", "detach", "VM", "vms", .more_args = index_args,
		.opts = { yes_opts, wait_opts, owner_opts },
		.help = "Take a disk from a VM and remove it",
		.more = "What is on it is lost: --yes says that this is meant. A guest "
			"that runs must let go of it: unmount it there first",
		.run = cli_disk_detach },
	{ "disk", "grow", "VM", "vms", .more_args = grow_args,
		.opts = { wait_opts, owner_opts },
		.help = "Make a disk larger, while the VM runs or while it is stopped",
		.more = "The guest must make use of the new space itself",
		.run = cli_disk_grow },
	{ "disk", "list", "VM", "vms", .opts = { owner_opts },
		.help = "List the disks of a VM", .run = cli_disk_list },
	{ "disk", "flatten", "VM", "vms", .more_args = flatten_args,
		.opts = { wait_opts, owner_opts },
		.help = "Make a disk (0 unless given) independent of its image (admins)",
		.run = cli_disk_flatten },
	{ "file", "upload", "PATH", .opts = { upload_opts },
		.help = "Upload a file, to make an image of it",
		.more = "An upload that broke off goes on where it stands when the "
			"command is given again, within a week. That all has arrived "
			"as it was is checked with its SHA-512",
		.run = cli_file_upload },
	{ "file", "list", .opts = { file_owner_opts }, .help = "List your files",
		.run = cli_file_list },
	{ "file", "show", "FILE", "files", .opts = { file_owner_opts },
		.help = "Show a file", .run = cli_file_show },
	{ "file", "delete", "FILE", "files", .opts = { file_owner_opts },
		.help = "Delete a file; images that were made of it stay",
		.run = cli_file_delete },
	{ "image", "create", .opts = { image_create_opts, wait_opts, idem_opts },
		.help = "Make an image of an uploaded file", .run = cli_image_create },
	{ "image", "list", .help = "List your images and the public ones",
		.run = cli_image_list },
	{ "image", "show", "IMAGE", "images", .help = "Show an image",
		.run = cli_image_show },
	{ "image", "change", "IMAGE", "images", .opts = { image_change_opts },
		.help = "Change an image", .run = cli_image_change },
	{ "image", "delete", "IMAGE", "images", .opts = { wait_opts },
		.help = "Delete an image that no VM uses", .run = cli_image_delete },
	{ "image-store", "create", .opts = { store_create_opts, idem_opts },
		.help = "Register an image store (admins)", .run = cli_store_create },
	{ "image-store", "list", .help = "List the image stores (admins)",
		.run = cli_store_list },
	{ "image-store", "show", "STORE", "image_stores",
		.help = "Show an image store (admins)", .run = cli_store_show },
	{ "image-store", "delete", "STORE", "image_stores",
		.help = "Delete an image store that has no images (admins)",
		.run = cli_store_delete },
	{ "network", "create", .opts = { network_create_opts, wait_opts, idem_opts },
		.help = "Order a new network", .more = CREATE_MORE,
		.run = cli_network_create },
	{ "network", "list", .opts = { network_list_opts }, .help = "List your networks",
		.run = cli_network_list },
	{ "network", "show", "NETWORK", "networks", .opts = { network_owner_opts },
		.help = "Show a network, which VMs use it, and where it is up",
		.run = cli_network_show },
	{ "network", "change", "NETWORK", "networks",
		.opts = { network_change_opts, network_owner_opts },
		.help = "Change a network", .run = cli_network_change },
	{ "network", "delete", "NETWORK", "networks",
		.opts = { wait_opts, network_owner_opts },
		.help = "Delete a network that no VM uses", .run = cli_network_delete },
	{ "network", "attach", "VM", "vms", .more_args = nic_args,
		.opts = { wait_opts, owner_opts, idem_opts },
		.help = "Give a VM another interface, while it runs or while it is "
			"stopped",
		.more = "A guest that runs sees it at once, but has to bring it up "
			"itself",
		.run = cli_network_attach },
	{ "network", "detach", "VM", "vms", .more_args = mac_args,
		.opts = { wait_opts, owner_opts },
		.help = "Take an interface from a VM, while it runs or while it is "
			"stopped",
		.more = "vm show says which MAC it has. A guest that runs must let go of "
			"it",
		.run = cli_network_detach },
	{ "ssh-key", "add", .opts = { key_add_opts },
		.help = "Store a public key, which VMs created later get",
		.run = cli_key_add },
	{ "ssh-key", "list", .help = "List your SSH keys", .run = cli_key_list },
	{ "ssh-key", "remove", "KEY", "ssh-keys",
		.help = "Remove an SSH key; VMs that have it keep it",
		.run = cli_key_remove },
	{ "host", "create", .opts = { host_create_opts, host_opts, idem_opts },
		.help = "Register a host (admins, as all of these)",
		.run = cli_host_create },
	{ "host", "list", .help = "List the hosts", .run = cli_host_list },
	{ "host", "show", "HOST", "hosts", .help = "Show a host", .run = cli_host_show },
	{ "host", "change", "HOST", "hosts", .opts = { host_change_opts, host_opts },
		.help = "Change a host", .run = cli_host_change },
	{ "host", "drain", "HOST", "hosts", .help = "Place no more VMs on a host",
		.run = cli_host_drain },
	{ "host", "undrain", "HOST", "hosts", .help = "Place VMs on a host again",
		.run = cli_host_undrain },
	{ "host", "delete", "HOST", "hosts", .help = "Delete a host that has no VMs",
		.run = cli_host_delete },
	{ "request", "list", .opts = { request_list_opts },
		.help = "List the open requests for your VMs, images and networks "
			"(admins: all)",
		.run = cli_request_list },
	{ "request", "show", "VM", "vms", .opts = { owner_opts },
		.help = "Show the open request for a VM, an image or a network",
		.run = cli_request_show },
	{ "request", "retry", "VM", "vms", .opts = { owner_opts },
		.help = "Try a request again at once (admins)",
		.run = cli_request_retry },
	{ "request", "abort", "VM", "vms", .opts = { owner_opts },
		.help = "Give a request up; its VM, image or network gets the status "
			"ERROR (admins)",
		.run = cli_request_abort },
	{ "user", "show", "NAME@REALM", .is_arg_optional = true,
		.help = "Show your quota and what you use of it (admins: anybody's)",
		.run = cli_user_show },
	{ "user", "list", .help = "List the users (admins)", .run = cli_user_list },
	{ "user", "quota", "NAME@REALM", .opts = { quota_opts },
		.help = "Set the quota of a user (admins)",
		.more = "What is not given stays as it is", .run = cli_user_quota },
	{ "event", "follow", .help = "Print changes as they happen, until interrupted",
		.run = cli_event_follow },
	{ "configure", .opts = { configure_opts },
		.help = "Write the configuration, after checking that it works",
		.more = "On a terminal, what is missing is asked for. The address of the "
			"API and the certificates to trust are the options --api and "
			"--ca, the file is --config",
		.run = cli_configure },
	{ "login", .help = "Make a session now",
		.more = "Other commands do so themselves when they need one",
		.run = cli_login },
	{ "logout", .help = "End the session that is kept for later commands",
		.run = cli_logout },
	{ "manual", .help = "Print the manual page, for man -l", .run = cli_manual },
	{ "help", NULL, "COMMAND", .is_arg_optional = true, .is_arg_many = true,
		.help = "Say what can be done, or explain a command", .run = cli_help },
	{ 0 },
};

const struct cli_opt *cli_cmd_opt(const struct cli_cmd *cmd, size_t i)
{
	for (size_t g = 0; g < CLI_OPT_GROUPS && cmd->opts[g]; g++)
		for (const struct cli_opt *o = cmd->opts[g]; o->name; o++)
			if (i-- == 0)
				return o;
	return NULL;
}

/* Are they the same but for dashes and underscores? */
static bool is_name(const char *have, const char *given)
{
	for (; *have && *given; have++, given++)
		if (*have != *given && !(*have == '-' && *given == '_'))
			return false;
	return !*have && !*given;
}

const struct cli_opt *cli_opt_find(const struct cli_cmd *cmd, const char *name)
{
	const struct cli_opt *o;

	for (size_t i = 0; cmd && (o = cli_cmd_opt(cmd, i)) != NULL; i++)
		if (is_name(o->name, name))
			return o;
	for (o = cli_global_opts; o->name; o++)
		if (is_name(o->name, name))
			return o;
	return NULL;
}

const struct cli_cmd *cli_cmd_find(const char *noun, const char *verb)
{
	for (const struct cli_cmd *c = cli_cmds; c->noun; c++)
		if (is_name(c->noun, noun) &&
			(c->verb ? verb && is_name(c->verb, verb) : !verb))
			return c;
	return NULL;
}

bool cli_verb_begins(const char *noun, const char *word)
{
	size_t len = strlen(word);

	for (const struct cli_cmd *c = cli_cmds; c->noun; c++)
		if (is_name(c->noun, noun) && c->verb &&
			strncmp(c->verb, word, len) == 0 && c->verb[len] == ' ')
			return true;
	return false;
}

char *cli_cmd_args(const struct cli_cmd *cmd)
{
	const struct cli_opt *o = cmd->more_args;
	struct buf out = { 0 };

	if (cmd->arg)
		buf_addf(&out, cmd->is_arg_optional ? "[%s]" : "%s", cmd->arg);
	for (; o && o->name; o++)
		buf_addf(&out, o->flags & CLI_NEED ? " %s" : " [%s]", o->name);
	return buf_take(&out);
}

const struct cli_cmd *cli_noun_cmds(const char *noun)
{
	for (const struct cli_cmd *c = cli_cmds; c->noun; c++)
		if (is_name(c->noun, noun))
			return c;
	return NULL;
}

bool cli_noun_exists(const char *noun)
{
	return cli_noun_cmds(noun) != NULL;
}

bool cli_opt_has_value(const struct cli_opt *opt)
{
	return opt->kind != CLI_FLAG && opt->kind != CLI_EMPTY && opt->kind != CLI_NULL;
}
