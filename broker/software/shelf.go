package software

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Bounds of what is read, in bytes.
const (
	maxBuild = 256 << 20
	maxSums  = 64 << 10
)

// A Shelf is the builds at hand: this program itself, and the files called
// nimbus-PLATFORM in some directories. What is put into a directory, or changed
// there, is found without starting again; a file that its directory's
// SHA256SUMS does not agree with is left out. Where several have a build for
// the same platform the first one counts, before all this program.
type Shelf struct {
	own  File
	info fs.FileInfo // of own, when it was hashed
	dirs []directory

	mu     sync.Mutex
	hashed map[string]hashed // path → what it was when it was last read
}

// A directory that may hold builds.
type directory struct {
	path string
	// needsSums: it may well hold other things, so only a file of sums makes it
	// one.
	needsSums bool
}

// hashed is the sum of a file, good for as long as the file looks the same.
type hashed struct {
	info fs.FileInfo
	sum  string
}

// File is a build, open. It stays as it is while it is read, whatever happens
// to the name that led to it.
type File struct {
	io.ReaderAt
	Platform string
	Size     int64
	SHA256   string // hex
	close    func() error
}

// Close lets go of it.
func (f *File) Close() error {
	if f.close == nil {
		return nil
	}
	return f.close()
}

// Open looks at the program in a file, and keeps it open: what is handed out
// does not change when the file is replaced. Empty means the running program.
// (Where it was replaced already, the kernel still has the right one.)
//
// Builds for other platforms come from dirs, and from where the program lies
// when that is an unpacked release, or has one below it as "make release"
// leaves it. Directories need not exist.
func Open(executable string, dirs ...string) (*Shelf, error) {
	path := executable
	if executable == "" {
		var err error
		if executable, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("this program's file: %w", err)
		}
		if path = executable; runtime.GOOS == "linux" {
			path = "/proc/self/exe"
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("this program's file: %w", err)
	}
	sum, info, err := hash(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("this program's file: %w", err)
	}
	s := &Shelf{info: info, hashed: map[string]hashed{},
		own: File{ReaderAt: f, Platform: Own(), Size: info.Size(), SHA256: sum, close: f.Close}}
	for _, dir := range dirs {
		if dir != "" {
			s.dirs = append(s.dirs, directory{path: dir})
		}
	}
	if real, err := filepath.EvalSymlinks(executable); err == nil {
		executable = real
	}
	here := filepath.Dir(executable)
	s.dirs = append(s.dirs, directory{here, true}, directory{filepath.Join(here, "release"), true})
	return s, nil
}

// Close lets go of the program's file. Files that are open stay so, but for
// those of this program.
func (s *Shelf) Close() error { return s.own.Close() }

// OwnSum is the SHA-256 of this program.
func (s *Shelf) OwnSum() string { return s.own.SHA256 }

// Sums are the builds at hand: platform → SHA-256 in hex.
func (s *Shelf) Sums() map[string]string {
	sums, _ := s.Look()
	return sums
}

