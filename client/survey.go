package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

// How long status waits for those that it asks.
const (
	cloudPatience  = 30 * time.Second
	brokerPatience = 10 * time.Second
)

// A survey holds what clouds and brokers said of launches. Each of them is
// asked once, however many launches it has, and all at the same time.
type survey struct {
	clouds  map[string]listing  // as place says
	brokers map[string]contexts // by URL; "": this user's own
}

// contexts is one answer of a broker.
type contexts struct {
	byID map[string]wire.Summary
	err  error
}

// place is where the answer about a launch is found: its cloud is asked once
// for all launches. Hosts that run already are asked for each launch: others
// have other hosts, one of which may not answer.
func (s *session) place(record history.Record) string {
	if s.overSSH(record.Cloud) {
		return record.Cloud + " " + record.Launch
	}
	return record.Cloud
}

// askClouds lists what runs where these launches are, of one launch or of all.
func (s *session) askClouds(ctx context.Context, records []history.Record, launch string) map[string]listing {
	var places []string
	by := map[string]history.Record{}
	for _, r := range records {
		places = append(places, s.place(r))
		by[s.place(r)] = r
	}
	return askAll(ctx, cloudPatience, places, func(ctx context.Context, place string) (l listing) {
		record := by[place]
		which := launch
		if s.overSSH(record.Cloud) {
			which = record.Launch
		}
		driver, err := s.cloudOf(record)
		if err == nil {
			l.instances, err = driver.List(ctx, which)
		}
		if err != nil {
			l.err = fmt.Errorf("what runs in cloud %q could not be asked: %w", record.Cloud, err)
		}
		return l
	})
}

// askBrokers lists the contexts that these brokers have.
func (s *session) askBrokers(ctx context.Context, urls []string) map[string]contexts {
	return askAll(ctx, brokerPatience, urls, func(ctx context.Context, url string) contexts {
		c := contexts{byID: map[string]wire.Summary{}}
		broker, err := s.findBroker(ctx, url)
		if errors.Is(err, ErrNoBroker) {
			return c // it ended with its last context
		}
		var list []wire.Summary
		if err == nil {
			list, err = broker.Contexts(ctx)
		}
		if err != nil {
			c.err = fmt.Errorf("the broker (%s) could not be asked: %w", brokerName(url), err)
		}
		for _, summary := range list {
			c.byID[summary.ID] = summary
		}
		return c
	})
}

func brokerName(url string) string {
	if url == "" {
		return "your own"
	}
	return url
}

// askAll asks each of several once, all at the same time.
func askAll[A any](ctx context.Context, patience time.Duration, names []string, ask func(context.Context, string) A) map[string]A {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answers := map[string]A{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	asked := map[string]bool{}
	for _, name := range names {
		if asked[name] {
			continue
		}
		asked[name] = true
		wg.Go(func() {
			answer := ask(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			answers[name] = answer
		})
	}
	wg.Wait()
	return answers
}

// of picks the instances of one launch.
func (l listing) of(launch string) []cloud.Instance {
	var instances []cloud.Instance
	for _, i := range l.instances {
		if i.Launch == launch {
			instances = append(instances, i)
		}
	}
	return instances
}
