package broker

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nimbus/broker/match"
	"nimbus/broker/store"
	"nimbus/broker/store/boltstore"
	"nimbus/broker/wire"
)

// meet lets all three nodes of the definition join and be answered.
func (b *bench) meet(c wire.Created) map[string]*wire.NodeClient {
	b.t.Helper()
	nodes := map[string]*wire.NodeClient{}
	var last byte
	for _, workspace := range []string{"back", "front"} {
		for _, token := range c.Tokens[workspace] {
			last++
			n := b.node(c, token, workspace+string('0'+last))
			joined, err := n.Join(b.t.Context(), face(last))
			must(b.t, err)
			nodes[joined.Node] = n
		}
	}
	return nodes
}

// Who follows a node sees what it logs while it works, until it reports.
func TestLiveLog(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	ctx := t.Context()
	c := b.create(false)
	nodes := b.meet(c)
	back := nodes["back-0"]
	followed := make(chan string, 1)
	go func() {
		var all strings.Builder
		for offset := int64(0); ; {
			log, err := b.owner.NodeLog(ctx, c.ID, "back-0", offset)
			if err != nil {
				t.Error(err)
				break
			}
			all.WriteString(log.Text)
			offset = log.Next
			if log.State == wire.NodeOK {
				break
			}
		}
		followed <- all.String()
	}()
	must(t, back.Log(ctx, wire.LogText{Offset: 0, Text: "begins\n"}))
	must(t, back.Log(ctx, wire.LogText{Offset: 0, Text: "begins\nworks\n"}))
	must(t, back.Log(ctx, wire.LogText{Offset: 113, Text: "ends\n"}))
	must(t, back.Report(ctx, wire.Report{OK: true}))
	want := "begins\nworks\n… 100 bytes left out …\nends\n"
	if got := <-followed; got != want {
		t.Errorf("followed:\n%s\nwant:\n%s", got, want)
	}
	log, err := b.owner.NodeLog(ctx, c.ID, "back-0", -1)
	must(t, err)
	if log.Text != want || log.State != wire.NodeOK {
		t.Errorf("afterwards: %+v", log)
	}

	// Others are told apart from those who may.
	wantCode(t, back.Log(ctx, wire.LogText{Text: "too late\n"}), wire.Reported)
	wantCode(t, b.node(c, c.Tokens["back"][1], "thief").Log(ctx, wire.LogText{Text: "x\n"}), wire.PlaceTaken)
	wantCode(t, nodes["back-1"].Log(ctx, wire.LogText{Offset: -1, Text: "x\n"}), wire.BadRequest)
	wantCode(t, nodes["back-1"].Log(ctx, wire.LogText{Text: strings.Repeat("x", wire.MaxLog+1)}), wire.BadRequest)
	wantCode(t, nodes["back-1"].Log(ctx, wire.LogText{Text: strings.Repeat("x", wire.MaxReport)}), wire.TooLarge)
	_, err = b.owner.NodeLog(ctx, c.ID, "back-7", -1)
	wantCode(t, err, wire.NotFound)
	_, err = b.owner.NodeLog(ctx, c.ID, "../..", -1)
	if err == nil {
		t.Error("a path is taken for a node")
	}
	_, err = b.client("wrong").NodeLog(ctx, c.ID, "back-0", -1)
	wantCode(t, err, wire.Unauthorized)

	must(t, b.owner.Delete(ctx, c.ID))
	_, err = b.owner.NodeLog(ctx, c.ID, "back-0", -1)
	wantCode(t, err, wire.NotFound)
}

// A node that failed too soon to be watched has the log of its report; the
// caller is not held.
func TestLogOfAReport(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), time.Hour)
	c := b.create(false)
	must(t, b.node(c, c.Tokens["back"][0], "b0").Report(t.Context(), wire.Report{Step: "join", Code: 4, Log: "no address\n"}))
	log, err := b.owner.NodeLog(t.Context(), c.ID, "back-0", 0)
	must(t, err)
	if log.Text != "no address\n" || log.State != wire.NodeError {
		t.Errorf("%+v", log)
	}
	if log, err = b.owner.NodeLog(t.Context(), c.ID, "back-0", log.Next); err != nil || log.Text != "" {
		t.Errorf("told twice: %+v, %v", log, err)
	}
	log, err = b.owner.NodeLog(t.Context(), c.ID, "back-1", -1)
	must(t, err)
	if log.Text != "" || log.State != wire.NodeExpected {
		t.Errorf("nothing was heard of it: %+v", log)
	}
}

// Who follows nothing is held, and then told that there is nothing.
func TestNodeLogIsHeldForATime(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 50*time.Millisecond)
	c := b.create(false)
	b.meet(c)
	log, err := b.owner.NodeLog(t.Context(), c.ID, "back-0", 30)
	must(t, err)
	if log.Text != "" || log.Next != 30 || log.State != wire.NodeJoined {
		t.Errorf("%+v", log)
	}
}

