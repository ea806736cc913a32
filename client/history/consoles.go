package history

import (
	"fmt"

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
