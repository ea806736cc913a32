package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/store"
	"nimbus/broker/store/boltstore"
	"nimbus/broker/wire"
)

// named is the pack of some content.
func named(content []byte) wire.Pack {
	sum := sha256.Sum256(content)
	return wire.Pack{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
}

// bring makes a context whose nodes are brought scripts.
func (b *bench) bring(scripts map[string]wire.Pack) (wire.Created, error) {
	b.t.Helper()
	d, problems := cluster.Read("", strings.NewReader(b.definition))
	must(b.t, problems.Err())
	return b.owner.Create(context.Background(), wire.Create{Name: "test", Definition: *d, Expires: time.Now().Add(time.Hour), Scripts: scripts})
}

// packs lists what the broker keeps.
func (b *bench) packs() (list []string) {
	paths, _ := filepath.Glob(filepath.Join(b.dir, packsName, "*"))
	more, _ := filepath.Glob(filepath.Join(b.dir, packsName, "*", "*"))
	hidden, _ := filepath.Glob(filepath.Join(b.dir, packsName, "*", ".*"))
	for _, path := range append(append(paths, more...), hidden...) {
		list = append(list, strings.TrimPrefix(path, filepath.Join(b.dir, packsName)+"/"))
	}
	return list
}

// Scripts are sent by the owner and fetched by the nodes they are for, many at
// once, also from the broker that is started next; they go with their context.
func TestPacks(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	open := func() *boltstore.Bolt {
		s, err := boltstore.Open(filepath.Join(dir, storeName))
		must(t, err)
		return s
	}
	s := open()
	b := newBench(t, dir, s, 0)
	content := make([]byte, 3<<20)
	_, _ = rand.Read(content)
	pack := named(content)
	c, err := b.bring(map[string]wire.Pack{"back": pack})
	must(t, err)

	joined, err := b.node(c, c.Tokens["front"][0], "f0").Join(ctx, face(1))
	must(t, err)
	wantCode(t, b.node(c, c.Tokens["front"][0], "f0").Pack(ctx, pack, io.Discard), wire.NotFound)
	if joined.Scripts != nil {
		t.Errorf("front is to unpack %+v", joined.Scripts)
	}
	back := b.node(c, c.Tokens["back"][0], "b0")
	wantCode(t, back.Pack(ctx, pack, io.Discard), wire.NotJoined)
	joined, err = back.Join(ctx, face(2))
	must(t, err)
	if joined.Scripts == nil || *joined.Scripts != pack {
		t.Fatalf("back is to unpack %+v", joined.Scripts)
	}
	wantCode(t, back.Pack(ctx, pack, io.Discard), wire.Unavailable) // not sent yet

	// What is not as announced leaves nothing; the right one may be sent twice.
	other := bytes.Repeat([]byte("x"), len(content))
	wantCode(t, b.owner.PutPack(ctx, c.ID, pack, bytes.NewReader(other)), wire.BadRequest)
	wantCode(t, b.owner.PutPack(ctx, c.ID, wire.Pack{SHA256: pack.SHA256, Size: pack.Size - 1}, bytes.NewReader(content)), wire.BadRequest)
	wantCode(t, b.owner.PutPack(ctx, c.ID, named(other), bytes.NewReader(other)), wire.NotFound)
	wantCode(t, b.owner.PutPack(ctx, "none", pack, bytes.NewReader(content)), wire.NotFound)
	wantCode(t, b.client("wrong").PutPack(ctx, c.ID, pack, bytes.NewReader(content)), wire.Unauthorized)
	if list := b.packs(); len(list) != 1 {
		t.Fatalf("kept %q", list)
	}
	for range 2 {
		must(t, b.owner.PutPack(ctx, c.ID, pack, bytes.NewReader(content)))
	}
	info, err := os.Stat(filepath.Join(dir, packsName, c.ID, pack.SHA256))
	if err != nil || info.Mode().Perm() != 0o600 || len(b.packs()) != 2 {
		t.Errorf("%v, %v, kept %q", info.Mode(), err, b.packs())
	}

	fetch := func(b *bench) {
		t.Helper()
		var wg sync.WaitGroup
		for i, token := range c.Tokens["back"] {
			n := b.node(c, token, []string{"b0", "b1"}[i])
			if _, err := n.Join(ctx, face(byte(2+i))); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				var got bytes.Buffer
				if err := n.Pack(ctx, pack, &got); err != nil || !bytes.Equal(got.Bytes(), content) {
					t.Errorf("%d bytes, %v", got.Len(), err)
				}
			})
		}
		wg.Wait()
	}
	fetch(b)

	// The next broker finds it, and removes what is nobody's.
	b.stop()
	must(t, s.Close())
	must(t, os.MkdirAll(filepath.Join(dir, packsName, "left"), 0o700))
	must(t, os.MkdirAll(filepath.Join(dir, packsName, gonePrefix+"x"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, packsName, "left", "x"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, packsName, c.ID, halfPrefix+"1"), nil, 0o600))
	s = open()
	defer s.Close()
	b2 := newBench(t, dir, s, 0)
	c.Brokers = []string{b2.url}
	if list := b2.packs(); len(list) != 2 {
		t.Errorf("kept %q", list)
	}
	fetch(b2)
	must(t, b2.owner.Delete(ctx, c.ID))
	b2.stop() // and all that the context does at its end is done
	if list := b2.packs(); len(list) != 0 {
		t.Errorf("after the context: %q", list)
	}
}

