"""A device without Python, such as a phone: its facts, claims and programs, through its shell."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from edgeopt.measure.system import SHELL_PROBE, texts_from_shell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeopt.devices.link import Link

PROBE_S = 60.0
"""Time limit of the probe: it starts a dozen programs, some of which wait for Android's services."""
KILLED_S = 1
"""Time between the signal `ALARM` and the kill of a program that takes too long."""
ALARM = 14
"""The signal that ends a program that takes too long; programs rarely use it otherwise."""
TOO_LONG = 128 + ALARM
"""Exit code of a program that took too long."""
TRIES = 5
"""Attempts, one per second, to take a lock that an older process of ours holds."""


def look(link: Link) -> Mapping[str, str]:
    """Return the texts that `observer.facts_from_texts` and `observer.health_from_texts` read.

    Raises:
        DeviceError: The device does not answer.
        ValueError: The answer was cut off.
    """
    return texts_from_shell(link.run(SHELL_PROBE, "asking what it is", timeout_s=PROBE_S).decode("utf-8", "replace"))


def claim(path: str, owner: str, token: str, silence_s: float) -> str:
    """Return the script that claims a device for one owner, as `agent.claim` does with Python.

    It locks the same file in the same way, so that users with and without Python there wait for each other. After a
    line on its input, the script prints the contents of the lock file. It holds the lock until its input ends or is
    silent for too long: then the owner is gone. An older holder with the same token has lost its host, and is killed.

    Args:
        path: The lock file.
        owner: The claimant, in words.
        token: Identifies this owner uniquely.
        silence_s: Longest time without a sign of life from the owner, which is a line on the input.
    """
    mine = json.dumps({"owner": owner, "token": token})[:-1]
    # `head` and `grep` must not hold the lock: they may outlive this shell.
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
    """Return the answer of a claim's script in the form of `agent.claim`."""
    return {**answer, "ours": answer.get("token") == token}


def guarded(argv: Sequence[str], limit_s: float) -> str:
    """Return the command that runs a program; ends it after `limit_s` or if the command's input ends.

    The input of the command never carries data: it ends if the host or the link is gone.
    """
    late = f"sleep {limit_s:g}; kill -{ALARM} -$job; sleep {KILLED_S}; kill -9 -$job"
    # Separate sessions: everything that the program starts is ended with it, which toybox's `timeout` does not do,
    # and its watchers survive when adbd ends this shell because the host is gone.
    return f"""
exec 3<&0
setsid {shlex.join(argv)} </dev/null 3<&- & job=$!
setsid sh -c "{late}" </dev/null >/dev/null 2>&1 3<&- & limit=$!
setsid sh -c "read -r _; kill -9 -$job -$limit" <&3 >/dev/null 2>&1 & watch=$!
wait $job; code=$?
for each in -$watch $watch -$limit $limit -$job; do kill -9 $each 2>/dev/null; done
exit $code"""
