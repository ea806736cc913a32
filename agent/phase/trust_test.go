package phase

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWithBlock(t *testing.T) {
	for name, c := range map[string]struct{ old, lines, want string }{
		"new file":         {"", "a\n", "# nimbus begin\na\n# nimbus end\n"},
		"foreign lines":    {"x\ny", "a\n", "x\ny\n# nimbus begin\na\n# nimbus end\n"},
		"replaced":         {"x\n# nimbus begin\nold\n# nimbus end\ny\n", "a\n", "x\ny\n# nimbus begin\na\n# nimbus end\n"},
		"removed":          {"x\n# nimbus begin\nold\n# nimbus end\n", "", "x\n"},
		"nothing to do":    {"x\n", "", "x\n"},
		"end is lost":      {"# nimbus begin\ny\n", "a\n", "# nimbus begin\ny\n# nimbus begin\na\n# nimbus end\n"},
		"after lost end":   {"# nimbus begin\ny\n# nimbus begin\nb\n# nimbus end\n", "a\n", "# nimbus begin\ny\n# nimbus begin\na\n# nimbus end\n"},
		"within a comment": {"x # nimbus begin\ny\n# nimbus end\n", "", "x # nimbus begin\ny\n# nimbus end\n"},
	} {
		if got := string(withBlock([]byte(c.old), c.lines)); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestTrust(t *testing.T) {
	dir := t.TempDir()
	files := TrustFiles{KnownHosts: filepath.Join(dir, "ssh", "ssh_known_hosts"), HostsEquiv: filepath.Join(dir, "hosts.equiv")}
	write(t, files.HostsEquiv, "trusted.example.org\n", 0o644)

	if err := files.write(torque()); err != nil {
		t.Fatal(err)
	}
	short := strings.TrimSuffix(key, " made-up")
	want := "# nimbus begin\n" +
		"head.example.org,192.0.2.10 " + short + "\nhead,192.0.2.10 " + short + "\n" +
		"head.example.org,10.78.0.2 " + short + "\nhead,10.78.0.2 " + short + "\n" +
		"compute-0,10.78.0.3 " + short + "\n# nimbus end\n"
	if got := read(t, files.KnownHosts); got != want {
		t.Errorf("known hosts:\n%s\nwant:\n%s", got, want)
	}
	if got := read(t, files.HostsEquiv); got != "trusted.example.org\n" {
		t.Errorf("host based trust was not asked for, but hosts.equiv is now %q", got)
	}

	files.HostBased = true
	for range 2 { // the second time must not take our own file for the old one
		if err := files.write(torque()); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, files.HostsEquiv); got != "head.example.org\n192.0.2.10\nhead.example.org\n10.78.0.2\ncompute-0\n10.78.0.3\n" {
		t.Errorf("hosts.equiv: %q", got)
	}
	if got := read(t, files.HostsEquiv+".before-nimbus"); got != "trusted.example.org\n" {
		t.Errorf("the old hosts.equiv: %q", got)
	}
	if got := read(t, files.KnownHosts); got != want {
		t.Errorf("known hosts after three times:\n%s", got)
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
