#include "common/base/metrics.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define CELLS_MAX 64
#define OTHER	  "other"

static const double bounds[] = { 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1,
	2, 5, 10, 30, 60 };
#define N_BOUNDS (ARRAY_LEN(bounds))

/* Immutable but for its numbers once it is linked; never freed: readers take no lock. */
struct metric_cell {
	struct metric_cell *next;
	double value; /* of a histogram: the sum */
	uint64_t count;
	uint64_t in_bucket[N_BOUNDS + 1]; /* not cumulative; the last is +Inf */
	char label_value[];
};

/* Every metric of the process, sorted by name. Guards linking; not the numbers. */
static struct metric *registered;
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;

/* --------------------------------------------------------------- the table */

void metric_register(struct metric *m)
{
	struct metric **at;

	if (__atomic_load_n(&m->is_registered, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&registry_lock);
	if (!m->is_registered) {
		for (at = &registered; *at; at = &(*at)->next) {
			assert(strcmp((*at)->name, m->name) != 0);
			if (strcmp((*at)->name, m->name) > 0)
				break;
		}
		m->next = *at;
		*at = m;
		__atomic_store_n(&m->is_registered, 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&registry_lock);
}

static struct metric_cell *cell_find(const struct metric *m, const char *value)
{
	struct metric_cell *c = __atomic_load_n(&m->cells, __ATOMIC_ACQUIRE);

	while (c && strcmp(c->label_value, value) != 0)
		c = c->next;
	return c;
}

/* Under the lock. */
static struct metric_cell *cell_add(struct metric *m, const char *value)
{
	struct metric_cell *c = xcalloc(1, sizeof(*c) + strlen(value) + 1);

	memcpy(c->label_value, value, strlen(value) + 1);
	c->next = m->cells;
	__atomic_store_n(&m->cells, c, __ATOMIC_RELEASE);
	return c;
}

static unsigned cells_count(const struct metric *m)
{
	unsigned n = 0;

	for (const struct metric_cell *c = m->cells; c; c = c->next)
		n++;
	return n;
}

static struct metric_cell *cell_get(struct metric *m, const char *value)
{
	struct metric_cell *c;

	assert(!m->label == !value);
	metric_register(m);
	if (!value)
		value = "";
	c = cell_find(m, value);
	if (c)
		return c;
	pthread_mutex_lock(&registry_lock);
	if (!cell_find(m, value) && cells_count(m) >= CELLS_MAX)
		value = OTHER;
	c = cell_find(m, value);
	if (!c)
		c = cell_add(m, value);
	pthread_mutex_unlock(&registry_lock);
	return c;
}

/* ------------------------------------------------------------- the numbers */

static double load(const double *at)
{
	double v;

	__atomic_load(at, &v, __ATOMIC_RELAXED);
	return v;
}

static void add(double *at, double by)
{
	double old = load(at), new;

	do
		new = old + by;
	while (!__atomic_compare_exchange(
		at, &old, &new, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

void metric_add(struct metric *m, const char *label_value, double by)
{
	assert(m->kind != METRIC_HISTOGRAM);
	assert(m->kind != METRIC_COUNTER || by >= 0);
	add(&cell_get(m, label_value)->value, by);
}

void metric_set(struct metric *m, const char *label_value, double value)
{
	assert(m->kind == METRIC_GAUGE);
	__atomic_store(&cell_get(m, label_value)->value, &value, __ATOMIC_RELAXED);
}

void metric_observe(struct metric *m, const char *label_value, double seconds)
{
	struct metric_cell *c = cell_get(m, label_value);
	size_t i = 0;

	assert(m->kind == METRIC_HISTOGRAM);
	while (i < N_BOUNDS && seconds > bounds[i])
		i++;
	add(&c->value, seconds);
	__atomic_fetch_add(&c->in_bucket[i], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&c->count, 1, __ATOMIC_RELAXED);
}

double metric_value(struct metric *m, const char *label_value)
{
	const struct metric_cell *c;

	if (m->read)
		return m->read(m->aux);
	c = cell_find(m, label_value ? label_value : "");
	if (!c)
		return 0;
	if (m->kind == METRIC_HISTOGRAM)
		return (double)__atomic_load_n(&c->count, __ATOMIC_RELAXED);
	return load(&c->value);
}

/* ---------------------------------------------------------------- the text */

/* Escapes as the text format wants: backslash and newline, in label values quotes too. */
static void add_escaped(struct buf *out, const char *s, bool is_label)
{
	for (; *s; s++) {
		if (*s == '\\')
			buf_add_str(out, "\\\\");
		else if (*s == '\n')
			buf_add_str(out, "\\n");
		else if (*s == '"' && is_label)
			buf_add_str(out, "\\\"");
		else
			buf_add_char(out, *s);
	}
}

static void add_number(struct buf *out, double v)
{
	if (isnan(v))
		buf_add_str(out, "NaN");
	else if (isinf(v))
		buf_add_str(out, v < 0 ? "-Inf" : "+Inf");
	else if (v == floor(v) && fabs(v) < 9007199254740992.0)
		buf_addf(out, "%.0f", v);
	else
		buf_addf(out, "%.15g", v);
}

/* name{label="value",le="bound"} without what is not there. */
static void add_name(struct buf *out, const struct metric *m, const char *suffix,
	const struct metric_cell *c, const char *le)
{
	buf_addf(out, "%s%s", m->name, suffix);
	if (!m->label && !le)
		return;
	buf_add_char(out, '{');
	if (m->label) {
		buf_addf(out, "%s=\"", m->label);
		add_escaped(out, c->label_value, true);
		buf_addf(out, "\"%s", le ? "," : "");
	}
	if (le)
		buf_addf(out, "le=\"%s\"", le);
	buf_add_char(out, '}');
}

static void add_line(struct buf *out, const struct metric *m, const char *suffix,
	const struct metric_cell *c, const char *le, double value)
{
	add_name(out, m, suffix, c, le);
	buf_add_char(out, ' ');
	add_number(out, value);
	buf_add_char(out, '\n');
}

static void add_histogram(
	struct buf *out, const struct metric *m, const struct metric_cell *c)
{
	uint64_t n = 0;

	for (size_t i = 0; i <= N_BOUNDS; i++) {
		char le[32] = "+Inf";

		if (i < N_BOUNDS)
			snprintf(le, sizeof(le), "%g", bounds[i]);
		n += __atomic_load_n(&c->in_bucket[i], __ATOMIC_RELAXED);
		add_line(out, m, "_bucket", c, le, (double)n);
	}
	add_line(out, m, "_sum", c, NULL, load(&c->value));
	/* The same as the last bucket, also when somebody counts at this moment. */
	add_line(out, m, "_count", c, NULL, (double)n);
}

static void add_metric(struct buf *out, const struct metric *m)
{
	static const char *const kinds[] = { "counter", "gauge", "histogram" };
	static const struct metric_cell zero = { 0 };
	const struct metric_cell *c = __atomic_load_n(&m->cells, __ATOMIC_ACQUIRE);

	buf_addf(out, "# HELP %s ", m->name);
	add_escaped(out, m->help, false);
	buf_addf(out, "\n# TYPE %s %s\n", m->name, kinds[m->kind]);
	if (m->read) {
		add_line(out, m, "", &zero, NULL, m->read(m->aux));
		return;
	}
	if (!c && !m->label)
		c = &zero;
	for (; c; c = c->next) {
		if (m->kind == METRIC_HISTOGRAM)
			add_histogram(out, m, c);
		else
			add_line(out, m, "", c, NULL, load(&c->value));
	}
}

void metrics_format(struct buf *out)
{
	const struct metric *m;

	/* The list only grows, and only under the lock; read() callbacks run without it. */
	pthread_mutex_lock(&registry_lock);
	m = registered;
	pthread_mutex_unlock(&registry_lock);
	while (m) {
		add_metric(out, m);
		pthread_mutex_lock(&registry_lock);
		m = m->next;
		pthread_mutex_unlock(&registry_lock);
	}
}
