//go:build linux

package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nimbus/cloud"
)

// keepersOf returns the keepers of a launch that run, without zombies.
func keepersOf(t testing.TB, launch string) (pids []int) {
	t.Helper()
	for pid, cmdline := range processes(t) {
		if cmdline == keeperName+"\x00"+launch+"\x00" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// namespaces returns the network namespaces of instances.
func namespaces(t testing.TB, d *Driver, all []cloud.Instance) map[string]bool {
	t.Helper()
	ns := map[string]bool{}
	for _, i := range all {
		pid, err := d.Pid(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			t.Fatal(err)
		}
		ns[name] = true
	}
	return ns
}

// inside returns the processes that are in one of the namespaces.
func inside(t testing.TB, ns map[string]bool) (pids []int) {
	t.Helper()
	for pid := range processes(t) {
		if name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && ns[name] {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processes returns all processes with their command lines.
func processes(t testing.TB) map[int]string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, dir := range all {
		var pid int
		fmt.Sscan(filepath.Base(dir), &pid)
		text, _ := os.ReadFile(dir + "/cmdline")
		found[pid] = string(text)
	}
	return found
}

// mounts are the host's, but for those that others make meanwhile.
func mounts(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var ours strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "nimbus") || strings.Contains(line, "overlay") {
			ours.WriteString(line)
		}
	}
	return ours.String()
}

func kill(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
