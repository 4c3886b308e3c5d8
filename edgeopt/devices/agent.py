"""Answers the host's questions about a device: its facts, state, installed packages and current holder.

One file that runs on the device, the same bytes everywhere. It needs Python 3.9, its standard library and, beside it,
`observer.py`, `system.py`, `libraries.py` and `elf.py`. It reads questions from standard input and writes answers to
standard output, one JSON message per line:

    facts                      -> facts
    health                     -> health; takes a quarter of a second, during which nothing should be measured
    memory                     -> memory: available_bytes, as in health, but at once; 0 if unknown
    versions   names           -> versions, by distribution name
    provided                   -> provided; see `libraries.provided_here`
    check      names           -> check; see `libraries.check`
    claim      path, owner, token
                               -> owner, since: the current holder of the device; `ours`: whether that is the caller

A claim is a lock on a file, released when this process ends for any reason. An answer with the key `error` describes a
failure.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time

TYPE_CHECKING = False  # typing itself is not needed on the device
if TYPE_CHECKING:
    from typing import IO, Any

WAIT_S = 5.0
"""Time for a killed process to release the lock."""
POLL_S = 0.02
_held: list[IO[str]] = []


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one message."""
    op = message["op"]
    if op == "claim":
        return claim(message["path"], message["owner"], message["token"])
    if op in ("provided", "check"):
        import libraries  # type: ignore[import-not-found]  # lies beside this file on the device

        return {op: libraries.check(message["names"]) if op == "check" else libraries.provided_here()}
    import observer  # type: ignore[import-not-found]

    if op == "versions":
        return {op: observer.versions(message["names"])}
    if op == "memory":
        return {op: {"available_bytes": observer.available_bytes(observer.limits())}}
    return {op: observer.health() if op == "health" else observer.facts()}


def claim(path: str, owner: str, token: str) -> dict[str, Any]:
    """Claim the device for one owner, or return its holder.

    Args:
        path: The lock file.
        owner: The caller, in words.
        token: Unique to the owner. An older process with the same token has lost its host and is killed.
    """
    file = open(path, "a+", encoding="utf-8")  # noqa: PTH123, SIM115 - held until this process ends
    until = time.monotonic() + WAIT_S
    while not _lock(file):
        holder = _read(file)
        if holder.get("token") != token or time.monotonic() > until:
            file.close()
            return {"owner": holder.get("owner", ""), "since": holder.get("since", 0), "ours": False}
        with contextlib.suppress(OSError, KeyError, TypeError):
            os.kill(holder["pid"], signal.SIGKILL)
        time.sleep(POLL_S)
    mine = {"owner": owner, "since": time.time(), "token": token, "pid": os.getpid()}
    file.truncate(0)
    file.write(json.dumps(mine))
    file.flush()
    _held.append(file)
    return {"owner": owner, "since": mine["since"], "ours": True}


def _lock(file: IO[str]) -> bool:
    """Lock a file; return False if somebody else holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: IO[str]) -> dict[str, Any]:
    """Return the holder's entry in the lock file; empty if unreadable."""
    file.seek(0)
    with contextlib.suppress(ValueError):
        found = json.loads(file.read())
        if isinstance(found, dict):
            return found
    return {}


def main() -> None:
    """Answer until standard input ends."""
    for line in sys.stdin:
        try:
            said = answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - the host shows it
            said = {"error": {"message": f"{type(error).__name__}: {error}"}}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
