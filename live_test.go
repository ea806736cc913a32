package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A pane is a real terminal, one of tmux, in which a simulated launch runs.
type pane struct {
	t             *testing.T
	socket        string
	width, height int
	program       net.Conn
	answers       *bufio.Scanner
}

// openPane runs "nimbus run" with a definition in a window of that size.
func openPane(t *testing.T, width, height int, environment []string, definition string) *pane {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if runtime.GOOS == "linux" && os.Getuid() == 0 {
			t.Fatal("tmux is missing: sh scripts/test-deps.sh installs it")
		}
		t.Skip("tmux is missing (scripts/test-deps.sh names its package): the live view is not looked at in a terminal")
	}
	dir, err := os.MkdirTemp("", "pane") // short: the path of a socket has 100 characters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "cluster.xml")
	if err := os.WriteFile(file, []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("nimbus-simulated")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "simulation"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p := &pane{t: t, socket: filepath.Join(dir, "tmux"), width: width, height: height}
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", p.socket, "kill-server").Run() })
	args := []string{"start-server", ";", "set", "-g", "history-limit", "20000", ";",
		"new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height),
		"sh", "-c", `trap : INT; "$@"; echo "exit code $?"; exec cat`, "sh",
		"env", "-i", "HOME=" + dir, "PATH=" + os.Getenv("PATH"), "TERM=screen-256color", "NIMBUS_SIMULATION=" + listener.Addr().String()}
	p.tmux(append(append(args, environment...), program, "run", "--cluster", file, "--timeout", "60")...)
	if err := listener.(*net.UnixListener).SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if p.program, err = listener.Accept(); err != nil {
		t.Fatalf("the program did not start: %v\n%s", err, p.screen())
	}
	t.Cleanup(func() { _ = p.program.Close() })
	p.answers = bufio.NewScanner(p.program)
	return p
}

func (p *pane) tmux(args ...string) string {
	p.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-u", "-S", p.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// screen is what is in the window; all is that and what has left it at the top.
// Lines that the terminal has wrapped are joined again.
func (p *pane) screen() string { return p.tmux("capture-pane", "-p", "-J") }
func (p *pane) all() string    { return p.tmux("capture-pane", "-p", "-J", "-S", "-") }

// say has the simulation take steps.
func (p *pane) say(commands ...string) {
	p.t.Helper()
	for _, c := range commands {
		fmt.Fprintln(p.program, c)
		if !p.answers.Scan() || p.answers.Text() != "done" {
			p.t.Fatalf("%s: %q, %v\n%s", c, p.answers.Text(), p.answers.Err(), p.screen())
		}
	}
}

// launched has all instances started.
func (p *pane) launched(n int) {
	p.t.Helper()
	p.say("launch")
	p.shows(fmt.Sprintf("%d launched", n))
}

// shows waits until all these texts are in the window.
func (p *pane) shows(texts ...string) string {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(30 * time.Millisecond) {
		screen, missing := p.screen(), ""
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				missing = text
			}
		}
		if missing == "" {
			return screen
		}
		if time.Now().After(end) {
			p.t.Fatalf("%q is not there:\n%s", missing, screen)
		}
	}
}

var (
	summed = regexp.MustCompile(`[█▓▒░▁·╳#>=\-:.!] ?(\d+)`)
	bars   = regexp.MustCompile(`[█▓▒░▁·╳]{2}|\[[#>=\-:.!]{4,}\]`)
	footer = regexp.MustCompile(`slowest: |elapsed|last: |\d left$`)
)

// later is what the clock in the frame will show in so many seconds.
func (p *pane) later(seconds int) string {
	p.t.Helper()
	m := regexp.MustCompile(`(\d+):(\d\d)( elapsed|, )`).FindStringSubmatch(p.screen())
	if m == nil {
		p.t.Fatalf("no clock in\n%s", p.screen())
	}
	minutes, _ := strconv.Atoi(m[1])
	now, _ := strconv.Atoi(m[2])
	now += minutes*60 + seconds
	return fmt.Sprintf("  %d:%02d", now/60, now%60)
}

// frame checks the frame that is shown now, and returns its lines: there is one
// only, nothing wraps, and the nodes add up.
func (p *pane) frame(nodes int) []string {
	p.t.Helper()
	var lines, foot []string
	last, sum := 0, 0
	// Between two frames text may be on its way.
	for end := time.Now().Add(20 * time.Second); sum != nodes; time.Sleep(30 * time.Millisecond) {
		lines = strings.Split(strings.TrimRight(p.all(), "\n "), "\n")
		last = len(lines)
		for last > 0 && strings.TrimSpace(lines[last-1]) != "" && !bars.MatchString(lines[last-1]) {
			last--
		}
		foot = lines[last:]
		if sum = p.sum(foot); time.Now().After(end) {
			p.t.Fatalf("%d nodes in %q, want %d:\n%s", sum, foot, nodes, strings.Join(lines, "\n"))
		}
	}
	first := last - 1
	for first > 0 && (strings.HasSuffix(lines[first-1], " ok") || strings.HasSuffix(lines[first-1], " more")) {
		first--
	}
	frame := lines[first:]
	for _, line := range frame {
		if n := len([]rune(line)); n >= p.width {
			p.t.Errorf("%d columns in a window of %d: %q", n, p.width, line)
		}
	}
	p.clean(lines[:first])
	return frame
}

