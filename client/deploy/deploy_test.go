package deploy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"maps"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/cloud"
)

var update = flag.Bool("update", false, "rewrite the golden file")

const definition = `<cluster>
  <workspace>
    <name>head</name> <image>debian</image> <quantity>1</quantity>
    <nic interface="publicnic" wantlogin="true">public</nic>
    <nic interface="localnic">private</nic>
    <ctx>
      <provides><identity interface="publicnic"/><identity interface="localnic"/><role>db</role></provides>
    </ctx>
  </workspace>
  <workspace>
    <image>bare</image> <quantity>1</quantity> <nic>private</nic>
  </workspace>
  <workspace>
    <name>work</name> <image>debian</image> <quantity>2</quantity> <nic>private</nic>
    <ctx>
      <provides><identity/></provides>
      <requires><role name="db"/></requires>
    </ctx>
  </workspace>
</cluster>`

func read(t *testing.T) *cluster.Definition {
	t.Helper()
	def, problems := cluster.Read("test.xml", strings.NewReader(definition))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return def
}

func deployment(t *testing.T) Deployment {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	issued := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return Deployment{
		Handle: "cluster-001", Launch: "l1", PublicKeys: []string{"ssh-ed25519 AAAA me"},
		Issued: issued, Expires: issued.Add(time.Hour),
		Context: &wire.Created{
			ID: "ctx1", BrokerID: "broker1", Brokers: []string{"https://10.78.0.1:8443"},
			CA:     string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
			Tokens: map[string][]string{"head": {"head:0:aa"}, "work": {"work:0:bb", "work:1:cc"}},
		},
	}
}

func TestPlan(t *testing.T) {
	d := deployment(t)
	plan, err := Plan(read(t), d)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, item := range plan {
		r := item.Request
		shown := strings.ReplaceAll(string(r.UserData), jsonText(t, d.Context.CA), `"CA"`)
		r.UserData = nil
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(item.Node.String() + "\n" + string(text) + "\n" + shown + "\n")
	}
	const golden = "testdata/plan.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the plan differs from %s (-update rewrites it):\n%s", golden, out.String())
	}
	for _, item := range plan {
		if item.Node.Workspace == "member-02" {
			continue
		}
		if _, err := wire.ParseBootstrap(item.Request.UserData); err != nil {
			t.Errorf("%s: an agent could not read it: %v", item.Node, err)
		}
	}
}

func jsonText(t *testing.T, s string) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPlanNeedsATokenForEachNode(t *testing.T) {
	d := deployment(t)
	d.Context.Tokens["work"] = d.Context.Tokens["work"][:1]
	if _, err := Plan(read(t), d); err == nil || err.Error() != "plan work-1: the broker gave no token for it" {
		t.Error(err)
	}
	d.Context = nil
	if _, err := Plan(read(t), d); err == nil {
		t.Error("a node without a context was planned")
	}
}

func TestNetworks(t *testing.T) {
	if got := Networks(read(t)); !maps.Equal(got, map[string]int{"public": 1, "private": 4}) {
		t.Error(got)
	}
}

// lazy is a cloud that starts less than it is asked for, and may forget what
// it started.
type lazy struct {
	starts     int
	listErr    error
	running    []cloud.Instance
	terminated []string
	released   int
}

func (l *lazy) Launch(_ context.Context, requests []cloud.Request) ([]cloud.Instance, error) {
	for _, r := range requests[:l.starts] {
		l.running = append(l.running, cloud.Instance{ID: "i-" + r.Token, Token: r.Token, Launch: r.Launch})
	}
	return l.running, nil
}

func (l *lazy) List(context.Context, string) ([]cloud.Instance, error) { return l.running, l.listErr }

func (l *lazy) Terminate(_ context.Context, instances []cloud.Instance) error {
	for _, i := range instances {
		l.terminated = append(l.terminated, i.ID)
	}
	l.running = nil
	return nil
}

func (l *lazy) Prepare(context.Context, cloud.Preparation) (cloud.Prepared, error) {
	return cloud.Prepared{}, nil
}

func (l *lazy) Release(context.Context, string) error { l.released++; return nil }

func TestLaunchNoticesWhatIsMissing(t *testing.T) {
	plan, err := Plan(read(t), deployment(t))
	if err != nil {
		t.Fatal(err)
	}
	driver := &lazy{starts: 2}
	machines, err := Launch(t.Context(), driver, plan)
	if err == nil || err.Error() != "the cloud started 2 of 4 instances; work-0 is not among them" {
		t.Error(err)
	}
	if len(machines) != 2 || machines[1].Node != (cluster.Place{Workspace: "member-02"}) {
		t.Errorf("%+v", machines)
	}
}

func TestUndo(t *testing.T) {
	driver := &lazy{running: []cloud.Instance{{ID: "a"}, {ID: "b"}}}
	if n, err := Undo(t.Context(), driver, "l1", nil); n != 2 || err != nil || driver.released != 1 {
		t.Errorf("%d, %v, %+v", n, err, driver)
	}
	if n, err := Undo(t.Context(), driver, "l1", nil); n != 0 || err != nil || len(driver.terminated) != 2 {
		t.Errorf("the second time: %d, %v, %+v", n, err, driver)
	}
	// A cloud that cannot list still ends what the history knows, and the
	// failure is told: something else may be left.
	driver = &lazy{listErr: errors.New("the API is down")}
	if _, err := Undo(t.Context(), driver, "l1", []cloud.Instance{{ID: "c"}}); err == nil || len(driver.terminated) != 1 {
		t.Errorf("%v, %+v", err, driver)
	}
	// So does one of which a part does not answer, also when the history knows
	// nothing: the client was killed before it wrote that down.
	driver = &lazy{listErr: errors.New("a host is down"), running: []cloud.Instance{{ID: "a"}, {ID: "b"}}}
	if n, err := Undo(t.Context(), driver, "l1", []cloud.Instance{{ID: "b"}, {ID: "c"}}); n != 3 || err == nil || strings.Join(driver.terminated, "") != "abc" || driver.released != 0 {
		t.Errorf("%d, %v, %+v", n, err, driver)
	}
}

// What a dry run says of user data is what a run then sends, give or take the
// names that only the broker makes.
func TestUserDataSize(t *testing.T) {
	d := deployment(t)
	// As long as a broker makes them.
	d.Context.ID, d.Context.BrokerID = "9c8edb2f-1f0b-4f4c-8c68-0a4d8a6f4a55", "broker-0123456789abcdef.nimbus"
	mac := strings.Repeat("m", 43)
	d.Context.Tokens = map[string][]string{"head": {"head:0:" + mac}, "work": {"work:0:" + mac, "work:1:" + mac}}
	def := read(t)
	plan, err := Plan(def, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range plan {
		w, _ := def.Find(item.Node.Workspace)
		size := UserDataSize(w, d.Context.Brokers, d.Context.CA, nil)
		if off := size - len(item.Request.UserData); off < -20 || off > 20 {
			t.Errorf("%s: %d bytes, but %d were expected", item.Node, len(item.Request.UserData), size)
		}
	}
	d.Context.Agents, d.Installs = agents(6), func(string) bool { return true }
	if plan, err = Plan(def, d); err != nil {
		t.Fatal(err)
	}
	for _, item := range plan {
		w, _ := def.Find(item.Node.Workspace)
		size := UserDataSize(w, d.Context.Brokers, d.Context.CA, d.Context.Agents)
		if off := size - len(item.Request.UserData); off < -20 || off > 20 {
			t.Errorf("%s: %d bytes with the script, but %d were expected", item.Node, len(item.Request.UserData), size)
		}
	}
}
