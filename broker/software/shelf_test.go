package software

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// write makes a file that was changed at another time than any before it.
var clock = time.Now().Add(-time.Hour)

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(text), 0o600))
	clock = clock.Add(time.Second)
	must(t, os.Chtimes(path, clock, clock))
}

// other are two platforms that this program is not for.
func other() (string, string) {
	rest := slices.DeleteFunc(slices.Clone(Platforms), func(p string) bool { return p == Own() })
	return rest[0], rest[1]
}

func open(t *testing.T, executable string, dirs ...string) *Shelf {
	t.Helper()
	s, err := Open(executable, dirs...)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// content is the build for a platform, which must have the sum that is told.
func content(t *testing.T, s *Shelf, platform string) string {
	t.Helper()
	f, err := s.File(platform)
	must(t, err)
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size))
	must(t, err)
	if f.SHA256 != sumOf(string(text)) || f.SHA256 != s.Sums()[platform] || f.Platform != platform {
		t.Errorf("%s: %+v, sums %v", platform, f, s.Sums())
	}
	return string(text)
}

// The program stays the same when its file is replaced, as "make build" does.
func TestOwn(t *testing.T) {
	program := filepath.Join(t.TempDir(), "nimbus")
	write(t, program, "old")
	s := open(t, program)
	write(t, program+".new", "new")
	must(t, os.Rename(program+".new", program))
	for range 2 {
		if got := content(t, s, Own()); got != "old" {
			t.Errorf("%q", got)
		}
	}
	if s.OwnSum() != sumOf("old") || len(s.Sums()) != 1 {
		t.Errorf("%v", s.Sums())
	}
	if got := content(t, open(t, program), Own()); got != "new" {
		t.Errorf("%q", got)
	}

	// Written over, it is not what it was any more.
	s = open(t, program)
	write(t, program, "NEW")
	if _, err := s.File(Own()); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "written over") {
		t.Errorf("%v", err)
	}
	if sums, problems := s.Look(); len(sums) != 0 || len(problems) != 1 {
		t.Errorf("%v, %v", sums, problems)
	}
}

// The running program is what the kernel runs.
func TestRunning(t *testing.T) {
	path, err := os.Executable()
	must(t, err)
	text, err := os.ReadFile(path)
	must(t, err)
	if got := content(t, open(t, ""), Own()); got != string(text) {
		t.Errorf("%d bytes, want %d", len(got), len(text))
	}
}

// A directory is looked at anew each time.
func TestDirectory(t *testing.T) {
	one, two := other()
	program, dir := filepath.Join(t.TempDir(), "nimbus"), filepath.Join(t.TempDir(), "downloads")
	write(t, program, "mine")
	s := open(t, program, "", dir)
	if sums := s.Sums(); len(sums) != 1 {
		t.Errorf("%v", sums)
	}
	_, err := s.File(one)
	if !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "only for "+Own()) {
		t.Errorf("%v", err)
	}

	file := filepath.Join(dir, Name(one))
	write(t, file, "first")
	if got := content(t, s, one); got != "first" {
		t.Errorf("%q", got)
	}
	f, err := s.File(one)
	must(t, err)
	defer f.Close()
	write(t, file+".new", "other")
	must(t, os.Rename(file+".new", file))
	if got := content(t, s, one); got != "other" {
		t.Errorf("replaced: %q", got)
	}
	before := make([]byte, 5)
	if _, err := f.ReadAt(before, 0); err != nil || string(before) != "first" {
		t.Errorf("a file that is being read: %q, %v", before, err)
	}
	write(t, file, "in place")
	if got := content(t, s, one); got != "in place" {
		t.Errorf("written over: %q", got)
	}

	// With sums, only what they agree with counts.
	wrong := func(platform, why string) {
		t.Helper()
		if _, err := s.File(platform); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", platform, err, why)
		}
		sums, problems := s.Look()
		if sums[platform] != "" || len(problems) != 1 || !strings.Contains(problems[0].Error(), why) {
			t.Errorf("%v, %v", sums, problems)
		}
	}
	sums := filepath.Join(dir, SumsName)
	write(t, sums, FormatSums(map[string]string{Name(one): sumOf("in place"), Name(two): sumOf("second"), "install.sh": sumOf("")}))
	write(t, filepath.Join(dir, Name(two)), "second")
	if content(t, s, one) != "in place" || content(t, s, two) != "second" || len(s.Sums()) != 3 {
		t.Errorf("%v", s.Sums())
	}
	write(t, file, "tampered")
	wrong(one, "its SHA-256 is "+sumOf("tampered")+", but SHA256SUMS says "+sumOf("in place"))
	write(t, sums, FormatSums(map[string]string{Name(two): sumOf("second")}))
	wrong(one, "no line for it")
	write(t, sums, strings.Repeat("#", maxSums+1))
	if _, err := s.File(one); err == nil || !strings.Contains(err.Error(), "larger than 64 KiB") {
		t.Errorf("%v", err)
	}
	must(t, os.Remove(sums))
	write(t, file, "")
	wrong(one, "is empty")
	must(t, os.Truncate(file, maxBuild+1))
	wrong(one, "larger than 256 MiB")
	must(t, os.Remove(file))
	if _, err := s.File(one); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
}

