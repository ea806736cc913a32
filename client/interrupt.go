package client

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Interrupts ends the context at the first Ctrl-C and closes again at the
// second; the third one kills the program, as if nobody listened. From here on
// the program also survives that nobody reads its output any more.
func Interrupts(parent context.Context) (ctx context.Context, again <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals, second := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt)
	// "nimbus run … | head -1" shall not leave half a cluster behind: writing
	// fails then, and that is ignored. Taken rather than ignored, the signal
	// still is what it was to the programs that this one starts.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
		select {
		case <-signals:
			close(second)
		case <-parent.Done():
		}
		signal.Stop(signals)
	}()
	return ctx, second, func() {
		signal.Stop(signals)
		cancel()
	}
}
