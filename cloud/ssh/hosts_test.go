package ssh

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1":              "root@10.0.0.1:22",
		"ann@10.0.0.1":          "ann@10.0.0.1:22",
		"web-1.example.org:222": "root@web-1.example.org:222",
		"ann@[2001:db8::1]:222": "ann@[2001:db8::1]:222",
		"[2001:db8::1]":         "root@[2001:db8::1]:22",
		"2001:db8::1":           "root@[2001:db8::1]:22",
		"fe80::1%eth0":          "root@[fe80::1%eth0]:22",
		"_x.y-z@host":           "_x.y-z@host:22",
	} {
		h, err := ParseHost(text)
		if got := h.with("root").String(); err != nil || got != want {
			t.Errorf("%q: %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                       `address ""`,
		"@host":                  `user ""`,
		"-oProxyCommand=x@host":  `user "-oProxyCommand=x"`,
		"-host":                  `address "-host"`,
		"a@b@c":                  `address "b@c"`,
		"host:":                  `port ""`,
		"host:0":                 `port "0"`,
		"host:65536":             `port "65536"`,
		"host:+22":               `port "+22"`,
		"0.0.0.0":                "no address of a host",
		"[ff02::1]:22":           "no address of a host",
		"[::1":                   "want [user@]address[:port]",
		"ho st":                  `address "ho st"`,
		"x\x1b[31m":              `"x\x1b[31m"`,
		strings.Repeat("a", 300): "want an IP address",
	} {
		if h, err := ParseHost(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %s", text, h, err, want)
		}
	}
}

func TestParseHostsFile(t *testing.T) {
	hosts, err := ParseHostsFile("hosts", strings.NewReader(`# spare
spare.example.org
[head]
  ann@10.0.0.1:222   # the first
[ worker ]
node-a address=10.0.0.2 user=debian port=2222
10.0.0.3 ansible_user=debian
[::1]
; and more
[*]
10.0.0.9
`))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSpace(`
*: spare.example.org=root@spare.example.org:22 10.0.0.9=root@10.0.0.9:22
head: 10.0.0.1=ann@10.0.0.1:222
worker: node-a=debian@10.0.0.2:2222 10.0.0.3=debian@10.0.0.3:22 ::1=root@[::1]:22`)
	if got := describe(hosts); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for text, want := range map[string]string{
		"[head]\n\nho st:x":               `hosts:3: "st:x": after a host there may be`,
		"[]":                              `hosts:1: section ""`,
		"[a b]":                           `hosts:1: section "a b"`,
		"[head\n":                         `hosts:1: host "[head"`,
		"[all:vars]\n":                    `hosts:1: section "all:vars"`,
		"a\nb\na:22\n":                    `hosts:3: host a is in line 1 already`,
		"a user=x user=y":                 `hosts:1: "user=y": user is given twice`,
		"x@a user=y":                      `hosts:1: "x@a": user is given twice`,
		"a:1 port=2":                      `hosts:1: "a:1": port is given twice`,
		"a port=x":                        `hosts:1: port "x"`,
		"a address=":                      `hosts:1: address ""`,
		"x@a address=b":                   `hosts:1: "x@a": with address= this is the name`,
		"a user=":                         `hosts:1: user ""`,
		"a key=b":                         `hosts:1: "key=b": after a host`,
		"a\n" + strings.Repeat("x", 5000): "hosts:2: line longer than",
	} {
		if _, err := ParseHostsFile("hosts", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := ParseHostsFile("hosts", strings.NewReader(numbered(maxHosts+1))); err == nil || !strings.Contains(err.Error(), "more than 10000 hosts") {
		t.Errorf("too many: %v", err)
	}
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "h%d\n", i)
	}
	return b.String()
}

// describe writes hosts in a form that ParseHostsFile's order can be seen in.
func describe(hosts map[string][]Host) string {
	var lines []string
	for _, group := range slices.Sorted(maps.Keys(hosts)) {
		words := []string{group + ":"}
		for _, h := range hosts[group] {
			name := h.Name
			if name == "" {
				name = h.Address
			}
			words = append(words, name+"="+h.with("root").String())
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "\n")
}

// What was read can be used and named: in IDs, which are read again.
func FuzzHostsFile(f *testing.F) {
	f.Add([]byte("a\n[b]\nc address=1.2.3.4 user=x port=3 # d\n[::1]:22\n"))
	f.Add([]byte("[*]\nroot@[fe80::1%eth0]:22"))
	f.Fuzz(func(t *testing.T, text []byte) {
		hosts, err := ParseHostsFile("hosts", bytes.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "hosts:") || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
				t.Errorf("%q: %q", text, err)
			}
			return
		}
		o := Options{Dir: "/x", Hosts: hosts, Program: func(string, string) (Program, error) { return Program{}, nil }}
		if err := o.complete(); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		for _, list := range o.Hosts {
			for _, h := range list {
				id := instanceID(h, "launch", "token")
				back, _, err := parseID(id)
				if err != nil || back.String() != h.String() {
					t.Errorf("%q: %v, %v, want %v", id, back, err, h)
				}
			}
		}
	})
}
