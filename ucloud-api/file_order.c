/*
 * Users' uploaded files: looking at their entries. ucloud-filescan alone writes them.
 */
#include "common/base/buf.h"
#include "ucloud-api/orders_impl.h"

static int no_such_file(const struct file_ref *ref, const struct who *who, struct err *e)
{
	return err_set(e, ERR_NOT_FOUND, "%s no file \"%.160s\"",
		who->is_admin && ref->owner ? "that user has" : "you have", ref->name);
}

static bool is_own(const struct who *who, const char *owner, const char *realm)
{
	return str_eq(owner, who->name) && str_eq(realm, who->realm);
}

/* A name has its uuid for ever: there is no need to look into the index. */
int find_file(const struct orders *o, struct draft *d, const struct who *who,
	const struct file_ref *ref, struct file *out, char **key, struct err *e)
{
	const char *owner = ref->owner ? ref->owner : who->name;
	const char *realm = ref->owner ? ref->realm : who->realm;
	CLEANUP(file_done) struct file file = { 0 };
	CLEANUP_STR char *file_key = NULL;
	char uuid[UUID_STR_SIZE];
	struct seen seen;

	if (rel_path_check(ref->name, e) < 0)
		return -1;
	if (!who->is_admin && !is_own(who, owner, realm))
		return no_such_file(ref, who, e);
	file_uuid(realm, owner, ref->name, uuid);
	file_key = key_file(o->keys, uuid_check(ref->name, NULL) == 0 ? ref->name : uuid);
	if (!draft_see(d, file_key, &seen))
		return DRAFT_MORE;
	if (!seen.value || file_parse(seen.value, seen.size, &file, e) < 0)
		return no_such_file(ref, who, e);
	if (!who->is_admin && !is_own(who, file.owner, file.owner_realm))
		return no_such_file(ref, who, e);
	file_done(out);
	*out = file;
	file = (struct file){ 0 };
	if (key)
		*key = MOVE(file_key);
	return 0;
}

struct file_order {
	struct orders *o;
	const struct who *who;
	const struct file_ref *ref;
	struct file file;
};

static int get_fn(void *aux, struct draft *d, struct err *e)
{
	struct file_order *c = aux;
	int r = find_file(c->o, d, c->who, c->ref, &c->file, NULL, e);

	return r == 0 ? DRAFT_AS_IT_IS : r;
}

int orders_file_get(struct orders *o, const struct who *who, const struct file_ref *ref,
	struct file *out, struct err *e)
{
	struct file_order c = { .o = o, .who = who, .ref = ref };
	int r = order_run(o->kv, get_fn, &c, false, e);

	if (r < 0) {
		file_done(&c.file);
		return -1;
	}
	file_done(out);
	*out = c.file;
	return 0;
}
