package httpd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/software"
	"nimbus/broker/wire"
)

// Turns come in the order in which they were asked for, but no neighbourhood
// gets more than its share.
func TestQueue(t *testing.T) {
	var q queue
	come := func(t *turn) bool {
		select {
		case <-t.come:
			return true
		default:
			return false
		}
	}
	var greedy, others []*turn
	for range downloadsAtOnce {
		greedy = append(greedy, q.enter("greedy"))
	}
	for i := range downloadsAtOnce {
		others = append(others, q.enter(fmt.Sprint("other ", i)))
	}
	for i, turn := range greedy {
		if come(turn) != (i < downloadsFrom) {
			t.Errorf("greedy %d: %v", i, come(turn))
		}
	}
	for i, turn := range others {
		if come(turn) != (i < downloadsAtOnce-downloadsFrom) {
			t.Errorf("other %d: %v", i, come(turn))
		}
	}
	// First comes whose neighbourhood has the fewest, whoever has waited longer.
	q.leave(greedy[0])
	if come(greedy[downloadsFrom]) || !come(others[downloadsAtOnce-downloadsFrom]) {
		t.Error("the wrong one came")
	}
	for _, turn := range others[downloadsAtOnce-downloadsFrom+1:] {
		q.leave(turn)
	}
	q.leave(others[0])
	if !come(greedy[downloadsFrom]) {
		t.Error("the wrong one came")
	}
	// One that goes away while it waits takes nobody's turn.
	q.leave(greedy[downloadsFrom+1])
	for _, turn := range append(greedy[1:downloadsFrom+1:downloadsFrom+1], greedy[downloadsFrom+2:]...) {
		q.leave(turn)
	}
	for _, turn := range others[1 : downloadsAtOnce-downloadsFrom+1] {
		q.leave(turn)
	}
	if q.running != 0 || len(q.waiting) != 0 || len(q.from) != 0 {
		t.Errorf("left: %d running, %d waiting, from %v", q.running, len(q.waiting), q.from)
	}
	for _, from := range []string{"greedy", "other"} {
		for range downloadsOpenFrom {
			if !q.open(from) {
				t.Fatal("not open")
			}
		}
		if q.open(from) {
			t.Error("no end")
		}
	}
	if q.open("a third") {
		t.Error("no end")
	}
	for _, from := range []string{"greedy", "other"} {
		for range downloadsOpenFrom {
			q.close(from)
		}
	}
	if q.opened != 0 || len(q.openFrom) != 0 || !q.open("a third") {
		t.Errorf("open: %d, %v", q.opened, q.openFrom)
	}
}

// A turn does not last for ever where others wait: not one that takes next to
// nothing, and not one of many.
func TestLongTurns(t *testing.T) {
	for name, c := range map[string]struct {
		mine  int // of the neighbourhood whose turn it is
		taken int64
		stays bool
	}{
		"one of many":           {downloadsFrom, 100 * turnLeast, false},
		"the only one":          {1, turnLeast, true},
		"next to nothing taken": {1, turnLeast - 1, false},
	} {
		var q queue
		long := q.enter("long")
		for range c.mine - 1 {
			q.enter("long")
		}
		for i := range downloadsAtOnce - c.mine {
			q.enter(fmt.Sprint(i))
		}
		if got := q.again(long, 0); got != long {
			t.Errorf("%s: it ended, and nobody waits", name)
		}
		other := q.enter("other")
		next := q.again(long, c.taken)
		if stays := next == long; stays != c.stays {
			t.Errorf("%s: stays %v", name, stays)
		}
		select {
		case <-other.come:
			if c.stays {
				t.Errorf("%s: both have come", name)
			}
		default:
			if !c.stays {
				t.Errorf("%s: the other one still waits", name)
			}
		}
		q.leave(other)
		select {
		case <-next.come:
		default:
			t.Errorf("%s: its turn does not come again", name)
		}
	}
}

// Callers who take their time keep a full broker from nobody: the others are
// served after a while, and they too in the end.
func TestSlowDownloadsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
		_, client := server(t, content)
		slow, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range downloadsFrom { // all of these tests' callers are neighbours
			body := fetch(t, client)
			all.Go(func() {
				defer body.Close()
				for slow.Err() == nil {
					if _, err := io.CopyN(io.Discard, body, 1<<10); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
		}
		synctest.Wait()
		begin := time.Now()
		body := fetch(t, client)
		got, err := io.ReadAll(body)
		body.Close()
		if waited := time.Since(begin); err != nil || !bytes.Equal(got, content) || waited > turnTime+standstill {
			t.Errorf("%d bytes after %v, %v", len(got), waited, err)
		}
		stop()
		all.Wait()
	})
}

