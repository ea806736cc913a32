package ssh

import (
	"bufio"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys decides whether a host is the one that it says it is.
type hostKeys struct {
	files     []string
	acceptNew bool
	adding    sync.Mutex
}

// known is what the files say of a host.
type known struct {
	check     ssh.HostKeyCallback
	keys      []knownhosts.KnownKey // of the host itself
	authority bool                  // keys of whom are certified by somebody
}

// lookUp reads the files anew: somebody may just have mended them.
func (k *hostKeys) lookUp(address string) (known, error) {
	var files []string
	for _, file := range k.files {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return known{}, fmt.Errorf("known hosts: %w", err)
		}
		f.Close()
		files = append(files, file)
	}
	check, err := knownhosts.New(files...)
	if err != nil {
		return known{}, &problem{"known hosts: " + strings.TrimPrefix(err.Error(), "knownhosts: "), "mend that line, or remove it"}
	}
	found := known{check: check}
	var unlike *knownhosts.KeyError
	if err := check(address, &net.TCPAddr{}, noKey()); errors.As(err, &unlike) {
		for _, key := range unlike.Want {
			if isAuthority(key) {
				found.authority = true
			} else {
				found.keys = append(found.keys, key)
			}
		}
	}
	return found, nil
}

// noKey is a key that no host has.
func noKey() ssh.PublicKey {
	key, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		panic(err) // the size is right
	}
	return key
}

// isAuthority says whether a line is about one who certifies keys.
func isAuthority(key knownhosts.KnownKey) bool {
	f, err := os.Open(key.Filename)
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if n == key.Line {
			return strings.HasPrefix(strings.TrimSpace(lines.Text()), "@cert-authority")
		}
	}
	return false
}

// algorithms are what a host is asked to prove: a key of a kind that is known.
// A host has several, and would else show one that is not.
func (k known) algorithms() []string {
	var certified, plain, wanted []string
	for _, name := range ssh.SupportedAlgorithms().HostKeys {
		if strings.Contains(name, "-cert-") {
			certified = append(certified, name)
		} else {
			plain = append(plain, name)
		}
	}
	for _, key := range k.keys {
		switch kind := key.Key.Type(); kind {
		case ssh.KeyAlgoRSA:
			wanted = append(wanted, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			wanted = append(wanted, kind)
		}
	}
	if len(wanted) == 0 {
		wanted = plain
	}
	if k.authority {
		wanted = append(certified, wanted...)
	}
	return wanted
}

// callback is what a connection to a host asks. A key that is taken goes to
// taken.
func (k *hostKeys) callback(h Host, found known, taken func(ssh.PublicKey)) ssh.HostKeyCallback {
	return func(address string, remote net.Addr, key ssh.PublicKey) error {
		err := found.check(address, remote, key)
		var unlike *knownhosts.KeyError
		var revoked *knownhosts.RevokedError
		switch {
		case err == nil:
		case errors.As(err, &revoked):
			return &problem{fmt.Sprintf("its host key is revoked by %s:%d", revoked.Revoked.Filename, revoked.Revoked.Line), "do not trust this host before you know why"}
		case errors.As(err, &unlike) && len(found.keys) > 0:
			return changed(h, found.keys, key)
		case errors.As(err, &unlike):
			if !k.acceptNew || len(k.files) == 0 {
				return unknown(h, key)
			}
			if err := k.add(h, address, key); err != nil {
				return err
			}
		default:
			return fmt.Errorf("its host key: %w", err)
		}
		taken(key)
		return nil
	}
}

func changed(h Host, keys []knownhosts.KnownKey, key ssh.PublicKey) error {
	line := keys[0]
	for _, k := range keys {
		if k.Key.Type() == key.Type() {
			line = k
			break
		}
	}
	return &problem{
		fmt.Sprintf("its host key is another than the one in %s:%d: %s %s. Somebody may listen in, or the host was made anew", line.Filename, line.Line, key.Type(), ssh.FingerprintSHA256(key)),
		fmt.Sprintf("if it was made anew: ssh-keygen -R '%s' -f %s", knownhosts.Normalize(h.dial()), line.Filename),
	}
}

func unknown(h Host, key ssh.PublicKey) error {
	port := ""
	if h.Port != 22 {
		port = fmt.Sprintf("-p %d ", h.Port)
	}
	return &problem{
		fmt.Sprintf("its host key is not known: %s %s", key.Type(), ssh.FingerprintSHA256(key)),
		fmt.Sprintf("log in once with ssh %s%s@%s and compare the key, or take the keys of new hosts as they are: %s", port, h.User, h.Address, AcceptNewSetting),
	}
}

// add writes the key of a new host to the first file, unless somebody else
// just did, and then it must be the same one.
func (k *hostKeys) add(h Host, address string, key ssh.PublicKey) error {
	k.adding.Lock()
	defer k.adding.Unlock()
	file := k.files[0]
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("known hosts: lock %s: %w", file, err)
	}
	now, err := k.lookUp(address)
	if err != nil {
		return err
	}
	if len(now.keys) > 0 {
		if slices.ContainsFunc(now.keys, func(one knownhosts.KnownKey) bool { return string(one.Key.Marshal()) == string(key.Marshal()) }) {
			return nil
		}
		return changed(h, now.keys, key)
	}
	line := knownhosts.Line([]string{address}, key) + "\n"
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err == nil && last[0] != '\n' {
			line = "\n" + line
		}
	}
	if _, err := f.WriteString(line); err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	return nil
}

// plainKey is a host key as a line of a known_hosts file has it.
func plainKey(key ssh.PublicKey) string {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}
