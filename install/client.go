package install

import (
	"path"
	"strings"
)

// ClientRecord says what belongs to a client's installation, below its prefix.
const ClientRecord = "share/nimbus/client.json"

// Client is the plan of a machine from which clusters are launched: everything
// is below a prefix. Pages are the manual pages by name, completions the
// scripts by shell.
func Client(prefix string, program *Program, pages, completions map[string]string) Plan {
	prefix = strings.Trim(prefix, "/")
	items := programItems(path.Join(prefix, "bin"), program)
	put := func(name, text string) {
		items = append(items, Item{Path: path.Join(prefix, "share", name), Mode: 0o644, Text: []byte(text)})
	}
	link := func(name, target string) {
		items = append(items, Item{Path: path.Join(prefix, "share", name), Link: target})
	}
	for name, text := range pages {
		put("man/man1/"+name+".1", text)
	}
	put("bash-completion/completions/nimbus", completions["bash"])
	put("zsh/site-functions/_nimbus", completions["zsh"])
	put("fish/vendor_completions.d/nimbus.fish", completions["fish"])
	for _, name := range []string{"cloud-client", "cloud-client.sh"} {
		link("bash-completion/completions/"+name, "nimbus")
		link("fish/vendor_completions.d/"+name+".fish", "nimbus.fish")
	}
	return Plan{path.Join(prefix, ClientRecord), items}
}
