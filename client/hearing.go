package client

import (
	"fmt"
	"sync"
)

// What drivers say while they work, beside what they return.

// A listener gets the lines that drivers pass on; they may come at any time.
type listener struct {
	log  func(who, line string) // of an agent, of a program
	note func(who, line string) // what has changed behind the scenes
}

func (env *Env) heardLog(who, line string) {
	if l := env.listener.Load(); l != nil {
		l.log(who, line)
	}
}

func (env *Env) heardNote(who, line string) {
	if l := env.listener.Load(); l != nil {
		l.note(who, line)
	}
}

// copies counts the hosts that got a program, and those that had it.
type copies struct {
	mu     sync.Mutex
	copied map[string]bool // by host
}

func (c *copies) note(host string, copied bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.copied == nil {
		c.copied = map[string]bool{}
	}
	c.copied[host] = c.copied[host] || copied
}

// String says what happened, for people; empty: nothing.
func (c *copies) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh, same := 0, 0
	for _, copied := range c.copied {
		if copied {
			fresh++
		} else {
			same++
		}
	}
	switch {
	case fresh == 0 && same == 0:
		return ""
	case fresh == 0:
		return fmt.Sprintf("the same as ours already on %s", count(same, "host"))
	case same == 0:
		return "copied to " + count(fresh, "host")
	}
	return fmt.Sprintf("copied to %s, the same as ours already on %d", count(fresh, "host"), same)
}
