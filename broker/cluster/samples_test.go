package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Every sample is valid, without even a warning.
func TestSamples(t *testing.T) {
	paths, err := filepath.Glob("../../samples/*.xml")
	if err != nil || len(paths) < 7 {
		t.Fatalf("%d samples, %v", len(paths), err)
	}
	for _, path := range paths {
		document, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d, problems := Read(filepath.Base(path), bytes.NewReader(document))
		for _, p := range problems {
			t.Error(p)
		}
		if d.Instances() == 0 {
			t.Errorf("%s launches nothing", path)
		}
	}
}
