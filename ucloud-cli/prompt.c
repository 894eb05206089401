#include "ucloud-cli/prompt.h"

#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define ANSWER_MAX 4096

static bool hide_input(struct termios *old)
{
	struct termios hidden;

	if (tcgetattr(STDIN_FILENO, old) != 0)
		return false;
	hidden = *old;
	hidden.c_lflag &= ~(tcflag_t)ECHO;
	return tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden) == 0;
}

int cli_prompt(const char *question, bool is_secret, char **out, struct err *e)
{
	char line[ANSWER_MAX], *got;
	struct termios old;
	bool is_hidden;
	size_t len, skip;

	fputs(question, stderr);
	fflush(stderr);
	is_hidden = is_secret && hide_input(&old);
	got = fgets(line, sizeof(line), stdin);
	if (is_hidden) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
		fputc('\n', stderr);
	}
	if (!got)
		return err_set(e, ERR_INVALID, "no answer was given");
	len = strcspn(line, "\r\n");
	while (len > 0 && strchr(" \t", line[len - 1]))
		len--;
	line[len] = '\0';
	skip = strspn(line, " \t");
	if (!line[skip])
		return err_set(e, ERR_INVALID, "no answer was given");
	*out = xstrdup(line + skip);
	explicit_bzero(line, sizeof(line));
	return 0;
}
