package knownhosts

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Real keys, made for these tests.
const (
	edA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGlsoRXmRBuOKyUD8n5hBMPbPFVoyZUMW6Nef/2oyhOt"
	edB = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBgu4GaF6C4Pg1Ot2UQdFkm4bMZSyTXJHnnZaq3KkdDI"
	ec  = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBPCnYQ8F0AJR1hZKCqWl2FDJ5Aef4xZvJvzG8WX5Kq9gO8XgS7uT2Jb1dWNmZC8n1sT2v8w0Hn0Cj6dGvYz2kVQ="
)

func hash(name string) string {
	salt := []byte("12345678901234567890")
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return "|1|" + base64.StdEncoding.EncodeToString(salt) + "|" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func wanted(t testing.TB, entries ...Entry) []host {
	t.Helper()
	hosts, err := normalize(entries)
	if err != nil {
		t.Fatal(err)
	}
	return hosts
}

var front = Entry{Hosts: []string{"front.example.org", "10.0.0.1"}, Key: edA + " root@front"}

const (
	frontLine  = "front.example.org,10.0.0.1 " + edA + " root@front"
	frontBlock = "\n# cloud-client added this:\n" + frontLine + "\n"
)

func TestAdd(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"new file", "", strings.TrimPrefix(frontBlock, "\n")},
		{"other hosts", "a " + edB + "\n", "a " + edB + "\n" + frontBlock},
		{"no newline at the end", "a " + edB, "a " + edB + frontBlock},
		{"another key", "10.0.0.1 " + edB + " old\nb " + edB + "\n", "# 10.0.0.1 " + edB + " old\nb " + edB + "\n" + frontBlock},
		{"last line conflicts, unfinished", "10.0.0.1 " + edB, "# 10.0.0.1 " + edB + frontBlock},
		{"a longer address", "10.0.0.12 " + edB + "\n110.0.0.1 " + edB + "\n", "10.0.0.12 " + edB + "\n110.0.0.1 " + edB + "\n" + frontBlock},
		{"a longer name", "front.example.org.uk " + edB + "\nmyfront.example.org " + edB + "\n", "front.example.org.uk " + edB + "\nmyfront.example.org " + edB + "\n" + frontBlock},
		{"the name in a comment", "b " + edB + " root@front.example.org\n", "b " + edB + " root@front.example.org\n" + frontBlock},
		{"shared line", "a,10.0.0.1,b " + edB + " c d\n", "# 10.0.0.1 " + edB + " c d\na,b " + edB + " c d\n" + frontBlock},
		{"shared with a pattern", "\t10.0.0.1,*.org,!x " + edB + "\n", "# \t10.0.0.1 " + edB + "\n\t*.org,!x " + edB + "\n" + frontBlock},
		{"all names of a line", "10.0.0.1,Front.Example.ORG " + edB + "\n", "# 10.0.0.1,Front.Example.ORG " + edB + "\n" + frontBlock},
		{"key of another type", "front.example.org,10.0.0.1 " + ec + "\n", "front.example.org,10.0.0.1 " + ec + "\n" + frontBlock},
		{"hashed", hash("10.0.0.1") + " " + edB + "\n" + hash("10.0.0.12") + " " + edB + "\n", "# " + hash("10.0.0.1") + " " + edB + "\n" + hash("10.0.0.12") + " " + edB + "\n" + frontBlock},
		{"other port", "[10.0.0.1]:2222 " + edB + "\n" + hash("[10.0.0.1]:2222") + " " + edB + "\n", "[10.0.0.1]:2222 " + edB + "\n" + hash("[10.0.0.1]:2222") + " " + edB + "\n" + frontBlock},
		{"patterns", "10.0.0.* " + edB + "\n!10.0.0.1,* " + edB + "\nfront.example.or? " + edB + "\n", "10.0.0.* " + edB + "\n!10.0.0.1,* " + edB + "\nfront.example.or? " + edB + "\n" + frontBlock},
		{"markers", "@revoked 10.0.0.1 " + edB + "\n@cert-authority 10.0.0.1 " + edB + "\n", "@revoked 10.0.0.1 " + edB + "\n@cert-authority 10.0.0.1 " + edB + "\n" + frontBlock},
		{"comments and dirt", "# 10.0.0.1 " + edB + "\n\n10.0.0.1\n10.0.0.1 " + "ssh-ed25519\n\x00\xff\n", "# 10.0.0.1 " + edB + "\n\n10.0.0.1\n10.0.0.1 " + "ssh-ed25519\n\x00\xff\n" + frontBlock},
		{"CRLF", "a " + edB + "\r\n10.0.0.1 " + edB + "\r\nb,10.0.0.1\t" + edB + "\r\n", "a " + edB + "\r\n# 10.0.0.1 " + edB + "\r\n# 10.0.0.1\t" + edB + "\r\nb\t" + edB + "\r\n" + frontBlock},
		{"known already", "x,10.0.0.1 " + edA + "\r\n" + hash("front.example.org") + " " + edA + "\n", "x,10.0.0.1 " + edA + "\r\n" + hash("front.example.org") + " " + edA + "\n"},
		{"one name known", "10.0.0.1 " + edA + "\n", "10.0.0.1 " + edA + "\n" + frontBlock},
		{"known, but taken back", "!10.0.0.1,10.0.0.1,front.example.org " + edA + "\n", "!10.0.0.1,10.0.0.1,front.example.org " + edA + "\n" + frontBlock},
		{"known and another", "10.0.0.1,front.example.org " + edA + "\n10.0.0.1 " + edB + "\n", "10.0.0.1,front.example.org " + edA + "\n# 10.0.0.1 " + edB + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ours := add(c.before, wanted(t, front))
			if got != c.after {
				t.Errorf("got\n%q\nwant\n%q", got, c.after)
			}
			if added := strings.HasSuffix(c.after, frontLine+"\n"); added != slices.Contains(ours, frontLine) {
				t.Errorf("ours: %q", ours)
			}
			again, still := add(got, wanted(t, front))
			if again != got || !slices.Equal(still, ours) {
				t.Errorf("a second time it is\n%q, %q", again, still)
			}
		})
	}
}

