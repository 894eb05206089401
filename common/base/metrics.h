/*
 * Counters, gauges and histograms in Prometheus text format (version 0.0.4). Metrics are
 * static tables registered once; changing one is a relaxed atomic. Any thread.
 *
 *	static struct metric n_txn = { METRIC_COUNTER, "ucloud_etcd_txn_total",
 *		"Transactions sent to etcd.", .label = "outcome" };
 *	metric_add(&n_txn, "conflict", 1);
 */
#ifndef UCLOUD_METRICS_H
#define UCLOUD_METRICS_H

#include <stdint.h>

#include "common/base/buf.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_cell; /* one value of the label */

struct metric {
	enum metric_kind kind;
	const char *name; /* ucloud_<part>_<what>_<unit>[_total] */
	const char *help;
	const char *label; /* NULL: no label */
	/* Gauges may be computed when asked for. */
	double (*read)(void *aux);
	void *aux;
	struct metric_cell *cells; /* owned here */
	struct metric *next;
	int is_registered;
};

/* Appears in /metrics from now on, also while it is zero. Twice is fine. */
void metric_register(struct metric *m);
/* label_value is NULL when the metric has none; at most 64 different values are kept, all
 * further ones count as "other". */
void metric_add(struct metric *m, const char *label_value, double by);
void metric_set(struct metric *m, const char *label_value, double value);
/* Seconds, in buckets from 1 ms to 60 s. */
void metric_observe(struct metric *m, const char *label_value, double seconds);
double metric_value(struct metric *m, const char *label_value); /* count of a histogram */
/* Everything registered, as text. */
void metrics_format(struct buf *out);

#endif
