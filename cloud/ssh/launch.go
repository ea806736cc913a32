package ssh

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"nimbus/cloud"
)

// How long taking something back may take, once nobody waits for the launch.
const undoPatience = time.Minute

// A job is what is to be done for one instance.
type job struct {
	d       *Driver
	request cloud.Request
	host    Host
	noted   bool // by an earlier launch
	created time.Time
	conn    *connection
	found   found
	program Program

	instance *cloud.Instance // that is there in the end
	err      error
}

// found is what a host looks like before it is touched.
type found struct {
	top, nimbus, state bool
	sum                string // of the program that is installed; empty: none
	begun              bool   // its agent was started for the same instance
	claimed            bool   // its note says that it is for this instance
}

// Launch makes instances of hosts: all of them are decided and looked at before
// the first is touched. What was begun and cannot be completed is taken back.
func (d *Driver) Launch(ctx context.Context, requests []cloud.Request) ([]cloud.Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	jobs, err := d.jobs(requests)
	if err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	var list []*job
	for _, j := range jobs {
		list = append(list, j)
	}
	each(list, func(j *job) { j.err = j.look(ctx) })
	err = failure(ctx, requests, jobs)
	if err == nil {
		each(list, func(j *job) { j.err = j.work(ctx) })
		err = failure(ctx, requests, jobs)
	}
	var instances []cloud.Instance
	for _, r := range requests {
		if j := jobs[tagOf(r.Launch, r.Token)]; j.instance != nil {
			instances = append(instances, *j.instance)
		}
	}
	for _, j := range list {
		if j.instance == nil && !j.noted {
			if e := d.book.forget(j.place()); err == nil {
				err = e
			}
		}
	}
	if err != nil {
		return instances, fmt.Errorf("launch: %w", err)
	}
	return instances, nil
}

// jobs decides about hosts and writes that down.
func (d *Driver) jobs(requests []cloud.Request) (map[string]*job, error) {
	for _, r := range requests {
		if !launchID.MatchString(r.Launch) || r.Token == "" || len(r.Token) > 256 {
			return nil, fmt.Errorf("request %q of launch %q: want an id of the launch and a token", r.Token, r.Launch)
		}
	}
	unlock, err := d.book.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	noted, err := d.book.all()
	if err != nil {
		return nil, err
	}
	hosts, err := assign(requests, d.o.Hosts, noted)
	if err != nil {
		return nil, err
	}
	before := map[string]place{}
	for _, p := range noted {
		before[tagOf(p.Launch, p.Token)] = p
	}
	jobs := map[string]*job{}
	for n, r := range requests {
		tag := tagOf(r.Launch, r.Token)
		if jobs[tag] != nil {
			continue
		}
		j := &job{d: d, request: r, host: hosts[n], created: time.Now().UTC().Truncate(time.Second)}
		if p, noted := before[tag]; noted {
			j.noted, j.created = true, p.Created
		}
		if err := d.book.add(j.place()); err != nil {
			return nil, err
		}
		jobs[tag] = j
	}
	return jobs, nil
}

// failure is what went wrong with hosts, in the order of the requests.
func failure(ctx context.Context, requests []cloud.Request, jobs map[string]*job) error {
	var failures []error
	told := map[*job]bool{}
	for _, r := range requests {
		if j := jobs[tagOf(r.Launch, r.Token)]; j.err != nil && !told[j] {
			told[j] = true
			failures = append(failures, j.err)
		}
	}
	if len(failures) > 0 && ctx.Err() != nil {
		return ctx.Err()
	}
	return joined(failures)
}

func (j *job) place() place {
	r := j.request
	return place{
		Launch: r.Launch, Token: r.Token, Host: j.host.String(),
		Name: r.Name, Image: r.Image, Networks: r.Networks, Created: j.created, Bare: j.bare(),
	}
}

func (j *job) tag() string { return tagOf(j.request.Launch, j.request.Token) }

