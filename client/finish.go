package client

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/client/deploy"
	"nimbus/client/history"
	"nimbus/client/progress"
	"nimbus/cloud"
)

// finish does what is left when all nodes are ok: reports, host keys, and how
// to go on.
func (r *run) finish() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if r.record.Context != nil {
		r.out.say("  - %s: contextualized\n", r.launch.Handle)
		r.out.event(Event{Event: "contextualized", Handle: r.launch.Handle})
		r.writeContextReports(ctx)
	}
	r.trust()
	r.record.State = history.OK
	if err := r.save(); err != nil {
		r.result(err)
		return err
	}
	r.out.say("%s", r.farewell())
	r.result(nil)
	return nil
}

// writeVMReports writes what the cloud said of the instances.
func (r *run) writeVMReports() error {
	dir, err := r.launch.WriteVMReports(r.record.Instances)
	if err != nil {
		return &Failure{Code: exitFailed, Text: err.Error(), Advice: r.doctorAdvice()}
	}
	r.out.say("  - wrote reports to '%s'\n", dir)
	r.out.event(Event{Event: "reports", Handle: r.launch.Handle, Path: dir})
	return nil
}

// writeContextReports writes what the broker knows of the nodes. What a
// cluster is does not depend on its reports: if they fail, that is said.
func (r *run) writeContextReports(ctx context.Context) {
	nodes, err := r.broker.Nodes(ctx, r.record.Context.ID)
	if err != nil {
		r.out.warn("The broker did not list the nodes, so there are no reports of them: %v\n", err)
		return
	}
	r.nodes = nodes
	if r.overSSH(r.record.Cloud) {
		for _, warning := range sameNames(nodes) {
			r.out.warn("Warning: %s\n", printable(warning))
		}
	}
	summary, err := r.launch.WriteContextReports(r.status, nodes, r.env.Now())
	if err != nil {
		r.out.warn("The reports were not written: %v\n", err)
		return
	}
	r.out.say("  - wrote ctx summary to '%s'\n  - wrote reports to '%s'\n", summary, filepath.Dir(summary))
	r.out.event(Event{Event: "reports", Handle: r.launch.Handle, Path: filepath.Dir(summary)})
}

// farewell says how to log in and how to end it all.
func (r *run) farewell() string {
	return r.loginText() + "\n" + endText(r.launch.Handle, r.record.Expires, r.command("terminate", "--handle", r.launch.Handle))
}

// loginText says how to log in to the first few.
func (r *run) loginText() string {
	const most = 10
	var b strings.Builder
	logins := r.logins()
	failed := map[string]bool{}
	for _, f := range r.status.Failures {
		failed[f.Node] = true
	}
	// First those where something is to be seen.
	logins = slices.Concat(slices.DeleteFunc(slices.Clone(logins), func(l Login) bool { return !failed[l.Node] }),
		slices.DeleteFunc(slices.Clone(logins), func(l Login) bool { return failed[l.Node] }))
	if len(logins) > 0 {
		b.WriteString("\nTo log in:\n")
	}
	b.WriteString(r.noLoginText())
	width := 0
	for _, l := range logins[:min(most, len(logins))] {
		width = max(width, len(l.Command))
	}
	for i, l := range logins {
		if i == most {
			fmt.Fprintf(&b, "  and %d more: %s\n", len(logins)-most, r.command("nodes", "--handle", r.launch.Handle))
			break
		}
		if strings.HasSuffix(l.Command, " "+l.Node) {
			fmt.Fprintf(&b, "  %s\n", l.Command) // which says it already
			continue
		}
		fmt.Fprintf(&b, "  %-*s  # %s\n", width, l.Command, l.Node)
	}
	return b.String()
}

// noLoginText says how to get into machines that offer no SSH.
func (r *run) noLoginText() string {
	closed := slices.IndexFunc(r.machines, func(m deploy.Machine) bool { return m.Login == "" })
	if closed < 0 {
		return ""
	}
	node := r.machines[closed].Node.String()
	if len(r.status.Failures) > 0 {
		node = r.status.Failures[0].Node
	}
	if _, ok := r.driver.(cloud.Enterer); !ok {
		return "\nNo SSH server runs in these machines.\n"
	}
	return fmt.Sprintf("\nNo SSH server runs in these machines (in sandboxes, root's have one where openssh-server is installed). To go in:\n  %s\n",
		r.command("ssh", "--handle", r.launch.Handle, node))
}

