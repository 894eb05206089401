/*
 * What the process says about itself in /metrics: memory, processor time, open files, start
 * time (names as Prometheus' client libraries have them), and its version.
 */
#ifndef UCLOUD_SELFMETRICS_H
#define UCLOUD_SELFMETRICS_H

void selfmetrics_register(void);

#endif
