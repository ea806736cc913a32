package match

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A test that cannot fail proves nothing: each patch in testdata/bugs plants a
// bug, most of them the original's, and the promises must catch it.
func TestPromisesCatchPlantedBugs(t *testing.T) {
	patches, err := filepath.Glob("testdata/bugs/*.patch")
	if err != nil || len(patches) < 6 {
		t.Fatalf("%d patches, %v", len(patches), err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, patch := range patches {
		t.Run(strings.TrimSuffix(filepath.Base(patch), ".patch"), func(t *testing.T) {
			t.Parallel()
			overlay := plant(t, here, filepath.Join(here, patch))
			out, err := exec.Command("go", "test", "-overlay", overlay, "-run", "^TestPromises$", ".").CombinedOutput()
			if err == nil {
				t.Fatal("no promise is broken by this bug")
			}
			if !strings.Contains(string(out), "--- FAIL: TestPromises") {
				t.Fatalf("it did not get as far as the test:\n%s", out)
			}
		})
	}
}

// plant applies a patch to a copy of the file it names and returns an overlay
// for the go command.
func plant(t *testing.T, here, patch string) string {
	text, err := os.ReadFile(patch)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "--- a/")
	if !found {
		t.Fatalf("%s names no file", patch)
	}
	name, _, _ := strings.Cut(rest, "\n")
	dir := t.TempDir()
	source, err := os.ReadFile(filepath.Join(here, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), source, 0o666); err != nil {
		t.Fatal(err)
	}
	apply := exec.Command("git", "apply", patch)
	apply.Dir = dir
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%s does not apply any more; make it anew: %v\n%s", patch, err, out)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, name): filepath.Join(dir, name)}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, overlay, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}
