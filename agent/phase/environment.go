package phase

import (
	"strconv"
	"strings"
)

// searchPath is where scripts find programs, whatever started the agent.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// passed are the variables of the agent's environment that scripts get, too:
// the way to the outside. Those whose names begin with NIMBUS_ join them, so
// that a service file can say something to scripts.
var passed = []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "TZ"}

// environment is made anew for each script: nothing of the agent's own can
// slip in by accident.
func (r *Runner) environment(s Step, retry int) []string {
	env := []string{"PATH=" + searchPath, "HOME=/root", "LANG=C.UTF-8"}
	for _, variable := range r.Environ {
		name, _, _ := strings.Cut(variable, "=")
		for _, p := range passed {
			if name == p {
				env = append(env, variable)
			}
		}
		if strings.HasPrefix(name, "NIMBUS_") {
			env = append(env, variable)
		}
	}
	env = append(env,
		"NIMBUS_CONTEXT="+r.Self.Context,
		"NIMBUS_NODE="+r.Self.Place.String(),
		"NIMBUS_WORKSPACE="+r.Self.Place.Workspace,
		"NIMBUS_INDEX="+strconv.Itoa(r.Self.Place.Index),
		"NIMBUS_ROLE="+s.Role,
		"NIMBUS_ROLE_COUNT="+strconv.Itoa(s.Count),
		"NIMBUS_OWN_IP=", "NIMBUS_OWN_HOSTNAME=", "NIMBUS_RETRY=")
	// Of two values the later one counts.
	if len(r.Self.Identities) > 0 {
		first := r.Self.Identities[0]
		env = append(env, "NIMBUS_OWN_IP="+first.IP.String(), "NIMBUS_OWN_HOSTNAME="+first.Hostname)
	}
	if retry > 0 {
		env = append(env, "NIMBUS_RETRY="+strconv.Itoa(retry))
	}
	return env
}
