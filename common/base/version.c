#include "common/base/daemon.h"

const char *ucloud_version(void)
{
	return UCLOUD_VERSION;
}
