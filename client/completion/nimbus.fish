# Completion of nimbus for fish: nimbus completion fish | source
# The candidates come from the program itself.

function __nimbus_complete
	set -l words (commandline -opc)
	set -l current (commandline -ct)
	$words[1] complete -- $words[2..-1] "$current" 2>/dev/null
end

for program in nimbus cloud-client cloud-client.sh
	complete -c $program -f -k -a '(__nimbus_complete)'
end
