package client

import (
	"strings"
	"testing"
	"time"
)

func TestSpans(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1": time.Hour, "0.0169": 61 * time.Second, "90m": 90 * time.Minute, "1d": 24 * time.Hour, "1.5d": 36 * time.Hour, "2d12h30m": 60*time.Hour + 30*time.Minute,
		"3650d": maxSpan, "87600": maxSpan, "1s": time.Second,
	} {
		if got, err := parseSpan("--hours", text, time.Hour); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"1000000": "is too long: the most is ten years, 87600 hours", "3651d": "is too long", "1e300": "is too long", "inf": "is too long", "2000000h": "is too long",
		"9e9d1h": "is too long", "9e9d2000000h": "is too long",
		"0.0001": "is too short: the least is one second, 1s", "0": "is too short", "1ms": "is too short", "0d": "is too short",
		"-1": "is no length of time", "-inf": "is no length of time", "NaN": "is no length of time", "NaNd": "is no length of time", "": "is no length of time", "d": "is no length of time",
		"-1d": "is no length of time", "1d-1h": "is no length of time", "1dd": "is no length of time", "1d1": "is no length of time", "tomorrow": "is no length of time",
	} {
		if got, err := parseSpan("--hours", text, time.Hour); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %q", text, got, err, want)
		}
	}
}
