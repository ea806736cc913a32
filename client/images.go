package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"nimbus/broker/cluster"
	"nimbus/client/settings"
)

// checkImages refuses a definition whose images are in the settings, but not on
// this machine, before anything is launched.
func checkImages(name string, c settings.Cloud, def *cluster.Definition) error {
	for _, image := range configured(c, def) {
		i := c.Images[image]
		for _, dir := range []struct{ field, path string }{{"root", i.Root}, {"scripts", i.Scripts}} {
			if dir.path == "" {
				continue
			}
			info, err := os.Stat(dir.path)
			if err == nil && info.IsDir() {
				continue
			}
			why := "it is not a directory"
			if err != nil {
				why = "it cannot be read: " + pathError(err)
			}
			if errors.Is(err, fs.ErrNotExist) {
				why = "there is no such directory"
			}
			return &Failure{Code: exitUsage, Text: fmt.Sprintf("image %q: clouds.%s.images.%s.%s in the settings is %q: %s", image, name, image, dir.field, dir.path, why),
				Advice: "make the directory, or correct the setting; nothing was launched"}
		}
	}
	return nil
}

// pathError is the reason of an error about a path that was named already.
func pathError(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// configured are the images of a definition that the settings know, each once.
func configured(c settings.Cloud, def *cluster.Definition) (images []string) {
	seen := map[string]bool{}
	for _, w := range def.Workspaces {
		if _, known := c.Images[w.Image]; known && !seen[w.Image] {
			seen[w.Image] = true
			images = append(images, w.Image)
		}
	}
	return images
}

// missingScripts says what the scripts that a launch brings, and those of local
// images, lack for a definition. That is no error: a role may be required for
// its data alone.
func missingScripts(c settings.Cloud, def *cluster.Definition, brought []*Scripts) (warnings []string) {
	for _, w := range def.Workspaces {
		dir, scripts := c.Images[w.Image].Scripts, scriptsOf(brought, w.Name)
		if dir == "" && scripts == nil || w.Ctx == nil {
			continue
		}
		has := func(names ...string) bool {
			if scripts != nil && scripts.has(names...) {
				return true
			}
			if dir == "" {
				return false
			}
			for _, name := range names {
				if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
					return true
				}
			}
			return false
		}
		if dir != "" && !has("0-etchosts", "0-etchosts.all", "0-etchosts.sh") {
			warnings = append(warnings, fmt.Sprintf("image %q has no 0-etchosts.all in %s: its nodes will fail; copy it from ctxscripts/ctx-scripts of Nimbus", w.Image, dir))
		}
		for _, role := range w.Ctx.Requires.Roles {
			switch {
			case has("1-ipandhost/"+role.Name, "1-ipandhost/"+role.Name+".all", "4-restarts/"+role.Name):
			case dir == "":
				warnings = append(warnings, fmt.Sprintf("workspace %q requires the role %q, and %s has no script for it: 1-ipandhost/%s is called only if image %q has one%s", w.Name, role.Name, scripts.Directory, role.Name, w.Image, scripts.meant(def, role.Name)))
			default:
				warnings = append(warnings, fmt.Sprintf("workspace %q requires the role %q, and image %q has no script for it: %s would be called", w.Name, role.Name, w.Image, filepath.Join(dir, "1-ipandhost", role.Name)))
			}
		}
	}
	return warnings
}
