"""Answers what the host asks about a device: what it is, how it is, what is installed there, and whose turn it is.

One file that runs on the device, the same bytes everywhere. It needs Python 3.9, its standard library and, side by side
with it, `observer.py`, `system.py`, `libraries.py` and `elf.py`. It is asked over standard input and output, one JSON
message a line:

    facts                      -> facts
    health                     -> health; takes a quarter of a second, in which nothing should be measured
    memory                     -> memory: available_bytes, as in health, but at once; 0 where it is not told
    versions   names           -> versions, by the name of the distribution
    provided                   -> provided; see `libraries.provided_here`
    check      names           -> check; see `libraries.check`
    claim      path, owner, token
                               -> owner, since: who has the device now, and whether it is the one that asked (`ours`)

A claim is a lock on a file, which ends with this process, however that ends. An answer with the key `error` says what
went wrong.
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
"""How long a process that was killed may take to let go of the lock."""
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
    """Take the device for one owner, or tell who has it.

    Args:
        path: The file that is locked.
        owner: Who asks, in words.
        token: What tells this owner from all others. An older process with the same one has lost its host, and is
            ended.
    """
    file = open(path, "a+", encoding="utf-8")  # noqa: PTH123, SIM115 - it is held until this process ends
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
    """Lock a file and return whether nobody else had it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: IO[str]) -> dict[str, Any]:
    """Return what the holder of the lock wrote into it; nothing where that cannot be read."""
    file.seek(0)
    with contextlib.suppress(ValueError):
        found = json.loads(file.read())
        if isinstance(found, dict):
            return found
    return {}


def main() -> None:
    """Answer until the host has no more to ask."""
    for line in sys.stdin:
        try:
            said = answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - the host shows it
            said = {"error": {"message": f"{type(error).__name__}: {error}"}}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
