package history

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"nimbus/cloud"
)

// WriteVMReports writes down what was launched: reports-vm with a file for
// each instance, <STATE>-vm-<n>.txt, and id-ip-dir, whose file names alone
// tell scripts the addresses: <id>-<ip> for each NIC. It returns reports-vm.
func (l *Launch) WriteVMReports(instances []Instance) (dir string, err error) {
	var reports, addresses []report
	for i := range instances {
		instance := &instances[i]
		state := strings.ToUpper(orElse(safeName(string(instance.State)), "unknown"))
		reports = append(reports, report{
			name: fmt.Sprintf("%s-vm-%s.txt", state, number(i, len(instances))),
			text: vmReport(instance),
		})
		for _, a := range instance.Addresses {
			if a.IP.IsValid() {
				addresses = append(addresses, report{
					name: safeName(instance.ID) + "-" + a.IP.WithZone("").String(),
					text: oneLine(instance.Node+" "+a.Network) + "\n",
				})
			}
		}
	}
	if _, err := l.writeSet("id-ip-dir", addresses); err != nil {
		return "", err
	}
	return l.writeSet("reports-vm", reports)
}

func vmReport(i *Instance) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Instance of %s\n", oneLine(i.Node))
	b.WriteString(heading("STATUS"))
	line := func(name, text string) {
		fmt.Fprintf(&b, "%s: %s\n", name, orElse(oneLine(text), "(not supplied)"))
	}
	line("State", string(i.State))
	if i.Reason != "" {
		line("Reason", i.Reason)
	}
	line("ID", i.ID)
	line("Host name", i.Name)
	line("Image", i.Image)
	line("Login", i.Login)
	line("Created", localTime(i.Created))
	line("Ends", orElse(localTime(i.Expires), "not by itself"))
	b.WriteString(heading("ADDRESSES"))
	for _, a := range i.Addresses {
		line(oneLine(orElse(a.Network, "network")), addressText(a))
	}
	return b.String()
}

func addressText(a cloud.Address) string {
	if !a.IP.IsValid() {
		return ""
	}
	return a.IP.String()
}

func localTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.UnixDate)
}

// safeName turns any id into a file name, and different ids into different
// ones: other than letters, digits and inner marks becomes %XX as in a URL,
// the end of an overlong id its hash.
func safeName(id string) string {
	const longest = 160 // an address must still fit behind it
	var b strings.Builder
	for i := 0; i < len(id) && b.Len() <= longest; i++ {
		c := id[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if letter || i > 0 && strings.IndexByte("._-", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if name := b.String(); len(name) <= longest {
		return name
	}
	return fmt.Sprintf("%s-%x", b.String()[:longest-33], sha256.Sum256([]byte(id)))[:longest]
}
