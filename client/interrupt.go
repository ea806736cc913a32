package client

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"nimbus/client/history"
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

// leaveSignals listens for what ends a client and not its launch: a terminal
// that is closed, a host that shuts down. Under nohup the first is ignored,
// and stays so.
func leaveSignals() (<-chan os.Signal, func()) {
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	return signals, func() { signal.Stop(signals) }
}

// leavable does work that can be left at once: at a second interrupt, and at
// one of the signals that mean to leave, where the work has an answer to them.
func (env *Env) leavable(work func() error, again func() error, leave func(os.Signal) error) error {
	var signals <-chan os.Signal
	if env.Leave != nil && leave != nil {
		var stop func()
		signals, stop = env.Leave()
		defer stop()
	}
	done := make(chan error, 1)
	go func() { done <- work() }()
	select {
	case err := <-done:
		return err
	case <-env.Again:
		return again()
	case s := <-signals:
		return leave(s)
	}
}

// tidied does work that leaves nothing half made when its context ends. A
// signal that means to leave ends it as well; a second one kills the program.
func (env *Env) tidied(parent context.Context, work func(context.Context) error) error {
	if env.Leave == nil {
		return work(parent)
	}
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	signals, stop := env.Leave()
	defer stop()
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	select {
	case err := <-done:
		return err
	case s := <-signals:
		stop()
		cancel()
		<-done
		return &Failure{Code: codeOfSignal(s), Text: fmt.Sprintf("told to end (%s): what was not complete was not kept", s)}
	}
}

// codeOfSignal is the exit code of a program that a signal ended.
func codeOfSignal(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return 128
}

// run does the work, and can be left at once, whatever is going on: what is
// left running then is in the history.
func (r *run) run(ctx context.Context, work func(context.Context) error) error {
	return r.env.leavable(func() error {
		err := r.do(ctx, work)
		r.close()
		return err
	}, r.leaveAtOnce, r.leaveAlone)
}

// interrupted answers the first Ctrl-C at once.
func (r *run) interrupted() {
	r.out.show(nil)
	r.out.warn("\n%s\n", r.moment().interrupted(r.launch.Handle, r.o.keep))
}

// leaveAtOnce answers the second one.
func (r *run) leaveAtOnce() error {
	m := r.moment()
	r.out.show(nil)
	r.out.warn("\nLeaving at once.\n")
	failure := &Failure{Code: exitInterrupted, Text: "interrupted twice: " + m.left(r.launch.Handle),
		Advice: "to clean up: " + r.command("terminate", "--handle", r.launch.Handle)}
	r.lastWord(m, failure)
	return failure
}

// leaveAlone answers a signal that ends this program only: what was launched
// goes on, and another client can go on waiting for it.
func (r *run) leaveAlone(s os.Signal) error {
	m := r.moment()
	r.out.show(nil)
	failure := &Failure{Code: codeOfSignal(s), Text: fmt.Sprintf("told to end (%s): %s", s, m.left(r.launch.Handle)),
		Advice: "to clean up: " + r.command("terminate", "--handle", r.launch.Handle)}
	if m.step == waiting || m.step == finishing {
		failure.Advice = "to go on waiting for it: " + r.command("resume", "--handle", r.launch.Handle)
	}
	r.log.Warn("what was launched goes on", "signal", s.String(), "hint", failure.Advice)
	r.out.warn("\nThis client was told to end (%s), and leaves %s as it is.\n", s, r.launch.Handle)
	r.lastWord(m, failure)
	return failure
}

// lastWord is for programs: what holds when a run is left. The rest of it is
// at work on its record: what it has saved is what others can know.
func (r *run) lastWord(m moment, failure error) {
	result := Result{Handle: r.launch.Handle, State: m.state(), History: r.launch.Dir, Instances: []history.Instance{},
		Terminate: r.command("terminate", "--handle", r.launch.Handle)}
	if record, err := r.launch.Record(); err == nil {
		result.Cloud, result.Created, result.Expires, result.Context = record.Cloud, record.Created, record.Expires, record.Context
		result.Instances = append(result.Instances, record.Instances...)
	}
	result.failed(failure)
	r.out.done(result)
}
