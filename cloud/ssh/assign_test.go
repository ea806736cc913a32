package ssh

import (
	"errors"
	"fmt"
	"os/user"
	"strings"
	"testing"
	"time"

	"nimbus/cloud"
)

func namedHosts(names ...string) []Host {
	var all []Host
	for _, name := range names {
		all = append(all, Host{Address: name}.with("root"))
	}
	return all
}

// wants asks for instances by workspace-index, all of launch "l".
func wants(tokens ...string) []cloud.Request {
	var all []cloud.Request
	for _, token := range tokens {
		r := cloud.Request{Launch: "l", Token: token, Name: token + ".c"}
		fmt.Sscanf(strings.Replace(token, "-", " ", 1), "%s %d", &r.Group, &r.Index)
		all = append(all, r)
	}
	return all
}

func TestAssign(t *testing.T) {
	hosts := map[string][]Host{"head": namedHosts("h0"), "work": namedHosts("w0", "w1"), AnyGroup: namedHosts("a0", "w1", "a1")}
	for _, c := range []struct {
		name  string
		noted []place
		want  string
	}{
		{"head-0 work-0 work-1", nil, "h0 w0 w1"},
		{"work-1 head-0 work-0", nil, "w1 h0 w0"},
		{"work-2 work-0 work-1 x-0", nil, "a0 w0 w1 a1"}, // one host is both
		{"x-0 y-0 x-0", nil, "a0 w1 a0"},                 // a token twice is one instance
		{"head-0 head-1", []place{{Launch: "l", Token: "head-1", Host: "root@a1:22", Name: "x-0.old"}}, "h0 a1"},
		{"head-0 head-1", []place{{Launch: "m", Token: "x-0", Host: "root@a0:22", Name: "x-0.old"}}, "h0 w1"},
		{"head-0", []place{{Launch: "m", Token: "x-0", Host: "root@h0:22", Name: "x-0.old"}}, "h0"}, // the host knows whether that is still so
		{"head-0", []place{{Launch: "l", Token: "head-0", Host: "ann@far:2222", Name: "x-0.old"}}, "ann@far:2222"},
	} {
		given, err := assign(wants(strings.Fields(c.name)...), hosts, c.noted)
		var got []string
		for _, h := range given {
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(h.String(), "root@"), ":22"))
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, %v, want %s", c.name, got, err, c.want)
		}
	}

	_, err := assign(wants("head-0", "head-1", "work-2", "x-0", "x-1"), hosts, nil)
	if !errors.Is(err, cloud.ErrNoCapacity) || !strings.Contains(err.Error(), `too few hosts: "head" asks for 2 and has 1 of its own, "x" asks for 2 and has 0 of its own; hosts for any workspace: 3, in use: 0`) {
		t.Errorf("too few: %v", err)
	}
	twice := map[string][]Host{"a": namedHosts("h"), "b": {Host{Address: "h", User: "ann"}.with("root")}}
	if _, err := assign(wants("a-0", "b-0"), twice, nil); err == nil || err.Error() != "host ann@h:22 would be two machines of the launch: a-0.c and b-0.c" {
		t.Errorf("a host twice: %v", err)
	}
}

func TestLimits(t *testing.T) {
	hosts := map[string][]Host{"head": namedHosts("h0"), "work": namedHosts("w0", "w1"), AnyGroup: namedHosts("a0", "w1", "a1")}
	all, err := limits(map[string]int{"head": 1, "work": 3}, hosts, []place{{Launch: "m", Token: "x-0", Host: "root@a0:22", Name: "x-0.old"}})
	if got := fmt.Sprint(all); err != nil || got != `[{hosts for "head" 1 1} {hosts for "work" 2 2} {hosts for any workspace 1 1}]` {
		t.Errorf("%s, %v", got, err)
	}
	if all, err = limits(map[string]int{"x": 4}, hosts, nil); !errors.Is(err, cloud.ErrNoCapacity) || !strings.Contains(err.Error(), `"x" asks for 4 and has 0 of its own; hosts for any workspace: 3, in use: 0: no capacity`) {
		t.Errorf("%v, %v", all, err)
	}
	busy := []place{{Launch: "m", Token: "x-0", Host: "root@a0:22", Name: "x-0.cluster-007"}, {Launch: "m", Token: "x-1", Host: "root@a1:22", Name: ""}}
	if _, err = limits(map[string]int{"x": 2, "head": 1}, hosts, busy); err == nil ||
		err.Error() != `too few hosts: "x" asks for 2 and has 0 of its own; hosts for any workspace: 3, in use: 2 (root@a0:22 is x-0.cluster-007, root@a1:22 is in launch m): no capacity` {
		t.Errorf("in use: %v", err)
	}
	if _, err = limits(map[string]int{"x": 1}, nil, nil); err == nil || !strings.Contains(err.Error(), "; there are none for any workspace: ") {
		t.Errorf("none: %v", err)
	}
	both := map[string][]Host{"a": namedHosts("h"), "b": namedHosts("g", "h")}
	if _, err = limits(map[string]int{"a": 1, "b": 2}, both, nil); err == nil || err.Error() != "host root@h:22 would be two machines of the launch: a-0 and b-1" {
		t.Errorf("a host twice: %v", err)
	}
	if _, err = limits(map[string]int{"a": 1, "b": 1}, both, nil); err != nil {
		t.Errorf("a host twice, and needed once: %v", err)
	}
	if all, err = limits(map[string]int{"head": 1}, map[string][]Host{"head": namedHosts("h0")}, nil); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

// What lies on a host is read with care, and named in texts that scripts find.
func TestNotes(t *testing.T) {
	n := note{Launch: "l", Token: `a"b\-0`, Name: "x", Networks: []string{"public"}, Created: time.Unix(0, 0), HadTop: true}
	for _, part := range []string{whose("l", `a"b\-0`), `"had_top":true`, `"had_nimbus":false`, `"had_state":false`} {
		if !strings.Contains(n.text(), part) {
			t.Errorf("%s lacks %s", n.text(), part)
		}
	}
	if back, err := parseNote(n.text()); err != nil || fmt.Sprint(*back) != fmt.Sprint(n) {
		t.Errorf("%v, %v", back, err)
	}
	for _, text := range []string{"x", "{}", `{"launch":"l"}`, `{"launch":"l","token":"t","networks":[` + strings.Repeat(`"x",`, 99) + `"x"]}`} {
		if back, err := parseNote(text); err == nil {
			t.Errorf("%s: %v", text, back)
		}
	}
	if back, err := parseNote(""); back != nil || err != nil {
		t.Errorf("%v, %v", back, err)
	}
	n.Name, n.By = "x\x1b[31m\n", "ann\r@x"
	if text := n.inUse().Error(); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
		t.Errorf("%q", text)
	}
}

