package cluster

import "fmt"

// Nearest is the known word that was probably meant; empty when none is near.
func Nearest(word string, known []string) string {
	best, distance := "", max(2, len(word)/3)+1
	for _, k := range known[:min(len(known), MaxNames)] {
		if d := editDistance(word, k); len(k) > 2 && d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	return best
}

func suggestion(word string, known []string) string {
	if best := Nearest(word, known); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
}

// editDistance counts the letters to insert, drop or change (Levenshtein);
// words too long to be typing errors are simply far apart.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