func TestPacksThatCannotBe(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	b.definition = strings.Replace(b.definition, "</cluster>", "<workspace><name>apart</name><image>i</image><quantity>1</quantity><nic>n</nic></workspace></cluster>", 1)
	good := named([]byte("x"))
	for what, scripts := range map[string]map[string]wire.Pack{
		`no workspace of that name`:          {"none": good},
		`"apart": no workspace`:              {"apart": good},
		"is no SHA-256":                      {"back": {SHA256: strings.ToUpper(good.SHA256), Size: 1}},
		`"../../../x" is no SHA-256`:         {"back": {SHA256: "../../../x", Size: 1}},
		"a pack of 0 bytes":                  {"back": {SHA256: good.SHA256}},
		"a pack of 16777217 bytes":           {"back": {SHA256: good.SHA256, Size: wire.MaxPack + 1}},
		"the same pack has another size":     {"back": good, "front": {SHA256: good.SHA256, Size: 2}},
		`scripts for "": no workspace of th`: {"": good},
	} {
		_, err := b.bring(scripts)
		if wire.CodeOf(err) != wire.BadRequest || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want %s", err, what)
		}
	}
	if list := b.packs(); len(list) != 0 {
		t.Errorf("kept %q", list)
	}
}

// A pack that does not come to its end is not there, and its sender is not
// waited for.
func TestPackThatIsCut(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	ctx := context.Background()
	content := bytes.Repeat([]byte("content"), 1<<16)
	pack := named(content)
	c, err := b.bring(map[string]wire.Pack{"back": pack})
	must(t, err)
	broken := errors.New("the disk of the sender is broken")
	if err := b.owner.PutPack(ctx, c.ID, pack, io.MultiReader(bytes.NewReader(content[:1<<17]), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := b.owner.PutPack(ctx, c.ID, wire.Pack{SHA256: pack.SHA256, Size: wire.MaxPack + 1}, io.MultiReader(bytes.NewReader(content), endless{})); wire.CodeOf(err) != wire.TooLarge {
		t.Errorf("too large: %v", err)
	}
	must(t, b.owner.PutPack(ctx, c.ID, pack, bytes.NewReader(content)))

	// A context that ends has no place for what comes late.
	late, started := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		err := b.owner.PutPack(ctx, c.ID, pack, late)
		late.Close() // an answer may come before all was read
		answered <- err
	}()
	_, _ = started.Write(content[:1<<17])
	must(t, b.owner.Delete(ctx, c.ID))
	for { // its loop removes it after it has answered
		if _, err := os.Stat(b.service.packsDir(c.ID)); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	_, _ = started.Write(content[1<<17:])
	if err := <-answered; wire.CodeOf(err) != wire.ContextGone && wire.CodeOf(err) != wire.NotFound {
		t.Errorf("late: %v", err)
	}
	if list := b.packs(); len(list) != 0 {
		t.Errorf("kept %q", list)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// A node is not content with what is not the pack that was announced.
func TestOtherPack(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	ctx := context.Background()
	pack := named([]byte("content"))
	c, err := b.bring(map[string]wire.Pack{"back": pack})
	must(t, err)
	n := b.node(c, c.Tokens["back"][0], "b0")
	_, err = n.Join(ctx, face(1))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(b.service.packsDir(c.ID), pack.SHA256), []byte("CONTENT"), 0o600))
	wantCode(t, n.Pack(ctx, pack, io.Discard), wire.BadRequest)
	must(t, os.WriteFile(filepath.Join(b.service.packsDir(c.ID), pack.SHA256), []byte("cut"), 0o600))
	wantCode(t, n.Pack(ctx, pack, io.Discard), wire.Internal)
	wantCode(t, n.Pack(ctx, wire.Pack{SHA256: "x", Size: 1}, io.Discard), wire.BadRequest)
}

// Only the exact name of a pack is one.
func TestPackNames(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	pack := named([]byte("content"))
	c, err := b.bring(map[string]wire.Pack{"back": pack})
	must(t, err)
	secrets, err := readFile(filepath.Join(b.dir, "owner.key"))
	must(t, err)
	for _, name := range []string{"..%2f..%2fowner.key", "..", "%2e%2e", strings.ToUpper(pack.SHA256), pack.SHA256 + "/x"} {
		q, err := http.NewRequest(http.MethodPut, b.url+"/v1/contexts/"+c.ID+"/packs/"+name, strings.NewReader("content"))
		must(t, err)
		q.Header.Set("Authorization", "Bearer "+strings.TrimSpace(secrets))
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // only here: the certificate is not what is tested
		response, err := transport.RoundTrip(q)
		must(t, err)
		response.Body.Close()
		if response.StatusCode < 300 {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
	if list := b.packs(); len(list) != 1 {
		t.Errorf("kept %q", list)
	}
}
