package local

import (
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// errStranger is what a program in a sandbox is told that got hold of a
// keeper's socket.
const errStranger = "you are in another container or sandbox than the keeper of this launch (pid namespace): run the command where the launch was started"

// beside says whether the process that made a connection is in the pid
// namespace of this one, as clients are. Root in a sandbox may be this user, and
// then no mode of a file keeps it out: it shall be nobody, however it came here.
func beside(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	own, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return false
	}
	defer unix.Close(own)
	here := false
	err = raw.Control(func(s uintptr) {
		cred, err := unix.GetsockoptUcred(int(s), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil || cred.Pid <= 0 { // it has no number here
			return
		}
		// That one first: a number may be another process's by now.
		fd, err := unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		if err == unix.ENOPROTOOPT { // a kernel before 6.5
			fd, err = unix.PidfdOpen(int(cred.Pid), 0)
		}
		if err != nil {
			return
		}
		defer unix.Close(fd)
		here = sameDepth(depthOf(own), depthOf(fd))
	})
	return err == nil && here
}

// sameDepth compares two processes that have a number here: who is as deep in
// pid namespaces is in the same. Without a /proc of its own this process can
// not tell, and lets everybody in.
func sameDepth(own, other int) bool { return own == 0 || own == other }

// depthOf is in how many pid namespaces a process has a number, from that of
// /proc on; 0 when it has none or /proc does not tell. Unlike the process's own
// files, those of its handle can be read whoever it belongs to.
func depthOf(pidfd int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd))
	return depthIn(string(text))
}

func depthIn(fdinfo string) int {
	for line := range strings.Lines(fdinfo) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(numbers)
			if len(fields) == 0 || fields[0] == "0" || fields[0] == "-1" {
				return 0
			}
			return len(fields)
		}
	}
	return 0
}
