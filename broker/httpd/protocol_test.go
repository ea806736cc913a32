package httpd

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// docs/protocol.md and the table of routes say the same.
func TestProtocolPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	names := map[who]string{anyone: "anyone", owner: "owner", node: "node", local: "socket"}
	for _, r := range routes {
		if line := fmt.Sprintf("| `%s %s` | %s |", r.method, r.path, names[r.who]); !strings.Contains(page, line) {
			t.Errorf("docs/protocol.md has no line %s", line)
		}
	}
	if n := strings.Count(page, "| `GET /") + strings.Count(page, "| `POST /") + strings.Count(page, "| `PUT /") + strings.Count(page, "| `DELETE /"); n != len(routes) {
		t.Errorf("docs/protocol.md has %d calls, the table of routes %d", n, len(routes))
	}
}
