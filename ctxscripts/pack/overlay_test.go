package pack

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A machine has scripts of its own, and two packs come to it.
type machine struct {
	Overlay
	t        *testing.T
	own      string // its scripts, listed
	one, two *Pack
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{Overlay: Overlay{filepath.Join(t.TempDir(), "ctx-scripts")}, t: t}
	put(t, m.Dir, map[string]string{"0-etchosts.all": "#!/bin/sh\n# own\n", "1-ipandhost/db": "own", "1-ipandhost/web": "own", "lib/": "", "out": "-> /etc/motd"})
	if err := os.Chmod(filepath.Join(m.Dir, "1-ipandhost/db"), 0o750); err != nil {
		t.Fatal(err)
	}
	m.own = list(t, m.Dir)
	m.one = m.pack(map[string]string{"1-ipandhost/web": "#!/bin/sh\n# one\n", "3-data/x": "-> ../1-ipandhost/web", "lib": "a file"})
	m.two = m.pack(map[string]string{"4-restarts/web": "#!/bin/sh\n# two\n"})
	return m
}

func (m *machine) pack(files map[string]string) *Pack {
	m.t.Helper()
	dir := m.t.TempDir()
	put(m.t, dir, files)
	p, err := Make(dir)
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

func (m *machine) put(context string, p *Pack) error {
	return m.Put(context, bytes.NewReader(p.Content), int64(len(p.Content)), p.SHA256)
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) over(want Mark, over bool) {
	m.t.Helper()
	if got, is, err := m.Over(); err != nil || is != over || got != want {
		m.t.Errorf("over: %+v, %v, %v; want %+v, %v", got, is, err, want, over)
	}
}

// alone tells whether there is nothing beside the scripts.
func (m *machine) alone() {
	m.t.Helper()
	if got, err := os.ReadDir(filepath.Dir(m.Dir)); err != nil || len(got) != 1 {
		m.t.Errorf("left beside: %v, %v", got, err)
	}
}

func TestOverlay(t *testing.T) {
	m := newMachine(t)
	m.over(Mark{}, false)
	m.must(m.Restore())
	m.must(m.put("ctx-1", m.one))
	m.over(Mark{"ctx-1", m.one.SHA256, true}, true)
	first := list(t, m.Dir)
	for _, want := range []string{`0-etchosts.all "#!/bin/sh\n# own\n"`, `1-ipandhost/web "#!/bin/sh\n# one\n"`, `1-ipandhost/db "own"`, `3-data/x "../1-ipandhost/web"`, `lib "a file"`, `out "/etc/motd"`} {
		if !strings.Contains(first, want) {
			t.Errorf("%s is missing from\n%s", want, first)
		}
	}
	// What was mended there, or added, is no part of what the next one finds.
	put(t, m.Dir, map[string]string{"1-ipandhost/web": "mended", "1-ipandhost/new": "new", "3-data/y/z": ""})
	m.must(m.put("ctx-2", m.two))
	m.over(Mark{"ctx-2", m.two.SHA256, true}, true)
	if got := list(t, m.Dir); strings.Contains(got, "mended") || strings.Contains(got, "new") || strings.Contains(got, "one") || !strings.Contains(got, "# two") {
		t.Errorf("with the second pack:\n%s", got)
	}
	m.must(m.put("ctx-3", m.one))
	if got := list(t, m.Dir); got != first {
		t.Errorf("with the first pack again:\n%s", got)
	}
	m.must(m.Restore())
	if got := list(t, m.Dir); got != m.own {
		t.Errorf("restored:\n%swas:\n%s", got, m.own)
	}
	m.over(Mark{}, false)
	m.alone()
	m.must(m.Restore())
}

// A pack that is not what was announced changes nothing that would be run.
func TestOverlayRefuses(t *testing.T) {
	m := newMachine(t)
	if err := m.Put("ctx-1", bytes.NewReader(m.one.Content), int64(len(m.one.Content)), m.two.SHA256); err == nil {
		t.Fatal("taken")
	}
	if mark, over, _ := m.Over(); !over || mark.Done || list(t, m.Dir) != m.own {
		t.Errorf("%+v\n%s", mark, list(t, m.Dir))
	}
	m.must(m.Restore())
	m.alone()
}

// The scripts directory may be a link, or stand where nothing can be beside it.
func TestOverlayElsewhere(t *testing.T) {
	m := newMachine(t)
	link := Overlay{filepath.Join(t.TempDir(), "link") + "/"}
	m.must(os.Symlink(m.Dir, strings.TrimSuffix(link.Dir, "/")))
	m.must(link.Put("c", bytes.NewReader(m.one.Content), int64(len(m.one.Content)), m.one.SHA256))
	if got := list(t, m.Dir); !strings.Contains(got, "# one") {
		t.Errorf("through the link:\n%s", got)
	}
	m.must(link.Restore())
	if got := list(t, m.Dir); got != m.own {
		t.Errorf("restored:\n%s", got)
	}
	m.alone()
}

// Whenever the machine loses its power: the next start makes whole what was
// begun, or takes it back.
func TestOverlayOutlivesAPowerFailure(t *testing.T) {
	// The states that a crash can leave are those between two changes on the
	// disk; each is made by hand here.
	for name, crash := range map[string]func(m *machine){
		"while own scripts were copied": func(m *machine) {
			put(t, m.draft(), map[string]string{"1-ipandhost/half": "x"})
		},
		"before the mark": func(m *machine) { m.must(m.keep()) },
		"while the mark was written": func(m *machine) {
			m.must(m.keep())
			put(t, m.aside(), map[string]string{markName + ".new": "{"})
		},
		"a damaged mark": func(m *machine) {
			m.must(m.keep())
			put(t, m.aside(), map[string]string{markName: "{\"context\":"})
		},
		"while it was unpacked": func(m *machine) {
			m.must(m.keep())
			m.must(m.mark(Mark{Context: "ctx-1", SHA256: m.one.SHA256}))
			put(t, m.Dir, map[string]string{"1-ipandhost/web": "", "3-data/half": ""})
			m.must(os.RemoveAll(filepath.Join(m.Dir, "lib")))
		},
		"while own scripts came back": func(m *machine) {
			m.must(m.put("ctx-0", m.two))
			m.must(m.mark(Mark{}))
			m.must(os.Remove(filepath.Join(m.Dir, "1-ipandhost/web")))
		},
		"before own scripts were forgotten": func(m *machine) {
			m.must(m.put("ctx-0", m.two))
			m.must(m.mark(Mark{}))
			m.must(m.Overlay.own())
		},
		"while they were forgotten": func(m *machine) {
			m.must(m.put("ctx-0", m.two))
			m.must(m.mark(Mark{}))
			m.must(m.Overlay.own())
			m.must(os.Rename(m.aside(), m.draft()))
			m.must(os.Remove(filepath.Join(m.draft(), "1-ipandhost/web")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			crash(m)
			if mark, over, err := m.Over(); err != nil || over && mark.Done {
				t.Errorf("it takes itself for whole: %+v, %v", mark, err)
			}
			m.must(m.put("ctx-1", m.one))
			m.over(Mark{"ctx-1", m.one.SHA256, true}, true)
			whole := newMachine(t)
			whole.must(whole.put("ctx-1", whole.one))
			if got, want := list(t, m.Dir), list(t, whole.Dir); got != want {
				t.Errorf("made whole:\n%swant:\n%s", got, want)
			}
			m.must(m.Restore())
			if got := list(t, m.Dir); got != m.own {
				t.Errorf("and back:\n%s", got)
			}

			m = newMachine(t)
			crash(m)
			m.must(m.Restore())
			if got := list(t, m.Dir); got != m.own {
				t.Errorf("taken back:\n%s", got)
			}
			if _, over, err := m.Over(); over || err != nil {
				t.Errorf("still over: %v", err)
			}
		})
	}
}
