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
	findings := []cloud.Finding{{Level: cloud.Fine, Text: fmt.Sprintf("program: %s lists %s", d.o.Program, count(len(all), "instance"))}}
	if twice := shared(all); len(twice) > 0 {
		more := ""
		if len(twice) > 1 {
			more = fmt.Sprintf(", and %d more", len(twice)-1)
		}
		findings = append(findings, cloud.Finding{Level: cloud.Warn, Text: "program: " + twice[0] + more, Advice: "have it list the address that each machine really has: ssh goes there"})
	}
	return findings
}
