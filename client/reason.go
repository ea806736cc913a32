package client

import (
	"fmt"
	"strings"

	"nimbus/broker/wire"
)

// agentFailed is the code in the report of a step that ended without one of its
// own.
const agentFailed = 4

// reasonText is what the agent says of a step that failed before a script could
// say anything: the last line of its log. Empty: it was the script that failed.
func reasonText(report wire.Report) string {
	log := strings.TrimRight(report.Log, "\n")
	line := log[strings.LastIndexByte(log, '\n')+1:]
	_, text, isError := strings.Cut(line, " ERROR: ")
	end := strings.LastIndex(text, " step=")
	if report.Code != agentFailed || !isError || end < 0 || !strings.HasSuffix(text, fmt.Sprintf(" code=%d", agentFailed)) {
		return ""
	}
	text = text[:end]
	switch {
	case strings.Contains(text, " ended with exit code "): // a script whose code is this one
		return ""
	case strings.HasPrefix(text, "script ") && !strings.Contains(text, " ran longer than "):
		return "could not be started: " + text
	}
	return "failed: " + text
}