// Links, other names and what is no file are none of it, and nothing waits for
// them.
func TestNoBuilds(t *testing.T) {
	one, two := other()
	program, dir := filepath.Join(t.TempDir(), "nimbus"), t.TempDir()
	write(t, program, "mine")
	write(t, filepath.Join(dir, "secret"), "secret")
	write(t, filepath.Join(dir, "nimbus"), "x")
	write(t, filepath.Join(dir, "nimbus-plan9-mips"), "x")
	must(t, os.Symlink("secret", filepath.Join(dir, Name(one))))
	must(t, syscall.Mkfifo(filepath.Join(dir, Name(two)), 0o600))
	third := slices.DeleteFunc(slices.Clone(Platforms), func(p string) bool { return p == one || p == two || p == Own() })[0]
	must(t, os.Mkdir(filepath.Join(dir, Name(third)), 0o700))
	s := open(t, program, dir)
	sums, problems := s.Look()
	if len(sums) != 1 || len(problems) != 0 {
		t.Errorf("%v, %v", sums, problems)
	}
	for _, name := range []string{one, two, third, "plan9-mips", "../secret", "..", "", "/etc/passwd", "linux-amd64/../../secret", strings.Repeat("x", 5000)} {
		f, err := s.File(name)
		if f != nil || !errors.Is(err, ErrNone) {
			t.Errorf("%q: %v, %v", name, f, err)
		}
		if len(err.Error()) > 300 {
			t.Errorf("%q", err)
		}
	}
}

// What lies beside the program counts when it is a release, the program itself
// before what a directory has for its platform.
func TestNeighbours(t *testing.T) {
	one, two := other()
	dir := t.TempDir()
	program := filepath.Join(dir, "bin", Name(Own()))
	write(t, program, "mine")
	write(t, filepath.Join(dir, "bin", Name(one)), "beside")
	link := filepath.Join(dir, "nimbus")
	must(t, os.Symlink(program, link))
	s := open(t, link, filepath.Join(dir, "downloads"))
	if len(s.Sums()) != 1 {
		t.Errorf("no release: %v", s.Sums())
	}
	write(t, filepath.Join(dir, "bin", SumsName), FormatSums(map[string]string{Name(one): sumOf("beside"), Name(Own()): sumOf("mine")}))
	if content(t, s, one) != "beside" || len(s.Sums()) != 2 {
		t.Errorf("%v", s.Sums())
	}
	write(t, filepath.Join(dir, "bin", "release", Name(two)), "below")
	write(t, filepath.Join(dir, "bin", "release", SumsName), FormatSums(map[string]string{Name(two): sumOf("below")}))
	if content(t, s, two) != "below" {
		t.Errorf("%v", s.Sums())
	}
	// The operator's directory comes first.
	write(t, filepath.Join(dir, "downloads", Name(one)), "chosen")
	write(t, filepath.Join(dir, "downloads", Name(Own())), "not mine")
	if content(t, s, one) != "chosen" || content(t, s, Own()) != "mine" {
		t.Errorf("%v", s.Sums())
	}
	// A bad file there does not hide a good one here, and is told.
	write(t, filepath.Join(dir, "downloads", SumsName), FormatSums(map[string]string{Name(one): sumOf("else")}))
	_, problems := s.Look()
	if content(t, s, one) != "beside" || len(problems) != 1 {
		t.Errorf("%v", problems)
	}
}

