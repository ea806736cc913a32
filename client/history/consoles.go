package history

import (
	"fmt"
	"path/filepath"

	"nimbus/broker/cluster"
)

// WriteConsoles keeps what instances printed, by node: consoles/NODE.txt.
func (l *Launch) WriteConsoles(texts map[string]string) (dir string, err error) {
	var reports []report
	for node, text := range texts {
		if _, err := cluster.ParsePlace(node); err != nil {
			return "", fmt.Errorf("write consoles: %v", err)
		}
		reports = append(reports, report{node + ".txt", text})
	}
	return l.writeSet("consoles", reports)
}

// Console reads what WriteConsoles kept of a node's instance.
func (l *Launch) Console(node string) (string, error) {
	if _, err := cluster.ParsePlace(node); err != nil {
		return "", err
	}
	text, err := readBounded(filepath.Join(l.Dir, "consoles", node+".txt"), maxReport)
	return string(text), err
}