func TestNeighbourhood(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1", "[::ffff:192.0.2.1]:5": "192.0.2.1", "[2001:db8::1]:5": "2001:db8::/64",
		"[2001:db8::ffff:1]:6": "2001:db8::/64", "[fe80::1%eth0]:5": "fe80::/64", "@": "", "": "",
	} {
		if got := neighbourhood(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

// handing is a service that has one build, and nothing else.
type handing struct {
	Service
	content []byte
}

func (h handing) Info(context.Context) wire.Info {
	return wire.Info{Agents: map[string]string{software.Own(): "00"}}
}

func (h handing) Build(context.Context, string) (*software.File, error) {
	return &software.File{ReaderAt: bytes.NewReader(h.content), Platform: software.Own(), Size: int64(len(h.content)), SHA256: "00"}, nil
}

// pipes is a listener for connections within the process, whose time is that of
// the test.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "@", Net: "unix"} }

// server is one that hands out a content, and a client for it.
func server(t *testing.T, content []byte) (*Server, *http.Client) {
	s := &Server{Service: handing{content: content}, Log: slog.New(slog.DiscardHandler)}
	s.Start()
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	go s.serveOn(p)
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		p.conns <- there
		return here, nil
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.http.Close()
	})
	return s, &http.Client{Transport: transport}
}

func fetch(t *testing.T, client *http.Client) io.ReadCloser {
	t.Helper()
	response, err := client.Get("http://broker/download/" + software.Name(software.Own()))
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}
	return response.Body
}

// counts looks at a queue.
func (q *queue) counts() (opened, running, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.opened, q.running, len(q.waiting)
}

// A caller who takes little is served for hours; one who takes nothing is left
// after a minute, and its turn is another's.
func TestSlowAndStalledDownloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
		s, client := server(t, content)
		begin := time.Now()
		body := fetch(t, client)
		var got []byte
		piece := make([]byte, 4<<10)
		for {
			n, err := io.ReadFull(body, piece)
			got = append(got, piece[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("after %v and %d bytes: %v", time.Since(begin), len(got), err)
			}
			time.Sleep(5 * time.Second)
		}
		body.Close()
		if !bytes.Equal(got, content) || time.Since(begin) < 20*time.Minute {
			t.Errorf("%d bytes in %v", len(got), time.Since(begin))
		}

		time.Sleep(2 * standstill) // the next one, on the same connection, has its own time
		body = fetch(t, client)
		if _, running, _ := s.downloads.counts(); running != 1 {
			t.Errorf("%d running", running)
		}
		time.Sleep(standstill + time.Second)
		synctest.Wait()
		if opened, running, _ := s.downloads.counts(); opened != 0 || running != 0 {
			t.Errorf("%d still running, %d open", running, opened)
		}
		if _, err := io.ReadAll(body); err == nil {
			t.Error("the stalled download was not cut")
		}
		body.Close()
	})
}

// Whoever waits gets the beginning in drops, and then, when its turn comes, the
// rest; an hour is not too long.
func TestWaitingDownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
		s, client := server(t, content)
		var before []*turn
		for i := range downloadsAtOnce {
			before = append(before, s.downloads.enter(fmt.Sprint(i)))
		}
		begin := time.Now()
		body := fetch(t, client) // the header comes at once
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("the header came after %v", waited)
		}
		first := make([]byte, 10*drop)
		if _, err := io.ReadFull(body, first); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(begin); waited != 10*dropEvery {
			t.Errorf("%d bytes came after %v", len(first), waited)
		}
		other, cancel := context.WithCancel(t.Context())
		q, err := http.NewRequestWithContext(other, "GET", "http://broker/download/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.URL.Path = "/download/" + software.Name(software.Own())
		response, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		cancel() // and goes away
		response.Body.Close()
		synctest.Wait()
		if _, _, waiting := s.downloads.counts(); waiting != 1 {
			t.Errorf("%d wait", waiting)
		}
		s.downloads.leave(before[0])
		rest, err := io.ReadAll(body)
		if err != nil || !bytes.Equal(append(first, rest...), content) {
			t.Errorf("%d bytes, %v", len(rest), err)
		}
		if waited := time.Since(begin); waited > 11*dropEvery {
			t.Errorf("all came after %v", waited)
		}
		body.Close()
		for _, turn := range before[1:] {
			s.downloads.leave(turn)
		}

		// HEAD waits for nobody.
		for i := range downloadsAtOnce {
			s.downloads.enter(fmt.Sprint(i))
		}
		response, err = client.Head("http://broker/download/" + software.Name(software.Own()))
		if err != nil || response.ContentLength != int64(len(content)) {
			t.Errorf("%v, %v", response, err)
		}
		for i := range downloadsOpen {
			s.downloads.open(fmt.Sprint(i % 2))
		}
		response, err = client.Get("http://broker/download/" + software.Name(software.Own()))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "too many") {
			t.Errorf("%s %s", response.Status, text)
		}
	})
}
