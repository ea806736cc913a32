package local

import "os"

// Where a sandbox's ssh server has its key and its configuration: the host's
// own configuration says nothing here.
const (
	hostKeyFile    = "/etc/ssh/ssh_host_ed25519_key"
	sshdConfigFile = "/etc/ssh/nimbus_sshd_config"
	sshdPidFile    = "/run/sshd.pid" // written when it listens
)

// sshdConfig lets in who has a key. PAM would do things that a sandbox has no
// capabilities for, and names of peers are in /etc/hosts only after boot.
const sshdConfig = `# of the Nimbus sandbox; the host's sshd_config is not used here
HostKey ` + hostKeyFile + `
PidFile ` + sshdPidFile + `
UsePAM no
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile .ssh/authorized_keys
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
`

// findSSHD returns the ssh server to start, "" for none.
func findSSHD(wanted string) string {
	switch wanted {
	case "none":
		return ""
	case "":
	default:
		return wanted
	}
	// The full path matters: sshd executes itself by it.
	for _, path := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"} {
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
