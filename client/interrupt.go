package client

import (
	"context"
	"os"
	"os/signal"
)

// Interrupts ends the context at the first Ctrl-C and closes again at the
// second; the third one kills the program, as if nobody listened.
func Interrupts(parent context.Context) (ctx context.Context, again <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals, second := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt)
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
