package client

// helpText is what people read of a subcommand.
type helpText struct{ summary, help string }

const commonHelp = `
  --conf FILE         settings (default ~/.config/nimbus/config.toml)
  --history-dir DIR   where launches are remembered
  --json              print one JSON document
`

var helpTexts = map[string]helpText{
	"run": {"launch a cluster, or one machine", `Usage:
  nimbus run --cluster FILE [--hours H] [OPTIONS]
  nimbus run --name IMAGE [--hours H] [OPTIONS]

Launches the instances of a cluster definition, waits until each of them has
configured itself, and says how to log in. When a node fails, or not all are
ready in time, everything that was started is ended again.

Examples:
  nimbus run --cluster hello-cluster.xml --hours 1
  nimbus run --cluster big.xml --hours 0.5 --timeout 10m --keep
  nimbus run --name debian --json

Options:
  --cluster FILE      cluster definition; "nimbus validate FILE" checks it
  --name IMAGE        one machine of this image, without a context
  --hours H           how long the instances live, such as 1 or 0.5 (default 1)
  --timeout MINUTES   give up when not all is ready by then (default 20)
  --expires HOURS     how long the broker keeps the context
                      (default: the hours plus a day)
  --keep              leave everything running when something fails
  --cloud NAME        cloud to use, by its name in the settings
  --broker URL        broker to use instead of one of your own
  --ssh-key FILE      public key that the instances let in
  --known-hosts FILE  file for new host keys; "none" leaves all files alone
  --json              one JSON document on stdout, progress on stderr; also
                      when nothing was launched, with the error
  --json=stream       one JSON event per line on stdout
  --conf FILE         settings (default ~/.config/nimbus/config.toml)
  --history-dir DIR   where launches are remembered

Exit codes: 0 all nodes are ok; 1 wrong parameters, or a node failed; 2
something else did not work; 130 interrupted.
`},
	"status": {"show what was launched and what of it runs", `Usage:
  nimbus status [--handle HANDLE] [OPTIONS]

Lists all launches with their state, age and time left; with a handle, the
instances of that one and how far its context is.

Examples:
  nimbus status
  nimbus status --handle cluster-001

Options:
  --handle HANDLE     one launch` + commonHelp},
	"nodes": {"show the nodes of a cluster as the broker knows them", `Usage:
  nimbus nodes --handle HANDLE [OPTIONS]

Prints the state, roles, addresses and SSH host keys of each node.

Example:
  nimbus nodes --handle cluster-001 --json

Options:
  --handle HANDLE     which launch` + commonHelp},
	"release": {"let another machine take a node's place", `Usage:
  nimbus release --handle HANDLE --node NODE [OPTIONS]

A node's place belongs to the first machine that came with its token. When that
machine lost its disk, or was not the right one, this frees the place for the
next that comes. It is refused when other nodes were told of it already: then
terminate the cluster and launch it again.

Example:
  nimbus release --handle cluster-001 --node worker-3

Options:
  --handle HANDLE     which launch
  --node NODE         which node, workspace-index` + commonHelp},
	"terminate": {"end a launch", `Usage:
  nimbus terminate --handle HANDLE [--handle HANDLE ...] [OPTIONS]
  nimbus terminate --all

Ends the instances and the context of a launch and takes its host keys out of
known_hosts. The history directory stays. It can be repeated. One launch that
cannot be ended, or whose record cannot be read, does not keep the others
running.

Examples:
  nimbus terminate --handle cluster-001
  nimbus terminate --handle vm-001 --handle vm-002

Options:
  --handle HANDLE     which launch; may be given several times
  --all               all launches of the history` + commonHelp + `
Exit codes: 0 all of it has ended; 1 wrong parameters; 2 something could not be
ended, or its record could not be read.
`},
	"validate": {"check a cluster definition", `Usage:
  nimbus validate [--json] FILE

Prints everything that is wrong with a cluster definition, each problem with
its line, and what is odd about it as warnings. Exit code 1 when it cannot be
launched.

Example:
  nimbus validate hello-cluster.xml

Options:
  --json              print one JSON document
`},
	"networks": {"list the network names that a cloud knows", `Usage:
  nimbus networks [--cloud NAME] [OPTIONS]

Example:
  nimbus networks

Options:
  --cloud NAME        cloud to ask, by its name in the settings` + commonHelp},
	"list": {"list the images that a cloud knows", `Usage:
  nimbus list [--cloud NAME] [OPTIONS]

Example:
  nimbus list

Options:
  --cloud NAME        cloud to ask, by its name in the settings` + commonHelp},
	"print-ctx-status": {"print the context state of each address, for scripts", `Usage:
  nimbus print-ctx-status --handle HANDLE [OPTIONS]

Prints one line for each address: [CTX_SUCCESS], [CTX_ERROR],
[CTX_CHECKED_IN_PENDING] or [CTX_NOT_CHECKED_IN]. Exit code 0 when all are
success, else 6.

Example:
  nimbus print-ctx-status --handle cluster-001

Options:
  --handle HANDLE     which launch` + commonHelp},
	"login": {"store the key of an account at a broker", `Usage:
  nimbus login [--ca FILE] [--key FILE] URL

Checks the key and stores it, readable by you alone. Without --key it is read
from standard input. A broker with a certificate of its own making needs --ca:
ca.pem and owner.key are in its data directory.

Examples:
  nimbus login https://broker.example.org:8443
  nimbus login --ca ca.pem --key owner.key https://10.0.0.5:8443

Options:
  --ca FILE           PEM file with the broker's CA
  --key FILE          file with the account's key
`},
}
