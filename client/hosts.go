package client

// overSSH tells whether a cloud is hosts that run already, which are reached by
// SSH: a command that is at work holds the way to and from them.
func (s *session) overSSH(name string) bool { return s.settings.Clouds[name].Driver == "ssh" }
