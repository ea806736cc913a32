package client

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"nimbus/broker/cluster"
	"nimbus/client/deploy"
	"nimbus/cloud"
)

// announce prints what is asked for.
func (r *run) announce() {
	var b strings.Builder
	if file := r.settings.KnownHosts; strings.HasPrefix(file, "~") {
		fmt.Fprintf(&b, "SSH known_hosts contained tilde:\n  - '%s' --> '%s'\n\n", file, r.hostsFile)
	}
	if r.o.image != "" {
		fmt.Fprintf(&b, "Launching workspace.\n  - image '%s'\n", r.o.image)
	} else {
		b.WriteString("Requesting cluster.\n")
		for _, w := range r.def.Workspaces {
			fmt.Fprintf(&b, "  - %s: image '%s', %s\n", w.Name, w.Image, count(w.Quantity, "instance"))
		}
	}
	r.out.say("%s", b.String())
	r.sayHostImages()
	if len(r.scripts) > 0 {
		r.out.say("\n%s", scriptsText(r.scripts, r.def))
	}
	for _, warning := range missingScripts(r.settings.Clouds[r.record.Cloud], r.def, r.scripts) {
		r.out.warn("\nWarning: %s\n", warning)
	}
	if r.key.Made {
		r.out.say("\nMade an SSH key to log in with: '%s'\n", r.key.Private)
	}
	r.out.event(Event{Event: "requested", Handle: r.launch.Handle, Path: r.launch.Dir})
}

// sayHostImages tells of image names that mean nothing special here.
func (r *run) sayHostImages() {
	driver, ok := r.driver.(interface{ ResolvesToHost(image string) bool })
	if !ok {
		return
	}
	var names []string
	meant := ""
	known := slices.Collect(maps.Keys(r.settings.Clouds[r.record.Cloud].Images))
	for _, w := range r.def.Workspaces {
		if name := "'" + w.Image + "'"; driver.ResolvesToHost(w.Image) && !slices.Contains(names, name) {
			names = append(names, name)
			if best := cluster.Nearest(w.Image, known); best != "" {
				meant += fmt.Sprintf("  - did you mean '%s'?\n", best)
			}
		}
	}
	if len(names) > 0 {
		r.out.say("\nNo such image in the settings: %s\n%s  - these instances are made of this host's own file system\n", strings.Join(names, ", "), meant)
	}
}

// printMachines lists what started, workspace by workspace.
func (r *run) printMachines() {
	const most = 100 // of one workspace; the history has all
	by := map[string][]deploy.Machine{}
	for _, m := range r.machines {
		by[m.Node.Workspace] = append(by[m.Node.Workspace], m)
	}
	for _, w := range r.def.Workspaces {
		kind := "workspace"
		if w.Quantity > 1 {
			kind = "group"
		}
		r.out.say("\nCreating %s \"%s\"... done.\n", kind, w.Name)
		for i, m := range by[w.Name] {
			if i == most {
				r.out.say("  - and %d more\n", len(by[w.Name])-most)
				break
			}
			r.out.say("  - %s [ %s ]\n", addressText(m.Addresses), m.Name)
		}
	}
}

func addressText(addresses []cloud.Address) string {
	var list []string
	for _, a := range addresses {
		if a.IP.IsValid() {
			list = append(list, a.IP.String())
		}
	}
	if list == nil {
		return "no address yet"
	}
	return strings.Join(list, ", ")
}
