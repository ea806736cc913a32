package ssh

import (
	"fmt"

	"nimbus/cloud"
)

// Driver uses machines that run already. What it did is noted on the hosts and
// in Options.Dir: any other Driver with the same Options finds it. Close ends
// its connections.
type Driver struct {
	cloud.Driver
	o Options
}

// New returns a driver, or an error that says what is wrong with the options.
// It connects to nothing.
func New(o Options) (*Driver, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("ssh driver: %w", err)
	}
	return &Driver{o: o}, nil
}