// contextFailed tells who failed, and why.
func (r *run) contextFailed(status wire.Status) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r.problem("\nProblem with %s context\n", r.launch.Handle)
	for _, f := range status.Failures {
		r.problem("  - %s: %s\n", printable(f.Node), stepText(f.Report))
		r.problem("%s", quoted("its log ends with", f.Log))
		r.out.event(Event{Event: "node-failed", Handle: r.launch.Handle, Node: f.Node, Failure: &f})
	}
	if more := status.Failed - len(status.Failures); more > 0 {
		r.problem("  - and %s\n", count(more, "other node"))
	}
	r.writeContextReports(ctx)
	r.keepConsoles(ctx)
	failure := &Failure{Code: exitCluster, Advice: fmt.Sprintf("the nodes' logs are in %s", filepath.Join(r.launch.Dir, "reports-ctx"))}
	switch {
	case status.State == wire.Cancelled:
		failure.Text = fmt.Sprintf("%s: somebody ended the context while the nodes were at work", r.launch.Handle)
	case status.State == wire.Expired:
		failure.Text = fmt.Sprintf("%s: the context expired before all nodes were ready", r.launch.Handle)
		failure.Advice = "give it more time with --expires"
	case len(status.Failures) == 0:
		failure.Text = fmt.Sprintf("%s: %s failed", r.launch.Handle, count(max(1, status.Failed), "node"))
	default:
		first := status.Failures[0]
		failure.Text = fmt.Sprintf("%s: node %s: %s", r.launch.Handle, printable(first.Node), stepText(first.Report))
	}
	return failure
}

func stepText(report wire.Report) string {
	if reason := reasonText(report); reason != "" && report.Step != "" {
		return printable(report.Step + " " + reason)
	}
	if report.Step == "" {
		return fmt.Sprintf("failed with exit code %d", report.Code)
	}
	return fmt.Sprintf("%s failed with exit code %d", printable(report.Step), report.Code)
}

// timedOut says which node lacks what.
func (r *run) timedOut(parent context.Context) error {
	r.out.settle()
	ctx, cancel := context.WithTimeout(parent, 30*time.Second)
	defer cancel()
	failure := &Failure{Code: exitCluster, Text: fmt.Sprintf("%s was not ready after %s", r.launch.Handle, spanText(r.o.timeout)),
		Advice: "give it more time with --timeout, or look into it with --keep"}
	r.problem("\nProblem: %s was not ready after %s\n", r.launch.Handle, spanText(r.o.timeout))
	if r.record.Context == nil || len(r.machines) == 0 {
		for _, m := range r.machines {
			if m.State != cloud.Running {
				r.problem("  - %s: the instance is %s\n", m.Node, m.State)
			}
		}
		return failure
	}
	r.writeContextReports(ctx)
	consoles := r.keepConsoles(ctx)
	lacking := lacking(r.nodes, r.status, r.machines)
	const most = 10
	for i, l := range lacking {
		if i == most {
			r.problem("  - and %s\n", count(len(lacking)-most, "other node"))
			break
		}
		r.problem("  - %s\n%s", l.text, quoted("its console ends with", consoles[l.node]))
	}
	if len(lacking) > 0 {
		failure.Text += ": " + lacking[0].text
		if more := len(lacking) - 1; more > 0 {
			failure.Text += fmt.Sprintf(" (and %s)", count(more, "other node"))
		}
	}
	return failure
}

// A lack is what a node that is not ready misses.
type lack struct{ node, text string }

// lacking says of each node that is not ready what it misses.
func lacking(nodes []wire.Node, status wire.Status, machines []deploy.Machine) []lack {
	waiting := map[string][]string{}
	for _, w := range status.Workspaces {
		waiting[w.Name] = w.Waiting
	}
	states := map[string]cloud.State{}
	for _, m := range machines {
		states[m.Node.String()] = m.State
	}
	var list []lack
	for _, n := range nodes {
		switch {
		case n.State == wire.NodeOK:
		case n.State == wire.NodeExpected:
			list = append(list, lack{n.Node, fmt.Sprintf("%s has not joined the context (its instance is %s)", n.Node, states[n.Node])})
		case len(waiting[n.Workspace]) > 0:
			list = append(list, lack{n.Node, fmt.Sprintf("%s has joined and waits for %s", n.Node, printable(strings.Join(waiting[n.Workspace], "; ")))})
		default:
			list = append(list, lack{n.Node, fmt.Sprintf("%s has its answer, but its scripts have not ended", n.Node)})
		}
	}
	return list
}

