package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// binary is what make build has built.
func binary(b *testing.B) string {
	b.Helper()
	path, err := filepath.Abs("../bin/nimbus")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		b.Fatalf("%v: run make build first", err)
	}
	return path
}

// definition of a head and its workers; everybody knows everybody.
func definition(b *testing.B, n int) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "cluster.xml")
	workspace := `<workspace><name>%s</name><image>any</image><quantity>%d</quantity><nic wantlogin="true">public</nic><ctx>
	<provides><identity/><role>%s</role></provides><requires><identity/><role name="%s" hostname="true" pubkey="true"/></requires></ctx></workspace>`
	text := "<cluster>" + fmt.Sprintf(workspace, "head", 1, "testrole1", "testrole2") + fmt.Sprintf(workspace, "worker", n-1, "testrole2", "testrole1") + "</cluster>"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkRun is the time from the command to the end of "contextualized",
// with N local machines; broker-s is the part from the first join to the last
// report as the broker saw it; agent-MB the anonymous memory of the largest
// agent that was seen; binary-MB the size of the program.
func BenchmarkRun(b *testing.B) {
	for _, n := range []int{2, 10, 50} {
		b.Run(fmt.Sprint("nodes=", n), func(b *testing.B) {
			nimbus, file, home := binary(b), definition(b, n), b.TempDir()
			command := func(args ...string) *exec.Cmd {
				c := exec.Command(nimbus, args...)
				c.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
				return c
			}
			b.Cleanup(func() { _ = command("terminate", "--all").Run() })
			var exchange time.Duration
			largest, runs := 0, 0
			for b.Loop() {
				runs++
				stop, memory := make(chan struct{}), make(chan int)
				go watchAgents(stop, memory)
				if out, err := command("run", "--cluster", file).CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				b.StopTimer()
				close(stop)
				largest = max(largest, <-memory)
				handle := fmt.Sprintf("cluster-%03d", runs)
				exchange += exchanged(b, command("nodes", "--handle", handle, "--json"))
				if out, err := command("terminate", "--handle", handle).CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				b.StartTimer()
			}
			info, err := os.Stat(nimbus)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(exchange.Seconds()/float64(runs), "broker-s")
			b.ReportMetric(float64(largest)/1024, "agent-MB")
			b.ReportMetric(float64(info.Size())/(1<<20), "binary-MB")
		})
	}
}

// exchanged is the time between the first join and the last report.
func exchanged(b *testing.B, nodes *exec.Cmd) time.Duration {
	b.Helper()
	out, err := nodes.Output()
	if err != nil {
		b.Fatal(err)
	}
	var list []struct{ Joined, Reported time.Time }
	if err := json.Unmarshal(out, &list); err != nil {
		b.Fatal(err)
	}
	first, last := list[0].Joined, list[0].Reported
	for _, n := range list {
		if n.Joined.Before(first) {
			first = n.Joined
		}
		if n.Reported.After(last) {
			last = n.Reported
		}
	}
	return last.Sub(first)
}

// watchAgents looks for the largest anonymous memory of an agent, in KiB.
func watchAgents(stop chan struct{}, result chan int) {
	largest := 0
	for {
		select {
		case <-stop:
			result <- largest
			return
		case <-time.After(20 * time.Millisecond):
		}
		paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range paths {
			line, err := os.ReadFile(path)
			name, _, _ := bytes.Cut(line, []byte{0})
			if err == nil && filepath.Base(string(name)) == "launch.sh" {
				largest = max(largest, anonymous(filepath.Dir(path)))
			}
		}
	}
}

func anonymous(process string) int {
	f, err := os.Open(process + "/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), "RssAnon:"); ok {
			n, _ := strconv.Atoi(strings.Fields(value)[0])
			return n
		}
	}
	return 0
}
