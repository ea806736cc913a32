package client

import (
	"context"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Nobody writes what a command reads: the first Ctrl-C ends it.
func TestCtrlCWhileReading(t *testing.T) {
	w := newWorld(t)
	w.boot(allOK)
	w.write("wanting.xml", wanting)
	w.expect(0, []string{"run", "--cluster", w.path("wanting.xml"), "--data", "gridmap=x"})
	fifo := w.path("fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	stdin, never := io.Pipe()
	w.change = func(e *Env) { e.Stdin = stdin }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{
		{"login", "https://broker.example.org"},
		{"login", "--key", fifo, "https://broker.example.org"},
		{"login", "--ca", fifo, "https://broker.example.org"},
		{"inject", "--name", "gridmap", "--file", "-"},
		{"inject", "--name", "gridmap", "--file", fifo},
		{"validate", fifo},
		{"validate", "--data", "motd=@" + fifo, w.path("hello.xml")},
		{"graph", fifo},
		{"run", "--cluster", fifo},
		{"run", "--dry-run", "--cluster", fifo},
	} {
		var late atomic.Bool
		guard := time.AfterFunc(20*time.Second, func() { // it would hang for ever
			late.Store(true)
			never.Close()
			if f, err := os.OpenFile(fifo, os.O_RDWR, 0); err == nil {
				f.Close()
			}
		})
		w.expectContext(ctx, exitInterrupted, args, "error: interrupted")
		if guard.Stop(); late.Load() {
			t.Fatalf("%v did not end", args)
		}
		if asked := w.stderr.String(); strings.Contains(asked, "Key of") && !strings.Contains(asked, "line): \n") {
			t.Errorf("%v: no line of its own: %s", args, asked)
		}
	}
}
