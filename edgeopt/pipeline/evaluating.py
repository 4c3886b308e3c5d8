"""Run each artifact once on the evaluation feeds, untimed, to verify it and measure fidelity."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt.errors import DeviceError, ExportError
from edgeopt.measure.process import accepted
from edgeopt.pipeline.harnesses import again_when_cut, elsewhere, open_harness, push_artifact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from edgeopt.contract import Array
    from edgeopt.devices.base import Device
    from edgeopt.isolation import OwnEnvironment
    from edgeopt.pipeline.request import ExportSettings, Progress
    from edgeopt.pipeline.workspace import Workspace


INDEX = "index.json"
"""Written last: if it exists, the outputs are complete."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outputs of one artifact for all evaluation feeds, and the facts reported by its runner."""

    outputs: Mapping[str, Array]
    untimed: str | None
    facts: Mapping[str, Any]


def evaluate(  # noqa: PLR0913 - each is a fact of its own
    name: str,
    runner: Path,
    folder: Path,
    main: Path,
    feeds: Path,
    *,
    device: Device,
    workspace: Workspace,
    settings: ExportSettings,
    progress: Progress,
    environment: OwnEnvironment | None = None,
    requires: Iterable[str] = (),
) -> Evaluation:
    """Run the artifact in `folder` on `feeds`, on `device`, in a separate process.

    The time limit applies to loading and to each interval without progress, so many feeds may take longer in total.

    Raises:
        ExportError: The artifact does not load, or fails before the last feed.
        DeviceError: The process died, or did not answer or write the outputs.
    """
    out = workspace.scratch / "outputs" / name
    log = workspace.log(name)

    def tell(event: dict[str, Any]) -> None:
        progress.stage(name, f"answering the evaluation feeds, {event['done']:,} of {event['of']:,}")

    def run() -> Evaluation:
        with device.place(out) as there:
            opened = open_harness(name, environment, requires, device=device, workspace=workspace, settings=settings)
            with opened as channel:
                loading = {
                    "op": "load",
                    "runner": device.push(runner),
                    "artifact": push_artifact(device, folder, main),
                    "threads": settings.threads,
                }
                answer = channel.ask(loading, settings.timeout_s)
                loaded = accepted(answer, "the artifact does not load", log, elsewhere(device), ExportError)
                running = {"op": "evaluate", "feeds": device.push(feeds), "out": there}
                answer = channel.ask(running, settings.timeout_s, tell, renew=True)
                accepted(answer, "the artifact does not run", log, elsewhere(device), ExportError)
            device.pull(there, out)  # after the process has ended: packing on the device may need its memory
        if not (out / INDEX).is_file():
            raise DeviceError("says that it has answered the feeds, and has not", log=str(log))
        return Evaluation(read_outputs(out), loaded["untimed"], loaded["facts"])

    return again_when_cut(device, run, progress.say)


def read_outputs(folder: Path) -> dict[str, Array]:
    """Return the outputs written by the harness, by name; the first axis is the sample."""
    import numpy as np

    index = json.loads((folder / INDEX).read_text("utf-8"))
    return {name: np.load(folder / file, allow_pickle=False) for name, file in index["outputs"].items()}
