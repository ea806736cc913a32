package client

import (
	"fmt"
	"time"
)

// nearEnd is how long before its end a launch that lives so long is near it.
func nearEnd(life time.Duration) time.Duration { return min(10*time.Minute, life/10) }

// endsSoon tells whether something that runs should be given more time now.
func endsSoon(now, created, expires time.Time) bool {
	left := expires.Sub(now)
	return left > 0 && left < nearEnd(expires.Sub(created))
}

// extendAdvice is how to give a launch more time.
func (s *session) extendAdvice(handle string, expires time.Time) string {
	return fmt.Sprintf("%s ends by itself in %s, at %s. To give it more time:\n  %s\n", handle, spanText(expires.Sub(s.env.Now())),
		expires.Local().Format("15:04:05"), s.command("extend", "--handle", handle, "--hours", "1"))
}

// warnOfHours says before anything is launched that the hours may not do.
func (r *run) warnOfHours() {
	if r.o.hours < r.o.timeout {
		r.out.warn("Everything ends after %s (--hours), though up to %s may be waited for it (--timeout).\n", spanText(r.o.hours), spanText(r.o.timeout))
	}
}

// watchHours warns when the hours are nearly over while a run still waits.
// Another command may have extended them: the cloud knows.
func (r *run) watchHours() {
	r.followEnd()
	if end := r.record.Expires; endsSoon(r.env.Now(), r.record.Created, end) && !end.Equal(r.warned) {
		r.warned = end // once, and again when it was extended
		r.out.warn("%s", r.extendAdvice(r.launch.Handle, end))
	}
}

// followEnd takes the end that the cloud tells into the record.
func (r *run) followEnd() {
	var end time.Time
	for _, m := range r.machines {
		if !m.Expires.IsZero() && (end.IsZero() || m.Expires.Before(end)) {
			end = m.Expires
		}
	}
	if end.IsZero() || end.Equal(r.record.Expires) {
		return
	}
	if err := r.launch.Extend(end); err != nil {
		r.log.Warn("note the new end", "error", err)
		return
	}
	r.record.Expires = end
}

// hoursOver is why instances are gone when their time is: nil before that.
func (r *run) hoursOver() error {
	if r.env.Now().Before(r.record.Expires) {
		return nil
	}
	r.problem("  - %s: its hours are over\n", r.launch.Handle)
	return &Failure{Code: exitCluster, Text: fmt.Sprintf("%s: its hours are over: it ended by itself at %s, before all was ready", r.launch.Handle, r.record.Expires.Local().Format("15:04:05")),
		Advice: "launch it with more --hours; while it runs, nimbus extend gives it more"}
}