// A context that failed is made whole by nodes that begin again, also after
// the broker was started again.
func TestRetry(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	s, err := boltstore.Open(filepath.Join(dir, "contexts.db"))
	must(t, err)
	b := newBench(t, dir, s, 0)
	c := b.create(false)
	back := b.node(c, c.Tokens["back"][0], "b0")
	wantCode(t, back.Retry(ctx), wire.NotJoined)
	_, err = back.Join(ctx, face(2))
	must(t, err)
	must(t, back.Retry(ctx)) // nothing to take back
	must(t, b.node(c, c.Tokens["back"][1], "b1").Report(ctx, wire.Report{Step: "1-ipandhost/boss", Code: 7, Log: "no\n"}))
	_, _, err = back.Manifest(ctx, 0)
	wantCode(t, err, wire.ContextFailing)
	wantCode(t, b.node(c, c.Tokens["back"][1], "thief").Retry(ctx), wire.PlaceTaken)
	status, err := b.owner.Status(ctx, c.ID, 0)
	must(t, err)
	if status.State != wire.Failing || len(status.Refused) != 1 {
		t.Errorf("%+v", status)
	}
	must(t, b.node(c, c.Tokens["back"][1], "b1").Retry(ctx))

	must(t, s.Close()) // as if it had been killed
	s, err = boltstore.Open(filepath.Join(dir, "contexts.db"))
	must(t, err)
	defer s.Close()
	b = newBench(t, dir, s, 0)
	c.Brokers = []string{b.url}
	if status, err = b.owner.Status(ctx, c.ID, 0); err != nil || status.State != wire.Joining {
		t.Fatalf("%+v, %v", status, err)
	}
	for i, workspace := range []string{"front", "back", "back"} {
		token := c.Tokens[workspace][max(0, i-1)]
		n := b.node(c, token, []string{"f0", "b0", "b1"}[i])
		_, err = n.Join(ctx, face([]byte{1, 2, 3}[i]))
		must(t, err)
	}
	for i, workspace := range []string{"front", "back", "back"} {
		n := b.node(c, c.Tokens[workspace][max(0, i-1)], []string{"f0", "b0", "b1"}[i])
		m, _, err := n.Manifest(ctx, 0)
		if err != nil || m == nil {
			t.Fatalf("%s: %v", workspace, err)
		}
		must(t, n.Report(ctx, wire.Report{OK: true}))
	}
	if status, err = b.owner.Status(ctx, c.ID, 0); err != nil || status.State != wire.OK {
		t.Errorf("%+v, %v", status, err)
	}
}

// Those who need a node ready wait again when it begins again; the latch that
// was open is closed for them.
func TestReadyBeginsAgain(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	b.definition = `<cluster>
  <workspace><name>db</name><image>i</image><quantity>1</quantity><nic>public</nic>
    <ctx><provides><identity/><role>db</role></provides><requires/></ctx></workspace>
  <workspace><name>web</name><image>i</image><quantity>1</quantity><nic>public</nic>
    <ctx><provides><identity/></provides><requires><role name="db" ready="true"/></requires></ctx></workspace>
</cluster>`
	ctx := t.Context()
	c := b.create(false)
	db, web := b.node(c, c.Tokens["db"][0], "db"), b.node(c, c.Tokens["web"][0], "web")
	_, err := db.Join(ctx, face(1))
	must(t, err)
	must(t, db.Report(ctx, wire.Report{OK: true}))
	_, err = web.Join(ctx, face(2))
	must(t, err)
	if m, _, err := web.Manifest(ctx, 0); err != nil || m == nil {
		t.Fatal(err)
	}
	must(t, db.Retry(ctx))
	r, err := b.service.find(c.ID)
	must(t, err)
	must(t, r.ask(func(state *match.State) error {
		for i, latch := range r.latches {
			select {
			case <-latch:
				if !state.Complete(i) {
					t.Errorf("requirement %d is not complete, but its latch is open", i)
				}
			default:
			}
		}
		return nil
	}))
	b.service.Hold = 50 * time.Millisecond
	m, waiting, err := web.Manifest(ctx, 0)
	must(t, err)
	if m != nil || len(waiting) != 1 || !strings.Contains(waiting[0], "db-0 to be ready") {
		t.Fatalf("%+v, waiting %q", m, waiting)
	}
	b.service.Hold = time.Hour
	answered := make(chan error, 1)
	go func() {
		_, _, err := web.Manifest(ctx, 0)
		answered <- err
	}()
	must(t, db.Report(ctx, wire.Report{OK: true}))
	must(t, <-answered)
	must(t, web.Report(ctx, wire.Report{OK: true}))
}

// A context lasts as long as was said last.
func TestExtend(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	ctx := t.Context()
	c := b.create(false)
	later := time.Now().Add(5 * time.Hour).UTC().Round(time.Second)
	must(t, b.owner.Extend(ctx, c.ID, later))
	must(t, b.owner.Extend(ctx, c.ID, later))
	status, err := b.owner.Status(ctx, c.ID, 0)
	must(t, err)
	if !status.Expires.Equal(later) {
		t.Errorf("expires %v, want %v", status.Expires, later)
	}
	wantCode(t, b.owner.Extend(ctx, c.ID, time.Now().Add(-time.Second)), wire.BadRequest)
	wantCode(t, b.owner.Extend(ctx, c.ID, time.Now().Add(2*maxLife)), wire.BadRequest)
	wantCode(t, b.owner.Extend(ctx, "none", later), wire.NotFound)
	// The timer follows: the end may come nearer, too.
	must(t, b.owner.Extend(ctx, c.ID, time.Now().Add(100*time.Millisecond)))
	for seq := status.Seq; ; {
		status, err := b.owner.Status(ctx, c.ID, seq)
		if code := wire.CodeOf(err); code == wire.ContextGone || code == wire.NotFound {
			break
		}
		must(t, err)
		seq = status.Seq
	}
}
