package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"

	"nimbus/cloud"
)

// Driver uses machines that run already. What it did is noted on the hosts and
// in Options.Dir: any other Driver with the same Options finds it. Close ends
// its connections.
type Driver struct {
	o     Options
	book  book
	conns *connections
	by    string // who we are, for people

	life context.Context // of what goes on in the background
	end  context.CancelFunc
	busy sync.WaitGroup

	mu         sync.Mutex
	background map[string]context.CancelFunc // what, and instance ID → ends it
	forwards   map[string]*forwarding        // launch → where its hosts are led to
}

var (
	_ cloud.Driver    = (*Driver)(nil)
	_ cloud.Preparer  = (*Driver)(nil)
	_ cloud.Forwarder = (*Driver)(nil)
	_ cloud.Consoler  = (*Driver)(nil)
	_ cloud.Enterer   = (*Driver)(nil)
	_ cloud.Checker   = (*Driver)(nil)
	_ cloud.Abandoner = (*Driver)(nil)
)

// New returns a driver, or an error that says what is wrong with the options.
// It connects to nothing.
func New(o Options) (*Driver, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("ssh driver: %w", err)
	}
	d := &Driver{o: o, book: book{o.Dir}, by: me(), background: map[string]context.CancelFunc{}, forwards: map[string]*forwarding{}}
	d.conns = newConnections(&d.o)
	d.life, d.end = context.WithCancel(context.Background())
	return d, nil
}

// Close ends what goes on in the background, and the connections.
func (d *Driver) Close() error {
	d.end()
	d.conns.close()
	d.busy.Wait()
	return nil
}

// me says who launches, for somebody who finds a host in use.
func me() string {
	host, _ := os.Hostname()
	name := os.Getenv("USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	return cmp.Or(name, "user "+strconv.Itoa(os.Getuid())) + "@" + host
}

// inBackground does something for an instance until it is ended, or the driver
// is. What is done for it already goes on.
func (d *Driver) inBackground(what, id string, do func(context.Context)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.Err() != nil || d.background[what+" "+id] != nil {
		return
	}
	ctx, cancel := context.WithCancel(d.life)
	d.background[what+" "+id] = cancel
	d.busy.Go(func() { do(ctx) })
}

// quiet ends what is done for an instance in the background.
func (d *Driver) quiet(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, what := range []string{follows, leads} {
		if cancel := d.background[what+" "+id]; cancel != nil {
			cancel()
			delete(d.background, what+" "+id)
		}
	}
}

// What is done in the background.
const (
	follows = "follow"
	leads   = "lead"
)

func (d *Driver) said(h Host, format string, args ...any) {
	if d.o.Said != nil {
		d.o.Said(h.String(), fmt.Sprintf(format, args...))
	}
}

// atOnce is how many hosts are worked on at the same time.
const atOnce = 64

// each does something for all at once, more or less.
func each[T any](all []T, do func(T)) {
	var at sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for _, one := range all {
		room <- struct{}{}
		at.Go(func() {
			defer func() { <-room }()
			do(one)
		})
	}
	at.Wait()
}

// List asks the hosts that a launch has by this user's notes; of one that is
// not in them, all hosts that there are.
func (d *Driver) List(ctx context.Context, launch string) ([]cloud.Instance, error) {
	var all []cloud.Instance
	var failures []error
	launches := []string{launch}
	if launch == "" {
		var err error
		if launches, err = d.book.launches(); err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
	}
	for _, l := range launches {
		instances, err := d.list(ctx, l)
		all = append(all, instances...)
		if err != nil {
			failures = append(failures, err)
		}
	}
	if len(failures) > 0 {
		return all, fmt.Errorf("list: %w", errors.Join(failures...))
	}
	return all, nil
}

func (d *Driver) list(ctx context.Context, launch string) ([]cloud.Instance, error) {
	type question struct {
		host     Host
		place    *place // that it should be; nil: any of the launch
		instance *cloud.Instance
		err      error
	}
	var hosts []*question
	places, err := d.book.places(launch)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		h, err := p.host()
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, &question{host: h, place: &p})
	}
	noted := len(places) > 0 || d.book.has(launch)
	if !noted {
		for _, h := range d.hosts() {
			hosts = append(hosts, &question{host: h})
		}
	}
	each(hosts, func(q *question) {
		conn, n, err := d.glance(ctx, q.host)
		if err == nil && n != nil && n.Launch == launch && (q.place == nil || q.place.Token == n.Token) {
			if q.place != nil {
				*n = q.place.note()
			}
			i := n.instance(conn)
			q.instance = &i
		}
		q.err = err
	})
	var all []cloud.Instance
	var failures []error
	for _, q := range hosts {
		if q.instance != nil {
			all = append(all, *q.instance)
		}
		if q.err != nil && noted {
			failures = append(failures, q.err)
		}
	}
	if err := ctx.Err(); err != nil {
		return all, err
	}
	return all, joined(failures)
}

// hosts are all that there are, each once.
func (d *Driver) hosts() []Host {
	seen := map[string]bool{}
	var all []Host
	for _, list := range d.o.Hosts {
		for _, h := range list {
			if !seen[h.dial()] {
				seen[h.dial()] = true
				all = append(all, h)
			}
		}
	}
	return all
}

// glance asks a host who uses it; nil: no launch.
func (d *Driver) glance(ctx context.Context, h Host) (*connection, *note, error) {
	conn, err := d.conns.to(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	a, err := conn.ask(ctx, "glance", nil, nil)
	if err != nil {
		return conn, nil, err
	}
	n, err := parseNote(a["note"])
	if err != nil {
		return conn, nil, fmt.Errorf("%s: %w", h, err)
	}
	return conn, n, nil
}

// has says whether a launch is noted at all.
func (b book) has(launch string) bool {
	if !launchID.MatchString(launch) {
		return false
	}
	_, err := os.Stat(filepath.Join(b.dir, launch))
	return err == nil
}

// Equips says that every host gets its agent by the launch: its user data is the
// bare bootstrap document.
func (d *Driver) Equips(string) bool { return true }

// maxConsole is how much of an agent's log is fetched, in bytes.
const maxConsole = 128 << 10

// Console returns the end of the agent's log.
func (d *Driver) Console(ctx context.Context, instance cloud.Instance) ([]byte, error) {
	h, _, err := parseID(instance.ID)
	if err != nil {
		return nil, fmt.Errorf("instance %s: %w", instance.ID, err)
	}
	conn, err := d.conns.to(ctx, h)
	if err != nil {
		return nil, err
	}
	text, err := conn.run(ctx, conn.as.prefix(), program("console", values{"bytes": strconv.Itoa(maxConsole)}), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h, err)
	}
	return text, nil
}
