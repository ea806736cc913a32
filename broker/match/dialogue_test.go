package match

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"nimbus/broker/cluster"
)

// The dialogues in testdata are the semantics of a context as a person would
// tell them: what nodes say (lines that begin with >), and what comes of it.
// UPDATE=1 writes the answers anew.
func TestDialogues(t *testing.T) {
	paths, err := filepath.Glob("testdata/dialogues/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			definition, problems := cluster.Read(path, bytes.NewReader(archive.Files[0].Data))
			if err := problems.Err(); err != nil {
				t.Fatal(err)
			}
			got := play(t, definition, string(archive.Files[1].Data))
			if os.Getenv("UPDATE") != "" {
				archive.Files[1].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(archive), 0o666); err != nil {
					t.Fatal(err)
				}
			} else if got != string(archive.Files[1].Data) {
				t.Errorf("got:\n%s\nwant:\n%s", got, archive.Files[1].Data)
			}
		})
	}
}

// play runs the commands of a dialogue and writes it down anew. The context is
// created at the first command; "> open" as that creates it unlocked.
func play(t *testing.T, d *cluster.Definition, dialogue string) string {
	var out strings.Builder
	s := New()
	var log []Event
	apply := func(e Event) {
		e.At = time.Unix(int64(s.Seq()), 0).UTC()
		err := s.Apply(e)
		if err != nil {
			fmt.Fprintln(&out, "refused:", err)
			return
		}
		log = append(log, e)
	}
	for line := range strings.Lines(dialogue) {
		command, is := strings.CutPrefix(line, "> ")
		if !is {
			if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
				out.WriteString(line)
			}
			continue
		}
		out.WriteString(line)
		words := strings.Fields(command)
		if s.Seq() == 0 {
			apply(Event{Created: &Created{ID: "c", Definition: *d, Open: words[0] == "open"}})
		}
		if words[0] == "open" {
			continue
		}
		claimant := Claimant{}
		if len(words) > 1 {
			claimant = claim(t, words[1])
		}
		switch words[0] {
		case "join": // join node[@machine] label=ip[/hostname][/nokey]…
			apply(Event{Joined: &Joined{claimant, identities(t, words[2:])}})
		case "ok":
			apply(Event{Reported: &Reported{claimant, Report{OK: true}}})
		case "error":
			apply(Event{Reported: &Reported{claimant, Report{Step: words[2], Code: 4, Log: strings.Join(words[3:], " ")}}})
		case "retry":
			apply(Event{Retried: &Retried{claimant}})
		case "extend": // to so many seconds after 1970; each event takes one
			seconds, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			apply(Event{Extended: &Extended{time.Unix(seconds, 0).UTC()}})
		case "data":
			apply(Event{DataAdded: &DataAdded{words[1], strings.Join(words[2:], " ")}})
		case "lock":
			apply(Event{Locked: &Locked{}})
		case "release":
			apply(Event{Released: &Released{place(t, words[1])}})
		case "cancel":
			apply(Event{Cancelled: &Cancelled{}})
		case "expire":
			apply(Event{Expired: &Expired{}})
		case "ask":
			out.WriteString(ask(s, claimant))
		case "status":
			out.WriteString(status(s))
		default:
			t.Fatalf("no command %q", words[0])
		}
	}
	again, err := Replay(log)
	if err != nil {
		t.Fatal(err)
	}
	if status(again) != status(s) {
		t.Errorf("replayed:\n%s\nbut was:\n%s", status(again), status(s))
	}
	return out.String()
}

// claim reads node[@machine]; a node's own machine has its name. An index of
// "any" leaves the choice to the context.
func claim(t *testing.T, word string) Claimant {
	node, machine, given := strings.Cut(word, "@")
	if !given {
		machine = node
	}
	if workspace, any := strings.CutSuffix(node, "-any"); any {
		return Claimant{workspace, AnyIndex, machine}
	}
	if !strings.Contains(node, "-") {
		return Claimant{}
	}
	p := place(t, node)
	return Claimant{p.Workspace, p.Index, machine}
}

func place(t *testing.T, node string) cluster.Place {
	p, err := cluster.ParsePlace(node)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func identities(t *testing.T, words []string) []cluster.Identity {
	var list []cluster.Identity
	for _, word := range words {
		label, rest, _ := strings.Cut(word, "=")
		parts := strings.Split(rest, "/")
		i := cluster.Identity{Interface: label, Pubkey: "ssh-ed25519 AAAA"}
		for _, part := range parts {
			if ip, err := netip.ParseAddr(part); err == nil {
				i.IP = ip
			} else if part == "nokey" {
				i.Pubkey = ""
			} else {
				i.Hostname = part
			}
		}
		list = append(list, i)
	}
	return list
}

func ask(s *State, c Claimant) string {
	place, requirement, err := s.Holder(c)
	if err != nil {
		return fmt.Sprintln("refused:", err)
	}
	if !s.Complete(requirement) {
		return fmt.Sprintf("%s waits for %s\n", place, strings.Join(s.Missing(requirement), "; "))
	}
	m := s.Manifest(requirement)
	var out strings.Builder
	for _, n := range m.Nodes {
		fmt.Fprintf(&out, "  %s:", n.Place)
		for _, i := range n.Identities {
			fmt.Fprintf(&out, " %s=%s/%s", i.Interface, i.IP, i.Hostname)
		}
		out.WriteByte('\n')
	}
	for _, r := range m.Roles {
		fmt.Fprintf(&out, "  role %s:", r.Name)
		for _, p := range r.Providers {
			fmt.Fprintf(&out, " %s", m.Identity(p).IP)
		}
		out.WriteByte('\n')
	}
	for _, d := range m.Data {
		fmt.Fprintf(&out, "  data %s=%s\n", d.Name, strconv.Quote(d.Value))
	}
	return out.String()
}

func status(s *State) string {
	expected, joined, ok, failed := s.Counts()
	var out strings.Builder
	fmt.Fprintf(&out, "  %d expected, %d joined, %d ok, %d failed", expected, joined, ok, failed)
	for _, state := range []struct {
		text string
		is   bool
	}{{"; all ok", s.AllOK()}, {"; failing", s.Failing()}, {"; ended", s.Ended()}} {
		if state.is {
			out.WriteString(state.text)
		}
	}
	out.WriteByte('\n')
	if n, any := s.Latest(); any {
		switch {
		case n.Report == nil:
			fmt.Fprintf(&out, "  last: %s joined\n", n.Place)
		case n.Report.OK:
			fmt.Fprintf(&out, "  last: %s is ok\n", n.Place)
		}
	}
	for _, n := range s.Failures(10) {
		fmt.Fprintf(&out, "  %s failed: %s: %s\n", n.Place, n.Report.Step, strings.TrimSpace(n.Report.Log))
	}
	return out.String()
}
