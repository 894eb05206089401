#include "ucloud-cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/clock.h"

enum { SHOW_MSEC = 200, BAR_WIDTH = 24, RATE_AFTER_MSEC = 1000 };

size_t cli_tty_width(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 30 ? w.ws_col : 80;
}

void cli_bytes_format(int64_t n, struct buf *out)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double x = (double)n;
	size_t u = 0;

	while (x >= 1024 && u + 1 < ARRAY_LEN(units)) {
		x /= 1024;
		u++;
	}
	buf_addf(out, u == 0 ? "%.0f %s" : "%.1f %s", x, units[u]);
}

void cli_seconds_format(int64_t sec, struct buf *out)
{
	if (sec >= 3600)
		buf_addf(out, "%lld:%02d:%02d", (long long)(sec / 3600),
			(int)(sec / 60 % 60), (int)(sec % 60));
	else
		buf_addf(out, "%d:%02d", (int)(sec / 60), (int)(sec % 60));
}

static void add_bar(int64_t done, int64_t total, struct buf *out)
{
	int n = (int)((double)done / (double)total * BAR_WIDTH);

	buf_add_str(out, " [");
	for (int i = 0; i < BAR_WIDTH; i++)
		buf_add_char(out, i < n ? '#' : '.');
	buf_add_char(out, ']');
}

/* What stands behind the name: it is shortened last. */
static void add_figures(
	int64_t done, int64_t total, int64_t rate, bool has_bar, struct buf *out)
{
	buf_addf(out, " %3d %%", (int)((double)done / (double)total * 100));
	if (has_bar)
		add_bar(done, total, out);
	buf_add_char(out, ' ');
	cli_bytes_format(done, out);
	buf_add_str(out, " of ");
	cli_bytes_format(total, out);
	if (rate <= 0)
		return;
	buf_add_str(out, ", ");
	cli_bytes_format(rate, out);
	buf_add_str(out, "/s, ");
	cli_seconds_format((total - done) / rate, out);
	buf_add_str(out, " left");
}

void cli_progress_format(const char *what, int64_t done, int64_t total, int64_t rate,
	size_t width, struct buf *out)
{
	CLEANUP(buf_done) struct buf figures = { 0 };
	size_t len = strlen(what), room;

	if (total <= 0)
		total = done > 0 ? done : 1;
	if (done > total)
		done = total;
	add_figures(done, total, rate, true, &figures);
	if (figures.size + cli_text_width(what) > width) {
		buf_clear(&figures);
		add_figures(done, total, rate, false, &figures);
	}
	room = figures.size < width ? width - figures.size : 0;
	/* At the beginning of a character. */
	while (len > room || (len > 0 && ((unsigned char)what[len] & 0xc0) == 0x80))
		len--;
	buf_add(out, what, len);
	buf_add(out, figures.s, figures.size < width ? figures.size : width);
}

void cli_progress_show(struct cli_progress *p, int64_t done)
{
	CLEANUP(buf_done) struct buf line = { 0 };
	int64_t now = clock_mono_msec(), rate = 0;

	if (!p->start_msec)
		p->start_msec = now;
	if (p->c->is_quiet || !p->c->is_err_tty ||
		(p->shown_msec && now - p->shown_msec < SHOW_MSEC))
		return;
	p->shown_msec = now;
	p->is_shown = true;
	if (now - p->start_msec >= RATE_AFTER_MSEC)
		rate = (done - p->begun) * 1000 / (now - p->start_msec);
	cli_progress_format(p->what, done, p->total, rate, cli_tty_width() - 1, &line);
	fprintf(stderr, "\r\x1b[K%s", buf_str(&line));
	fflush(stderr);
}

void cli_progress_end(struct cli_progress *p)
{
	if (p->is_shown)
		fputs("\r\x1b[K", stderr);
	p->is_shown = false;
}