// look finds out what a host has and whether it is free. It changes nothing.
func (j *job) look(ctx context.Context) (err error) {
	if j.conn, err = j.d.conns.to(ctx, j.host); err != nil {
		return err
	}
	if !j.bare() {
		if j.program, err = j.d.o.Program(j.conn.as.sysname, j.conn.as.machine); err != nil {
			return fmt.Errorf("%s: %w", j.host, err)
		}
	}
	a, err := j.conn.ask(ctx, "look", nil, nil)
	if err != nil {
		return err
	}
	n, err := parseNote(a["note"])
	if err == nil && n != nil && (n.Launch != j.request.Launch || n.Token != j.request.Token) {
		err = n.inUse()
	}
	if err == nil && n == nil && a.yes("bootstrap") {
		err = &problem{"it is a node of a cluster: it has a bootstrap document, /var/lib/nimbus/bootstrap", "end that cluster, or remove that file there"}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", j.host, err)
	}
	j.found = found{top: a.yes("top"), nimbus: a.yes("nimbus"), state: a.yes("state"), sum: a["sum"], begun: n != nil && a.yes("begun"), claimed: n != nil}
	if n != nil {
		i := j.note().instance(j.conn)
		j.instance = &i
	}
	return nil
}

// work makes an instance of a host, or takes back what it did.
func (j *job) work(ctx context.Context) error {
	if j.found.begun || j.bare() && j.found.claimed {
		return j.attend(ctx, -1)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := j.begin(ctx)
	if err == nil {
		return nil
	}
	undone, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoPatience)
	defer cancel()
	if e := j.d.endOn(undone, j.host, j.request.Launch, j.request.Token); e != nil {
		// It may be there or not: whoever terminates it will see.
		i := j.note().instance(j.conn)
		i.State, i.Reason = cloud.Failed, err.Error()
		j.instance = &i
		return fmt.Errorf("%w; what was begun there could not be taken back: %w", err, e)
	}
	j.instance = nil
	return err
}

func (j *job) note() note {
	r := j.request
	return note{
		Launch: r.Launch, Token: r.Token, Name: r.Name, Group: r.Group, Image: r.Image, Networks: r.Networks,
		Created: j.created, By: j.d.by,
		HadTop: j.found.top, HadNimbus: j.found.nimbus, HadState: j.found.state, Keeps: j.d.o.KeepProgram,
	}
}

func (j *job) begin(ctx context.Context) error {
	n := j.note()
	if !j.found.claimed {
		a, err := j.conn.ask(ctx, "claim", values{"tag": j.tag()}, strings.NewReader(n.text()))
		if err != nil {
			return err
		}
		if !a.yes("claimed") {
			other, err := parseNote(a["note"])
			if err == nil && other != nil {
				err = other.inUse()
			}
			return fmt.Errorf("%s: %w", j.host, err)
		}
		i := n.instance(j.conn)
		j.instance = &i
	}
	if j.bare() {
		return nil
	}
	copied := j.found.sum != j.program.SHA256
	if j.d.o.Copied != nil {
		j.d.o.Copied(j.host.String(), copied)
	}
	if copied {
		if err := j.copyProgram(ctx); err != nil {
			return err
		}
	}
	if err := j.d.leadIn(ctx, *j.instance, j.host); err != nil {
		return err
	}
	a, err := j.conn.ask(ctx, "start", values{"tag": j.tag(), "bytes": strconv.Itoa(len(j.request.UserData))}, strings.NewReader(string(j.request.UserData)))
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	offset, err := strconv.ParseInt(a["log"], 10, 64)
	if err != nil {
		return fmt.Errorf("%s: start the agent: it does not say how long its log is", j.host)
	}
	return j.attend(ctx, offset)
}

func (j *job) copyProgram(ctx context.Context) error {
	p := j.program
	v := values{"tag": j.tag(), "want": p.SHA256, "bytes": strconv.FormatInt(p.Size, 10)}
	if _, err := j.conn.ask(ctx, "copy", v, io.NewSectionReader(p.Content, 0, p.Size)); err != nil {
		return fmt.Errorf("copy the program: %w", err)
	}
	return nil
}

// bare tells whether a host gets no agent: there is nothing for it to do in a
// machine that takes no part in a context.
func (j *job) bare() bool { return len(j.request.UserData) == 0 }

// attend does what an instance needs while the driver lives.
func (j *job) attend(ctx context.Context, offset int64) error {
	if j.bare() {
		return nil
	}
	if err := j.d.leadIn(ctx, *j.instance, j.host); err != nil {
		return err
	}
	j.d.follow(*j.instance, j.host, offset)
	return nil
}
