package client

import (
	"errors"
	"slices"
	"time"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

// Result is what --json prints at the end of a run.
type Result struct {
	Handle    string             `json:"handle"`
	State     string             `json:"state"` // as in the history: ok, failed, kept; waiting with --no-wait
	Error     string             `json:"error,omitempty"`
	Hint      string             `json:"hint,omitempty"`
	Cloud     string             `json:"cloud"`
	Created   time.Time          `json:"created,omitzero"`
	Expires   time.Time          `json:"expires,omitzero"`
	History   string             `json:"history"` // directory
	Context   *history.Context   `json:"context,omitempty"`
	Instances []history.Instance `json:"instances"`
	Nodes     []wire.Node        `json:"nodes,omitempty"`
	Failures  []wire.Failure     `json:"failures,omitempty"`
	Logins    []Login            `json:"logins,omitempty"`
	Terminate string             `json:"terminate,omitempty"` // the command that ends it
}

// result prints the last word of a run for programs.
func (r *run) result(failure error) {
	result := Result{
		Handle: r.launch.Handle, State: r.record.State, Cloud: r.record.Cloud,
		Created: r.record.Created, Expires: r.record.Expires, History: r.launch.Dir,
		Context: r.record.Context, Instances: r.record.Instances, Nodes: r.nodes, Failures: r.status.Failures,
	}
	if result.Instances == nil {
		result.Instances = []history.Instance{}
	}
	if r.record.State == history.Failed && !r.record.Ended.IsZero() {
		result.Instances = slices.Clone(result.Instances) // the record tells what was
		for i := range result.Instances {
			result.Instances[i].State = cloud.Ended
		}
	}
	result.failed(failure)
	if r.record.State != history.Failed {
		result.Logins = r.logins()
		result.Terminate = r.command("terminate", "--handle", r.launch.Handle)
	}
	r.out.done(result)
}

// failed puts an error into the result, if there is one.
func (result *Result) failed(err error) {
	if err == nil {
		return
	}
	result.Error = err.Error()
	var f *Failure
	if errors.As(err, &f) {
		result.Hint = f.Advice
	}
}

// done prints the result of a run, for programs.
func (o *output) done(result Result) {
	if o.ended.Swap(true) {
		return // a run that is left at once may still come to its end
	}
	if o.format == formatStream {
		o.event(Event{Event: "done", Handle: result.Handle, Result: &result})
		return
	}
	o.document(result)
}

// refused prints the result of a run that was refused before it began: it has
// no handle and nothing of it is anywhere.
func (o *output) refused(err error) {
	result := Result{State: history.Failed, Instances: []history.Instance{}}
	result.failed(err)
	o.done(result)
}

// codeOf is the exit code that belongs to an error.
func codeOf(err error) int {
	var f *Failure
	if errors.As(err, &f) {
		return f.Code
	}
	return exitFailed
}
