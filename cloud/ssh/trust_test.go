//go:build linux

package ssh

import (
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"nimbus/cloud/cloudtest"
)

// Whether a host is the right one: as known_hosts files say.
func TestHostKeys(t *testing.T) {
	b := newBench(t, 2)
	host, other := b.hosts[0], b.hosts[1]
	key := strings.Join(strings.Fields(b.machines[0].HostKey)[:2], " ")
	wrong := strings.Join(strings.Fields(b.machines[1].HostKey)[:2], " ")
	_, stranger := newKey(t, b.dir, "stranger")
	rsa := "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDJr0dHvVYBYwWTPXtvhiVZLaqdUyHHGzmbIcXVPdKXXBtQH3p4NkiVWCxu6dQfZVBqMOGTj8z1xqp0hpQ0m7Tn4dpqJiCWgsiG1dFZC/JHr1HKPBpbKRmcWUlPRBKZhPFQ1ZLjFYtBqNQBbIUzWZ3hVN1u0gBq7uPdh3PyvP1cEw=="
	launch := func(known string, acceptNew bool) error {
		o := b.options()
		o.Hosts = map[string][]Host{AnyGroup: {host}}
		o.KnownHosts, o.AcceptNew = []string{filepath.Join(b.dir, "none"), known}, acceptNew
		if acceptNew {
			o.KnownHosts = []string{known}
		}
		d := b.open(o)
		defer d.Close()
		instances, err := d.Launch(t.Context(), requests(cloudtest.Token(), "w"))
		if err == nil {
			err = d.Terminate(t.Context(), instances)
		}
		return err
	}
	n := 0
	file := func(text string, args ...any) string {
		n++
		return b.write(fmt.Sprintf("known-%d", n), fmt.Sprintf(text, args...))
	}
	for name, known := range map[string]string{
		"plain":    file("%s %s\n", host.Address, key),
		"hashed":   file("%s %s\n", knownhosts.HashHostname(host.Address), key),
		"patterns": file("# all\n*.*.*.* %s\n", key),
		"several":  file("%s %s\n%s %s\n", host.Address, rsa, host.Address, key),
	} {
		if err := launch(known, false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	refuses(t, "no file", launch(filepath.Join(b.dir, "none"), false), host.String()+": its host key is not known: ssh-ed25519 SHA256:", "hint: log in once with ssh root@"+host.Address, "accept-new")
	refuses(t, "another port", launch(file("[%s]:2222 %s\n", host.Address, key), false), "its host key is not known")
	for _, acceptNew := range []bool{false, true} {
		changed := file("# one\n%s %s\n", host.Address, wrong)
		refuses(t, "changed", launch(changed, acceptNew), "its host key is another than the one in "+changed+":2", "ssh-keygen -R '"+host.Address+"' -f "+changed)
	}
	revoked := file("@revoked * %s\n%s %s\n", key, host.Address, key)
	refuses(t, "revoked", launch(revoked, true), "revoked by "+revoked+":1")
	refuses(t, "nonsense", launch(file("%s ssh-ed25519 nonsense\n", host.Address), true), "known hosts: ", ":1: ", "hint: mend that line")

	// A new one is added once, also where many come at the same time.
	fresh := filepath.Join(b.dir, "new", "known_hosts")
	o := b.options()
	o.Hosts, o.KnownHosts, o.AcceptNew = map[string][]Host{"a": {host}, "b": {other}}, []string{fresh}, true
	d := b.open(o)
	all := launched(t, d, requests(cloudtest.Token(), "a", "b"))
	if err := d.Terminate(t.Context(), all); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(fresh)
	if err != nil || strings.Count(string(text), "\n") != 2 || !strings.Contains(string(text), host.Address+" "+key+"\n") {
		t.Errorf("%s, %v", text, err)
	}
	if info, err := os.Stat(fresh); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for _, acceptNew := range []bool{false, true} {
		if err := launch(fresh, acceptNew); err != nil {
			t.Error(err)
		}
	}
	if again, _ := os.ReadFile(fresh); string(again) != string(text) {
		t.Errorf("it was added again:\n%s", again)
	}
	cut := file("other.example.org %s", wrong) // its last line does not end
	if err := launch(cut, true); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(cut); string(text) != "other.example.org "+wrong+"\n"+host.Address+" "+key+"\n" {
		t.Errorf("%s", text)
	}

	// Somebody certifies hosts; ours has no certificate, and then it has.
	authority := file("@cert-authority * %s\n", stranger)
	refuses(t, "no certificate", launch(authority, false), "its host key is not known")
	b.certify(0, "stranger", host.Address)
	if err := launch(authority, false); err != nil {
		t.Errorf("a certificate: %v", err)
	}
	if err := launch(b.known, false); err != nil {
		t.Errorf("its plain key: %v", err)
	}
	b.certify(0, "stranger", "10.99.99.99")
	refuses(t, "a certificate of another host", launch(authority, false), "its host key")
}

// certify gives a host a certificate of its key.
func (b *bench) certify(n int, authority, address string) {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, authority))
	if err != nil {
		b.t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		b.t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(b.machines[n].HostKey))
	if err != nil {
		b.t.Fatal(err)
	}
	cert := &ssh.Certificate{Key: key, CertType: ssh.HostCert, ValidPrincipals: []string{address}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, signer); err != nil {
		b.t.Fatal(err)
	}
	b.in(n, fmt.Sprintf("echo '%s' >/etc/ssh/cert.pub; grep -q HostCert /etc/ssh/nimbus_sshd_config || echo HostCertificate /etc/ssh/cert.pub >>/etc/ssh/nimbus_sshd_config; kill -HUP $(cat /run/sshd.pid)", strings.TrimSpace(string(ssh.MarshalAuthorizedKey(cert)))))
	eventually(b.t, "sshd listens again", func() bool {
		c, err := net.Dial("tcp", b.hosts[n].dial())
		if err != nil {
			return false
		}
		defer c.Close()
		banner := make([]byte, 4)
		c.Read(banner)
		return string(banner) == "SSH-"
	})
}

