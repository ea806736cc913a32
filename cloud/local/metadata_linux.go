package local

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// metadata is what an instance can ask about itself, by path, in the layout
// that EC2 has made common (version 1: plain GET).
type metadata map[string]string

func newMetadata(s service) metadata {
	m := metadata{
		"meta-data/ami-id":          s.Image,
		"meta-data/hostname":        s.Name,
		"meta-data/instance-id":     s.ID,
		"meta-data/local-hostname":  s.Name,
		"meta-data/public-hostname": s.Name,
	}
	if s.Address.IsValid() {
		m["meta-data/local-ipv4"] = s.Address.String()
		m["meta-data/public-ipv4"] = s.Address.String()
	}
	if len(s.UserData) > 0 {
		m["user-data"] = string(s.UserData)
	}
	var names []string
	for n, key := range s.Keys {
		names = append(names, fmt.Sprintf("%d=key-%d", n, n))
		m[fmt.Sprintf("meta-data/public-keys/%d/openssh-key", n)] = key
	}
	if len(names) > 0 {
		m["meta-data/public-keys"] = strings.Join(names, "\n")
	}
	return m
}

// version is the first part of every path: all are answered alike.
var version = regexp.MustCompile(`^(latest|1\.0|\d{4}-\d\d-\d\d)$`)

// ServeHTTP answers with a value, or with what there is below a path.
func (m metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v, rest, _ := strings.Cut(strings.Trim(path.Clean(r.URL.Path), "/"), "/")
	text, ok := "1.0\n2007-01-19\nlatest", true
	if v != "" {
		text, ok = m.get(rest)
	}
	if v != "" && !version.MatchString(v) || !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	if strings.HasSuffix(r.URL.Path, "user-data") {
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	fmt.Fprint(w, text)
}

func (m metadata) get(name string) (text string, ok bool) {
	if text, ok := m[name]; ok {
		return text, true
	}
	below := name + "/"
	if name == "" {
		below = ""
	}
	var list []string
	for key := range m {
		rest, ok := strings.CutPrefix(key, below)
		if !ok {
			continue
		}
		if next, _, more := strings.Cut(rest, "/"); more {
			rest = next + "/"
			if slices.Contains(list, next) {
				list[slices.Index(list, next)] = rest
			}
		} else if slices.Contains(list, rest+"/") {
			continue
		}
		if !slices.Contains(list, rest) {
			list = append(list, rest)
		}
	}
	slices.Sort(list)
	return strings.Join(list, "\n"), len(list) > 0
}

// serveMetadata answers at metadataAddr for as long as the process lives.
func serveMetadata(s service) error {
	addr := netip.AddrPortFrom(metadataAddr, 80)
	l, err := net.Listen("tcp4", addr.String())
	if err != nil {
		return fmt.Errorf("serve user data: %w", err)
	}
	server := &http.Server{
		Handler:           newMetadata(s),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
	}
	go server.Serve(l)
	return nil
}
