package client

import (
	"slices"
	"strings"
	"testing"
)

func TestRewrite(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--run --cluster f.xml --hours 1", "run --cluster f.xml --hours 1"},
		{"--hours=0.5 --cluster=f.xml --run", "run --hours 0.5 --cluster f.xml"},
		{"--run --name IMAGE --hours 1 -d --nospinner --poll-interval 500", "run --name IMAGE --hours 1"},
		{"--run --cluster f --broker-url https://b --broker-id x --ssh-pubkey k", "run --cluster f --broker https://b --ssh-key k"},
		{"--status", "status"},
		{"--status --handle cluster-001 --history-dir h --conf c", "status --handle cluster-001 --history-dir h --conf c"},
		{"--terminate --handle vm-001", "terminate --handle vm-001"},
		{"--print-ctx-status --handle cluster-001", "print-ctx-status --handle cluster-001"},
		{"--run --cluster f --keep --json=stream", "run --cluster f --keep --json=stream"},
		{"--status --json", "status --json"},
		// Several actions run in the classic order, each with its own options.
		{"--terminate --handle vm-001 --list --networks --cloud lab", "networks --cloud lab; list --cloud lab; terminate --handle vm-001"},
		{"--print-ctx-status --terminate --status --handle a", "status --handle a; terminate --handle a; print-ctx-status --handle a"},
		{"--run --name i --list --conf c", "list --conf c; run --name i --conf c"},
		// Help comes alone.
		{"--help --run", "classic-help help"},
		{"-h", "classic-help help"},
		{"-u", "classic-help usage"},
		{"-dh", "classic-help help"},
		{"--extrahelp", "classic-help extrahelp"},
	} {
		calls, notes, err := Rewrite(strings.Fields(c.args))
		var got []string
		for _, call := range calls {
			got = append(got, strings.Join(call, " "))
		}
		if err != nil || len(notes) > 0 || strings.Join(got, "; ") != c.want {
			t.Errorf("%s\n got %q, %v, %v\nwant %q", c.args, got, notes, err, c.want)
		}
	}
}

func TestRewriteRefuses(t *testing.T) {
	for _, c := range []struct{ args, want, hint string }{
		{"", "Give at least one action.", "see help (-h)"},
		{"--cluster f.xml", "Give at least one action.", "see help"},
		{"--run --terminate --handle x", "--run cannot be combined with --terminate", "two commands"},
		{"--run --print-ctx-status --handle x", "--run cannot be combined with --print-ctx-status", "two commands"},
		{"--run --cluster f leftover", `unexpected word "leftover"`, "see help"},
		{"--run --clutser f", "unknown option --clutser", "did you mean --cluster?"},
		{"-run", "unknown option --run", "did you mean --run?"},
		{"--run --cluster --hours 1", "--cluster needs a value", "see help"},
		{"--run --name i --hours", "--hours needs a value", "see help"},
		{"--transfer --sourcefile f", "this version does not have --transfer", ""},
		{"--status --save --handle x --newname y", "this version does not have --save", ""},
		{"--run --cluster f --ec2script s", "this version does not have --ec2script", ""},
		{"--hash-print DN", "this version does not have --hash-print", ""},
		{"--run --cluster f --", `unexpected word "--"`, "see help"},
	} {
		calls, _, err := Rewrite(strings.Fields(c.args))
		f, ok := err.(*Failure)
		if !ok || f.Code != 1 || !strings.Contains(f.Text, c.want) || !strings.Contains(f.Advice, c.hint) || calls != nil {
			t.Errorf("%s: %v, %+v; want %q, %q", c.args, calls, err, c.want, c.hint)
		}
	}
}

func TestRewriteNotesWhatHasNoEffectAnyMore(t *testing.T) {
	calls, notes, err := Rewrite(strings.Fields("--run --name i --factory host:8443 --kernel k"))
	if err != nil || len(calls) != 1 || len(notes) != 2 || !strings.HasPrefix(notes[0], "--factory has no effect any more") {
		t.Errorf("%v %v %v", calls, notes, err)
	}
}

// Every option that is passed on exists at the subcommands that get it.
func TestRewriteFitsTheSubcommands(t *testing.T) {
	for _, command := range Commands(&Env{}) {
		var flags []string
		for _, f := range command.Flags {
			flags = append(flags, f.Names()...)
		}
		for _, o := range classicOptions {
			name := o.name
			if o.now != "" {
				name = o.now
			}
			if slices.Contains(strings.Fields(o.commands), command.Name) && !slices.Contains(flags, name) {
				t.Errorf("%s has no --%s", command.Name, name)
			}
		}
		if slices.Contains(classicActions, command.Name) {
			for _, flag := range flags {
				if !slices.ContainsFunc(classicOptions, func(o classicOption) bool {
					return (o.name == flag || o.now == flag) && slices.Contains(strings.Fields(o.commands), command.Name)
				}) {
					t.Errorf("--%s of %s cannot be given in the classic style", flag, command.Name)
				}
			}
		}
	}
	for _, o := range classicOptions {
		if (o.fate == kept) != (o.commands != "") {
			t.Errorf("--%s: kept, but for no subcommand, or the reverse", o.name)
		}
	}
}
