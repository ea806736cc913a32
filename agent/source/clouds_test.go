package source

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A service is a metadata server with sessions, as EC2 has them.
type service struct {
	session  string // the token that it gives; empty: it knows of none
	required bool   // nobody is answered without
	lost     int    // so many questions for a token get no answer
	paths    map[string]string

	opened, refused atomic.Int32
}

func (s *service) start(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			switch n := int(s.opened.Add(1)); {
			case n <= s.lost:
				panic(http.ErrAbortHandler)
			case r.URL.Path != "/latest/api/token" || s.session == "":
				http.Error(w, "no such thing", http.StatusMethodNotAllowed)
			case r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") == "":
				http.Error(w, "for how long?", http.StatusBadRequest)
			default:
				_, _ = w.Write([]byte(s.session))
			}
			return
		}
		token := r.Header.Get("X-aws-ec2-metadata-token")
		if token != s.session && (s.required || token != "") {
			s.refused.Add(1)
			http.Error(w, "no session", http.StatusUnauthorized)
			return
		}
		content, ok := s.paths[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(content))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestMetadataOfClouds(t *testing.T) {
	good := string(document(t))
	ec2 := map[string]string{"/2007-01-19/user-data": good, "/2007-01-19/meta-data/local-hostname": "head-0.internal"}
	stack := map[string]string{"/openstack/latest/user_data": good, "/openstack/latest/meta_data.json": `{"uuid": "1", "hostname": "head-0.novalocal", "public_keys": {}}`}
	both := map[string]string{"/2007-01-19/user-data": good, "/openstack/latest/user_data": "#cloud-config\n", "/openstack/latest/meta_data.json": `{"hostname": "head-0.novalocal"}`}
	for name, c := range map[string]struct {
		*service
		where, host string
		refused     int32
	}{
		"no sessions":            {&service{paths: ec2}, "/2007-01-19/user-data", "head-0.internal", 0},
		"sessions if you like":   {&service{session: "AQAE-token==", paths: ec2}, "/2007-01-19/user-data", "head-0.internal", 0},
		"sessions only":          {&service{session: "AQAE-token==", required: true, paths: ec2}, "/2007-01-19/user-data", "head-0.internal", 0},
		"a session at last":      {&service{session: "AQAE-token==", required: true, lost: 1, paths: ec2}, "/2007-01-19/user-data", "head-0.internal", 1},
		"OpenStack alone":        {&service{paths: stack}, "/openstack/latest/user_data", "head-0.novalocal", 0},
		"OpenStack and sessions": {&service{session: "t", required: true, paths: stack}, "/openstack/latest/user_data", "head-0.novalocal", 0},
		"both, the name of one":  {&service{paths: both}, "/2007-01-19/user-data", "head-0.novalocal", 0},
		"a token of two lines":   {&service{session: "a\r\nX-Evil: b", paths: ec2}, "/2007-01-19/user-data", "head-0.internal", 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := nowhere(t)
			p.MetadataURL = c.service.start(t)
			f, err := p.Find(t.Context())
			if err != nil || f.Where != p.MetadataURL+c.where {
				t.Fatalf("got %+v, %v", f, err)
			}
			if host := f.Values.Value(t.Context(), "local-hostname"); host != c.host {
				t.Errorf("called %q", host)
			}
			if n := c.service.refused.Load(); n != c.refused {
				t.Errorf("refused %d times", n)
			}
		})
	}
}

// A server that wants a session and gives none is not nobody: it is asked
// again, and the line says what it wants.
func TestNoSession(t *testing.T) {
	s := service{session: "t", required: true, lost: 1000}
	p := nowhere(t)
	p.MetadataURL = s.start(t)
	var none *NotFoundError
	if _, err := p.Find(t.Context()); !errors.As(err, &none) || !strings.Contains(err.Error(), "it wants a session token, and did not answer when it was asked for one") {
		t.Errorf("got %v", err)
	}
}

// A session ends; the next question opens another.
func TestOldSession(t *testing.T) {
	s := service{session: "one", required: true, paths: map[string]string{"/2007-01-19/user-data": string(document(t)), "/2007-01-19/meta-data/local-hostname": "head-0"}}
	p := nowhere(t)
	p.MetadataURL = s.start(t)
	f, err := p.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.session = "two"
	if name := f.Values.Value(t.Context(), "local-hostname"); name != "head-0" || s.refused.Load() != 1 || s.opened.Load() != 2 {
		t.Errorf("%q, refused %d times, %d sessions", name, s.refused.Load(), s.opened.Load())
	}
}

// Some networks swallow the question for a session, and pass all others.
func TestSilentToSessions(t *testing.T) {
	good := document(t)
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			select {
			case <-r.Context().Done():
			case <-gone:
			}
			return
		}
		_, _ = w.Write(good)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(gone) })
	p := nowhere(t)
	hasty.each = time.Second
	p.MetadataURL = server.URL
	if f, err := p.Find(t.Context()); err != nil || f.Context != "ctx-1" {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestSeeds(t *testing.T) {
	for name, meta := range map[string]string{
		"YAML":   "instance-id: i-1\nlocal-hostname: head-0.lab # mine\n",
		"quoted": "local-hostname: \"head-0.lab\"\r\n",
		"JSON":   `{"instance-id": "i-1", "local-hostname": "head-0.lab"}`,
	} {
		for _, seed := range []string{"nocloud", "nocloud-net"} {
			p := nowhere(t)
			dir := filepath.Join(p.CloudInit, "seed", seed)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "user-data"), string(document(t)))
			put(t, filepath.Join(dir, "meta-data"), meta)
			f, err := p.Find(t.Context())
			if err != nil || f.Where != dir+"/user-data" || f.Values.Value(t.Context(), "local-hostname") != "head-0.lab" {
				t.Errorf("%s: got %+v, %v", name, f, err)
			}
		}
	}
}

// cloud-init's copy counts for the machine that cloud-init saw in this boot,
// and only when nobody else knows.
func TestCopyOfCloudInit(t *testing.T) {
	p := nowhere(t)
	instance := filepath.Join(p.CloudInit, "instances", "iid_1")
	for _, dir := range []string{instance, p.CloudInitRun} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\ncat >/run/nimbus/bootstrap <<'NIMBUS-BOOTSTRAP'\n" + string(document(t)) + "NIMBUS-BOOTSTRAP\n"
	put(t, filepath.Join(instance, "user-data.txt"), script)
	if err := os.Symlink(instance, filepath.Join(p.CloudInit, "instance")); err != nil {
		t.Fatal(err)
	}
	var none *NotFoundError
	for run, why := range map[string]string{"": "cloud-init did not run in this boot", "iid/2\n": "is not of the instance of this boot"} {
		if run != "" {
			put(t, filepath.Join(p.CloudInitRun, ".instance-id"), run)
		}
		if _, err := p.Find(t.Context()); !errors.As(err, &none) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: got %v", run, err)
		}
		_ = os.Remove(filepath.Join(p.CloudInitRun, ".instance-id"))
	}
	put(t, filepath.Join(p.CloudInitRun, ".instance-id"), "iid/1\n")
	if f, err := p.Find(t.Context()); err != nil || f.Context != "ctx-1" || f.Where != p.CloudInit+"/instance/user-data.txt" {
		t.Errorf("got %+v, %v", f, err)
	}
	put(t, filepath.Join(instance, "user-data.txt"), "#cloud-config\n")
	if _, err := p.Find(t.Context()); !errors.As(err, &none) || !strings.Contains(err.Error(), "user-data.txt is not a bootstrap document") {
		t.Errorf("got %v", err)
	}
}
