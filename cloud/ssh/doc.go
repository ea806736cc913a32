// Package ssh gets instances by using machines that run already: it logs in to
// them by SSH, leaves the agent and its bootstrap document there, and takes
// both away at the end. A host needs an SSH server, a POSIX sh with the usual
// small programs (those of busybox are enough), and root, directly or by a sudo
// that asks for no password. No sftp, no Python, nothing of ours.
//
// What is done on a host is done by the scripts in sh/. They go through
// standard input, as do the bootstrap document and the program: nothing of it
// is an argument that others could see. A host says who uses it in a note,
// /var/lib/nimbus/ssh-instance.json, which is the first thing to be written and
// the last to be removed: only one launch can have it. It also says what was
// there before, and what was not is removed at the end: the agent, too, unless
// Options.KeepProgram. authorized_keys are not touched.
//
// This user's own notes, in Options.Dir, say which hosts a launch has; each is
// written before its host is touched. Who has lost them finds the instances by
// asking all hosts.
//
// # How hosts reach a broker
//
// With Options.Forward they need no way to this machine: its SSH connections
// carry theirs. A host listens at a port of its own loopback address, and what
// connects there comes out at a Unix socket here. Two ports are named to every
// agent, as somebody else may have one of them on one of the hosts, a dying
// connection of ours before all; agents try both. Whoever else on the host
// connects there, or takes the port, gains nothing: brokers ask for tokens, and
// agents for the broker's certificate.
//
// The way is open for as long as the process with the Driver lives, and is
// opened again when a connection breaks. What that means for agents:
//
//   - A run ends when all of them have reported. They need the broker no more:
//     one that starts again, after a reboot, finds in its state that it is done.
//   - A client that is interrupted, or does not wait (--no-wait), leaves agents
//     that cannot reach the broker. They try again for ever, every 15 s at most,
//     and lose nothing; whoever resumes the launch calls Forward and opens the
//     way again, as does a rerun. A held request that broke is asked again.
//   - A laptop that sleeps is an interruption of which nobody is told. When it
//     wakes, dead connections are noticed within half a minute.
package ssh
