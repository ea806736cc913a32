package local

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// capabilities are what root in a sandbox may do: own its files, processes and
// network. What reaches the machine as a whole is missing: SYS_ADMIN, loading
// modules, clocks, raw devices, making device files, tracing, priorities.
var capabilities = []int{
	unix.CAP_CHOWN,
	unix.CAP_DAC_OVERRIDE,
	unix.CAP_FOWNER,
	unix.CAP_FSETID,
	unix.CAP_KILL,
	unix.CAP_SETGID,
	unix.CAP_SETUID,
	unix.CAP_SETPCAP,
	unix.CAP_SETFCAP,
	unix.CAP_NET_BIND_SERVICE,
	unix.CAP_NET_BROADCAST,
	unix.CAP_NET_ADMIN, // of its own network namespace
	unix.CAP_NET_RAW,
	unix.CAP_IPC_LOCK,
	unix.CAP_SYS_CHROOT,
	unix.CAP_AUDIT_WRITE,
}

// dropCapabilities takes all others from this thread's bounding set. What root
// executes from now on has what is in that set, and no more.
func dropCapabilities() error {
	keep := map[int]bool{}
	for _, c := range capabilities {
		keep[c] = true
	}
	for c := 0; ; c++ {
		if keep[c] {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // the one before was the last that this kernel knows
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	// Inheritable ones would come back with files that ask for them.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("clear inheritable capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	return nil
}
