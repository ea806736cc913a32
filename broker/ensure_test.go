package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

// The test binary is a broker itself, when it is called like one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "broker" {
		app := &cli.App{Commands: []*cli.Command{Command()}, ExitErrHandler: func(*cli.Context, error) {}}
		if err := app.Run(os.Args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func testExecutable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	must(t, err)
	return path
}

// gone waits until the broker has removed its socket. (Asking it would keep it
// awake.)
func gone(t *testing.T, dir string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, socketName)); errors.Is(err, os.ErrNotExist) {
			return
		}
	}
	t.Fatal("the broker does not end")
}

func oneContext(t *testing.T, client *wire.Client) wire.Created {
	t.Helper()
	d, _ := cluster.Read("", strings.NewReader(definition))
	created, err := client.Create(context.Background(), wire.Create{Definition: *d, Expires: time.Now().Add(time.Hour)})
	must(t, err)
	return created
}

// Many clients at once start one broker; it stays while it holds a context,
// keeps its addresses when it is started again, and ends when all is done.
func TestOneBrokerForEachUser(t *testing.T) {
	// Deeper than a socket's address may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30), "broker")
	executable := testExecutable(t)
	ctx := context.Background()
	if _, err := Find(ctx, dir); !errors.Is(err, ErrNotRunning) {
		t.Fatal(err)
	}
	var mu sync.Mutex
	ids := map[string]bool{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			client, err := Ensure(ctx, dir, executable)
			if err != nil {
				t.Error(err)
				return
			}
			info, err := client.Info(ctx)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			ids[fmt.Sprint(info.Brokers)] = true
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		t.Fatalf("several brokers: %v", ids)
	}
	client, err := Ensure(ctx, dir, executable)
	must(t, err)
	created := oneContext(t, client)
	url, err := client.Listen(ctx, "127.0.0.9")
	must(t, err)
	if _, err := client.Listen(ctx, "0.0.0.0"); err == nil {
		t.Error("listens everywhere")
	}

	must(t, client.Stop(ctx))
	gone(t, dir)
	client, err = Ensure(ctx, dir, executable)
	must(t, err)
	node, err := wire.NewNodeClient(&wire.Bootstrap{Brokers: []string{url}, BrokerID: created.BrokerID, CA: created.CA,
		Context: created.ID, Token: created.Tokens["back"][0]}, "a-claim-of-some-length")
	must(t, err)
	_, err = node.Join(ctx, face(7))
	must(t, err)
	must(t, client.Delete(ctx, created.ID))
	gone(t, dir)
}

// A directory that others can enter is no place for keys; the client is told.
func TestEnsureSaysWhyNot(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	if _, err := Ensure(context.Background(), dir, testExecutable(t)); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("%v", err)
	}
	must(t, os.Chmod(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "master.key"), []byte("x"), 0o600))
	if _, err := Ensure(context.Background(), dir, testExecutable(t)); err == nil || !strings.Contains(err.Error(), "64 hexadecimal digits") {
		t.Errorf("%v", err)
	}
}
