package broker

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/httpd"
	"nimbus/broker/pki"
	"nimbus/broker/software"
	"nimbus/broker/store"
	"nimbus/broker/store/boltstore"
	"nimbus/broker/wire"
)

// A bench is a broker on a real port, with its owner's client.
type bench struct {
	t       testing.TB
	dir     string
	url     string
	service *Service
	server  *httpd.Server
	owner   *wire.Client
	stop    func() // the broker; the test's end does it, too
	// definition of the contexts that create makes.
	definition string
}

const definition = `<cluster>
  <workspace><name>front</name><image>i</image><quantity>1</quantity><nic>public</nic>
    <ctx><provides><identity/><role>boss</role></provides>
      <requires><identity/><role name="minion" pubkey="true"/><data name="motd">hello</data></requires></ctx></workspace>
  <workspace><name>back</name><image>i</image><quantity>2</quantity><nic>public</nic>
    <ctx><provides><identity/><role>minion</role></provides><requires><role name="boss"/></requires></ctx></workspace>
</cluster>`

func newBench(t testing.TB, dir string, s store.Store, hold time.Duration) *bench {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	authority, err := pki.OpenAuthority(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := pki.OpenSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: dir, definition: definition}
	// What it hands out is a program with a known text.
	program := filepath.Join(t.TempDir(), "nimbus")
	must(t, os.WriteFile(program, []byte(programText), 0o700))
	shelf, err := software.Open(program, filepath.Join(dir, downloadsName))
	must(t, err)
	t.Cleanup(func() { shelf.Close() })
	b.service = &Service{Store: s, Secrets: secrets, Authority: authority, Software: shelf, Brokers: func() []string { return []string{b.url} }, Log: log, Hold: hold,
		Packs: filepath.Join(dir, packsName)}
	if err := b.service.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	certificate, _, err := certificates(Config{}, authority, b.service.Brokers)
	must(t, err)
	b.server = &httpd.Server{Service: b.service, Guard: secrets, Log: log, Certificate: certificate}
	b.server.Start()
	address, err := b.server.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.url = "https://" + address.String()
	b.owner = b.client(readKey(t, secrets))
	b.stop = sync.OnceFunc(func() {
		b.server.Stop()
		b.service.Stop()
	})
	t.Cleanup(b.stop)
	return b
}

func readFile(path string) (string, error) {
	data, err := os.ReadFile(path)
	return string(data), err
}

