package install

// BrokerRecord says what belongs to a broker's installation.
const BrokerRecord = "usr/local/share/nimbus/broker.json"

// BrokerUnit is the broker as a service of systemd.
const BrokerUnit = "nimbus-broker.service"

// Broker is the plan of a machine that serves contexts. Only systemd has a
// service for it; with boot false that is there, but not switched on.
func Broker(t *Tree, program *Program, boot bool) (plan Plan, systemd bool) {
	items := append(programItems("usr/local/bin", program),
		Item{Path: "etc/nimbus/broker.toml", Mode: 0o644, Text: bootFile("broker.toml"), Yours: true})
	systemd = hasSystemd(t)
	if systemd {
		unit := systemdUnit(BrokerUnit)
		if !boot {
			unit = unit[:1]
		}
		items = append(items, unit...)
	}
	return Plan{BrokerRecord, items}, systemd
}
