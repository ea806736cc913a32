package client

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/software"
	"nimbus/client/deploy"
	"nimbus/client/settings"
	"nimbus/cloud"
)

// installs tells of the images of the chosen cloud whether their instances
// fetch their agent where they lack it: unless the cloud brings it, or the
// settings say that the image has it.
func (s *session) installs(driver cloud.Driver) func(image string) bool {
	images := s.settings.Clouds[s.settings.Cloud].Images
	equipper, _ := driver.(cloud.Equipper)
	return func(image string) bool {
		if equipper != nil && equipper.Equips(image) {
			return false
		}
		return images[image].Agent != settings.AgentPrepared
	}
}

// fetching tells whether a node of a definition may have to fetch its agent.
func fetching(def *cluster.Definition, installs func(image string) bool) bool {
	for _, w := range def.Workspaces {
		if w.Ctx != nil && installs(w.Image) {
			return true
		}
	}
	return false
}

// expectedAgents are the programs that the broker of a run hands out; one that
// may not be running yet is this program, with what lies beside it.
func (s *session) expectedAgents(ctx context.Context) (map[string]string, error) {
	if s.settings.Broker == "" {
		shelf, err := software.Open(s.env.Executable, s.env.downloads())
		if err != nil {
			return nil, err
		}
		defer shelf.Close()
		return shelf.Sums(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	broker, err := s.findBroker(ctx, s.settings.Broker)
	if err != nil {
		return nil, err
	}
	info, err := inform(ctx, broker)
	return info.Agents, err
}

// downloads is where this user's own broker finds programs for other machines.
func (env *Env) downloads() string { return filepath.Join(env.brokerDir(), "downloads") }

// planFailure is what to say of a plan that cannot be made.
func (s *session) planFailure(err error) error {
	var none *deploy.NoAgentError
	if !errors.As(err, &none) {
		return &Failure{Code: exitFailed, Text: err.Error()}
	}
	return &Failure{Code: exitFailed, Text: printable(none.Error()) + ": nothing was launched", Advice: s.agentAdvice(none)}
}

// agentAdvice says how instances get their agent all the same.
func (s *session) agentAdvice(none *deploy.NoAgentError) string {
	put := "have its operator put nimbus-linux-amd64 and SHA256SUMS of a release (make release) into its downloads directory"
	if s.settings.Broker == "" {
		own := ""
		if runtime.GOOS != "linux" {
			own = fmt.Sprintf("the broker is this program, for %s; ", software.Own())
		}
		put = own + "put nimbus-linux-amd64 and SHA256SUMS of a release (make release) into " + s.env.downloads()
	}
	image := none.Image
	if strings.ContainsFunc(image, func(c rune) bool { return !bareKey(c) }) {
		image = fmt.Sprintf("%q", image)
	}
	return fmt.Sprintf("%s, or say that the image has its agent: agent = %q in [clouds.%s.images.%s] of the settings", put, settings.AgentPrepared, s.settings.Cloud, image)
}

// bareKey tells whether a key of a TOML file may have a character without
// quotes.
func bareKey(c rune) bool {
	return c == '-' || c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
