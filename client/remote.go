package client

import (
	"context"
	"fmt"

	"nimbus/client/history"
	"nimbus/cloud"
)

// runIn runs a program as root in an instance of a launch and returns its exit
// code.
func (s *session) runIn(ctx context.Context, record history.Record, i history.Instance, p cloud.Program) (int, error) {
	driver, err := s.cloud(record.Cloud)
	if err != nil {
		return 0, err
	}
	enterer, ok := driver.(cloud.Enterer)
	if !ok {
		return 0, &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q has no way into its instances but SSH", record.Cloud), Advice: fmt.Sprintf("%q shows their addresses", s.command("status", "--handle", record.Handle))}
	}
	code, err := enterer.Enter(ctx, i.Instance, p)
	if err != nil {
		return 0, &Failure{Code: exitFailed, Text: fmt.Sprintf("%s: %v", i.Node, err)}
	}
	return code, nil
}
