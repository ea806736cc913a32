package source

import (
	"io/fs"
	"strings"
)

// clouds is how the firmware of a machine names the cloud that made it: a file
// of /sys/class/dmi/id and a part of its content. Plain hypervisors are not
// among them, they have no metadata server.
var clouds = []struct{ file, part, name string }{
	{"sys_vendor", "Amazon EC2", "EC2"},
	{"bios_version", "amazon", "EC2"},
	{"product_name", "OpenStack", "OpenStack"},
	{"sys_vendor", "OpenStack", "OpenStack"},
	{"chassis_asset_tag", "OpenTelekomCloud", "OpenStack"},
	{"product_name", "CloudStack", "CloudStack"},
	{"sys_vendor", "Exoscale", "Exoscale"},
	{"product_name", "OpenNebula", "OpenNebula"},
	{"sys_vendor", "OpenNebula", "OpenNebula"},
	{"product_name", "Eucalyptus", "Eucalyptus"},
	{"product_name", "Google Compute Engine", "Google"},
	{"chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77", "Azure"},
	{"chassis_asset_tag", "OracleCloud.com", "Oracle"},
	{"sys_vendor", "Alibaba Cloud", "Alibaba"},
	{"sys_vendor", "DigitalOcean", "DigitalOcean"},
	{"sys_vendor", "Hetzner", "Hetzner"},
	{"sys_vendor", "Scaleway", "Scaleway"},
	{"sys_vendor", "Vultr", "Vultr"},
	{"sys_vendor", "Nimbus", "Nimbus"},
}

// namedCloud is the cloud that made this machine, or empty.
func namedCloud(dmi fs.FS) string {
	if dmi == nil {
		return ""
	}
	for _, c := range clouds {
		content, err := fs.ReadFile(dmi, c.file)
		if err == nil && strings.Contains(string(content), c.part) {
			return c.name
		}
	}
	return ""
}
