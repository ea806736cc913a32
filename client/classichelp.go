package client

// classicTexts are what --help, --usage and --extrahelp print.
var classicTexts = map[string]string{
	"usage": `Usage: cloud-client ACTION [OPTIONS]

  cloud-client --run --cluster FILE --hours H
  cloud-client --run --name IMAGE --hours H
  cloud-client --status [--handle HANDLE]
  cloud-client --terminate --handle HANDLE
  cloud-client --print-ctx-status --handle HANDLE
  cloud-client --networks
  cloud-client --list

  cloud-client --help        explains these
  cloud-client --extrahelp   explains all options
`,
	"help": `Nimbus cloud client

Launch a cluster and wait until its nodes have configured themselves:

  cloud-client --run --cluster samples/hello-cluster.xml --hours 1

Launch one machine:

  cloud-client --run --name IMAGE --hours 1

See what was launched, and what of it runs:

  cloud-client --status
  cloud-client --status --handle cluster-001

See how far each address of a cluster is (exit code 6 unless all succeeded):

  cloud-client --print-ctx-status --handle cluster-001

End it:

  cloud-client --terminate --handle cluster-001

See which networks and images the cloud has:

  cloud-client --networks
  cloud-client --list

Every action is also a subcommand: "cloud-client --run ..." is "nimbus run ...".
--extrahelp explains all options.
`,
	"extrahelp": `Nimbus cloud client: all options

Actions; several may be given, except others with --run:
  --run                   launch a cluster or one machine
  --status                show launches, or the one with --handle
  --terminate             end the launch with --handle
  --print-ctx-status      show the context state of each address
  --networks              list the cloud's networks
  --list                  list the cloud's images
  -h, --help              common commands
  -u, --usage             the same, shorter
  --extrahelp             this text

Options of --run:
  --cluster FILE          cluster definition
  --name IMAGE            or one machine of this image
  --hours H               how long the instances live (default 1)
  --timeout MINUTES       give up when not all is ready by then (default 20)
  --expires HOURS         how long the broker keeps the context
  --keep                  leave everything running when something fails
  --dry-run               only say what would be launched
  --no-wait               return when the instances run
  --no-ctx-lock           leave the context open for data; see "nimbus inject
                          --help" and "nimbus lock --help"
  --scripts DIR           bring the scripts in DIR to all nodes
  --quantity W=N          another number of instances of workspace W
  --data NAME=VALUE       value of data that nodes require; NAME=@FILE: a file
  --set NAME=VALUE        value of ${NAME} in the definition
  --cloud NAME            cloud to use, by its name in the settings
  --broker-url URL        broker to use instead of one of your own
  --ssh-pubkey FILE       public key that the instances let in
  --known-hosts FILE      file for new host keys; "none" leaves all files alone

Options of several actions:
  --handle HANDLE         which launch
  --conf FILE             settings (default ~/.config/nimbus/config.toml)
  --history-dir DIR       where launches are remembered
  --json[=stream]         print JSON

Options of earlier versions that change nothing now are accepted: --debug,
--nospinner, --notifications, --poll-interval; and with a note that they have
no effect: --factory, --factory-id, --gridftp, --gridftp-id, --cahash,
--append-cadir, --kernel and those of image transfers. Clouds are described in
the settings file instead; docs/settings.md lists all settings.
`,
}
