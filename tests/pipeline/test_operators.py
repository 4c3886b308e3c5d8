"""Where the time goes: asked of every artifact that was timed, with runners that tell, raise, die and hang."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgeopt.devices.local import LocalDevice
from edgeopt.errors import DeviceError, DeviceGoneError
from edgeopt.measure.measurement import Launch, Measurement
from edgeopt.pipeline import operators as operators_module
from edgeopt.pipeline.entries import Entry
from edgeopt.pipeline.exporting import Exported
from edgeopt.pipeline.operators import measure_operators, read_operators
from edgeopt.pipeline.request import ExportSettings, Silence
from edgeopt.pipeline.workspace import Workspace
from edgeopt.report.schema import Operator

LAUNCH = Launch(0, 0.1, 0.1, True, ((1000, 1000),), 10, 5)
TELLS = """
def operators(path, threads, feed, seconds):
    slow = {"name": open(path).read(), "kernel": f"{threads} threads", "count": 2, "time_s": seconds}
    return [{"name": "ADD", "kernel": "", "count": len(feed["x"]), "time_s": 1e-6}, slow]
"""
RUNNERS = {
    "tells": (TELLS, ""),
    "old": (
        "def operators(*_):\n    raise RuntimeError('runtime 1.0 has no profiler')\n",
        "runtime 1.0 has no profiler",
    ),
    "wrong": ("def operators(*_):\n    return [{'name': 'ADD'}]\n", "KeyError: 'kernel'"),
    "without": ("def load(*_):\n    pass\n", "its runner does not tell the time of operators"),
    "empty": ("def operators(*_):\n    return []\n", "its runner told no operators, or times that are none"),
    "dies": ("import os\ndef operators(*_):\n    os._exit(3)\n", "ended with exit code 3"),
    "hangs": ("import time\ndef operators(*_):\n    time.sleep(60)\n", "gave no answer within 2 s and was ended"),
}


@dataclass
class Told(Silence):
    """Progress that keeps what it is told."""

    ended: dict[str, str] = field(default_factory=dict)

    def done(self, key, text):
        self.ended[key] = text


@pytest.fixture
def entry(tmp_path):
    """Return a function that makes a target which was exported, published and timed."""

    def make(name, runner, **changes):
        folder = tmp_path / "published" / name
        folder.mkdir(parents=True)
        (folder / "model").write_text("the artifact")
        file = tmp_path / f"{name}.py"
        file.write_text(runner)
        plan = SimpleNamespace(
            target=SimpleNamespace(name=name), backend=SimpleNamespace(runner=file, requires=()), environment=None
        )
        staged = tmp_path / "staged"
        exported = Exported(plan, staged, staged / "model", (), {}, (), 0, 1.0)
        made = Entry(plan, exported=exported, folder=folder, measurement=Measurement(name, 3, (LAUNCH,)))
        for key, value in changes.items():
            setattr(made, key, value)
        return made

    return make


@pytest.fixture
def ask(tmp_path):
    """Ask some entries, and return what the progress was told."""
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    np.save(feeds / "0.npy", np.zeros((4, 2)))
    (feeds / "index.json").write_text('{"inputs": {"x": "0.npy"}, "count": 2, "batch": 2}')
    device = LocalDevice()

    def measure(*entries, **settings):
        told = Told()
        with Workspace.create(tmp_path / "dist", "model") as workspace:
            measure_operators(
                entries,
                feeds,
                device=device,
                workspace=workspace,
                settings=ExportSettings(threads=3, **settings),
                progress=told,
            )
        return told.ended

    yield measure
    device.close()


def test_operators_come_sorted_and_one_that_cannot_tell_costs_the_others_nothing(entry, ask):
    entries = {name: entry(name, runner) for name, (runner, _) in RUNNERS.items()}
    ended = ask(*entries.values(), timeout_s=2.0, seconds=0.25)
    assert entries["tells"].operators == (
        Operator("the artifact", "3 threads", 2, 0.25),
        Operator("ADD", "", 2, 1e-6),
    )
    assert {name: entry.operators_problem for name, entry in entries.items()} == {
        name: problem for name, (_, problem) in RUNNERS.items()
    }
    assert all(not entry.operators for name, entry in entries.items() if name != "tells")
    assert all(entry.error is None for entry in entries.values())
    assert ended == {
        name: "operators not told" if problem else "operators timed" for name, (_, problem) in RUNNERS.items()
    }


def test_a_device_that_is_gone_is_waited_for_once(entry, ask, monkeypatch):
    waits = []

    def open_harness(*_, **__):
        waits.append(1)
        raise DeviceGoneError("it did not come back")

    monkeypatch.setattr(operators_module, "open_harness", open_harness)
    entries = [entry("a", TELLS), entry("b", TELLS)]
    ask(*entries)
    assert [made.operators_problem for made in entries] == ["it did not come back"] * 2
    assert waits == [1]


def test_a_long_run_is_not_profiled_for_as_long(entry, ask):
    made = entry("tells", TELLS)
    ask(made, seconds=30.0)
    assert made.operators[0].time_s == 1.0


def test_what_was_not_timed_is_not_asked(entry, ask):
    stopped = Measurement("stopped", 1, ())
    entries = [
        entry("unmeasured", TELLS, measurement=None),
        entry("stopped", TELLS, measurement=stopped),
        entry("failed", TELLS, error=DeviceError("died")),
    ]
    assert ask(*entries) == {}
    assert [(made.operators, made.operators_problem) for made in entries] == [((), "")] * 3


@pytest.mark.parametrize("time_s", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(time_s):
    with pytest.raises(DeviceError, match="times that are none"):
        read_operators({"operators": [{"name": "ADD", "kernel": "", "count": 1, "time_s": time_s}]})


@pytest.mark.parametrize("answer", [{}, {"operators": 3}, {"operators": [3]}, {"error": "no"}])
def test_an_answer_that_is_none_is_a_note_too(entry, tmp_path, answer):
    harness = tmp_path / "harness"
    channel = SimpleNamespace(ask=lambda *_: answer)

    class Device:
        def push(self, path):
            return str(path)

        def open(self, *_, **__):
            return Context()

    class Context:
        def __enter__(self):
            return channel

        def __exit__(self, *_):
            pass

    made = entry("odd", TELLS)
    with Workspace.create(harness, "model") as workspace:
        measure_operators(
            [made], Path(), device=Device(), workspace=workspace, settings=ExportSettings(), progress=Silence()
        )
    assert made.operators_problem.startswith("its answer cannot be used: ")
