package ssh

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// login is what a host says when one comes in.
type login struct {
	sysname, machine string
	sudo             bool       // to be root
	address          netip.Addr // by which it was reached, as it sees it
}

// prefix goes before a command that root shall run.
func (l login) prefix() string {
	if l.sudo {
		return "sudo -n -H "
	}
	return ""
}

// logIn asks a host who we are there. Without root there is nothing to do.
func (c *connection) logIn(ctx context.Context) error {
	out, err := c.run(ctx, "", program("login", nil), nil)
	if err != nil {
		return fmt.Errorf("run a program there: %w", err)
	}
	c.as, err = parseLogin(c.host, out)
	return err
}

func parseLogin(h Host, out []byte) (login, error) {
	a := parseAnswer(out)
	if a["login"] != "nimbus" {
		return login{}, &problem{fmt.Sprintf("the login shell of %s does not run commands; it says: %s", h.User, firstLine(out)), "name a user with a shell such as /bin/sh"}
	}
	l := login{}
	l.sysname, l.machine, _ = strings.Cut(a["system"], " ")
	if words := strings.Fields(a["connection"]); len(words) == 4 {
		l.address, _ = netip.ParseAddr(words[2])
	}
	if ip, err := netip.ParseAddr(h.Address); err == nil {
		l.address = ip
	}
	how, why, _ := strings.Cut(a["root"], " ")
	switch how {
	case "direct":
		return l, nil
	case "sudo":
		l.sudo = true
		return l, nil
	case "missing":
		return login{}, &problem{fmt.Sprintf("%s is not root there, and there is no sudo", h.User), "log in as root, or install sudo there"}
	}
	text := fmt.Sprintf("%s cannot become root there: %s", h.User, printable(why))
	if strings.Contains(why, "password is required") {
		text = fmt.Sprintf("sudo asks %s for a password there", h.User)
	}
	if strings.Contains(why, "must have a tty") {
		return login{}, &problem{text, fmt.Sprintf("log in as root, or allow it there without a terminal, in /etc/sudoers.d/nimbus: Defaults:%s !requiretty", h.User)}
	}
	return login{}, &problem{text, fmt.Sprintf("log in as root, or allow it there, in /etc/sudoers.d/nimbus: %s ALL=(ALL) NOPASSWD: ALL", h.User)}
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return "nothing"
	}
	return printable(line[:min(len(line), 200)])
}
