package httpd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"nimbus/broker/wire"
)

func (h handing) Pack(context.Context, Node) (io.ReadCloser, int64, error) {
	return io.NopCloser(bytes.NewReader(h.content)), int64(len(h.content)), nil
}

type trusting struct{ Guard }

func (trusting) Verify(string, wire.Token) bool { return true }

// Nodes of a context that take nothing of their packs keep those of another
// context from nothing.
func TestSlowNodesOfAnotherContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
		s, client := server(t, content)
		s.Guard = trusting{}
		ctx, stop := context.WithCancel(t.Context())
		ask := func(id string, node int) *http.Response {
			q, err := http.NewRequestWithContext(ctx, "GET", "http://broker/v1/contexts/"+id+"/pack", nil)
			if err != nil {
				panic(err)
			}
			q.Header.Set("Authorization", fmt.Sprintf("%s work:%d:mac", wire.NodeScheme, node))
			q.Header.Set(wire.ClaimHeader, fmt.Sprintf("the claim of machine %d", node))
			response, err := client.Do(q)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			return response
		}
		var all sync.WaitGroup
		for i := range downloadsAtOnce + 1 {
			all.Go(func() {
				if response := ask("hostile", i); response != nil { // which is not read
					<-ctx.Done()
					response.Body.Close()
				}
			})
		}
		synctest.Wait()
		if _, running, waiting := s.packs.counts(); running != downloadsFrom || waiting != downloadsAtOnce+1-downloadsFrom {
			t.Fatalf("%d are sent a pack, %d wait", running, waiting)
		}
		response := ask("other", 0)
		got, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		stop()
		all.Wait()
	})
}
