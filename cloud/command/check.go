package command

import (
	"context"
	"fmt"

	"nimbus/cloud"
)

// Check asks the program for its instances.
func (d *Driver) Check(ctx context.Context) []cloud.Finding {
	all, err := d.List(ctx, "")
	if err != nil {
		return []cloud.Finding{{Level: cloud.Fail, Text: fmt.Sprintf("program: %v", err),
			Advice: "run it by hand, \"" + d.o.Program + " list\", and mend it; docs/clouds.md says what it must print"}}
	}
	return []cloud.Finding{{Level: cloud.Fine, Text: fmt.Sprintf("program: %s lists %d instances", d.o.Program, len(all))}}
}
