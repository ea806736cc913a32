package knownhosts

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// keygen asks OpenSSH what it makes of a file.
func keygen(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Fatal("ssh-keygen is missing: install openssh-client")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	return string(out), err
}

func TestOpenSSHAgrees(t *testing.T) {
	dir := t.TempDir()
	key := func(name, keyType string) string {
		path := filepath.Join(dir, name)
		if out, err := keygen(t, "-q", "-t", keyType, "-N", "", "-C", name, "-f", path); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(read(t, path+".pub"))
	}
	oldKey, newKey, rsa := key("old", "ed25519"), key("new", "ed25519"), key("other", "rsa")
	base64 := func(key string) string { return strings.Fields(key)[1] }

	// Half of the file is hashed by OpenSSH itself.
	hashedFile := filepath.Join(dir, "hashed")
	write(t, hashedFile, "10.0.0.1 "+oldKey+"\n10.0.0.12 "+oldKey+"\n2001:db8::1 "+oldKey+"\n[10.0.0.1]:2222 "+oldKey+"\n", 0o600)
	if out, err := keygen(t, "-H", "-f", hashedFile); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if strings.Contains(read(t, hashedFile), "10.0.0.1") {
		t.Fatal("ssh-keygen -H did not hash")
	}
	file := filepath.Join(dir, "known_hosts")
	before := read(t, hashedFile) + "Front.example.org,friend " + oldKey + "\r\nfront.example.org " + rsa + "\r\nlast " + oldKey
	write(t, file, before, 0o600)

	lookup := func(host string) string {
		out, _ := keygen(t, "-F", host, "-f", file) // exit code 1: not found
		return out
	}
	// What this test is about is there to begin with.
	for _, host := range []string{"10.0.0.1", "front.example.org", "2001:db8::1", "last"} {
		if !strings.Contains(lookup(host), base64(oldKey)) {
			t.Fatalf("the file does not know %s:\n%s", host, lookup(host))
		}
	}
	added := mustAdd(t, file,
		Entry{Hosts: []string{"front.example.org", "10.0.0.1"}, Key: newKey},
		Entry{Hosts: []string{"Six.example.org", "2001:0db8::1"}, Key: newKey})
	for host, keys := range map[string][3]bool{ // old, new, rsa
		"10.0.0.1":          {false, true, false},
		"front.example.org": {false, true, true},
		"2001:db8::1":       {false, true, false},
		"six.example.org":   {false, true, false},
		"friend":            {true, false, false},
		"last":              {true, false, false},
		"10.0.0.12":         {true, false, false},
		"[10.0.0.1]:2222":   {true, false, false},
	} {
		out := lookup(host)
		for i, k := range []string{oldKey, newKey, rsa} {
			if strings.Contains(out, base64(k)) != keys[i] {
				t.Errorf("ssh-keygen -F %s, %s: want %v in\n%s", host, strings.Fields(k)[2], keys[i], out)
			}
		}
	}
	if out, err := keygen(t, "-l", "-f", file); err != nil || strings.Contains(out, "not a") {
		t.Errorf("ssh-keygen -l: %v\n%s", err, out)
	}
	if err := Remove(file, added, false); err != nil {
		t.Fatal(err)
	}
	if out := lookup("front.example.org"); strings.Contains(out, base64(newKey)) || !strings.Contains(out, base64(rsa)) {
		t.Errorf("after Remove:\n%s", out)
	}
}
