package local

import (
	"os/exec"
	"runtime"
)

// forker starts all sandboxes from one thread that lives as long as the
// process. The kernel ties a parent-death signal to the thread that forked, not
// to its process, and Go ends threads as it likes.
type forker struct {
	starts chan func()
}

func newForker() *forker {
	f := &forker{starts: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked
		for start := range f.starts {
			start()
		}
	}()
	return f
}

// start is cmd.Start on that thread.
func (f *forker) start(cmd *exec.Cmd) error {
	done := make(chan error)
	f.starts <- func() { done <- cmd.Start() }
	return <-done
}