func TestNoProgram(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "empty"), "")
	for path, why := range map[string]string{filepath.Join(dir, "none"): "no such file", dir: "it is no file", filepath.Join(dir, "empty"): "it is empty"} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestOf(t *testing.T) {
	for words, want := range map[string]string{
		"Linux x86_64": "linux-amd64", "Linux aarch64": "linux-arm64", "Linux armv7l": "linux-armv7", "Linux armv8l": "linux-armv7",
		"Linux riscv64": "linux-riscv64", "Linux ppc64le": "linux-ppc64le", "Linux s390x": "linux-s390x",
		"Darwin x86_64": "darwin-amd64", "Darwin arm64": "darwin-arm64", "Linux x86_64\n": "linux-amd64",
		"Linux i686": "", "Linux armv6l": "", "Linux ppc64": "", "Darwin s390x": "", "FreeBSD amd64": "", "Linux ": "", " x86_64": "",
		"Linux \x1b[31m" + strings.Repeat("x", 500): "",
	} {
		system, machine, _ := strings.Cut(words, " ")
		got, err := Of(system, machine)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", words, got, err, want)
		}
		if err != nil && (len(err.Error()) > 400 || strings.Contains(err.Error(), "\x1b")) {
			t.Errorf("%q", err)
		}
	}
	for system, processors := range map[string][]string{"linux": {"amd64", "arm64", "arm", "riscv64", "ppc64le", "s390x"}, "darwin": {"amd64", "arm64"}} {
		for _, processor := range processors {
			if !slices.Contains(Platforms, platform(system, processor)) {
				t.Errorf("no %s-%s", system, processor)
			}
		}
	}
}

func TestParseSums(t *testing.T) {
	a, b := sumOf("a"), sumOf("b")
	got := ParseSums(a + "  nimbus-linux-amd64\r\n" + strings.ToUpper(b) + " *nimbus-linux-arm64\n\n# no sum\nabc  short\n" +
		a + "\n" + a + "  \n" + a + "  twice\n" + b + "  twice\n" + a + "  same\n" + a + "  same")
	if got["nimbus-linux-amd64"] != a || got["nimbus-linux-arm64"] != b || got["same"] != a || len(got) != 4 || len(got["twice"]) == 64 {
		t.Errorf("%q", got)
	}
}

func FuzzParseSums(f *testing.F) {
	f.Add(sumOf("a") + "  nimbus-linux-amd64\n" + sumOf("b") + " *x\n")
	f.Fuzz(func(t *testing.T, text string) {
		good := map[string]string{}
		for name, sum := range ParseSums(text) {
			if len(sum) == 64 {
				good[name] = sum
			}
		}
		again := ParseSums(FormatSums(good))
		for name, sum := range good {
			if again[name] != sum {
				t.Errorf("%q is %q when written and read again, was %q", name, again[name], sum)
			}
		}
	})
}

// What "make release" builds is what is known here.
func TestMakefile(t *testing.T) {
	text, err := os.ReadFile("../../Makefile")
	must(t, err)
	if line := "\nPLATFORMS = " + strings.Join(Platforms, " ") + "\n"; !strings.Contains(string(text), line) {
		t.Errorf("the Makefile has no line %q", line)
	}
}