// down ends what a failed run has started, unless it is to be kept, and
// returns the failure.
func (r *run) down(cause error) error {
	r.out.show(nil)
	r.reach(ending)
	if r.o.keep {
		r.reach(keeping)
	}
	what := "cluster"
	if r.o.image != "" {
		what = "workspace"
	}
	if r.o.keep {
		r.record.State = history.Kept
		r.problem("%s", r.loginText())
		until := "you end it"
		if end := r.record.Expires; !end.IsZero() {
			until = clock(end)
		}
		r.problem("\n%s stays as it is (--keep), until %s. %sTo end it:\n  %s\n", r.launch.Handle, until, r.goOnText(), r.command("terminate", "--handle", r.launch.Handle))
	} else {
		r.record.State = history.Failed
		r.problem("\nProblem, attempting to destroy %s.\n", what)
		r.out.event(Event{Event: "destroying", Handle: r.launch.Handle})
		if _, err := r.undo(context.Background(), r.driver, &r.record); err != nil {
			r.problem("  - %v\n", err)
			cause = &Failure{Code: codeOf(cause), Text: fmt.Sprintf("%v; and parts of %s may be running", cause, r.launch.Handle),
				Advice: "to clean up: " + r.command("terminate", "--handle", r.launch.Handle)}
		} else {
			r.record.Ended = r.env.Now()
			r.problem("Destroyed '%s'\n", r.launch.Handle)
			r.out.event(Event{Event: "destroyed", Handle: r.launch.Handle})
		}
	}
	if err := r.save(); err != nil {
		r.problem("  - %v\n", err)
	}
	r.result(cause)
	return cause
}

// goOnText says how to make a cluster whole that was kept.
func (r *run) goOnText() string {
	handle := r.launch.Handle
	switch {
	case r.record.Context == nil:
		return ""
	case len(r.status.Failures) == 0:
		return fmt.Sprintf("To go on waiting for it:\n  %s\n", r.command("resume", "--handle", handle))
	}
	steps := []string{r.command("logs", "--handle", handle, r.status.Failures[0].Node)}
	if words := r.mendWords(&r.status.Failures[0]); words != nil {
		steps = append(steps, r.command("cp", words...))
	}
	steps = append(steps, r.command("rerun", "--handle", handle, "--failed"), r.command("resume", "--handle", handle))
	return fmt.Sprintf("To see why it failed, mend the script and bring it there, run the scripts again, and finish the run:\n  %s\n", strings.Join(steps, "\n  "))
}

// mendWords bring a better script to where one failed; nil: it was none. Where
// it travelled with the launch, it is known where it lies here.
func (r *run) mendWords(f *wire.Failure) []string {
	script, _, _ := strings.Cut(f.Step, " ")
	phase, file, is := strings.Cut(script, "/")
	dash := strings.LastIndexByte(f.Node, '-')
	if !is || dash < 0 || cluster.CheckName(phase) != nil || cluster.CheckName(file) != nil { // a machine said it
		return nil
	}
	workspace := f.Node[:dash]
	if s := scriptsOf(r.scripts, workspace); s != nil && s.has(script) {
		file = filepath.Join(s.Directory, script)
	}
	return []string{"--handle", r.launch.Handle, file, workspace + ":/opt/nimbus/ctx-scripts/" + phase + "/"}
}

// problem prints what went wrong, where it is seen in every format.
func (r *run) problem(format string, args ...any) { r.out.warn(format, args...) }

// quoted shows the last lines of what a machine wrote.
func quoted(what, text string) string {
	const most = 20
	text = strings.TrimRight(printable(text), "\n\t ")
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	if len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	return fmt.Sprintf("    %s:\n      | %s\n", what, strings.Join(lines, "\n      | "))
}

func printable(text string) string { return progress.Printable(text) }

// spanText writes a length of time with its two largest units.
func spanText(d time.Duration) string {
	d = d.Round(time.Second)
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	var parts []string
	for _, u := range units {
		if n := d / u.size; n > 0 && len(parts) < 2 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
			d %= u.size
		} else if len(parts) > 0 {
			break
		}
	}
	if parts == nil {
		return "0 s"
	}
	return strings.Join(parts, " ")
}
