"""A device without Python, as phones are: what it is, whose turn it is, and how a program runs there, by its shell."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from edgeopt.measure.system import SHELL_PROBE, texts_from_shell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeopt.devices.link import Link

PROBE_S = 60.0
"""How long the probe may take: it starts a dozen programs, some of which wait for Android's services."""
KILLED_S = 1
"""How long a program that takes too long may go on after that signal, before it is killed."""
ALARM = 14
"""The signal that ends a program which takes too long: hardly one uses it otherwise."""
TOO_LONG = 128 + ALARM
"""The code of a program that took too long."""
TRIES = 5
"""How often, once a second, a lock is asked for again whose holder is an older process of ours."""


def look(link: Link) -> Mapping[str, str]:
    """Return the texts that `observer.facts_from_texts` and `observer.health_from_texts` read.

    Raises:
        DeviceError: The device does not answer.
        ValueError: The answer was cut off.
    """
    return texts_from_shell(link.run(SHELL_PROBE, "asking what it is", timeout_s=PROBE_S).decode("utf-8", "replace"))


def claim(path: str, owner: str, token: str, silence_s: float) -> str:
    """Return the script that takes a device for one owner, as `agent.claim` does where there is Python.

    It is the same lock on the same file, so that whoever has Python there and who has not wait for each other. Asked by
    a line on its input, the script prints what the lock's file says. It holds the lock until its input ends, or is
    silent for too long: then the owner is gone. An older holder with the same token has lost its host, and is ended.

    Args:
        path: The file that is locked.
        owner: Who asks, in words.
        token: What tells this owner from all others.
        silence_s: How long the owner may give no sign of life, which is a line on its input.
    """
    mine = json.dumps({"owner": owner, "token": token})[:-1]
    # `head` and `grep` must not hold the lock: they may live on when this shell is killed.
    return f"""
lock={shlex.quote(path)}; tries=0
read -r _ || exit
{{
  until flock -n 9; do
    grep -qF {token} "$lock" && [ $tries -lt {TRIES} ] || {{ grep '^{{' "$lock" || echo '{{}}'; exit; }}
    kill -9 "$(sed -n 's/.*"pid": *\\([0-9][0-9]*\\).*/\\1/p' "$lock")"
    tries=$((tries + 1)); sleep 1
  done
  printf '%s, "since": %s, "pid": %s}}\\n' {shlex.quote(mine)} "$(date +%s)" $$ >"$lock"
  cat "$lock"
  while timeout {silence_s:g} head -n 1 9>&- | grep -q '' 9>&-; do :; done
}} 9>>{shlex.quote(path)}"""


def read_claim(answer: Mapping[str, Any], token: str) -> dict[str, Any]:
    """Return what a claim's script has answered in the form of `agent.claim`."""
    return {**answer, "ours": answer.get("token") == token}


def guarded(argv: Sequence[str], limit_s: float) -> str:
    """Return the command that runs a program on a device, and ends it when it takes too long or its own input ends.

    The input of the command never says anything: its end is the host's, or the link's.
    """
    late = f"sleep {limit_s:g}; kill -{ALARM} -$job; sleep {KILLED_S}; kill -9 -$job"
    # Sessions of their own: all that the program starts is ended with it, which toybox's `timeout` does not do, and
    # those that watch it are there still when adbd ends this shell because the host is gone.
    return f"""
exec 3<&0
setsid {shlex.join(argv)} </dev/null 3<&- & job=$!
setsid sh -c "{late}" </dev/null >/dev/null 2>&1 3<&- & limit=$!
setsid sh -c "read -r _; kill -9 -$job -$limit" <&3 >/dev/null 2>&1 & watch=$!
wait $job; code=$?
for each in -$watch $watch -$limit $limit -$job; do kill -9 $each 2>/dev/null; done
exit $code"""
