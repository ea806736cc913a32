package phase

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// attributes of a script's process: a group of its own, and its end when the
// thread that started it ends, however that happens.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func groupOf(pid int) Group {
	p, _ := readProcess(pid)
	return Group{ID: pid, Start: p.start, Boot: bootID()}
}

// End kills what is left of a group, and tells whether there was anything.
// The first process may be dead while those it started live on; then the
// environment of theirs must say that they belong to the context.
func (g Group) End(context string) bool {
	if g.ID <= 1 || g.Boot != bootID() {
		return false
	}
	found := false
	for range 100 { // each round finds what was started during the last
		left := g.left(context)
		if len(left) == 0 {
			break
		}
		found = true
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return found
}

func (g Group) left(context string) []int {
	first, lives := readProcess(g.ID)
	if lives && first.start != g.Start {
		return nil // the number is another's now, so nothing of ours can be left
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var left []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if p, alive := readProcess(pid); !alive || p.group != g.ID || p.state == "Z" {
			continue
		}
		if lives || belongs(pid, context) {
			left = append(left, pid)
		}
	}
	return left
}

func belongs(pid int, context string) bool {
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	mark := []byte("NIMBUS_CONTEXT=" + context)
	return err == nil && slices.ContainsFunc(bytes.Split(environment, []byte{0}), func(v []byte) bool { return bytes.Equal(v, mark) })
}

// A process is what the kernel says of one in /proc/PID/stat.
type process struct {
	state string
	group int
	start string
}

func readProcess(pid int) (process, bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	// The name before it, in parentheses, may hold anything.
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	if len(fields) < 20 {
		return process{}, false
	}
	group, err := strconv.Atoi(fields[2])
	return process{state: fields[0], group: group, start: fields[19]}, err == nil
}

func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
