package client

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func stream(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.Mode = 0o7777
		text := ""
		if h.Typeflag == tar.TypeReg {
			text = "text"
		}
		h.Size = int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// entry is a header with a name and what it leads to.
func entry(kind byte, name, to string) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Linkname: to}
}

// hostile are streams that a machine might send to get out of its place.
func hostile(t testing.TB) map[string][]byte {
	top := entry(tar.TypeDir, "./", "")
	return map[string][]byte{
		"up":              stream(t, top, entry(tar.TypeReg, "../out", "")),
		"up within":       stream(t, top, entry(tar.TypeReg, "a/../../out", "")),
		"absolute":        stream(t, top, entry(tar.TypeReg, "/out", "")),
		"by a link":       stream(t, top, entry(tar.TypeSymlink, "l", "../.."), entry(tar.TypeReg, "l/out", "")),
		"by a full link":  stream(t, top, entry(tar.TypeSymlink, "l", "/tmp"), entry(tar.TypeReg, "l/nimbus-out", "")),
		"over a link":     stream(t, top, entry(tar.TypeSymlink, "l", "../../victim"), entry(tar.TypeReg, "l", "")),
		"hard link out":   stream(t, top, entry(tar.TypeLink, "h", "../../victim")),
		"hard link link":  stream(t, top, entry(tar.TypeSymlink, "l", "../.."), entry(tar.TypeLink, "h", "l/victim")),
		"a device":        stream(t, top, entry(tar.TypeChar, "d", "")),
		"a fifo":          stream(t, top, entry(tar.TypeFifo, "f", "")),
		"twice":           stream(t, top, entry(tar.TypeReg, "a", ""), entry(tar.TypeReg, "a", "")),
		"a link first":    stream(t, entry(tar.TypeSymlink, "l", "/etc")),
		"a link as all":   stream(t, entry(tar.TypeSymlink, ".", "/etc")),
		"a directory":     stream(t, entry(tar.TypeDir, "d", "")),
		"a link's rights": stream(t, top, entry(tar.TypeSymlink, "x", ".."), entry(tar.TypeDir, "x", "")),
		"behind a link":   stream(t, top, entry(tar.TypeSymlink, "l", ".."), entry(tar.TypeDir, "l/mine", "")),
		"by a link in it": stream(t, top, entry(tar.TypeDir, "d", ""), entry(tar.TypeSymlink, "l", "d"), entry(tar.TypeReg, "l/x", "")),
		"by hard link":    stream(t, top, entry(tar.TypeDir, "d", ""), entry(tar.TypeReg, "d/x", ""), entry(tar.TypeSymlink, "l", "d"), entry(tar.TypeLink, "h", "l/x")),
		"two files":       stream(t, entry(tar.TypeReg, "a", ""), entry(tar.TypeReg, "b", "")),
		"below no one":    stream(t, top, entry(tar.TypeReg, "a/b", "")),
		"nothing":         nil,
		"no tar":          bytes.Repeat([]byte("x"), 2000),
		"an end too soon": stream(t, top, entry(tar.TypeReg, "a", ""))[:1020],
	}
}

func TestHostileStreams(t *testing.T) {
	for name, text := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			for _, err := range []error{os.WriteFile(home+"/victim", []byte("mine"), 0o600), os.Mkdir(home+"/mine", 0o700), os.Chmod(home, 0o700)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, home)
			u := unpacker{}
			if err := u.receive(bytes.NewReader(text), home+"/to"); err == nil {
				t.Error("it was taken")
			}
			if got := tree(t, home); got != before {
				t.Errorf("it changed something:\n%s", got)
			}
			if fi, err := os.Stat(home); err != nil || fi.Mode().Perm() != 0o700 {
				t.Errorf("the directory above has %v, %v", fi.Mode(), err)
			}
		})
	}
}

// What came as a link does not lead what comes later elsewhere.
func TestLinksAreNotFollowedLater(t *testing.T) {
	home := t.TempDir()
	for _, dir := range []string{"/mine", "/dst"} {
		if err := os.Mkdir(home+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	top := entry(tar.TypeDir, "./", "")
	u := unpacker{}
	if err := u.receive(bytes.NewReader(stream(t, top, entry(tar.TypeSymlink, "l", "../mine"))), home+"/dst"); err != nil {
		t.Fatal(err)
	}
	u = unpacker{}
	err := u.receive(bytes.NewReader(stream(t, top, entry(tar.TypeDir, "l", ""), entry(tar.TypeReg, "l/x", ""))), home+"/dst")
	if err == nil || !strings.Contains(err.Error(), "dst/l is no directory") {
		t.Errorf("%v", err)
	}
	if got, want := tree(t, home), "dst 755 \ndst/l -> ../mine\nmine 755 \n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Permissions are kept, but for those that give rights to others' programs.
func TestReceivedPermissions(t *testing.T) {
	home := t.TempDir()
	u := unpacker{}
	if err := u.receive(bytes.NewReader(stream(t, entry(tar.TypeReg, "./x", ""))), home+"/y"); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(home + "/y"); err != nil || fi.Mode() != 0o777 || u.files != 1 || u.bytes != 4 {
		t.Errorf("%v, %v, %+v", fi.Mode(), err, u)
	}
}

func FuzzUnpack(f *testing.F) {
	for _, text := range hostile(f) {
		f.Add(text)
	}
	f.Add(stream(f, entry(tar.TypeDir, ".", ""), entry(tar.TypeReg, "a", ""), entry(tar.TypeLink, "b", "a"), entry(tar.TypeSymlink, "c", "/x")))
	f.Fuzz(func(t *testing.T, text []byte) {
		home := t.TempDir()
		if err := os.Mkdir(home+"/in", 0o755); err != nil {
			t.Fatal(err)
		}
		u := unpacker{}
		err := u.receive(bytes.NewReader(text), home+"/in/to")
		all, _ := filepath.Glob(home + "/*")
		in, _ := filepath.Glob(home + "/in/*")
		hidden, _ := filepath.Glob(home + "/in/.*")
		if len(all) != 1 || len(hidden) != 0 || err != nil && len(in) != 0 || err == nil && (len(in) != 1 || in[0] != home+"/in/to") {
			t.Errorf("%v: %v %v %v", err, all, in, hidden)
		}
		if fi, err := os.Stat(home + "/in"); err != nil || fi.Mode().Perm() != 0o755 {
			t.Errorf("the directory above has %v, %v", fi.Mode(), err)
		}
	})
}