func readKey(t testing.TB, secrets *pki.Secrets) string {
	t.Helper()
	key, err := readFile(secrets.OwnerKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(key)
}

func (b *bench) client(key string) *wire.Client {
	b.t.Helper()
	c, err := wire.NewClient(wire.Endpoint{URLs: []string{b.url}, BrokerID: b.service.Authority.BrokerID, CA: b.service.Authority.CA, Key: key})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bench) create(open bool) wire.Created {
	b.t.Helper()
	d, problems := cluster.Read("", strings.NewReader(b.definition))
	if err := problems.Err(); err != nil {
		b.t.Fatal(err)
	}
	created, err := b.owner.Create(context.Background(), wire.Create{Name: "test", Definition: *d, Expires: time.Now().Add(time.Hour), Open: open})
	if err != nil {
		b.t.Fatal(err)
	}
	return created
}

// node makes the client of a machine with a claim of its own.
func (b *bench) node(c wire.Created, token, machine string) *wire.NodeClient {
	b.t.Helper()
	n, err := wire.NewNodeClient(&wire.Bootstrap{Brokers: c.Brokers, BrokerID: c.BrokerID, CA: c.CA, Context: c.ID, Token: token}, "claim-of-the-machine-"+machine)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func face(last byte) wire.Join {
	return wire.Join{Identities: []cluster.Identity{{Interface: "publicnic", IP: netip.AddrFrom4([4]byte{10, 0, 0, last}), Pubkey: "ssh-ed25519 AAAA"}}}
}

func wantCode(t *testing.T, err error, code wire.Code) {
	t.Helper()
	if wire.CodeOf(err) != code {
		t.Errorf("got %q (%v), want %q", wire.CodeOf(err), err, code)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A whole context: three machines meet, do their work, and the owner sees it.
func TestContext(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	ctx := context.Background()
	c := b.create(false)

	nodes := map[string]*wire.NodeClient{}
	var last byte
	for _, workspace := range []string{"back", "front"} {
		for _, token := range c.Tokens[workspace] {
			last++
			n := b.node(c, token, fmt.Sprint(last))
			joined, err := n.Join(ctx, face(last))
			must(t, err)
			nodes[joined.Node] = n
		}
	}
	var wg sync.WaitGroup
	for name, n := range nodes {
		wg.Go(func() {
			m, waiting, err := n.Manifest(ctx, 0)
			if err != nil || m == nil {
				t.Errorf("%s: %v, waiting %q", name, err, waiting)
				return
			}
			if want := map[bool]int{true: 3, false: 1}[name == "front-0"]; len(m.Nodes) != want {
				t.Errorf("%s is told %d nodes, want %d", name, len(m.Nodes), want)
			}
			if err := n.Report(ctx, wire.Report{OK: true}); err != nil {
				t.Error(name, err)
			}
		})
	}
	wg.Wait()
	status, err := b.owner.Status(ctx, c.ID, 0)
	must(t, err)
	if status.State != wire.OK || status.OK != 3 || len(status.Workspaces) != 2 {
		t.Errorf("status %+v", status)
	}
	list, err := b.owner.Nodes(ctx, c.ID)
	must(t, err)
	if len(list) != 3 || list[0].Node != "front-0" || list[2].Node != "back-1" || list[2].State != wire.NodeOK || list[0].Identities[0].Hostname != "front-0" {
		t.Errorf("nodes %+v", list)
	}
	must(t, b.owner.Delete(ctx, c.ID))
	_, err = b.owner.Status(ctx, c.ID, 0)
	wantCode(t, err, wire.NotFound)
	wantCode(t, nodes["front-0"].Report(ctx, wire.Report{OK: true}), wire.NotFound)
}

// An answer is held until it is complete, and comes at once then.
func TestAnswersAreHeld(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 100*time.Millisecond)
	ctx := context.Background()
	c := b.create(true)
	back := b.node(c, c.Tokens["back"][0], "b0")
	_, _, err := back.Manifest(ctx, 0)
	wantCode(t, err, wire.NotJoined)
	_, err = back.Join(ctx, face(2))
	must(t, err)
	m, waiting, err := back.Manifest(ctx, 0)
	if m != nil || err != nil || len(waiting) != 2 || !strings.Contains(waiting[1], "front-0 to join") {
		t.Fatalf("%+v, %q, %v", m, waiting, err)
	}
	b.service.Hold = time.Hour
	answered := make(chan error, 1)
	go func() {
		m, _, err := back.Manifest(ctx, 0)
		if err == nil && m == nil {
			err = errors.New("no answer")
		}
		answered <- err
	}()
	front := b.node(c, c.Tokens["front"][0], "f0")
	_, err = front.Join(ctx, face(1))
	must(t, err)
	must(t, b.owner.AddData(ctx, c.ID, wire.AddData{Name: "motd", Value: "late"}))
	must(t, b.owner.Lock(ctx, c.ID))
	wantCode(t, b.owner.AddData(ctx, c.ID, wire.AddData{Name: "motd", Value: "too late"}), wire.Locked)
	must(t, <-answered)
}

// A node that fails, and the end of a context, are told to those who wait.
func TestWaitersLearnOfTheEnd(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	ctx := context.Background()
	for what, end := range map[wire.Code]func(c wire.Created) error{
		wire.ContextFailing: func(c wire.Created) error {
			return b.node(c, c.Tokens["back"][1], "b1").Report(ctx, wire.Report{Step: "join", Code: 4, Log: "no address"})
		},
		wire.ContextGone: func(c wire.Created) error { return b.owner.Delete(ctx, c.ID) },
	} {
		c := b.create(false)
		back := b.node(c, c.Tokens["back"][0], "b0")
		_, err := back.Join(ctx, face(2))
		must(t, err)
		answered := make(chan error, 1)
		go func() {
			_, _, err := back.Manifest(ctx, 0)
			answered <- err
		}()
		must(t, end(c))
		// Deleted before it was asked: then there is no such context.
		if err := <-answered; wire.CodeOf(err) != what && !(what == wire.ContextGone && wire.CodeOf(err) == wire.NotFound) {
			t.Errorf("told %v, want %s", err, what)
		}
	}
}

// The owner's status is held until something changes.
func TestStatusIsHeld(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	ctx := context.Background()
	c := b.create(false)
	status, err := b.owner.Status(ctx, c.ID, 0)
	must(t, err)
	news := make(chan wire.Status, 1)
	go func() {
		s, err := b.owner.Status(ctx, c.ID, status.Seq)
		if err != nil {
			t.Error(err)
		}
		news <- s
	}()
	_, err = b.node(c, c.Tokens["back"][0], "b0").Join(ctx, face(2))
	must(t, err)
	if s := <-news; s.Joined != 1 || s.Seq <= status.Seq {
		t.Errorf("told %+v", s)
	}
}

// Bad callers: a clear no, and nothing is changed.
func TestBadCallers(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	ctx := context.Background()
	c, other := b.create(false), b.create(false)

	for _, key := range []string{"", "wrong"} {
		_, err := b.client(key).Create(ctx, wire.Create{})
		wantCode(t, err, wire.Unauthorized)
		_, err = b.client(key).Status(ctx, c.ID, 0)
		wantCode(t, err, wire.Unauthorized)
	}
	_, err := b.owner.Create(ctx, wire.Create{Expires: time.Now().Add(time.Hour)})
	wantCode(t, err, wire.BadRequest)
	_, err = b.owner.Create(ctx, wire.Create{Expires: time.Now().Add(-time.Hour)})
	wantCode(t, err, wire.BadRequest)
	_, err = b.owner.Status(ctx, "nothing", 0)
	wantCode(t, err, wire.NotFound)
	_, err = b.owner.Listen(ctx, "127.0.0.2")
	wantCode(t, err, wire.Forbidden)

	token := c.Tokens["back"][0]
	forged := token[:len(token)-2] + "AA"
	if forged == token {
		forged = token[:len(token)-2] + "BB"
	}
	for what, n := range map[string]*wire.NodeClient{
		"forged":          b.node(c, forged, "m"),
		"another context": b.node(c, other.Tokens["back"][0], "m"),
		"another place":   b.node(c, strings.Replace(token, ":0:", ":1:", 1), "m"),
		"no context":      b.node(wire.Created{ID: "none", Brokers: c.Brokers, BrokerID: c.BrokerID, CA: c.CA}, token, "m"),
	} {
		if _, err := n.Join(ctx, face(1)); wire.CodeOf(err) != wire.Unauthorized {
			t.Errorf("%s: %v", what, err)
		}
	}

	// A second machine with a stolen token is refused, and the owner sees it.
	_, err = b.node(c, token, "first").Join(ctx, face(2))
	must(t, err)
	_, err = b.node(c, token, "second").Join(ctx, face(3))
	wantCode(t, err, wire.PlaceTaken)
	wantCode(t, b.node(c, token, "second").Report(ctx, wire.Report{Code: 1}), wire.PlaceTaken)
	status, err := b.owner.Status(ctx, c.ID, 0)
	must(t, err)
	if len(status.Refused) != 2 || status.Refused[0].Node != "back-0" || status.Refused[0].From != "127.0.0.1" || status.Joined != 1 || status.State != wire.Joining {
		t.Errorf("status %+v", status)
	}
	must(t, b.owner.Release(ctx, c.ID, "back-0"))
	_, err = b.node(c, token, "second").Join(ctx, face(3))
	must(t, err)
	wantCode(t, b.owner.Release(ctx, c.ID, "../.."), wire.BadRequest)
}

// Requests that are no requests.
func TestBrokenRequests(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	c := b.create(false)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // only here: the certificate is not what is tested
	defer transport.CloseIdleConnections()
	post := func(path, auth, body string) int {
		q, err := http.NewRequest("POST", b.url+path, strings.NewReader(body))
		must(t, err)
		q.Header.Set("Authorization", auth)
		q.Header.Set(wire.ClaimHeader, "a-claim-of-some-length")
		response, err := transport.RoundTrip(q)
		must(t, err)
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		if !strings.Contains(string(text), `"message"`) {
			t.Errorf("%s: %s says nothing: %s", path, response.Status, text)
		}
		return response.StatusCode
	}
	join, auth := "/v1/contexts/"+c.ID+"/join", wire.NodeScheme+" "+c.Tokens["back"][0]
	for _, try := range []struct {
		path, auth, body string
		want             int
	}{
		{join, auth, "", 400},
		{join, auth, `{"identities":[{"ip":`, 400},
		{join, auth, `{"identities":[{"ip":"10.0.0.1"}]} {}`, 400},
		{join, auth, `{"identities":[{"ip":"nonsense"}]}`, 400},
		{join, auth, `{"identities":[{"ip":"10.0.0.1","hostname":"a b; rm -rf /"}]}`, 400},
		{join, auth, `{"identities":[{"ip":"10.0.0.1","pubkey":"ssh-rsa AAAA\n10.0.0.2 ssh-rsa BBBB"}]}`, 400},
		{join, auth, `{"identities":"` + strings.Repeat("x", wire.MaxJoin) + `"}`, 413},
		{join, "Basic x", `{}`, 401},
		{join, "", `{}`, 401},
		{"/v1/nothing", "", `{}`, 404},
		{"/healthz", "", ``, 400},
		{"/v1/contexts/" + c.ID + "/report", auth, `{"log":"` + strings.Repeat("x", wire.MaxLog+1) + `"}`, 400},
	} {
		if got := post(try.path, try.auth, try.body); got != try.want {
			t.Errorf("%s %.60s: %d, want %d", try.path, try.body, got, try.want)
		}
	}
	// A request that is cut in the middle harms nobody.
	conn, err := tls.Dial("tcp", strings.TrimPrefix(b.url, "https://"), &tls.Config{InsecureSkipVerify: true})
	must(t, err)
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%s: a-claim-of-some-length\r\nContent-Length: 100\r\n\r\n{\"ident", join, auth, wire.ClaimHeader)
	conn.Close()
	status, err := b.owner.Status(context.Background(), c.ID, 0)
	must(t, err)
	if status.Joined != 0 {
		t.Errorf("status %+v", status)
	}
}

// A node that was given another CA does not speak to this broker at all.
func TestNodeVerifiesTheBroker(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	imposter, err := pki.OpenAuthority(t.TempDir(), time.Now())
	must(t, err)
	c := b.create(false)
	c.CA = imposter.CA
	_, err = b.node(c, c.Tokens["back"][0], "m").Join(context.Background(), face(1))
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("joined: %v", err)
	}
}

// What a broker holds survives it, also when it gets no time to stop.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	open := func() store.Store {
		s, err := boltstore.Open(filepath.Join(dir, "contexts.db"))
		must(t, err)
		return s
	}
	s := open()
	b := newBench(t, dir, s, 0)
	c := b.create(false)
	back := b.node(c, c.Tokens["back"][0], "b0")
	_, err := back.Join(ctx, face(2))
	must(t, err)
	before, err := b.owner.Status(ctx, c.ID, 0)
	must(t, err)
	must(t, s.Close()) // as if it had been killed: what comes now is not stored
	_, err = b.node(c, c.Tokens["back"][1], "b1").Join(ctx, face(3))
	wantCode(t, err, wire.Unavailable)

	s = open()
	defer s.Close()
	again := newBench(t, dir, s, 0)
	c.Brokers = []string{again.url}
	after, err := again.owner.Status(ctx, c.ID, 0)
	must(t, err)
	if after.Seq <= before.Seq {
		t.Errorf("seq went from %d to %d: who waits for news would miss them", before.Seq, after.Seq)
	}
	after.Seq = before.Seq
	if !reflect.DeepEqual(before, after) {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	joined, err := again.node(c, c.Tokens["back"][0], "b0").Join(ctx, face(2))
	must(t, err)
	if joined.Node != "back-0" {
		t.Errorf("joined as %s", joined.Node)
	}
}

// A context whose time is over is forgotten, and its waiters are told.
func TestExpiry(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	ctx := context.Background()
	d, _ := cluster.Read("", strings.NewReader(definition))
	c, err := b.owner.Create(ctx, wire.Create{Definition: *d, Expires: time.Now().Add(300 * time.Millisecond)})
	must(t, err)
	back := b.node(c, c.Tokens["back"][0], "b0")
	_, err = back.Join(ctx, face(2))
	must(t, err)
	_, _, err = back.Manifest(ctx, 0)
	wantCode(t, err, wire.ContextGone)
	for { // until the log is dropped
		if list, err := b.service.Store.List(ctx); err != nil || len(list) == 0 {
			must(t, err)
			break
		}
		time.Sleep(time.Millisecond)
	}
	_, err = b.owner.Status(ctx, c.ID, 0)
	wantCode(t, err, wire.NotFound)
}

// Many nodes at once: everybody is told the same, in the same order.
func TestManyJoinAtOnce(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	ctx := context.Background()
	const n = 100
	d, problems := cluster.Read("", strings.NewReader(fmt.Sprintf(`<cluster><workspace><name>w</name><image>i</image><quantity>%d</quantity><nic>n</nic>
		<ctx><provides><identity/></provides><requires><identity/></requires></ctx></workspace></cluster>`, n)))
	must(t, problems.Err())
	c, err := b.owner.Create(ctx, wire.Create{Definition: *d, Expires: time.Now().Add(time.Hour)})
	must(t, err)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			node := b.node(c, c.Tokens["w"][i], fmt.Sprint(i))
			if _, err := node.Join(ctx, face(byte(i+1))); err != nil {
				t.Error(err)
				return
			}
			m, _, err := node.Manifest(ctx, 0)
			if err != nil || len(m.Nodes) != n || m.Nodes[7].Index != 7 {
				t.Errorf("node %d: %v", i, err)
				return
			}
			if err := node.Report(ctx, wire.Report{OK: true}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	status, err := b.owner.Status(ctx, c.ID, 0)
	must(t, err)
	if status.State != wire.OK {
		t.Errorf("status %+v", status)
	}
}

// Nodes that ask for a large answer and never read it do not keep others from
// theirs, and a node that asks again ends its earlier request.
func TestReadersThatDoNotRead(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), time.Hour)
	ctx := context.Background()
	d, problems := cluster.Read("", strings.NewReader(`<cluster><workspace><name>w</name><image>i</image><quantity>2</quantity><nic>n</nic>
		<ctx><provides><role>r</role></provides><requires><role name="r"/><data name="d">x</data></requires></ctx></workspace></cluster>`))
	must(t, problems.Err())
	d.Workspaces[0].Ctx.Requires.Data[0].Value = strings.Repeat("0123456789abcdef", cluster.MaxData/16)
	for range 7 {
		d.Workspaces[0].Ctx.Requires.Data = append(d.Workspaces[0].Ctx.Requires.Data, d.Workspaces[0].Ctx.Requires.Data[0])
	}
	c, err := b.owner.Create(ctx, wire.Create{Definition: *d, Expires: time.Now().Add(time.Hour)})
	must(t, err)
	honest := b.node(c, c.Tokens["w"][1], "honest")
	_, err = b.node(c, c.Tokens["w"][0], "idle").Join(ctx, face(1))
	must(t, err)
	_, err = honest.Join(ctx, face(2))
	must(t, err)
	for range 40 {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(b.url, "https://"), &tls.Config{InsecureSkipVerify: true}) // it reads nothing
		must(t, err)
		defer conn.Close()
		fmt.Fprintf(conn, "GET /v1/contexts/%s/manifest?stage=0 HTTP/1.1\r\nHost: x\r\nAuthorization: %s %s\r\n%s: claim-of-the-machine-idle\r\n\r\n", c.ID, wire.NodeScheme, c.Tokens["w"][0], wire.ClaimHeader)
	}
	m, _, err := honest.Manifest(ctx, 0)
	must(t, err)
	if len(m.Data) != 8 {
		t.Errorf("%d values", len(m.Data))
	}
}

