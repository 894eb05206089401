#include "ucloud-host/vmstart.h"

#include "ucloud-host/cidata.h"
#include "ucloud-host/domxml.h"
#include "ucloud-host/vmdisks.h"

int vmstart(const struct host_env *env, const struct vm *vm, const struct vmnets *nets,
	struct err *e)
{
	CLEANUP(vmdisks_sources_done) struct vmdisk_sources sources = { 0 };
	CLEANUP_STR char *console = host_env_console_path(env, vm->uuid);
	CLEANUP_STR char *cd = NULL;
	CLEANUP_STR char *xml = NULL;
	struct domxml d = { .vm = vm, .host = env->host, .accel = env->accel };
	char driver[32];

	if (vmdisks_sources(env, vm, &sources, e) < 0 ||
		virt_driver(env->virt, driver, sizeof(driver), e) < 0 ||
		cidata_ensure(env, vm, nets, &cd, e) < 0)
		return -1;
	d.driver = driver;
	d.nics = nets->v;
	d.n_nics = nets->len;
	d.cd = cd;
	d.disks = sources.v;
	d.n_disks = sources.len;
	d.console_log = console;
	d.disk_cache =
		sources.len > 0 ? vmdisks_cache_mode(env, &sources.v[0]) : "writeback";
	xml = domxml_format(&d);
	if (virt_define(env->virt, xml, e) < 0)
		return -1;
	return virt_start(env->virt, vm->uuid, e);
}
