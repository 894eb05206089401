#include "ucloud-otp/proto.h"

#include <stddef.h>

#include "common/model/names.h"

#define STR(member, at, extra, chk)                                                      \
	{                                                                                \
		member, JT_STR, offsetof(struct otp_question, at), extra, .max = 64,     \
									  .check = chk   \
	}

static const struct jtab_field new_fields[] = {
	STR("auth_name", asker.name, JT_NEED, user_name_check),
	STR("auth_realm", asker.realm, JT_NEED, realm_check),
	STR("auth_token", asker.token, JT_NEED | JT_SECRET, NULL),
	STR("name", subject.name, JT_NEED, user_name_check),
	STR("realm", subject.realm, JT_NEED, realm_check),
	STR("token", subject.token, JT_NEED | JT_SECRET, NULL),
	{ 0 },
};

static const struct jtab_field old_fields[] = {
	STR("name", asker.name, JT_NEED, user_name_check),
	STR("realm", asker.realm, JT_NEED, realm_check),
	STR("token", asker.token, JT_NEED | JT_SECRET, NULL),
	STR("verifyname", subject.name, JT_NEED, user_name_check),
	STR("verifyrealm", subject.realm, JT_NEED, realm_check),
	STR("verifytoken", subject.token, JT_NEED | JT_SECRET, NULL),
	{ 0 },
};

static const struct jtab_field manage_fields[] = {
	STR("auth_name", asker.name, JT_NEED, user_name_check),
	STR("auth_realm", asker.realm, JT_NEED, realm_check),
	STR("auth_token", asker.token, JT_NEED | JT_SECRET, NULL),
	STR("name", subject.name, 0, user_name_check),
	STR("realm", subject.realm, 0, realm_check),
	{ 0 },
};

#define QUESTION_JTAB(fields)                                                            \
	{                                                                                \
		"question", sizeof(struct otp_question), fields                          \
	}

static const struct jtab new_jtab = QUESTION_JTAB(new_fields);
static const struct jtab old_jtab = QUESTION_JTAB(old_fields);
static const struct jtab manage_jtab = QUESTION_JTAB(manage_fields);

static bool is_old_dialect(json_t *json)
{
	const char *name;
	json_t *value;
	json_object_foreach (json, name, value)
		if (str_has_prefix(name, "verify"))
			return true;
	return false;
}

int otp_verify_parse(
	const char *body, size_t size, struct otp_question *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	if (json_parse(body, size, &json, e))
		return -1;
	const struct jtab *dialect = is_old_dialect(json) ? &old_jtab : &new_jtab;
	return jtab_parse(dialect, json, JTAB_INPUT, out, e);
}

int otp_manage_parse(const char *body, size_t size, bool need_subject,
	struct otp_question *out, struct err *e)
{
	CLEANUP(otp_question_done) struct otp_question q = { 0 };
	if (jtab_parse_text(&manage_jtab, body, size, JTAB_INPUT, &q, e))
		return -1;
	if (need_subject &&
		(str_is_empty(q.subject.name) || str_is_empty(q.subject.realm)))
		return err_set_field(e, ERR_INVALID, "name",
			"name and realm say which user is meant; both are needed");
	otp_question_done(out);
	*out = q;
	q = (struct otp_question){ 0 };
	return 0;
}

void otp_question_done(struct otp_question *q)
{
	jtab_done(&new_jtab, q);
}