// A token and its claim go to the broker, and nowhere that an answer names.
func TestRedirectsAreNotFollowed(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	c := b.create(false)
	hit := make(chan struct{}, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit <- struct{}{} }))
	defer elsewhere.Close()
	b.server.Stop()
	l, err := tls.Listen("tcp", strings.TrimPrefix(b.url, "https://"), &tls.Config{GetCertificate: b.server.Certificate})
	must(t, err)
	go http.Serve(l, http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer l.Close()
	if _, err := b.node(c, c.Tokens["back"][0], "m").Join(context.Background(), face(1)); err == nil {
		t.Error("joined")
	}
	select {
	case <-hit:
		t.Error("the redirect was followed")
	default:
	}
}

// One address of several that lead nowhere is enough.
func TestAnyAddressWillDo(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, dead.Close())
	c := b.create(false)
	c.Brokers = []string{"https://" + dead.Addr().String(), b.url}
	_, err = b.node(c, c.Tokens["back"][0], "m").Join(context.Background(), face(1))
	must(t, err)
}

// BenchmarkExchange is the whole exchange over TLS with a store on disk: every
// node joins, is told of all, and reports. Both sides are in this process.
func BenchmarkExchange(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint("nodes=", n), func(b *testing.B) {
			ctx := context.Background()
			dir := b.TempDir()
			s, err := boltstore.Open(filepath.Join(dir, "contexts.db"))
			must(b, err)
			defer s.Close()
			broker := newBench(b, dir, s, 0)
			d, problems := cluster.Read("", strings.NewReader(fmt.Sprintf(`<cluster><workspace><name>w</name><image>i</image><quantity>%d</quantity><nic>n</nic>
				<ctx><provides><identity/></provides><requires><identity/></requires></ctx></workspace></cluster>`, n)))
			must(b, problems.Err())
			key := "ssh-ed25519 " + base64.StdEncoding.EncodeToString(make([]byte, 51)) + " root@node"
			for b.Loop() {
				c, err := broker.owner.Create(ctx, wire.Create{Definition: *d, Expires: time.Now().Add(time.Hour)})
				must(b, err)
				var wg sync.WaitGroup
				for i := range n {
					wg.Go(func() {
						node := broker.node(c, c.Tokens["w"][i], fmt.Sprint(i))
						_, err := node.Join(ctx, wire.Join{Identities: []cluster.Identity{{Interface: "publicnic", IP: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Pubkey: key}}})
						if err == nil {
							_, _, err = node.Manifest(ctx, 0)
						}
						if err == nil {
							err = node.Report(ctx, wire.Report{OK: true})
						}
						if err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
				must(b, broker.owner.Delete(ctx, c.ID))
			}
		})
	}
}
