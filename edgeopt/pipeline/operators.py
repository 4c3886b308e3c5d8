"""Measure the operator times of every timed artifact, each in a separate process."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.errors import DeviceError, DeviceGoneError, EdgeoptError
from edgeopt.measure.process import UNUSABLE, as_error
from edgeopt.pipeline.harnesses import again_when_cut, open_harness, push_artifact
from edgeopt.report.schema import Operator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeopt.devices.base import Device
    from edgeopt.pipeline.entries import Entry
    from edgeopt.pipeline.request import ExportSettings, Progress
    from edgeopt.pipeline.workspace import Workspace

MOST_SECONDS = 1.0
"""Approximate maximum run time of an artifact: shares converge sooner than a latency."""
NO_FUNCTION = "its runner does not tell the time of operators"
SAID_ON_PURPOSE = "RuntimeError: "
"""Prefix of a message that a runner raised in accordance with the contract."""


def measure_operators(  # noqa: PLR0913 - each is a part of its own
    entries: Iterable[Entry],
    feeds: Path,
    *,
    device: Device,
    workspace: Workspace,
    settings: ExportSettings,
    progress: Progress,
) -> None:
    """Store each timed artifact's operators, or why they are missing, in its entry; change nothing else.

    Call it after the timing: no figure of the table may be measured while a profiler runs.
    """
    gone: DeviceGoneError | None = None
    for entry in entries:
        if not entry.is_timed or entry.error is not None:
            continue
        if gone is not None:  # the reconnect limit has passed; do not wait again
            entry.operators_problem = gone.message
            continue
        progress.stage(entry.name, "timing its operators")
        try:
            entry.operators = again_when_cut(
                device, partial(_ask, entry, feeds, device, workspace, settings), progress.say
            )
        except DeviceGoneError as error:
            gone, entry.operators_problem = error, error.message
        except (EdgeoptError, *UNUSABLE) as error:
            entry.operators_problem = as_error(error).message
        progress.done(entry.name, "operators not told" if entry.operators_problem else "operators timed")


def read_operators(answer: dict[str, Any]) -> tuple[Operator, ...]:
    """Return the operators in a harness's answer, slowest first.

    Raises:
        DeviceError: They are missing or invalid; the message gives the reason.
    """
    if "error" in answer:
        raise DeviceError(str(answer["error"]["message"]).removeprefix(SAID_ON_PURPOSE))
    rows = answer["operators"]
    if rows is None:
        raise DeviceError(NO_FUNCTION)
    found = [Operator(str(row["name"]), str(row["kernel"]), int(row["count"]), float(row["time_s"])) for row in rows]
    if not found or not all(math.isfinite(operator.time_s) and operator.time_s >= 0 for operator in found):
        raise DeviceError("its runner told no operators, or times that are none")
    return tuple(sorted(found, key=lambda operator: -operator.time_s))


def _ask(
    entry: Entry, feeds: Path, device: Device, workspace: Workspace, settings: ExportSettings
) -> tuple[Operator, ...]:
    """Return the operators of one artifact.

    Raises:
        EdgeoptError: They are not available; the message gives the reason.
        ValueError, TypeError, KeyError: The answer is malformed.
    """
    if entry.exported is None or entry.folder is None:  # pragma: no cover - timed artifacts exist
        raise DeviceError("it is not there any more")
    plan, main = entry.exported.plan, entry.exported.main_in(entry.folder)
    with open_harness(
        entry.name, plan.environment, plan.backend.requires, device=device, workspace=workspace, settings=settings
    ) as channel:
        message = {
            "op": "operators",
            "runner": device.push(Path(plan.backend.runner)),
            "artifact": push_artifact(device, entry.folder, main),
            "threads": settings.threads,
            "feeds": device.push(feeds),
            "seconds": min(settings.seconds, MOST_SECONDS),
        }
        return read_operators(channel.ask(message, settings.timeout_s))
