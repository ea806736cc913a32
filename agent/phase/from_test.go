package phase

import "testing"

func TestFind(t *testing.T) {
	for text, want := range map[string]string{
		"0": EtcHosts, "1": IPAndHost, "5": Finalize, "3-data": DataDir, "sshd": SSHD, "5-thishost-finalize": Finalize,
		"": "", "6": "", "1-": "", "ipandhost": "", "thishost": "", "01": "", "../1": "", "-1": "",
	} {
		if got, err := Find(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestBefore(t *testing.T) {
	steps := []Step{{Phase: EtcHosts}, {Phase: SSHD}, {Phase: IPAndHost}, {Phase: IPAndHost}, {Phase: Restarts}}
	for phase, want := range map[string]int{"": 0, EtcHosts: 0, SSHD: 1, IPAndHost: 2, ThisHost: 4, Restarts: 4, Finalize: 5} {
		if got := Before(steps, phase); got != want {
			t.Errorf("before %q: %d, want %d", phase, got, want)
		}
	}
}
