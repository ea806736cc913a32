# shellcheck shell=bash
# Completion of nimbus for bash: source <(nimbus completion bash)
# The candidates come from the program itself.

_nimbus() {
	local i n=-1 rest=$COMP_LINE word cut tilde
	local -a words
	words=()
	for ((i = 0; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		# bash splits at = and : as well; what stands together is one word.
		if ((n < 0)) || [[ -z $word || $rest == [[:space:]]* ]]; then
			n=$((n + 1))
			words[n]=
		fi
		rest=${rest#"${rest%%[![:space:]]*}"}
		rest=${rest#"$word"}
		words[n]+=${word//\\/}
	done
	# It replaces only what follows the last of those.
	cut=${words[n]%"${words[n]##*[=:]}"}
	COMPREPLY=()
	while IFS=$'\t' read -r word _; do
		word=${word#"$cut"}
		# The home directory's ~ is the shell's, any other is part of a name.
		tilde=
		[[ $word != \~/* ]] || { tilde=\~/ word=${word:2}; }
		case $word in
		\~* | *[[:space:]\'\"\\\$\&\;\|\<\>\(\)\{\}*?\[\]#\`!]*) printf -v word %q "$word" ;;
		esac
		COMPREPLY+=("$tilde$word")
	done < <("${words[0]/#\~/$HOME}" complete -- "${words[@]:1}" 2>/dev/null)
	if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[/:=] ]] && type compopt >/dev/null 2>&1; then
		compopt -o nospace 2>/dev/null
	fi
}

complete -o nosort -F _nimbus nimbus cloud-client cloud-client.sh 2>/dev/null ||
	complete -F _nimbus nimbus cloud-client cloud-client.sh