func TestIPv6(t *testing.T) {
	entry := Entry{Hosts: []string{"Six.example.org", "2001:DB8:0:0::1"}, Key: edA}
	before := "2001:db8::1 " + edB + "\n2001:db8::11 " + edB + "\n[2001:db8::1]:22 " + edB + "\n"
	got, _ := add(before, wanted(t, entry))
	want := "# " + before + "\n# cloud-client added this:\nsix.example.org,2001:db8::1 " + edA + "\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What Remove takes, and what it leaves where others have edited since.
func TestRemove(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"as added", "a " + edB + "\n" + frontBlock, "a " + edB + "\n"},
		{"the whole file", frontBlock[1:], ""},
		{"gone already", "a " + edB + "\n", "a " + edB + "\n"},
		{"lines follow", "a k x\n" + frontBlock + "b k x\n", "a k x\nb k x\n"},
		{"lines follow an unfinished one", "a k x" + frontBlock + "b k x\n", "a k x\nb k x\n"},
		{"comment taken away", "a k x\n" + frontLine + "\nb k x\n", "a k x\nb k x\n"},
		{"the user's own copy", frontLine + "\n" + frontBlock, frontLine + "\n"},
		{"commented out since", "# " + frontLine + "\n", "# " + frontLine + "\n"},
		{"name added since", "x," + frontLine + "\n", "x," + frontLine + "\n"},
		{"converted to CRLF", strings.ReplaceAll("a k x\n"+frontBlock+"b k x\n", "\n", "\r\n"), "a k x\r\nb k x\r\n"},
		{"without its newline", "a k x\n" + strings.TrimSuffix(frontBlock, "\n"), "a k x\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := remove(c.before, []string{frontLine}); got != c.after {
				t.Errorf("got\n%q\nwant\n%q", got, c.after)
			}
		})
	}
}

func TestWhatCannotBeTrustedIsRefused(t *testing.T) {
	for _, e := range []Entry{
		{},
		{Hosts: []string{"a"}},
		{Hosts: []string{""}, Key: edA},
		{Hosts: []string{"a b"}, Key: edA},
		{Hosts: []string{"a,b"}, Key: edA},
		{Hosts: []string{"a\nb"}, Key: edA},
		{Hosts: []string{"*"}, Key: edA},
		{Hosts: []string{"!a"}, Key: edA},
		{Hosts: []string{"#a"}, Key: edA},
		{Hosts: []string{"@revoked"}, Key: edA},
		{Hosts: []string{"|1|a|b"}, Key: edA},
		{Hosts: []string{"[a]:22"}, Key: edA},
		{Hosts: []string{"fe80::1%eth0"}, Key: edA},
		{Hosts: []string{strings.Repeat("a.", 200) + "a"}, Key: edA},
		{Hosts: []string{"a"}, Key: "ssh-ed25519"},
		{Hosts: []string{"a"}, Key: edA + "\nb " + edB},
		{Hosts: []string{"a"}, Key: edA + " \x1b[2J"},
		{Hosts: []string{"a"}, Key: edA + " \xff"},
		{Hosts: []string{"a"}, Key: edA + strings.Repeat(" x", 4096)},
		{Hosts: []string{"a"}, Key: "ssh-ed25519 AAAA"},
		{Hosts: []string{"a"}, Key: "ssh-ed25519 A*AA"},
		{Hosts: []string{"a"}, Key: "ssh-ed25519 AA"},
		{Hosts: []string{"a"}, Key: "ssh-rsa " + strings.Fields(edA)[1]},
		{Hosts: []string{"a"}, Key: "SSH;x " + strings.Fields(edA)[1]},
		{Hosts: []string{"a"}, Key: "ssh-ed25519 //////////8="},
	} {
		if _, err := normalize([]Entry{front, e}); err == nil {
			t.Errorf("accepted: %.200q", e)
		}
	}
	_, err := normalize([]Entry{front, {Hosts: []string{"back", "10.0.0.1"}, Key: edB}})
	if err == nil || !strings.Contains(err.Error(), "two machines claim") {
		t.Errorf("one address, two keys: %v", err)
	}
	if hosts := wanted(t, front, front, Entry{Hosts: []string{"front.example.org", "front.example.org"}, Key: ec}); len(hosts) != 2 || len(hosts[1].names) != 1 {
		t.Errorf("repeated entries: %+v", hosts)
	}
}

