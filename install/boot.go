package install

import (
	"embed"
	"path"
	"strings"
)

//go:embed boot
var bootFiles embed.FS

func bootFile(name string) []byte {
	text, err := bootFiles.ReadFile("boot/" + name)
	if err != nil {
		panic(err) // the name is wrong
	}
	return text
}

// Launch is what is called at boot.
const Launch = "/opt/nimbus/ctx/launch.sh"

// AgentUnit calls it where systemd starts the machine.
const AgentUnit = "nimbus-agent.service"

// A Boot is how a system calls the agent when it starts.
type Boot struct {
	Init  string // for people; "" if this system's way of starting is not known
	Items []Item
}

// A system is what has to be known of one to tell how it boots.
type system interface {
	Has(name string) bool
	leads(name string) string
	text(name string) string
}

// bootOf says how a system would call the agent at boot. Many have traces of
// more than one init: the program that the kernel starts decides.
func bootOf(s system) Boot {
	first := s.leads("sbin/init")
	if !s.Has("sbin/init") {
		first = ""
	}
	switch {
	case hasSystemd(s):
		return Boot{"systemd", systemdUnit(AgentUnit)}
	case s.Has("sbin/openrc-run") || s.Has("usr/sbin/openrc-run"):
		return Boot{"OpenRC", []Item{
			{Path: "etc/init.d/nimbus-agent", Mode: 0o755, Text: bootFile("openrc")},
			{Path: "etc/runlevels/default/nimbus-agent", Link: "/etc/init.d/nimbus-agent"},
		}}
	case first != "" && path.Base(first) != "busybox" && (s.Has("etc/rc3.d") || s.Has("etc/rc.d/rc3.d")):
		return Boot{"SysV init", sysvScript(s)}
	}
	for _, script := range []string{"etc/rc.local", "etc/rc.d/rc.local"} {
		if s.Has(script) {
			return Boot{"/" + script, calledIn(script, s.text(script))}
		}
	}
	if text := s.text("etc/init.d/rcS"); text != "" {
		// Buildroot's calls all scripts with such a name.
		if strings.Contains(text, "S??") || strings.Contains(text, "S[0-9]") {
			return Boot{"busybox init", []Item{{Path: "etc/init.d/S99nimbus", Mode: 0o755, Text: bootFile("sysv")}}}
		}
		return Boot{"busybox init", calledIn("etc/init.d/rcS", text)}
	}
	return Boot{}
}

// hasSystemd says whether systemd is what starts, in an image that may have
// another init beside it, or none yet.
func hasSystemd(s system) bool {
	if !s.Has("lib/systemd/systemd") && !s.Has("usr/lib/systemd/systemd") {
		return false
	}
	return !s.Has("sbin/init") || path.Base(s.leads("sbin/init")) == "systemd"
}

// systemdUnit is a unit that is switched on, as systemctl enable would do it.
func systemdUnit(name string) []Item {
	return []Item{
		{Path: "etc/systemd/system/" + name, Mode: 0o644, Text: bootFile(name)},
		{Path: "etc/systemd/system/multi-user.target.wants/" + name, Link: "/etc/systemd/system/" + name},
	}
}

// sysvScript is a script of /etc/init.d with its links; insserv and chkconfig
// find in it what they need to make better ones.
func sysvScript(s system) []Item {
	levels := "etc"
	if !s.Has("etc/rc3.d") {
		levels = "etc/rc.d"
	}
	dir := "etc/init.d"
	if !s.Has(dir) && s.Has("etc/rc.d/init.d") {
		dir = "etc/rc.d/init.d"
	}
	items := []Item{{Path: dir + "/nimbus-agent", Mode: 0o755, Text: bootFile("sysv")}}
	for _, level := range []string{"2", "3", "4", "5"} {
		rc := levels + "/rc" + level + ".d"
		if s.Has(rc) {
			items = append(items, Item{Path: rc + "/S99nimbus-agent", Link: "../init.d/nimbus-agent"})
		}
	}
	return items
}

// calledIn puts a call into a script of the system, unless somebody has written
// one there.
func calledIn(script, text string) []Item {
	if strings.Contains(withoutLines(text), Launch) {
		return nil
	}
	return []Item{{Path: script, Mode: 0o755, Lines: "[ ! -x " + Launch + " ] || " + Launch + " </dev/null &\n"}}
}