// Look returns the builds at hand as Sums does, and what is wrong with those
// that are left out.
func (s *Shelf) Look() (sums map[string]string, problems []error) {
	sums = map[string]string{}
	if err := s.unchanged(); err != nil {
		problems = append(problems, err)
	} else {
		sums[s.own.Platform] = s.own.SHA256
	}
	for _, platform := range Platforms {
		if sums[platform] != "" {
			continue
		}
		f, err := s.find(platform)
		if f != nil {
			sums[platform] = f.SHA256
			f.Close()
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	return sums, problems
}

// File opens the build for a platform. The error for one that is not there is
// ErrNone, and says which are, or why that one is left out.
func (s *Shelf) File(platform string) (*File, error) {
	var problem error
	if platform == s.own.Platform {
		if problem = s.unchanged(); problem == nil {
			f := s.own
			f.close = nil // it stays open for others
			return &f, nil
		}
	}
	if known(platform) {
		f, err := s.find(platform)
		if f != nil {
			return f, nil
		}
		if err != nil {
			problem = err
		}
	}
	if problem != nil {
		return nil, &noneError{problem.Error()}
	}
	have := slices.Sorted(maps.Keys(s.Sums()))
	if len(have) == 0 {
		return nil, &noneError{fmt.Sprintf("there is no Nimbus for %.40q here, nor for any other platform", platform)}
	}
	return nil, &noneError{fmt.Sprintf("there is no Nimbus for %.40q here, only for %s", platform, strings.Join(have, ", "))}
}

// unchanged tells whether the program's file is as it was: some systems let a
// running program be written over.
func (s *Shelf) unchanged() error {
	info, err := s.own.ReaderAt.(*os.File).Stat()
	if err == nil && !same(info, s.info) {
		err = fmt.Errorf("this program (%s) is left out: its file was written over while it runs; start it again", s.own.Platform)
	}
	return err
}

// find opens the build of the first directory that has a good one. An error
// beside it is about a directory before that one.
func (s *Shelf) find(platform string) (*File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var problem error
	for _, d := range s.dirs {
		f, err := s.in(d, platform)
		if f != nil {
			return f, problem
		}
		if problem == nil {
			problem = err
		}
	}
	return nil, problem
}

// in opens the build in one directory; nil without an error when it has none.
func (s *Shelf) in(d directory, platform string) (*File, error) {
	path := filepath.Join(d.path, Name(platform))
	f, info, err := openPlain(path)
	if f == nil {
		return nil, err
	}
	keep := false
	defer func() {
		if !keep {
			f.Close()
		}
	}()
	listed, err := readSums(filepath.Join(d.path, SumsName))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s is left out: %w", path, err)
	case listed == nil && d.needsSums:
		return nil, nil
	case listed != nil && listed[Name(platform)] == "":
		return nil, fmt.Errorf("%s is left out: %s beside it has no line for it", path, SumsName)
	}
	last, ok := s.hashed[path]
	if !ok || !same(last.info, info) {
		if last.sum, last.info, err = hash(f); err != nil {
			return nil, fmt.Errorf("%s is left out: %w", path, err)
		}
		s.hashed[path] = last
	}
	if want := listed[Name(platform)]; listed != nil && want != last.sum {
		return nil, fmt.Errorf("%s is left out: its SHA-256 is %s, but %s says %s: copy both of one release", path, last.sum, SumsName, want)
	}
	keep = true
	return &File{ReaderAt: f, Platform: platform, Size: last.info.Size(), SHA256: last.sum, close: f.Close}, nil
}

// openPlain opens a file that is no link and nothing special; nil without an
// error where there is no such file.
func openPlain(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// hash reads all of a file. One that changes meanwhile is an error.
func hash(f *os.File) (sum string, info fs.FileInfo, err error) {
	before, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	switch {
	case !before.Mode().IsRegular():
		return "", nil, errors.New("it is no file")
	case before.Size() == 0:
		return "", nil, errors.New("it is empty")
	case before.Size() > maxBuild:
		return "", nil, fmt.Errorf("it is larger than %d MiB", maxBuild>>20)
	}
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f, 0, before.Size()))
	if err != nil {
		return "", nil, err
	}
	after, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	if n != before.Size() || !same(before, after) {
		return "", nil, errors.New("it is being written")
	}
	return hex.EncodeToString(h.Sum(nil)), after, nil
}

// same tells whether two looks at files found the same.
func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// readSums reads a file of sums; nil without an error where there is none.
func readSums(path string) (map[string]string, error) {
	f, info, err := openPlain(path)
	if f == nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > maxSums {
		return nil, fmt.Errorf("%s is larger than %d KiB", path, maxSums>>10)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSums))
	if err != nil {
		return nil, err
	}
	return ParseSums(string(text)), nil
}

// ParseSums reads what sha256sum prints: file name → SHA-256 in hex. Lines that
// are something else are passed over; of two for one name, neither counts.
func ParseSums(text string) map[string]string {
	sums := map[string]string{}
	for line := range strings.Lines(text) {
		sum, name, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		raw, err := hex.DecodeString(sum)
		if !ok || err != nil || len(raw) != sha256.Size || len(name) < 2 || name[0] != ' ' && name[0] != '*' {
			continue
		}
		sum, name = strings.ToLower(sum), name[1:] // behind " " or, for binary files, "*"
		if earlier, twice := sums[name]; twice && earlier != sum {
			sum = "two different things"
		}
		sums[name] = sum
	}
	return sums
}

// FormatSums writes what ParseSums reads, in the order of names.
func FormatSums(sums map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&b, "%s  %s\n", sums[name], name)
	}
	return b.String()
}
