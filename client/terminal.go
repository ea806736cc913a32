package client

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"

	"nimbus/cloud"
)

// takeTerminal hands the user's terminal to a program elsewhere: every key goes
// there, Ctrl-C as well. Restore takes it back; so does a signal that would
// end this process, by ending the context. Without a terminal on both standard
// input and output there is none to hand over.
func (env *Env) takeTerminal(parent context.Context) (ctx context.Context, t *cloud.Terminal, restore func(), err error) {
	in, isFile := env.Stdin.(*os.File)
	out, isFile2 := env.Stdout.(*os.File)
	if !isFile || !isFile2 || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return parent, nil, func() {}, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancel(parent)
	sizes := make(chan cloud.Size)
	size := func() cloud.Size {
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil {
			width, height = 80, 24
		}
		return cloud.Size{Width: width, Height: height}
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGWINCH, syscall.SIGTERM, syscall.SIGHUP)
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case got := <-signals:
				if got != syscall.SIGWINCH {
					cancel()
					return
				}
				select {
				case sizes <- size():
				case <-ctx.Done():
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return ctx, &cloud.Terminal{Type: os.Getenv("TERM"), Size: size(), Resize: sizes}, func() {
		signal.Stop(signals)
		cancel()
		watch.Wait()
		term.Restore(int(in.Fd()), before)
	}, nil
}
