#compdef nimbus cloud-client cloud-client.sh
# Completion of nimbus for zsh: source <(nimbus completion zsh), or as a file
# _nimbus in a directory of $fpath. The candidates come from the program itself.

_nimbus() {
	local line word text
	local -a shown how
	for line in "${(@f)$("${(Q)words[1]/#\~/$HOME}" complete -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
		[[ -n $line ]] || continue
		word=${line%%$'\t'*} text=${line#*$'\t'}
		shown=("$word${text:+  -- $text}")
		how=(-V nimbus -l -d shown)
		[[ $word != *[/:=] ]] || how+=(-S '')
		# The home directory's ~ is the shell's, any other is part of a name.
		[[ $word != '~/'* ]] || { how+=(-Q); word=${word#\~/} word="~/${word:+${(q)word}}" }
		compadd "${how[@]}" -- "$word"
	done
}

if [[ ${funcstack[1]} == _nimbus ]]; then
	_nimbus "$@"
elif (( $+functions[compdef] )); then
	compdef _nimbus nimbus cloud-client cloud-client.sh
fi
