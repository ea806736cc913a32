package history

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nimbus/broker/wire"
)

// WriteContextReports writes how the context ended, or how far it came, into
// reports-ctx: a summary, CTX-OK.txt or CTX-ERR.txt, and a file for each node,
// OK-vm-<n>.txt, ERROR-<code>-vm-<n>.txt or DID-NOT-EXIT-vm-<n>.txt, numbered
// in the order of nodes. It returns the path of the summary.
func (l *Launch) WriteContextReports(status wire.Status, nodes []wire.Node, at time.Time) (summary string, err error) {
	name := "CTX-ERR.txt"
	if status.State == wire.OK {
		name = "CTX-OK.txt"
	}
	reports := []report{{name, l.contextSummary(&status, nodes, at)}}
	for i := range nodes {
		reports = append(reports, report{
			name: fmt.Sprintf("%s-vm-%s.txt", outcome(&nodes[i]), number(i, len(nodes))),
			text: nodeReport(&nodes[i], at),
		})
	}
	dir, err := l.writeSet("reports-ctx", reports)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, name), nil
}

// outcome is how a node ended, as file names say it.
func outcome(n *wire.Node) string {
	switch n.State {
	case wire.NodeOK:
		return "OK"
	case wire.NodeError:
		return fmt.Sprintf("ERROR-%d", errorCode(n))
	}
	return "DID-NOT-EXIT"
}

func errorCode(n *wire.Node) int {
	if n.Report == nil {
		return 0
	}
	return n.Report.Code
}

// contextSummary has the original's lines first, for the eyes and scripts that
// know them; what follows says who failed, and who waits for what.
func (l *Launch) contextSummary(s *wire.Status, nodes []wire.Node, at time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Context of %s, %s\n\n", l.Handle, localTime(at))
	injects := "injects pending"
	if s.Locked {
		injects = "injects done"
	}
	box(&b, s.Locked, "%s", injects)
	box(&b, s.Expected > 0 && s.Joined >= s.Expected, "complete: %d of %d nodes joined", s.Joined, s.Expected)
	box(&b, s.State == wire.OK, "all OK: %d of %d nodes", s.OK, s.Expected)
	box(&b, s.Failed > 0, "error present: %d of %d nodes", s.Failed, s.Expected)
	fmt.Fprintf(&b, "- %s\n", roleLine(nodes))

	for i := range nodes {
		if n := &nodes[i]; n.State == wire.NodeError {
			fmt.Fprintf(&b, "\n%s failed with code %d", oneLine(n.Node), errorCode(n))
			if n.Report != nil && n.Report.Step != "" {
				fmt.Fprintf(&b, " at %s", oneLine(n.Report.Step))
			}
			b.WriteString("\n")
		}
	}
	if s.State == wire.OK {
		return b.String()
	}
	fmt.Fprintf(&b, "\nThe context is %s.\n", orElse(oneLine(string(s.State)), "in no known state"))
	for _, w := range s.Workspaces {
		if len(w.Waiting) > 0 {
			fmt.Fprintf(&b, "%s: %d of %d joined, waits for %s\n",
				oneLine(w.Name), w.Joined, w.Expected, oneLine(strings.Join(w.Waiting, ", ")))
		}
	}
	for _, r := range s.Refused {
		fmt.Fprintf(&b, "refused %s as %s, %s: %s\n", oneLine(r.From), oneLine(r.Node), localTime(r.Time), oneLine(r.Reason))
	}
	return b.String()
}

func box(b *strings.Builder, ticked bool, format string, args ...any) {
	mark := " "
	if ticked {
		mark = "X"
	}
	fmt.Fprintf(b, "- [%s] %s\n", mark, fmt.Sprintf(format, args...))
}

func roleLine(nodes []wire.Node) string {
	providers := map[string]int{}
	for _, n := range nodes {
		for _, role := range n.Roles {
			providers[oneLine(role)]++
		}
	}
	if len(providers) == 0 {
		return "No roles"
	}
	var roles []string
	for _, role := range slices.Sorted(maps.Keys(providers)) {
		roles = append(roles, fmt.Sprintf("%s (%d)", role, providers[role]))
	}
	return "Roles: " + strings.Join(roles, ", ")
}

func nodeReport(n *wire.Node, at time.Time) string {
	var b strings.Builder
	line := func(name, text string) {
		fmt.Fprintf(&b, "%s: %s\n", name, orElse(oneLine(text), "(not supplied)"))
	}
	fmt.Fprintf(&b, "%s%s\n", reportOf(n.Node), localTime(at))

	failed := n.State == wire.NodeError
	b.WriteString(heading("STATUS"))
	line("Node exited", yesNo(failed || n.State == wire.NodeOK))
	line("Node OK", yesNo(n.State == wire.NodeOK))
	if failed {
		line("Node ERROR code", fmt.Sprint(errorCode(n)))
		if n.Report != nil {
			line("Failed step", n.Report.Step)
		}
	}
	line("Roles", strings.Join(n.Roles, ", "))
	line("Joined", localTime(n.Joined))
	line("Reported", localTime(n.Reported))

	b.WriteString(heading("IDENTITIES"))
	for i, identity := range n.Identities {
		if i > 0 {
			b.WriteString("\n")
		}
		ip := ""
		if identity.IP.IsValid() {
			ip = identity.IP.String()
		}
		line("INTERFACE NAME", identity.Interface)
		line("IP ADDRESS", ip)
		line("HOSTNAME", identity.Hostname)
		line("SSH PUBLIC KEY", identity.Pubkey)
	}
	if len(n.Identities) == 0 {
		b.WriteString("(not supplied)\n")
	}
	if failed {
		b.WriteString(heading("ERROR TEXT"))
		text := "(not supplied)"
		if n.Report != nil && n.Report.Log != "" {
			text = strings.TrimRight(manyLines(n.Report.Log), "\n")
		}
		b.WriteString(text + "\n")
	}
	return b.String()
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// reportOf begins the report of a node.
func reportOf(node string) string { return "Report of " + oneLine(node) + ", " }

// maxReport is the largest report that is read back, in bytes.
const maxReport = 4 << 20

// NodeReport finds the report of a node among those that WriteContextReports
// wrote last; where there is none the error is fs.ErrNotExist.
func (l *Launch) NodeReport(node string) (path, text string, err error) {
	dir := filepath.Join(l.Dir, "reports-ctx")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", "", err
	}
	for _, e := range entries {
		if !strings.Contains(e.Name(), "-vm-") || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		text, err := readBounded(path, maxReport)
		if err == nil && strings.HasPrefix(string(text), reportOf(node)) {
			return path, string(text), nil
		}
	}
	return "", "", fmt.Errorf("%w: %s has no report of node %s", fs.ErrNotExist, dir, node)
}
