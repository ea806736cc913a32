package client

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"nimbus/broker/wire"
	"nimbus/client/progress"
	"nimbus/cloud"
)

// format is what a command writes to its standard output.
type format string

const (
	formatText     format = ""
	formatDocument format = "document" // one JSON document at the end, progress on stderr
	formatStream   format = "stream"   // one JSON event for each line, no progress
)

// Event is one line of --json=stream.
type Event struct {
	Time      time.Time             `json:"time"`
	Event     string                `json:"event"`
	Handle    string                `json:"handle,omitempty"`
	Node      string                `json:"node,omitempty"`
	Text      string                `json:"text,omitempty"`
	Path      string                `json:"path,omitempty"`
	Instance  *cloud.Instance       `json:"instance,omitempty"`
	Workspace *wire.WorkspaceStatus `json:"workspace,omitempty"`
	Failure   *wire.Failure         `json:"failure,omitempty"`
	Result    *Result               `json:"result,omitempty"`
}

// output is where a command's words go. Several goroutines may use it: an
// interrupt is answered at once, whatever else is being said.
type output struct {
	mu     sync.Mutex
	format format
	now    func() time.Time
	stdout io.Writer
	stderr io.Writer
	screen progress.View // progress text and rows, wherever the format wants them
	log    progress.View // the same for the run's log; nil when there is none
	ended  atomic.Bool   // a result was printed
	still  func()        // ends the repainting of what is shown; nil: nothing is
}

func newOutput(env *Env, f format) *output {
	o := &output{format: f, now: env.Now, stdout: env.results, stderr: env.Stderr}
	target, screen := env.Stdout, io.Writer(env.results)
	switch f {
	case formatDocument:
		target, screen = env.Stderr, env.Stderr
	case formatStream:
		target, screen = io.Discard, io.Discard
	}
	if _, _, ok := env.Terminal(target); ok {
		o.screen = progress.NewTerminal(screen, func() (int, int) {
			width, height, _ := env.Terminal(target)
			return width, height
		}, env.Now, progress.Look{Color: !env.NoColor, Unicode: env.Unicode})
	} else {
		o.screen = progress.NewPlain(screen)
	}
	return o
}

// logTo copies everything to a log as well, nil ends that.
func (o *output) logTo(w io.Writer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log = nil
	if w != nil {
		o.log = progress.NewPlain(w)
	}
}

// say prints progress. What a broker or a machine said may be in it: that is
// shown, not obeyed.
func (o *output) say(format string, args ...any) {
	text := printable(fmt.Sprintf(format, args...))
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = io.WriteString(o.screen, text)
	if o.log != nil {
		_, _ = io.WriteString(o.log, text)
	}
}

// warn prints what must be seen in every format.
func (o *output) warn(format string, args ...any) {
	text := printable(fmt.Sprintf(format, args...))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.screen.Aside(func() { _, _ = io.WriteString(o.stderr, text) })
	if o.log != nil {
		_, _ = io.WriteString(o.log, text)
	}
}

// event tells a program that reads along.
func (o *output) event(e Event) {
	if o.format != formatStream {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	e.Time = o.now()
	_ = json.NewEncoder(o.stdout).Encode(e)
}

// document prints a command's result as JSON and returns true, unless the
// result is wanted as text.
func (o *output) document(v any) bool {
	if o.format == formatText {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	// An empty list is a list, not null.
	if list := reflect.ValueOf(v); list.Kind() == reflect.Slice && list.IsNil() {
		v = []struct{}{}
	}
	e := json.NewEncoder(o.stdout)
	if o.format == formatDocument {
		e.SetIndent("", "  ")
	}
	_ = e.Encode(v) // results remembers what is lost
	return true
}

// print writes a command's result as text.
func (o *output) print(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Fprintf(o.stdout, format, args...)
}
