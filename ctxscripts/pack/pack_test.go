package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// put makes files: name → content; a content that begins with "-> " is a link,
// an empty one under a name that ends in / a directory.
func put(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, is := strings.CutPrefix(content, "-> "); is {
			err = os.Symlink(to, path)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else {
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// list is all that is below a directory, with its mode and content.
func list(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		switch {
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(text)
		case info.Mode()&fs.ModeSymlink != 0:
			if content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		name, _ := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%v %s %q\n", info.Mode(), name, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func unpack(p *Pack, dir string) error {
	return Unpack(bytes.NewReader(p.Content), int64(len(p.Content)), p.SHA256, dir)
}

// A tree arrives as it was, but for what is no matter of scripts.
func TestThereAndBack(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"1-ipandhost/web": "#!/bin/sh\n", "1-ipandhost/db": "-> web", "1-ipandhost/.web.swp": "x", "1-ipandhost/web~": "x",
		"3-data": "-> lib/data", "lib/data/cert": "#!/bin/sh\n", "lib/words.txt": "plain\n", "lib/again": "-> ../3-data/cert", "lib/bin": "\x7fELF", "lib/empty/": "",
		".git/config": "x", "ü": "",
	})
	if err := os.Chmod(filepath.Join(dir, "lib/bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := Make(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"1-ipandhost/db", "1-ipandhost/web", "3-data", "lib/again", "lib/bin", "lib/data/cert", "lib/words.txt", "ü"}; !slices.Equal(p.Files, want) {
		t.Errorf("files %q, want %q", p.Files, want)
	}
	if want := []string{".git", "1-ipandhost/.web.swp", "1-ipandhost/web~"}; !slices.Equal(p.LeftOut, want) || p.Bytes != 30 {
		t.Errorf("left out %q, %d bytes", p.LeftOut, p.Bytes)
	}
	for name, want := range map[string]bool{"1-ipandhost/web": true, "1-ipandhost/db": true, "3-data/cert": true, "lib/bin": false, "1-ipandhost/web~": false, "3-data": false} {
		if p.Has(name) != want {
			t.Errorf("has %s: %v", name, !want)
		}
	}
	there := t.TempDir()
	if err := unpack(p, there); err != nil {
		t.Fatal(err)
	}
	want := `-rwxr-xr-x 1-ipandhost/web "#!/bin/sh\n"`
	if got := list(t, there); !strings.Contains(got, want) || !strings.Contains(got, `-rw-r--r-- lib/words.txt "plain\n"`) || !strings.Contains(got, "-rwxr-xr-x lib/bin") ||
		!strings.Contains(got, `L`) || strings.Contains(got, "swp") || strings.Contains(got, "git") {
		t.Errorf("unpacked:\n%s", got)
	}
	// The copy is the same pack, whenever it was made.
	old := time.Unix(1, 0)
	if err := os.Chtimes(filepath.Join(there, "lib/words.txt"), old, old); err != nil {
		t.Fatal(err)
	}
	again, err := Make(there)
	if err != nil || again.SHA256 != p.SHA256 {
		t.Errorf("packed again: %v, %s, before %s", err, again.SHA256, p.SHA256)
	}
}

// Random trees, the story told with a seed: packed, unpacked, packed again.
func TestSameTreeSamePack(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		dir := t.TempDir()
		files := map[string]string{"0-etchosts.all": "#!/bin/sh\n"}
		dirs := []string{""}
		for i := range r.IntN(30) {
			at := dirs[r.IntN(len(dirs))]
			name := fmt.Sprintf("%s%c%d", at, 'a'+rune(r.IntN(26)), i)
			switch r.IntN(4) {
			case 0:
				files[name+"/"] = ""
				dirs = append(dirs, name+"/")
			case 1:
				files[name] = "-> " + strings.Repeat("../", strings.Count(name, "/")) + "0-etchosts.all"
			default:
				files[name] = strings.Repeat(fmt.Sprint(r.Uint64()), r.IntN(200))
			}
		}
		put(t, dir, files)
		first, err := Make(dir)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		there := t.TempDir()
		if err := unpack(first, there); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		before := list(t, there)
		if err := unpack(first, there); err != nil || list(t, there) != before {
			t.Errorf("seed %d: the second time it differs: %v", seed, err)
		}
		second, err := Make(there)
		if err != nil || second.SHA256 != first.SHA256 || !slices.Equal(first.Files, second.Files) {
			t.Errorf("seed %d: %v, %v and %v", seed, err, first.Files, second.Files)
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"absolute":         {map[string]string{"3-data/x": "-> " + outside}, `"3-data/x": the link to "` + outside + `" leads out of the tree: make it relative`},
		"up":               {map[string]string{"3-data/x": "-> ../../x"}, `"3-data/x": the link to "../../x" leads out of the tree`},
		"up by a link":     {map[string]string{"a/b/": "", "up": "-> a", "3-data/x": "-> ../up/../../x"}, `"3-data/x": the link to "../up/../../x" leads out`},
		"out of a link":    {map[string]string{"3-data/x": "-> y", "3-data/y": "-> ../../z"}, `leads out of the tree`},
		"circle":           {map[string]string{"3-data/x": "-> y", "3-data/y": "-> x"}, `"3-data/x": it leads in a circle`},
		"nowhere":          {map[string]string{"3-data/x": "-> none"}, `"3-data/x": the link to "none" leads to nothing in the tree`},
		"through a file":   {map[string]string{"3-data/x": "-> y/z", "3-data/y": ""}, `leads through a file`},
		"control":          {map[string]string{"3-data/a\x1b[2Jb": ""}, `"3-data/a\x1b[2Jb": the name holds characters that cannot be printed`},
		"line end":         {map[string]string{"3-data/a\nb": ""}, `cannot be printed`},
		"not UTF-8":        {map[string]string{"3-data/a\xff": ""}, `"3-data/a\xff"`},
		"empty":            {map[string]string{}, "nothing in it is called by the agent"},
		"only directories": {map[string]string{"1-ipandhost/": ""}, "1-ipandhost holds no script"},
		"only leftovers":   {map[string]string{"1-ipandhost/web~": ""}, "1-ipandhost holds no script"},
		"parent":           {map[string]string{"a\nb": "", "shop.xml": "-> /", "scripts/1-ipandhost/web": ""}, `did you mean the directory "scripts" in it?`},
		"grandparent":      {map[string]string{"a/b/0-etchosts": ""}, `did you mean the directory "a/b" in it?`},
		"other files":      {map[string]string{"photo.jpg": "x"}, "nothing in it is called by the agent: its scripts are 0-etchosts.all, 1-ipandhost/ROLE"},
		"no script yet":    {map[string]string{"README": "x", "4-restarts/": ""}, "4-restarts holds no script"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, c.files)
			_, err := Make(dir)
			var r *Refusal
			if !errors.As(err, &r) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	many := t.TempDir()
	put(t, many, map[string]string{"3-data/": ""})
	for i := range MaxFiles {
		if err := os.WriteFile(fmt.Sprintf("%s/3-data/%d", many, i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Make(many); err == nil || err.Error() != "there are more than 10000 files" {
		t.Errorf("too many: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "1-ipandhost")
	put(t, dir, map[string]string{"web": "#!/bin/sh\n"})
	if _, err := Make(dir); err == nil || !strings.Contains(err.Error(), "did you mean the directory that 1-ipandhost lies in?") {
		t.Errorf("one directory too deep: %v", err)
	}
	if _, err := Make(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := Make(filepath.Join(dir, "web")); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("got %v", err)
	}
}

func TestMakeRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"3-data/": ""})
	pipe := filepath.Join(dir, "3-data", "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(dir); err == nil || err.Error() != `"3-data/pipe": it is neither a file nor a directory nor a link` {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(pipe); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir) // sockets have short names
	l, err := net.Listen("unix", "3-data/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Make("."); err == nil || !strings.Contains(err.Error(), `"3-data/s": it is neither`) {
		t.Errorf("got %v", err)
	}
}

func TestMakeRefusesWhatIsTooLarge(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"3-data/": ""})
	noise := make([]byte, MaxSize+1<<20)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(noise)
	if err := os.WriteFile(filepath.Join(dir, "3-data", "noise"), noise, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(dir); err == nil || err.Error() != "packed it is larger than 16 MiB" {
		t.Errorf("got %v", err)
	}
	for name, want := range map[string]string{"3-data/noise": `"3-data/noise": it is larger than 64 MiB`, "3-data/more": "the files are larger than 64 MiB in all"} {
		put(t, dir, map[string]string{name: ""})
		if err := os.Truncate(filepath.Join(dir, name), MaxUnpacked+map[bool]int64{true: 1}[name == "3-data/noise"]); err != nil {
			t.Fatal(err)
		}
		if _, err := Make(dir); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		put(t, dir, map[string]string{"3-data/noise": "x"})
	}
}

// packed is an archive made by somebody else.
func packed(t testing.TB, headers ...tar.Header) (content []byte, sum string) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range headers {
		h.Mode = 0o4777
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), sumOf(b.Bytes())
}

func sumOf(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}

// What an archive may not hold is refused before anything is changed.
func TestUnpackRefuses(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 1} }
	dir := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	var many []tar.Header
	for i := range MaxFiles + 1 {
		many = append(many, dir(fmt.Sprint(i)))
	}
	var bomb []tar.Header
	for i := range 3 {
		bomb = append(bomb, tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint(i), Size: 30 << 20})
	}
	for name, c := range map[string]struct {
		headers []tar.Header
		want    string
	}{
		"up":              {[]tar.Header{file("../x")}, "no path inside"},
		"up in between":   {[]tar.Header{dir("a"), file("a/../../x")}, "no path inside"},
		"absolute":        {[]tar.Header{file("/etc/x")}, "no path inside"},
		"twice":           {[]tar.Header{file("x"), file("x")}, "twice"},
		"no parent":       {[]tar.Header{file("a/x")}, "no directory before it"},
		"parent a file":   {[]tar.Header{file("a"), file("a/x")}, "no directory before it"},
		"parent a link":   {[]tar.Header{dir("b"), link("a", "b"), file("a/x")}, "no directory before it"},
		"link out":        {[]tar.Header{link("a", "../x")}, "leads out"},
		"link absolute":   {[]tar.Header{link("a", "/etc/passwd")}, "leads out"},
		"link by links":   {[]tar.Header{dir("d"), link("d/u", ".."), link("a", "d/u/../x")}, "leads out"},
		"link to nothing": {[]tar.Header{link("a", "b")}, "leads to nothing"},
		"hard link":       {[]tar.Header{file("a"), {Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}}, "neither"},
		"device":          {[]tar.Header{{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}}, "neither"},
		"pipe":            {[]tar.Header{{Typeflag: tar.TypeFifo, Name: "p"}}, "neither"},
		"escape":          {[]tar.Header{file("a\x1b]0;x\a")}, "cannot be printed"},
		"too many":        {many, "more than 10000 files"},
		"bomb":            {bomb, "larger than 64 MiB"},
		"long":            {[]tar.Header{file(strings.Repeat("x", 2000))}, "longer than 1024"},
	} {
		t.Run(name, func(t *testing.T) {
			content, sum := packed(t, append([]tar.Header{file("first")}, c.headers...)...)
			dir := t.TempDir()
			put(t, dir, map[string]string{"first": "mine"})
			before := list(t, dir)
			err := Unpack(bytes.NewReader(content), int64(len(content)), sum, dir)
			var r *Refusal
			if !errors.As(err, &r) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if after := list(t, dir); after != before {
				t.Errorf("it was changed:\n%s", after)
			}
		})
	}
}

func TestUnpackRefusesWhatWasNotAnnounced(t *testing.T) {
	content, sum := packed(t, tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 1})
	dir := t.TempDir()
	for name, c := range map[string]struct {
		size int64
		sum  string
		want string
	}{
		"another": {int64(len(content)), sumOf([]byte("x")), ErrSum.Error()},
		"longer":  {int64(len(content)) + 1, sum, ErrSum.Error()},
		"shorter": {int64(len(content)) - 1, sum, ErrSum.Error()},
		"huge":    {MaxSize + 1, sum, "larger than 16 MiB"},
		"cut":     {int64(len(content)) - 9, sumOf(content[:len(content)-9]), "the pack is damaged"},
		"none":    {0, sumOf(nil), "this is no pack"},
	} {
		if err := Unpack(bytes.NewReader(content), c.size, c.sum, dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	if got, err := os.ReadDir(dir); err != nil || len(got) > 0 {
		t.Errorf("left %v, %v", got, err)
	}
}

// What was there stays, unless the pack has something of that name; a link
// that was there leads nothing out.
func TestUnpackOver(t *testing.T) {
	outside, dir, from := t.TempDir(), t.TempDir(), t.TempDir()
	put(t, outside, map[string]string{"web": "outside"})
	put(t, dir, map[string]string{"0-etchosts.all": "own", "1-ipandhost": "-> " + outside, "3-data/x/y": "own", "4-restarts": "a file"})
	put(t, from, map[string]string{"1-ipandhost/web": "new", "3-data/x": "new", "4-restarts/web": "new"})
	p, err := Make(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := unpack(p, dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"0-etchosts.all": "own", "1-ipandhost/web": "new", "3-data/x": "new", "4-restarts/web": "new"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(outside, "web")); err != nil || string(got) != "outside" {
		t.Errorf("outside: %q, %v", got, err)
	}
}

// Whatever the archive: nothing is made outside of the directory, and nothing
// in it leads out.
func FuzzUnpack(f *testing.F) {
	dir := f.TempDir()
	put(f, dir, map[string]string{"1-ipandhost/web": "#!/bin/sh\n", "3-data": "-> 1-ipandhost"})
	p, err := Make(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Content)
	plain := func(headers ...tar.Header) {
		content, _ := packed(f, headers...)
		f.Add(content)
	}
	plain(tar.Header{Typeflag: tar.TypeSymlink, Name: "a", Linkname: ".."}, tar.Header{Typeflag: tar.TypeReg, Name: "a/x"})
	plain(tar.Header{Typeflag: tar.TypeDir, Name: "a/"}, tar.Header{Typeflag: tar.TypeReg, Name: "a/../../x"})
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<16 {
			return
		}
		// The fuzzer changes the archive under its compression, too.
		if !bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, _ = z.Write(content)
			_ = z.Close()
			content = b.Bytes()
		}
		outer := t.TempDir()
		dir := filepath.Join(outer, "in", "scripts")
		put(t, outer, map[string]string{"in/scripts/": ""})
		err := Unpack(bytes.NewReader(content), int64(len(content)), sumOf(content), dir)
		if got, _ := filepath.Glob(filepath.Join(outer, "*")); len(got) != 1 {
			t.Fatalf("outside: %v", got)
		}
		if got, _ := filepath.Glob(filepath.Join(outer, "in", "*")); len(got) != 1 {
			t.Fatalf("outside: %v", got)
		}
		if err != nil {
			if got, _ := os.ReadDir(dir); len(got) > 0 {
				t.Fatalf("refused (%v), and left %v", err, got)
			}
			return
		}
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			t.Fatal(err)
		}
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				t.Fatal(err)
			}
			if to, err := filepath.EvalSymlinks(path); err != nil || to != real && !strings.HasPrefix(to, real+"/") {
				t.Fatalf("%s leads to %s, %v", path, to, err)
			}
			return nil
		})
	})
}