func TestClockOff(t *testing.T) {
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	for _, c := range []struct {
		now  int64
		want time.Duration
	}{{100, 0}, {99, 0}, {90, 9 * time.Second}, {101, 0}, {103, 2 * time.Second}} {
		if got := clockOff(time.Unix(c.now, 0), at(100500), at(101000)); got != c.want {
			t.Errorf("%d: %v, want %v", c.now, got, c.want)
		}
	}
}

func TestParseLogin(t *testing.T) {
	h := Host{Address: "host"}.with("ann")
	l, err := parseLogin(h, []byte("login nimbus\nsystem Linux x86_64\nuid 4\nconnection 10.0.0.9 4242 10.0.0.1 22\nroot sudo\n"))
	if err != nil || fmt.Sprintln(l.sysname, l.machine, l.sudo, l.address) != "Linux x86_64 true 10.0.0.1\n" {
		t.Errorf("%v, %v", l, err)
	}
	for text, want := range map[string]string{
		"":                              "it says: nothing",
		"Welcome \x1b[2J\nlogin nimbus": "", // what profiles print does no harm
		"hello\x1b[2J":                  "it says: hello?[2J",
		"login nimbus\nroot refused sudo: ann is not allowed\x07": "ann cannot become root there: sudo: ann is not allowed?",
		"login nimbus\nroot": "ann cannot become root there",
	} {
		if _, err := parseLogin(h, []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What is sent as a command means the same to every shell.
func TestCommandLine(t *testing.T) {
	got := commandLine("echo 'a!'\n\x00ö\\%", "sudo ")
	if want := `sudo sh -c 'eval "$(printf %b "$0")"' 'echo \0047a\0041\0047\0012\0000\0303\0266\0134%'`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Whatever a host says: it is read in bounds, and fit for a terminal when told.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("login nimbus\nsystem Linux x86_64\nconnection 10.0.0.9 4242 10.0.0.1 22\nroot sudo\n"))
	f.Add([]byte("login nimbus\nroot refused sudo: a password is required\n"))
	f.Add([]byte(`note {"launch":"l","token":"t","name":"x","networks":["public"],"had_top":true}` + "\nclaimed no\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		told := func(err error) {
			if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
				t.Errorf("%q", err)
			}
		}
		c := &connection{host: Host{Address: "host"}.with("ann")}
		var err error
		c.as, err = parseLogin(c.host, text)
		told(err)
		a := parseAnswer(text)
		n, err := parseNote(a["note"])
		told(err)
		now := time.Unix(1, 0)
		if line := judge(c, a, n, now, now).Text; strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q", line)
		}
		if n == nil {
			return
		}
		told(n.inUse())
		i := n.instance(c)
		if h, tag, err := parseID(i.ID); err != nil || h != c.host || tag != tagOf(n.Launch, n.Token) || len(i.Addresses) != len(n.Networks) {
			t.Errorf("%+v, %v", i, err)
		}
	})
}

// Whoever finds a host in use is told by whom.
func TestMe(t *testing.T) {
	t.Setenv("USER", "")
	who, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	if got := me(); !strings.HasPrefix(got, who.Username+"@") {
		t.Errorf("%q, want %s", got, who.Username)
	}
}
