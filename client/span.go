package client

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxSpan is the longest time that may be asked for.
const maxSpan = 10 * 365 * 24 * time.Hour

// parseSpan reads a time such as "1.5", in the given unit, "90m" or "2d". It
// is kept to the second.
func parseSpan(option, text string, unit time.Duration) (time.Duration, error) {
	span, ok := readSpan(text, unit)
	span = span.Round(time.Second)
	name := map[time.Duration]string{time.Hour: "hours", time.Minute: "minutes"}[unit]
	switch {
	case !ok || span < 0:
		return 0, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s %q is no length of time", option, text),
			Advice: fmt.Sprintf("give a number of %s such as 1 or 0.5, or a time with its unit such as 90m", name)}
	case span < time.Second:
		return 0, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s %q is too short: the least is one second, 1s", option, text)}
	case span > maxSpan:
		return 0, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s %q is too long: the most is ten years, %.0f %s", option, text, float64(maxSpan)/float64(unit), name)}
	}
	return span, nil
}

// readSpan reads a number of a unit, or a time with its units, of which days
// come first. What is longer than a duration can be is as long as one can be.
func readSpan(text string, unit time.Duration) (time.Duration, bool) {
	if number, err := strconv.ParseFloat(text, 64); err == nil {
		return times(number, unit), !math.IsNaN(number)
	}
	days, rest, found := strings.Cut(text, "d")
	if !found {
		span, err := time.ParseDuration(text)
		return span, err == nil
	}
	number, err := strconv.ParseFloat(days, 64)
	if err != nil || math.IsNaN(number) || number < 0 {
		return 0, false
	}
	span := times(number, 24*time.Hour)
	if rest == "" {
		return span, true
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 {
		return 0, false
	}
	return min(span, maxSpan) + min(more, maxSpan), true
}

func times(number float64, unit time.Duration) time.Duration {
	if product := number * float64(unit); math.Abs(product) < math.MaxInt64/2 {
		return time.Duration(product)
	}
	return time.Duration(math.Copysign(math.MaxInt64/2, number))
}
