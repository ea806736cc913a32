package install

import (
	_ "embed"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

//go:embed install.sh
var script string

// An Origin is what a broker fills into the install.sh that it hands out.
type Origin struct {
	// Brokers are the URLs by which it is reached, the best one first.
	Brokers []string
	// BrokerID is the name that its certificate is valid for at any address.
	BrokerID string
	// CA is its own, PEM.
	CA string
	// Agents are the SHA-256 sums of what it hands out, by platform.
	Agents map[string]string
}

// What may stand in a script. Every value is quoted as well; but the script
// splits some into words, and hands some to other programs.
var (
	plainHost     = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|[0-9a-zA-Z][0-9a-zA-Z.-]*)(:[0-9]{1,5})?$`)
	plainName     = regexp.MustCompile(`^[0-9a-zA-Z][0-9a-zA-Z.-]*$`)
	plainPlatform = regexp.MustCompile(`^[0-9a-z]+-[0-9a-z]+$`)
	plainSum      = regexp.MustCompile(`^[0-9a-f]{64}$`)
	plainPEM      = regexp.MustCompile(`^[0-9a-zA-Z+/= \r\n-]*$`)
)

// Script is the install.sh that a broker hands out. What is no URL of a broker,
// no name, no sum, is left out of it.
func Script(o Origin) []byte {
	var brokers []string
	for _, b := range o.Brokers {
		if u, err := url.Parse(b); err == nil && u.Scheme == "https" && plainHost.MatchString(u.Host) {
			brokers = append(brokers, "https://"+u.Host)
		}
	}
	var sums strings.Builder
	for _, platform := range slices.Sorted(maps.Keys(o.Agents)) {
		if sum := o.Agents[platform]; plainPlatform.MatchString(platform) && plainSum.MatchString(sum) {
			sums.WriteString(sum + "  nimbus-" + platform + "\n")
		}
	}
	text := script
	for _, value := range []struct {
		name, text string
		plain      bool
	}{
		{"brokers", strings.Join(brokers, " "), true},
		{"broker_id", o.BrokerID, plainName.MatchString(o.BrokerID)},
		{"ca", o.CA, plainPEM.MatchString(o.CA)},
		{"sums", sums.String(), true},
	} {
		if value.plain {
			text = strings.Replace(text, "\n"+value.name+"=''\n", "\n"+value.name+"="+quoted(value.text)+"\n", 1)
		}
	}
	return []byte(text)
}

// quoted is one word of a shell.
func quoted(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
