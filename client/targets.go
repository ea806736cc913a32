package client

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"nimbus/broker/cluster"
	"nimbus/client/history"
)

// current finds the launch that a command means: the one with the handle or,
// without a handle, the only one that may have machines now.
func (s *session) current(handle string) (*history.Launch, history.Record, error) {
	if handle != "" {
		return s.launch(handle)
	}
	h, err := s.history()
	if err != nil {
		return nil, history.Record{}, err
	}
	launches, err := h.List()
	if err != nil {
		return nil, history.Record{}, &Failure{Code: exitFailed, Text: err.Error(), Advice: s.doctorAdvice()}
	}
	var names []string
	for _, l := range launches {
		record, err := l.Record()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && !alive(record, s.env.Now()):
			continue
		}
		names = append(names, l.Handle)
	}
	switch len(names) {
	case 0:
		return nil, history.Record{}, &Failure{Code: exitUsage, Text: "nothing runs", Advice: fmt.Sprintf("%q lists all launches", s.command("status"))}
	case 1:
		return s.launch(names[0])
	}
	return nil, history.Record{}, &Failure{Code: exitUsage, Text: "which launch? There are " + strings.Join(names, ", "), Advice: "add --handle HANDLE"}
}

// alive tells whether a launch may have machines now, as its record says.
func alive(r history.Record, now time.Time) bool {
	return r.State != history.Terminated && r.State != history.Failed && !r.Over(now)
}

// targets finds the instances of a launch that a word means: a node, a
// workspace, a role that is provided, a host name or an address.
func targets(record history.Record, word string) ([]history.Instance, error) {
	lower := strings.ToLower(word)
	means := []func(i history.Instance) bool{
		func(i history.Instance) bool { return i.Node == word },
		func(i history.Instance) bool { return i.Workspace == word },
		func(i history.Instance) bool {
			return record.Definition != nil && provides(record.Definition, i.Workspace, word)
		},
		func(i history.Instance) bool { return strings.ToLower(i.Name) == lower },
		func(i history.Instance) bool {
			for _, a := range i.Addresses {
				if a.IP.IsValid() && a.IP.String() == word {
					return true
				}
			}
			return false
		},
	}
	for _, is := range means {
		var found []history.Instance
		for _, i := range record.Instances {
			if is(i) {
				found = append(found, i)
			}
		}
		if found != nil {
			return found, nil
		}
	}
	known := map[string]bool{}
	for _, i := range record.Instances {
		known[i.Node], known[i.Workspace] = true, true
	}
	if record.Definition != nil {
		for _, w := range record.Definition.Workspaces {
			if w.Ctx != nil {
				for _, r := range w.Ctx.Provides {
					known[r.Name] = true
				}
			}
		}
	}
	f := &Failure{Code: exitUsage, Text: fmt.Sprintf("%s has no node, workspace or role %q", record.Handle, word)}
	names := slices.Sorted(maps.Keys(known))
	if best := cluster.Nearest(word, names); best != "" {
		f.Advice = fmt.Sprintf("did you mean %q?", best)
	} else {
		f.Advice = "it has " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	return nil, f
}

func provides(def *cluster.Definition, workspace, role string) bool {
	w, _ := def.Find(workspace)
	return w != nil && w.Ctx != nil && w.Provides(role)
}
