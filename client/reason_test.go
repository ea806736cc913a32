package client

import (
	"testing"

	"nimbus/broker/wire"
)

// What the agent itself could not do is not put down to the script.
func TestStepText(t *testing.T) {
	const before = "2026-11-21 07:17:50,711 INFO: sshd host keys\n2026-11-21 07:17:50,711 "
	for _, c := range []struct {
		log  string
		code int
		want string
	}{
		{before + "ERROR: script 1-ipandhost/web is not executable; run: chmod +x /s/web step=\"1-ipandhost/web 10.0.0.1\" code=4\n", 4,
			"1-ipandhost/web 10.0.0.1 could not be started: script 1-ipandhost/web is not executable; run: chmod +x /s/web"},
		{before + "ERROR: script 1-ipandhost/web cannot begin: the program that its #! line names does not exist step=x code=4", 4,
			"1-ipandhost/web 10.0.0.1 could not be started: script 1-ipandhost/web cannot begin: the program that its #! line names does not exist"},
		{before + "ERROR: script 1-ipandhost/web on node a-0 ran longer than 1s and was ended step=x code=4", 4,
			"1-ipandhost/web 10.0.0.1 failed: script 1-ipandhost/web on node a-0 ran longer than 1s and was ended"},
		{before + "ERROR: open /data: \x1bread-only step=x code=4", 4, "1-ipandhost/web 10.0.0.1 failed: open /data: ?read-only"},
		// It is the script that failed, with whatever code.
		{before + "ERROR: script 1-ipandhost/web on node a-0 ended with exit code 4 step=x code=4", 4, "1-ipandhost/web 10.0.0.1 failed with exit code 4"},
		{before + "ERROR: script 1-ipandhost/web on node a-0 ended with exit code 7 step=x code=7", 7, "1-ipandhost/web 10.0.0.1 failed with exit code 7"},
		{before + "INFO: web: ERROR: step=x code=4", 4, "1-ipandhost/web 10.0.0.1 failed with exit code 4"},
		{"", 4, "1-ipandhost/web 10.0.0.1 failed with exit code 4"},
	} {
		if got := stepText(wire.Report{Step: "1-ipandhost/web 10.0.0.1", Code: c.code, Log: c.log}); got != c.want {
			t.Errorf("%q\n got %q\nwant %q", c.log, got, c.want)
		}
	}
}
