package client

import (
	"fmt"
	"time"

	"nimbus/cloud"
)

// endless tells whether a cloud never ends instances by itself: hours mean
// nothing there.
func endless(driver cloud.Driver) bool {
	_, ends := driver.(cloud.Extender)
	return !ends
}

// How long a broker keeps a context.
const (
	// graceOfContext is for after its machines have ended: reports may be asked
	// for the day after.
	graceOfContext = 24 * time.Hour
	// lifeOfContext is that of machines that never end by themselves.
	lifeOfContext = 30 * 24 * time.Hour
)

// settle fills in what the command line left to the cloud.
func (o *runOptions) settle(driver cloud.Driver) {
	o.endless = endless(driver)
	if o.expires == 0 {
		o.expires = o.hours + graceOfContext
		if o.endless {
			o.expires = lifeOfContext
		}
	}
	if o.timeout == 0 { // somebody has to lock the context
		o.timeout = o.hours
		if o.endless {
			o.timeout = o.expires
		}
	}
}

// end is when what is launched now ends by itself; zero: never.
func (o *runOptions) end(now time.Time) time.Time {
	if o.endless {
		return time.Time{}
	}
	return now.Add(o.hours)
}

// endText says when a launch ends, whose name or "It" begins the sentence, and
// how to end it now.
func endText(who string, expires time.Time, terminate string) string {
	if expires.IsZero() {
		return fmt.Sprintf("%s goes on until you end it:\n  %s\n", who, terminate)
	}
	return fmt.Sprintf("%s ends by itself at %s. To end it now:\n  %s\n", who, clock(expires), terminate)
}

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
	switch {
	case r.o.endless && r.o.hoursGiven:
		r.out.warn("--hours does not apply: cloud %q never ends instances by itself. %s goes on until you end it.\n", r.record.Cloud, r.launch.Handle)
	case r.o.endless:
	case r.o.hours < r.o.timeout:
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
	if !r.record.Over(r.env.Now()) {
		return nil
	}
	r.problem("  - %s: its hours are over\n", r.launch.Handle)
	return &Failure{Code: exitCluster, Text: fmt.Sprintf("%s: its hours are over: it ended by itself at %s, before all was ready", r.launch.Handle, r.record.Expires.Local().Format("15:04:05")),
		Advice: "launch it with more --hours; while it runs, nimbus extend gives it more"}
}
