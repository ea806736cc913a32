package ssh

import (
	"encoding/json"
	"fmt"
	"time"

	"nimbus/cloud"
)

// A note lies on a host while a launch uses it. Scripts look for parts of its
// text: whose and had.
type note struct {
	Launch string `json:"launch"`
	Token  string `json:"token"` // right behind Launch: see whose

	Name     string    `json:"name"`
	Group    string    `json:"group"`
	Image    string    `json:"image"`
	Networks []string  `json:"networks"`
	Created  time.Time `json:"created"`
	By       string    `json:"by"` // who launched it, for people

	// What was there before.
	HadTop    bool `json:"had_top"`    // /opt/nimbus
	HadNimbus bool `json:"had_nimbus"` // the agent in it
	HadState  bool `json:"had_state"`  // /var/lib/nimbus

	Keeps bool `json:"keeps,omitempty"` // what was installed stays at the end
}

// text is the note as it lies there: one line.
func (n note) text() string {
	text, err := json.Marshal(n)
	if err != nil {
		panic(err) // texts and a time have no reason to fail
	}
	return string(text) + "\n"
}

// whose is the part of a note that says for whom a host is used.
func whose(launch, token string) string {
	l, _ := json.Marshal(launch)
	t, _ := json.Marshal(token)
	return fmt.Sprintf(`"launch":%s,"token":%s`, l, t)
}

// parseNote reads what a host has; nil when it has none.
func parseNote(text string) (*note, error) {
	if text == "" {
		return nil, nil
	}
	var n note
	if err := json.Unmarshal([]byte(text), &n); err != nil || n.Launch == "" || n.Token == "" || len(n.Networks) > 64 {
		return nil, &problem{"its note of who uses it, /var/lib/nimbus/ssh-instance.json, is damaged", "if no launch uses this host, remove that file there"}
	}
	return &n, nil
}

// instance is what a note means, on the host that it was found on.
func (n note) instance(c *connection) cloud.Instance {
	i := cloud.Instance{
		ID: instanceID(c.host, n.Launch, n.Token), Launch: n.Launch, Token: n.Token, Name: n.Name, Image: n.Image,
		State: cloud.Running, Login: c.host.User, HostKey: c.hostKey, Created: n.Created,
	}
	for k, network := range n.Networks {
		a := cloud.Address{Network: network}
		if k == 0 {
			a.IP = c.as.address
		}
		i.Addresses = append(i.Addresses, a)
	}
	return i
}

// inUse says for whom.
func (n note) inUse() error {
	text := fmt.Sprintf("it is in use: as %s of launch %s", printable(n.Name), printable(n.Launch))
	if n.By != "" {
		text += " by " + printable(n.By)
	}
	return &problem{fmt.Sprintf("%s, since %s", text, n.Created.Local().Format("2006-01-02 15:04")), "terminate that launch first, or take other hosts"}
}
