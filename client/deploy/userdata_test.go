package deploy

import (
	"errors"
	"strings"
	"testing"

	"nimbus/broker/wire"
)

// agents are programs that a broker hands out, so many of them for Linux.
func agents(linux int) map[string]string {
	list := map[string]string{"darwin-arm64": strings.Repeat("da", 32)}
	for i, processor := range []string{"amd64", "arm64", "armv7", "riscv64", "ppc64le", "s390x"}[:linux] {
		list["linux-"+processor] = strings.Repeat(string("0123456789abcdef"[i]), 64)
	}
	return list
}

// An image that has its agent gets the document, every other one the script
// that carries it; agents read both.
func TestUserDataByImage(t *testing.T) {
	d := deployment(t)
	d.Context.Agents = agents(6)
	for _, installs := range []func(string) bool{nil, func(string) bool { return false }, func(image string) bool { return image == "debian" }} {
		d.Installs = installs
		plan, err := Plan(read(t), d)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range plan {
			data := string(item.Request.UserData)
			if item.Node.Workspace == "member-02" {
				if data != "" {
					t.Errorf("%s takes no part in the context and gets %q", item.Node, data)
				}
				continue
			}
			b, err := wire.ParseBootstrap([]byte(data))
			if err != nil {
				t.Fatalf("%s: an agent could not read it: %v\n%s", item.Node, err, data)
			}
			fetches := installs != nil && installs(item.Request.Image)
			if strings.HasPrefix(data, "#!/bin/sh\n") != fetches {
				t.Errorf("%s: fetches %v, but gets\n%s", item.Node, fetches, data)
			}
			want := map[bool]int{true: 6}[fetches]
			if len(b.Agents) != want || b.Agents["darwin-arm64"] != "" {
				t.Errorf("%s: agents %v", item.Node, b.Agents)
			}
			// Room for what a cloud adds: EC2 takes 16 KiB.
			if len(data) > 6<<10 {
				t.Errorf("%s: %d bytes", item.Node, len(data))
			}
		}
	}
}

// What is sent is the file, but for comments, empty lines and indentation.
func TestUserDataParts(t *testing.T) {
	before, after := userDataParts(userDataSource)
	if !strings.HasSuffix(before, "<<'"+wire.BootstrapMarker+"'\n") || !strings.HasPrefix(after, wire.BootstrapMarker+"\n") {
		t.Errorf("the document does not stand between its lines:\n%s{document}\n%s", before, after)
	}
	if n := strings.Count(before+after, "\n#"); n != 1 || !strings.HasPrefix(before, "#!/bin/sh\n# ") {
		t.Errorf("%d comments:\n%s", n, before)
	}
	if before, after := userDataParts("#!/bin/sh\n# what\n#\n\n\tif a; then # b\n\t\t# c\n\tfi\n{document}\nX\n"); before != "#!/bin/sh\n# what\nif a; then # b\nfi\n" || after != "X\n" {
		t.Errorf("%q, %q", before, after)
	}
}

func TestNobodyLaunchesWithoutAnAgent(t *testing.T) {
	d := deployment(t)
	d.Context.Agents = agents(0)
	for name, c := range map[string]struct {
		installs func(string) bool
		refused  string
	}{
		"all have it":            {nil, ""},
		"one fetches":            {func(image string) bool { return image == "debian" }, `the broker has no agent for Linux machines (it has darwin-arm64), and instances of image "debian" fetch it there`},
		"one that takes no part": {func(image string) bool { return image == "bare" }, ""},
		"all fetch":              {func(string) bool { return true }, "darwin-arm64"},
	} {
		d.Installs = c.installs
		_, err := Plan(read(t), d)
		var none *NoAgentError
		if errors.As(err, &none) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.Context.Agents, d.Installs = nil, func(string) bool { return true }
	if _, err := Plan(read(t), d); err == nil || !strings.Contains(err.Error(), "it hands out none at all") {
		t.Error(err)
	}
	d.Context.Agents = agents(1)
	if _, err := Plan(read(t), d); err != nil {
		t.Error(err)
	}
}
