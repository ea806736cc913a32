package client

import (
	"path/filepath"
	"slices"
	"testing"

	"nimbus/client/settings"
)

func TestWhatSandboxesDoNotShow(t *testing.T) {
	t.Chdir("/usr")
	at := func(home string) *Env {
		return &Env{Home: home, StateDir: filepath.Join(home, "state"), ConfigDir: "/etc/u/nimbus"}
	}
	for _, c := range []struct {
		env  *Env
		s    settings.Settings
		want []string
	}{
		{at("/data/u"), settings.Settings{}, []string{"/data/u", "/data/u/state", "/etc/u/nimbus"}},
		{at("/"), settings.Settings{}, []string{"/state", "/etc/u/nimbus"}}, // a machine without users
		{at("/"), settings.Settings{HistoryDir: "h", BrokerKey: "~/key", BrokerCA: "/srv/ca.pem", SSHKey: "/srv/keys/a.pub"},
			[]string{"/state", "/etc/u/nimbus", "/usr/h", "/key", "/srv/ca.pem", "/srv/keys/a.pub", "/srv/keys/a", "/srv/keys"}},
		{at("/"), settings.Settings{HistoryDir: "..", SSHKey: "a.pub"}, []string{"/state", "/etc/u/nimbus", "/usr/a.pub", "/usr/a"}},
		{at("/"), settings.Settings{SSHKey: "/a.pub"}, []string{"/state", "/etc/u/nimbus", "/a.pub", "/a"}},
	} {
		if got, err := c.env.private(c.s); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s, %+v: %q, %v, want %q", c.env.Home, c.s, got, err, c.want)
		}
	}
}
