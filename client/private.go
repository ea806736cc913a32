package client

import (
	"path/filepath"
	"slices"
	"strings"

	"nimbus/client/settings"
)

// private are the paths that sandboxes of this machine's file system shall not
// show: the user's own directory, and what the settings put elsewhere.
func (env *Env) private(s settings.Settings) ([]string, error) {
	paths := []string{env.Home, env.StateDir, env.ConfigDir, s.HistoryDir, s.BrokerKey, s.BrokerCA}
	for _, c := range s.Clouds {
		paths = append(paths, c.Key)
	}
	if s.SSHKey != "" {
		public, err := filepath.Abs(env.expand(s.SSHKey))
		if err != nil {
			return nil, err
		}
		// Other keys are beside it. But what is right below the root belongs to
		// the system, and goes with all that is in it.
		paths = append(paths, public, strings.TrimSuffix(public, ".pub"))
		if dir := filepath.Dir(public); filepath.Dir(dir) != "/" {
			paths = append(paths, dir)
		}
	}
	var hide []string
	for _, path := range paths {
		if path == "" {
			continue
		}
		path, err := filepath.Abs(env.expand(path))
		if err != nil {
			return nil, err
		}
		if path != "/" && !slices.Contains(hide, path) {
			hide = append(hide, path)
		}
	}
	return hide, nil
}