// Who is let in, and what is said to those who are not.
func TestKeys(t *testing.T) {
	b := newBench(t, 1)
	try := func(change func(*Options)) error {
		o := b.options()
		change(&o)
		d := b.open(o)
		defer d.Close()
		_, err := d.List(t.Context(), cloudtest.Token())
		if err != nil {
			return err
		}
		instances, err := d.Launch(t.Context(), requests(cloudtest.Token(), "w"))
		if err == nil {
			err = d.Terminate(t.Context(), instances)
		}
		return err
	}
	wrong, _ := newKey(t, b.dir, "wrong")
	refuses(t, "a wrong key", try(func(o *Options) { o.Key = wrong }), b.hosts[0].String()+": login as root was refused, with these keys: "+wrong+" (SHA256:", "authorized_keys")
	refuses(t, "no such key", try(func(o *Options) { o.Key = wrong + "x" }), "key "+wrong+"x: no such file", "names a private key file")
	refuses(t, "no key", try(func(o *Options) { o.Key = b.write("nonsense", "x") }), "nonsense: ssh: no key found")
	refuses(t, "nothing at all", try(func(o *Options) { o.Key = "" }), "there is no key to log in with")

	home := filepath.Join(b.dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	right, err := os.ReadFile(b.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(home+"/id_rsa", right, 0o600)
	bad, _ := os.ReadFile(wrong)
	os.WriteFile(home+"/id_ed25519", bad, 0o600)
	if err := try(func(o *Options) { o.Key, o.KeyDir = "", home }); err != nil {
		t.Errorf("the second key of a home: %v", err)
	}
	raw, err := ssh.ParseRawPrivateKey(right)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(raw, "", []byte("word"))
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(home+"/id_rsa", pem.EncodeToMemory(block), 0o600)
	locked := func(o *Options) { o.Key, o.KeyDir = "", home }
	refuses(t, "encrypted", try(locked), "not tried, as they are encrypted", home+"/id_rsa", "ssh-add")
	named := func(o *Options) { o.Key = home + "/id_rsa" }
	refuses(t, "encrypted and named", try(named), "is encrypted, and there is no SSH agent: SSH_AUTH_SOCK is not set", "ssh-add "+home+"/id_rsa")

	ring := agent.NewKeyring()
	socket := filepath.Join(b.dir, "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, c)
		}
	}()
	refuses(t, "an empty agent", try(func(o *Options) { named(o); o.AgentSocket = socket }), "and the SSH agent does not have it")
	if err := ring.Add(agent.AddedKey{PrivateKey: raw}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){"of a home": locked, "named": named, "in the agent only": func(o *Options) { o.Key = "" }} {
		if err := try(func(o *Options) { change(o); o.AgentSocket = socket }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Somebody who is not root, and what sudo says to that.
func TestSudo(t *testing.T) {
	b := newBench(t, 1)
	if _, err := os.Stat("/usr/bin/sudo"); err != nil {
		t.Skip("there is no sudo here (Debian: sudo)")
	}
	b.in(0, `echo 'ann:x:4242:4242::/var/ann:/bin/sh' >>/etc/passwd; echo 'ann:*:1::::::' >>/etc/shadow; echo 'ann:x:4242:' >>/etc/group
mkdir -p /var/ann/.ssh; cp /root/.ssh/authorized_keys /var/ann/.ssh/; chown -R 4242:4242 /var/ann; chmod 755 /var/ann; chmod 700 /var/ann/.ssh`)
	o := b.options()
	o.User = "ann"
	o.Hosts = map[string][]Host{AnyGroup: {{Address: b.hosts[0].Address}}}
	who := "ann@" + b.hosts[0].dial()
	try := func() error {
		d := b.open(o)
		defer d.Close()
		_, err := d.Launch(t.Context(), requests(cloudtest.Token(), "w"))
		return err
	}
	refuses(t, "not allowed", try(), who+": sudo asks ann for a password there", "NOPASSWD")
	b.in(0, "mv /usr/bin/sudo /usr/bin/sudo.away")
	refuses(t, "no sudo", try(), who+": ann is not root there, and there is no sudo", "install sudo")
	b.in(0, "mv /usr/bin/sudo.away /usr/bin/sudo; sed -i 's|^ann:.*|ann:x:4242:4242::/var/ann:/bin/false|' /etc/passwd")
	refuses(t, "no shell", try(), who+": run a program there: ")
	b.in(0, `printf '#!/bin/sh\necho "Go away."\n' >/var/no; chmod 755 /var/no; sed -i 's|^ann:.*|ann:x:4242:4242::/var/ann:/var/no|' /etc/passwd`)
	refuses(t, "no shell either", try(), who+": the login shell of ann does not run commands; it says: Go away.")
	b.in(0, `sed -i 's|^ann:.*|ann:x:4242:4242::/var/ann:/bin/sh|' /etc/passwd; printf 'Defaults requiretty\nann ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/ann; chmod 440 /etc/sudoers.d/ann`)
	refuses(t, "requiretty", try(), who+": ann cannot become root there: ", "you must have a tty", "Defaults:ann !requiretty")
	b.in(0, `rm /etc/sudoers.d/ann; echo 'ann ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ann; chmod 440 /etc/sudoers.d/ann`)
	before := b.in(0, listing)
	d := b.open(o)
	all := launched(t, d, requests(cloudtest.Token(), "w"))
	if all[0].Login != "ann" || all[0].ID != who+"/"+tagOf(all[0].Launch, "w-0") {
		t.Errorf("%v", all)
	}
	if got := b.in(0, "stat -c '%U %a' /opt/nimbus/bin/nimbus /var/lib/nimbus/bootstrap"); got != "root 755\nroot 600" {
		t.Errorf("owners: %s", got)
	}
	eventually(t, "the agent's lines arrive", func() bool { return strings.Contains(b.logs.String(), who+": agent begins: for w") })
	testEnter(t, b, d, all[0])
	b.in(0, "rm -f /root/.bash_history")
	if err := d.Terminate(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	unchanged(t, "terminated", before, b.in(0, listing))
	b.quiet(0)
}

// Through another host.
func TestJump(t *testing.T) {
	b := newBench(t, 3)
	o := b.options()
	jump := b.hosts[0]
	o.Jump = &jump
	o.Hosts = map[string][]Host{AnyGroup: b.hosts[1:]}
	d := b.open(o)
	all := launched(t, d, requests(cloudtest.Token(), "w", "w"))
	var out strings.Builder
	// Who is connected to the SSH server there.
	ip := net.ParseIP(jump.Address).To4()
	from := fmt.Sprintf("%02X%02X%02X%02X", ip[3], ip[2], ip[1], ip[0])
	if out.WriteString(b.in(1, "awk '$2 ~ /:0016$/ && $4 == \"01\" {print substr($3,1,8)}' /proc/net/tcp | sort -u")); out.String() != from {
		t.Errorf("connections come from %q, want %q", out.String(), from)
	}
	if err := d.Terminate(t.Context(), all); err != nil {
		t.Error(err)
	}
	o.Hosts = map[string][]Host{AnyGroup: {{Address: b.hosts[1].Address, Port: 9}}}
	_, err := b.open(o).Launch(t.Context(), requests(cloudtest.Token(), "w"))
	refuses(t, "behind it nobody", err, "root@"+b.hosts[1].Address+":9: through "+jump.String()+": ", "refused")
	o.Jump = &Host{Address: jump.Address, Port: 9}
	_, err = b.open(o).Launch(t.Context(), requests(cloudtest.Token(), "w"))
	refuses(t, "no jump host", err, "jump host root@"+jump.Address+":9: dial tcp")
}