// sum adds up the nodes that the first line below the bars counts by state.
func (p *pane) sum(foot []string) (sum int) {
	if len(foot) == 0 {
		return 0
	}
	for _, m := range summed.FindAllStringSubmatch(foot[0], -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			p.t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// clean fails when there is anything of a frame in these lines.
func (p *pane) clean(lines []string) {
	p.t.Helper()
	for _, line := range lines {
		if bars.MatchString(line) || footer.MatchString(line) {
			p.t.Fatalf("debris %q in\n%s", line, strings.Join(lines, "\n"))
		}
	}
}

// ended waits for the end of the program with that exit code, and checks that
// nothing of a frame is left.
func (p *pane) ended(code int) string {
	p.t.Helper()
	p.shows(fmt.Sprintf("exit code %d\n", code))
	all := p.all()
	p.clean(strings.Split(all, "\n"))
	return all
}

// workers is a head and its workers, n nodes that all require each other.
func workers(n int) string {
	workspace := `<workspace><name>%s</name><image>any</image><quantity>%d</quantity><nic>public</nic>
<ctx><provides><identity/><role>%s</role></provides><requires><identity/><role name="%s" pubkey="true"/></requires></ctx></workspace>`
	return "<cluster>" + fmt.Sprintf(workspace, "head", 1, "boss", "minion") + fmt.Sprintf(workspace, "worker", n-1, "minion", "boss") + "</cluster>"
}

// A launch from the first request to the end, in windows of several sizes.
func TestLiveView(t *testing.T) {
	for _, c := range []struct {
		nodes, width, height int
		environment          []string
		bar                  string // of the workers, at the start
	}{
		{3, 80, 24, []string{"LANG=C.UTF-8"}, "  worker  ··················································  0/2 ok"},
		{50, 80, 24, []string{"LANG=C.UTF-8"}, "  worker  ··················································   0/49 ok"},
		{3000, 80, 24, []string{"LANG=C.UTF-8"}, "  worker  ··················································     0/2999 ok"},
		{3, 200, 50, []string{"LANG=C.UTF-8"}, "  worker  ··················································  0/2 ok"},
		{50, 200, 50, []string{"LANG=C"}, "  worker  [..................................................]   0/49 ok"},
		{3000, 200, 50, []string{"LC_ALL=en_US.utf8"}, "  worker  ··················································     0/2999 ok"},
		{50, 40, 24, []string{"LANG=C.UTF-8"}, "  worker  ···················   0/49 ok"},
		{50, 24, 10, []string{"LANG=C.UTF-8"}, "  worker   0/49 ok"},
		{50, 80, 24, []string{"LANG=C.UTF-8", "NO_COLOR=1"}, "  worker  ··················································   0/49 ok"},
	} {
		t.Run(fmt.Sprintf("%d nodes in %dx%d %s", c.nodes, c.width, c.height, strings.Join(c.environment, " ")), func(t *testing.T) {
			t.Parallel()
			n := c.nodes
			p := openPane(t, c.width, c.height, c.environment, workers(n))
			wide := c.width >= 80
			expect := func(texts ...string) {
				t.Helper()
				if !wide { // words are left out
					for i, text := range texts {
						texts[i] = strings.Fields(text)[0]
					}
				}
				p.shows(texts...)
				p.frame(n)
			}
			p.shows(c.bar)
			if frame := p.frame(n); wide && !strings.Contains(strings.Join(frame, "\n"), "slowest: worker, launching") {
				t.Errorf("%q", frame)
			}
			p.say("launch")
			expect(fmt.Sprintf("%d launched", n))
			half := (n - 1) / 2
			if n == 50 && wide { // the cloud is asked every two seconds
				p.say(fmt.Sprint("boot worker ", half))
				expect(fmt.Sprintf("%d booted", half), fmt.Sprintf("%d launched", n-half))
			}
			p.say("boot head 1", fmt.Sprint("boot worker ", n))
			expect(fmt.Sprintf("%d booted", n))
			p.say(fmt.Sprint("join worker ", half))
			expect(fmt.Sprintf("%d joined", half), fmt.Sprintf("%d booted", n-half))
			if wide {
				p.shows("slowest: head, running", fmt.Sprintf("last: worker-%d joined", half-1))
			}
			p.say("join head 1", fmt.Sprint("join worker ", n-1-half))
			expect(fmt.Sprintf("%d configuring", n))
			p.say("ok head 1", fmt.Sprint("ok worker ", half))
			expect(fmt.Sprintf("%d ok", 1+half), fmt.Sprintf("%d configuring", n-1-half))
			row := fmt.Sprintf(" %d/%d ok", half, n-1)
			p.shows(row)
			colored := strings.Contains(p.tmux("capture-pane", "-p", "-e"), "\x1b[32m")
			if plain := strings.Contains(strings.Join(c.environment, " "), "NO_COLOR"); colored == plain {
				t.Errorf("colours: %v", colored)
			}
			p.say(fmt.Sprint("ok worker ", n-1-half))
			all := p.ended(0)
			for _, text := range []string{"Waiting for context broker updates.\n  - head: ok\n  - worker: ok\n  - cluster-001: contextualized\n", "\ncluster-001 ends by itself at "} {
				if !strings.Contains(all, text) {
					t.Errorf("%q is missing from\n%s", text, all)
				}
			}
		})
	}
}

// A window that changes its size in the middle of a launch.
func TestLiveViewInAWindowThatIsResized(t *testing.T) {
	t.Parallel()
	p := openPane(t, 80, 24, []string{"LANG=C.UTF-8"}, workers(50))
	p.launched(50)
	p.say("boot head 1", "boot worker 49")
	p.shows("50 booted", "0/49 ok", "elapsed")
	for i, width := range []int{50, 30, 100} {
		p.tmux("resize-window", "-x", strconv.Itoa(width), "-y", "24")
		p.width = width
		// tmux makes a program wait for the size when it has changed twice in
		// a quarter of a second; what is painted then cannot be right.
		p.shows(p.later(2))
		p.say("join worker 1")
		p.shows(fmt.Sprintf("▒ %d join", i+1))
		p.frame(50)
	}
	p.say("join head 1", "join worker 46", "ok head 1", "ok worker 49")
	p.ended(0)
}

// Two hundred workspaces: those at work are shown, and how many are not.
func TestLiveViewOfManyWorkspaces(t *testing.T) {
	t.Parallel()
	var definition strings.Builder
	definition.WriteString("<cluster>")
	for i := range 200 {
		fmt.Fprintf(&definition, `<workspace><name>w%03d</name><image>any</image><quantity>2</quantity><nic>public</nic><ctx><provides><identity/></provides></ctx></workspace>`, i)
	}
	definition.WriteString("</cluster>")
	p := openPane(t, 80, 24, []string{"LANG=C.UTF-8"}, definition.String())
	p.shows("and 182 more", "400 requested")
	p.launched(400)
	for i := range 200 {
		p.say(fmt.Sprintf("boot w%03d 2", i))
	}
	p.shows("400 booted")
	for i := range 190 {
		p.say(fmt.Sprintf("join w%03d 2", i), fmt.Sprintf("ok w%03d 2", i))
	}
	p.say("join w199 1")
	screen := p.shows("380 ok", "1 configuring", "19 booted", "and 182 more", "  w190  ", "  w199  ", "last: w199-0 joined")
	if strings.Contains(screen, "w189") {
		t.Errorf("who is done has no place:\n%s", screen)
	}
	p.frame(400)
}

// A node that fails is shown, and then why.
func TestLiveViewOfAFailure(t *testing.T) {
	t.Parallel()
	p := openPane(t, 80, 24, []string{"LANG=C.UTF-8"}, workers(50))
	p.launched(50)
	p.say("boot head 1", "boot worker 49", "join head 1", "join worker 49", "ok worker 7", "fail worker 1")
	all := p.ended(1)
	for _, text := range []string{"  - worker: 1 of 49 failed\n", "  - worker-7: 2-thishost/worker failed with exit code 3\n", "      | no space left\n", "Destroyed 'cluster-001'\n"} {
		if !strings.Contains(all, text) {
			t.Errorf("%q is missing from\n%s", text, all)
		}
	}
}

// Ctrl-C as a terminal sends it: the first explains and backs out.
func TestCtrlCInATerminal(t *testing.T) {
	t.Parallel()
	p := openPane(t, 100, 24, []string{"LANG=C.UTF-8"}, workers(3))
	p.launched(3)
	p.say("boot head 1", "boot worker 2", "join worker 2")
	p.shows("2 joined")
	p.tmux("send-keys", "C-c")
	all := p.ended(130)
	for _, text := range []string{"\nInterrupted: 3 instances of cluster-001 are running. Ending them and the context. Press Ctrl-C again", "Destroyed 'cluster-001'\n", "error: interrupted: cluster-001 is not complete"} {
		if !strings.Contains(all, text) {
			t.Errorf("%q is missing from\n%s", text, all)
		}
	}
}