// Random files: every line for other hosts survives byte for byte and in
// order, and where nothing conflicts Remove gives back the original.
func TestForeignLinesSurvive(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	foreign := []string{
		"10.0.0.12 " + edB, "*.org " + edB, "# note", "", "  ", "@revoked * " + edB, "[10.0.0.1]:22 " + edB, "garbage",
		hash("other") + " " + edB, "a,b,c " + ec + " x", "10.0.0.1 " + ec, "\xff\xfe", "# cloud-client added this:",
		"10.0.0.1 1024 35 1234567", "b " + edB + "\r", strings.Repeat("h,", 2_000) + "h " + edB,
	}
	conflicting := []string{"10.0.0.1 " + edB, hash("front.example.org") + " " + edB, "FRONT.example.org,10.0.0.1\t" + edB + " x\r"}
	for round := range 500 {
		var lines []string
		conflicts := round%2 == 1
		for range r.IntN(8) {
			below := len(lines) > 0 && lines[len(lines)-1] == comment // then it would be ours
			if conflicts && !below && r.IntN(3) == 0 {
				lines = append(lines, conflicting[r.IntN(len(conflicting))])
			} else {
				lines = append(lines, foreign[r.IntN(len(foreign))])
			}
		}
		before := strings.Join(lines, "\n")
		if len(lines) > 0 && r.IntN(2) == 0 {
			before += "\n"
		}
		back := Entry{Hosts: []string{"back", fmt.Sprintf("10.9.0.%d", r.IntN(250))}, Key: edB}
		after, ours := add(before, wanted(t, front, back))
		rest := strings.Split(after, "\n")
		for _, l := range lines {
			if slices.Contains(conflicting, l) {
				l = "# " + l
			}
			i := slices.Index(rest, l)
			if i < 0 {
				t.Fatalf("seed %d: %.100q is lost in\n%.2000q", seed, l, after)
			}
			rest = rest[i+1:]
		}
		if got := remove(after, ours); !conflicts && got != before {
			t.Fatalf("seed %d: added and removed\n%.2000q\nbecame\n%.2000q", seed, before, got)
		}
	}
}

// FuzzLine: no line makes the parser panic, taken apart it is still the same,
// and no file loses anything that is not ours to take.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{"a,b " + edA + " c", "\t10.0.0.1 " + edB + "\r\n", hash("10.0.0.1") + " " + edB, "|1|x|y k v", "@x", "# c", "a", "\r", comment + "\n" + frontLine, ",,10.0.0.1,, ssh-ed25519 x"} {
		f.Add(seed)
	}
	hosts, err := normalize([]Entry{front})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if l, ok := parse(text); ok {
			if back := l.with(strings.Split(l.names, ",")); back != text {
				t.Fatalf("%q became %q", text, back)
			}
		}
		out, ours := add(text, hosts)
		again, still := add(out, hosts)
		if again != out || !slices.Equal(ours, still) {
			t.Fatalf("a second time %q became %q", out, again)
		}
		// A line below our comment is ours, and may go.
		if len(out) < len(text) && !strings.Contains(text, comment) {
			t.Fatalf("%q lost something: %q", text, out)
		}
		if strings.HasPrefix(out, text) && !strings.Contains(text, comment) && !strings.Contains(text, frontLine) {
			if back := remove(out, ours); back != text {
				t.Fatalf("added and removed, %q became %q", text, back)
			}
		}
	})
}

// A later launch may get a name or an address of an earlier one: what is left
// of the earlier lines goes with either, whichever is taken back first.
func TestLaunchesThatFollowEachOther(t *testing.T) {
	const foreign = "example.org " + "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBgu4GaF6C4Pg1Ot2UQdFkm4bMZSyTXJHnnZaq3KkdDI\n"
	first := []host{{names: []string{"head-0.cluster-001", "10.0.0.2"}, keyType: "ssh-ed25519", key: "AAAA1"}}
	second := []host{{names: []string{"head-0.cluster-002", "10.0.0.2"}, keyType: "ssh-ed25519", key: "AAAA2"}}
	again := []host{{names: []string{"head-0.cluster-001", "10.0.0.2"}, keyType: "ssh-ed25519", key: "AAAA3"}}
	for _, later := range [][]host{second, again} {
		text, a := add(foreign, first)
		text, b := add(text, later)
		if strings.Contains(text, "# 10.0.0.2") || strings.Contains(text, "# head") || strings.Count(text, "10.0.0.2") != 1 {
			t.Errorf("the address has not changed hands:\n%s", text)
		}
		if out := remove(remove(text, a), b); out != foreign {
			t.Errorf("first and then later taken back:\n%s", out)
		}
		if out := remove(remove(text, b), a); out != foreign {
			t.Errorf("later and then first taken back:\n%s", out)
		}
	}
}
