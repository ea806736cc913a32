package client

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/cloud"
)

var doctorHelp = helpText{"find out what would keep a launch from working", `Usage:
  nimbus doctor [--cloud NAME] [--broker URL] [OPTIONS]

Looks at this machine, the settings, the files that Nimbus keeps, the cloud and
the broker, and says of each whether it will do: ok, info (neither good nor bad),
warn (some things will not work) or fail (a launch will not), with what to do
about it. A host that a launch would be refused for is a fail. It changes nothing
and starts nothing.

Examples:
  nimbus doctor
  nimbus doctor --broker https://broker.example.org:8443 --json

Options:
  --cloud NAME        cloud to look at, by its name in the settings
  --hosts FILE        hosts that run already to look at: it logs in to each
  --host-keys HOW     of these hosts: "strict" (the default) or "accept-new"
  --broker URL        broker to look at instead of that of the settings` + commonHelp + `
Exit codes: 0 nothing failed; 1 something did.
`}

func (env *Env) doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Flags: append(commonFlags(), stringFlags("cloud", "hosts", "host-keys", "broker")...),
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			return env.doctor(c)
		},
	}
}

// A patient is what the checks of a doctor look at.
type patient struct {
	*session
	machine machine
	refusal error  // why the settings cannot be used: those at hand are the defaults
	file    string // of the settings
}

// checkup is all that a doctor looks at, in the order in which it is told.
var checkup = []func(context.Context, *patient) []cloud.Finding{
	checkProgram, checkSettings, checkDirectories, checkSecrets, checkKnownHosts, checkSSH,
	checkCloud, checkOwnBroker, checkBroker, checkAddresses, checkProxies, checkTerminal,
}

// Diagnosis is what --json prints of a checkup.
type Diagnosis struct {
	OK       bool            `json:"ok"`
	Findings []cloud.Finding `json:"findings"`
}

func (env *Env) doctor(c *cli.Context) error {
	p := &patient{machine: env.machine, file: env.settingsFile(c.String("conf"))}
	if p.session, p.refusal = env.open(c); p.refusal != nil {
		p.session = env.withDefaults(formatOf(c))
	}
	if p.machine == nil {
		p.machine = thisMachine{env: env}
	}
	d := diagnose(c.Context, p)
	if err := c.Context.Err(); err != nil {
		return err
	}
	if !p.out.document(d) {
		p.out.print("%s", d)
	}
	if d.OK {
		return nil
	}
	return &Failure{Code: exitUsage, Text: fmt.Sprintf("doctor: %s", count(d.count(cloud.Fail), "check")+" failed"), Advice: "each says what to do about it"}
}

func diagnose(ctx context.Context, p *patient) Diagnosis {
	d := Diagnosis{Findings: []cloud.Finding{}}
	for _, look := range checkup {
		if ctx.Err() == nil {
			d.Findings = append(d.Findings, look(ctx, p)...)
		}
	}
	d.OK = d.count(cloud.Fail) == 0
	return d
}

func (d Diagnosis) count(level cloud.Level) (n int) {
	for _, f := range d.Findings {
		if f.Level == level {
			n++
		}
	}
	return n
}

// String is a line for each finding.
func (d Diagnosis) String() string {
	var b strings.Builder
	for _, f := range d.Findings {
		line := oneLine(f.Text)
		if f.Advice != "" {
			line += " - " + oneLine(f.Advice)
		}
		fmt.Fprintf(&b, "%-4s  %s\n", f.Level, line)
	}
	return b.String()
}

// oneLine is for what others wrote: errors may have several lines.
func oneLine(text string) string { return printable(strings.Join(strings.Fields(text), " ")) }

func fine(format string, args ...any) []cloud.Finding {
	return []cloud.Finding{{Level: cloud.Fine, Text: fmt.Sprintf(format, args...)}}
}

func info(format string, args ...any) []cloud.Finding {
	return []cloud.Finding{{Level: cloud.Info, Text: fmt.Sprintf(format, args...)}}
}

func warn(advice, format string, args ...any) []cloud.Finding {
	return []cloud.Finding{{Level: cloud.Warn, Text: fmt.Sprintf(format, args...), Advice: advice}}
}

func fail(advice, format string, args ...any) []cloud.Finding {
	return []cloud.Finding{{Level: cloud.Fail, Text: fmt.Sprintf(format, args...), Advice: advice}}
}

// inform asks a broker who it is, if it is one that can tell.
func inform(ctx context.Context, b Broker) (wire.Info, error) {
	if informer, ok := b.(interface {
		Info(context.Context) (wire.Info, error)
	}); ok {
		return informer.Info(ctx)
	}
	return wire.Info{}, nil
}
