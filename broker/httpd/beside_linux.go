package httpd

import (
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// beside says whether the process that made a connection is in the pid
// namespace of this one. Root in a sandbox may be this user, and then no mode of
// a file keeps it out: it shall be nobody's owner, however it came here.
func beside(conn net.Conn) bool {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	own, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return true // a kernel before 5.3, which cannot tell
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
		// Who has a number here and is as deep in pid namespaces is in the same.
		depth := depthOf(own)
		here = depth == 0 || depth == depthOf(fd)
	})
	return err == nil && here
}

// depthOf is in how many pid namespaces a process has a number, from that of
// /proc on; 0 when it has none or /proc does not tell.
func depthOf(pidfd int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd))
	for line := range strings.Lines(string(text)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if fields := strings.Fields(numbers); len(fields) > 0 && fields[0] != "0" && fields[0] != "-1" {
				return len(fields)
			}
		}
	}
	return 0
}
