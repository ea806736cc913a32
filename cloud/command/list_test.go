package command

import (
	"strings"
	"testing"

	"nimbus/cloud"
)

func TestParseList(t *testing.T) {
	rows, err := parseList([]byte("l1 head-0 vm:1 running 192.0.2.1 -\n\nl1\thead-1\tvm:2\tstarting\nl1 w-0 3 failed no such image: 'x'\nl1 w-1 4 ended"), "l1")
	if err != nil || len(rows) != 4 {
		t.Fatalf("%+v, %v", rows, err)
	}
	n := notes{Instances: map[string]asked{"head-0": {Name: "head-0.c", Networks: []string{"a", "b", "c"}}}}
	first := rows[0].instance(n, "debian")
	if len(first.Addresses) != 3 || first.Addresses[0].IP.String() != "192.0.2.1" || first.Addresses[1].IP.IsValid() || first.Addresses[2].Network != "c" || first.Login != "debian" {
		t.Errorf("%+v", first)
	}
	if second := rows[1].instance(n, "root"); second.Addresses != nil || second.State != cloud.Starting {
		t.Errorf("%+v", second)
	}
	if third := rows[2].instance(n, "root"); third.State != cloud.Failed || third.Reason != "no such image: 'x'" {
		t.Errorf("%+v", third)
	}
}

func TestParseListRefuses(t *testing.T) {
	for out, says := range map[string]string{
		"l1 head-0 vm":                                      "line 1: \"l1 head-0 vm\" has 3 words",
		"l1 head-0 vm up":                                   `state "up"`,
		"l1 head-0 vm running 1.2.3":                        `"1.2.3" is no IP address`,
		"l1 head-0 vm running 0.0.0.0":                      "address 0.0.0.0 is none of a machine",
		"l1 head-0 vm running 127.0.0.1":                    "is none of a machine",
		"l1 head-0 vm running ::ffff:127.0.0.1":             "is none of a machine",
		"l1 head-0 vm running fe80::1%eth0":                 "is no IP address",
		"l2 head-0 vm running":                              `launch "l2" was not asked for`,
		"l1 ../x vm running":                                `token "../x"`,
		"l1 head-0 -rf running":                             `instance "-rf"`,
		"l1 head-0 v\x1bm running":                          "instance \"v\uFFFDm\"",
		"l1 a vm running\nl1 b vm running":                  "line 2: instance \"vm\" is there twice",
		"l1 a \xff running":                                 "not UTF-8",
		"l1 a b running " + strings.Repeat("x ", maxLine):   "longer than",
		"l1 a b running" + strings.Repeat(" 192.0.2.1", 65): "65 addresses",
	} {
		if rows, err := parseList([]byte(out), "l1"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %+v, %v", out, rows, err)
		}
	}
}

// Whatever a program prints, what is taken of it is safe to be an argument, a
// file name and a line on a terminal.
func FuzzParseList(f *testing.F) {
	f.Add([]byte("l1 head-0 vm:1 running 192.0.2.1 -\nl1 w-0 3 failed no such image: 'x'\n"), "l1")
	f.Add([]byte("l1 head-0 -f running fe80::1%eth0\n"), "")
	f.Fuzz(func(t *testing.T, out []byte, launch string) {
		rows, err := parseList(out, launch)
		if err != nil {
			if rows != nil || printable(err.Error()) != err.Error() {
				t.Errorf("%v, %q", rows, err)
			}
			return
		}
		for _, r := range rows {
			i := r.instance(notes{}, "root")
			if strings.HasPrefix(i.ID, "-") || strings.ContainsAny(i.Launch+i.Token, "/\\ ") || strings.HasPrefix(i.Token, ".") || printable(i.ID+i.Reason) != i.ID+i.Reason {
				t.Errorf("%+v", i)
			}
			if launch != "" && i.Launch != launch {
				t.Errorf("%+v of %q", i, launch)
			}
		}
	})
}
