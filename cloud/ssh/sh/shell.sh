#!/bin/sh
# Root's login shell, in place of a program.
shell=$(sed -n 's/^root:.*:\([^:]*\)$/\1/p' /etc/passwd)
[ -x "$shell" ] || shell=/bin/sh
SHELL=$shell
export SHELL
if "$shell" -l -c : </dev/null >/dev/null 2>&1; then exec "$shell" -l; fi
exec "$shell"
