// Package local starts instances as sandboxes on this machine: a sandbox is a
// set of Linux namespaces (mount, network, process, host name, IPC) on an
// overlay of the host's own file system, with an address on a bridge for each
// network and a small set of capabilities.
//
// Who is not root of the machine has all this in a user namespace, with a few
// differences: see apart_linux.go.
//
// Three processes of this same binary share the work; Main tells them apart by
// the name they were started under.
//
//	client   a Driver: asks the keeper, over a Unix socket
//	keeper   one for each launch, detached: owns its bridges, its deadline and
//	         its sandboxes, and ends when nothing of the launch is left
//	sandbox  the first process of an instance: builds the sandbox from inside,
//	         drops capabilities, then serves user data and reaps
//
// Nothing of a launch lives longer than its keeper. Sandboxes are killed by
// the kernel when the keeper dies, whatever way it dies, and what they wrote
// is on a tmpfs that only they see. Bridges and the directory of a keeper that
// was killed are removed by the next call of any Driver (see sweep).
package local
