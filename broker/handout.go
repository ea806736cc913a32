package broker

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"sync"

	"nimbus/broker/software"
	"nimbus/install"
)

// agents are the programs that the broker hands out: platform → SHA-256. What
// is wrong with those that it does not is logged, once for each time that it
// becomes so.
func (s *Service) agents() map[string]string {
	if s.Software == nil {
		return nil
	}
	sums, problems := s.Software.Look()
	for _, problem := range s.complaints.fresh(problems) {
		s.Log.Warn("not handed out", "reason", problem)
	}
	return sums
}

// Build opens the program for a platform.
func (s *Service) Build(_ context.Context, platform string) (*software.File, error) {
	if s.Software == nil {
		return nil, nil
	}
	f, err := s.Software.File(platform)
	if errors.Is(err, software.ErrNone) {
		return nil, nil
	}
	return f, err
}

// InstallScript is install.sh with this broker's addresses, CA and sums in it:
// first the URL by which its caller came, which works from there.
func (s *Service) InstallScript(_ context.Context, from string) []byte {
	brokers := s.Brokers()
	// The broker's id leads nowhere: whoever uses it was told where to go.
	if u, err := url.Parse(from); err == nil && u.Hostname() != "" && u.Hostname() != s.Authority.BrokerID {
		brokers = slices.DeleteFunc(slices.Clone(brokers), func(b string) bool { return b == from })
		brokers = slices.Insert(brokers, 0, from)
	}
	return install.Script(install.Origin{Brokers: brokers, BrokerID: s.Authority.BrokerID, CA: s.Authority.CA, Agents: s.agents()})
}

// complaints remembers what was complained of.
type complaints struct {
	mu   sync.Mutex
	made []string
}

// fresh returns those that are not known from last time.
func (c *complaints) fresh(problems []error) (texts []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, problem := range problems {
		all = append(all, problem.Error())
		if !slices.Contains(c.made, problem.Error()) {
			texts = append(texts, problem.Error())
		}
	}
	c.made = all
	return texts
}
