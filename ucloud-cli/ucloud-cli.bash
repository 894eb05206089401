# Completion of ucloud-cli for bash. The program itself knows what may come; see
# `ucloud-cli complete`.
# shellcheck shell=bash
_ucloud_cli() {
	local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:1:COMP_CWORD}") prefix=
	COMPREPLY=()
	# bash takes "--name=value" apart at the sign.
	if [ "$cur" = = ]; then
		cur=
		words[${#words[@]} - 1]=
	elif [ "${#words[@]}" -gt 1 ] && [ "${words[${#words[@]} - 2]}" = = ]; then
		unset 'words[${#words[@]}-2]'
	fi
	mapfile -t COMPREPLY < <("${COMP_WORDS[0]}" complete -- "${words[@]}" 2> /dev/null)
	if [ "${COMPREPLY[*]}" = @files ]; then
		case $cur in @*) prefix=@ ;; esac
		mapfile -t COMPREPLY < <(compgen -P "$prefix" -f -- "${cur#@}")
		compopt -o filenames 2> /dev/null
	fi
}
complete -F _ucloud_cli ucloud-cli
