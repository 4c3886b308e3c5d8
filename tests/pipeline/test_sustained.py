"""Running on: asked of every artifact that was timed, with runners that last, die and hang; and once as a user does."""

import json
import shlex
import threading
from contextlib import closing
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from edgeopt.devices.local import LocalDevice
from edgeopt.devices.remote import RemoteDevice
from edgeopt.devices.ssh import COMMAND_VARIABLE, SshTransport
from edgeopt.errors import DeviceError, LinkLostError
from edgeopt.measure import cooling
from edgeopt.measure.measurement import Launch, Measurement
from edgeopt.pipeline.entries import Entry
from edgeopt.pipeline.exporting import Exported
from edgeopt.pipeline.request import ExportSettings, Silence
from edgeopt.pipeline.sustained import NOT_NATIVELY, STOPPED, measure_sustained
from edgeopt.pipeline.workspace import Workspace
from edgeopt.report.schema import Run

LAUNCH = Launch(0, 0.1, 0.1, True, ((1000, 1000),), 10, 5)
RUNNER = """
import os, time
class Runner:
    def feed(self, inputs):
        pass
    def invoke(self):
        end = time.perf_counter_ns() + {us}_000
        while time.perf_counter_ns() < end: pass
        {more}
def load(path, threads):
    return Runner()
"""


@dataclass
class Told(Silence):
    """Progress that keeps what it is told, and may do something then."""

    said: list[str] = field(default_factory=list)
    stages: list[tuple[str, str]] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    act: object = None

    def say(self, text):
        self.said.append(text)

    def stage(self, key, text):
        self.stages.append((key, text))
        if self.act:
            self.act(key, text)

    def done(self, key, text):
        self.ended[key] = text


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch):
    monkeypatch.setattr(cooling, "LEAST_REST_S", 0.0)
    monkeypatch.setattr(cooling, "MOST_REST_S", 0.1)


@pytest.fixture
def entry(tmp_path):
    """Return a function that makes a target which was exported, published and timed."""

    def make(name, us=200, more="pass", **changes):
        folder = tmp_path / "published" / name
        folder.mkdir(parents=True)
        (folder / "model").write_text("the artifact")
        file = tmp_path / f"{name}.py"
        file.write_text(RUNNER.format(us=us, more=more))
        plan = SimpleNamespace(
            target=SimpleNamespace(name=name), backend=SimpleNamespace(runner=file, requires=()), environment=None
        )
        staged = tmp_path / "staged"
        exported = Exported(plan, staged, staged / "model", (), {}, (), 0, 1.0)
        made = Entry(plan, exported=exported, folder=folder, measurement=Measurement(name, 1, (LAUNCH,)))
        for key, value in changes.items():
            setattr(made, key, value)
        return made

    return make


@pytest.fixture
def run_on(tmp_path):
    """Let some entries run on for three seconds, and return what the progress was told."""
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    np.save(feeds / "0.npy", np.zeros((4, 2)))
    (feeds / "index.json").write_text('{"inputs": {"x": "0.npy"}, "count": 2, "batch": 2}')
    device = LocalDevice()

    def measure(*entries, device=device, stopping=None, act=None, **settings):
        told = Told(act=act)
        with Workspace.create(tmp_path / "dist", "model") as workspace:
            measure_sustained(
                entries,
                feeds,
                device=device,
                workspace=workspace,
                settings=ExportSettings(sustained_s=3, **settings),
                progress=told,
                stopping=stopping or threading.Event(),
            )
        return told

    yield measure
    device.close()


def test_each_that_was_timed_runs_on(entry, run_on, tmp_path):
    flag = tmp_path / "die"
    fast, slow = entry("fast"), entry("slow", us=800)
    dies = entry("dies", more=f"os.path.exists({str(flag)!r}) and os.abort()")
    others = [entry("unmeasured", measurement=None), entry("failed", error=DeviceError("died"))]
    native = entry("native", measurement=None, native=SimpleNamespace())

    def act(key, text):
        if (key, text) == ("dies", "running on, part 2 of 3"):
            flag.touch()

    told = run_on(fast, slow, dies, *others, native, act=act)
    assert told.said == [
        "running 3 artifacts on for 3 s each, one after another, with rests that let the device cool: 9 s to 18 s"
    ]
    assert (fast.sustained.seconds, fast.sustained.part_s) == (3, 1.0)
    assert len(fast.sustained.medians_s) == len(fast.sustained.ci95_s) == 3
    assert all(median_s >= 200e-6 for median_s in fast.sustained.medians_s)
    assert fast.sustained.slowdown == fast.sustained.medians_s[-1] / fast.sustained.medians_s[0]
    assert (slow.sustained.fastest_cold, slow.sustained.fastest_hot) == (False, False)
    assert fast.sustained.fastest_hot
    assert len(slow.sustained.health["temperature_c"]) == 2
    assert (dies.error.message, dies.sustained_problem) == ("was killed by SIGABRT (Aborted)",) * 2
    assert (dies.sustained.medians_s[2], dies.sustained.slowdown, dies.sustained.verdict) == (None, None, None)
    assert dies.sustained.fastest_hot is False
    assert [made.sustained for made in others] == [None, None]
    assert (native.sustained, native.sustained_problem) == (None, NOT_NATIVELY)
    assert told.ended == {"fast": "ran on", "slow": "ran on", "dies": "failed: was killed by SIGABRT (Aborted)"}


def test_one_that_is_too_slow_has_not_failed(entry, run_on):
    slow = entry("slow", more="time.sleep(0.4)")
    run_on(slow)
    assert slow.error is None
    assert slow.sustained_problem == "one inference takes 0.4 s, too long for parts of 1 s"


def test_a_device_that_goes_away_is_no_fault_of_an_artifact(entry, run_on, monkeypatch):
    class Gone(LocalDevice):
        def health(self):
            raise LinkLostError("the link was lost")

        def connect(self):
            raise DeviceError("its host key has changed")

    made = [entry("a"), entry("b")]
    run_on(*made, device=Gone())
    assert [(one.error, one.sustained, one.sustained_problem) for one in made] == [
        (None, None, "local did not come back: its host key has changed")
    ] * 2


def test_a_link_that_is_cut_costs_only_the_artifact_that_ran(entry, run_on, sshd, monkeypatch):
    """Behind a real ssh server, whose sessions are killed once, in the middle of the first artifact."""
    monkeypatch.setenv(COMMAND_VARIABLE, shlex.join(["ssh", "-F", str(sshd.config)]))
    cuts = []

    def act(key, text):
        if text == "running on, part 2 of 3" and not cuts:
            cuts.append(key)
            sshd.kill_sessions()

    made = [entry("a"), entry("b")]
    with closing(RemoteDevice(SshTransport(sshd.alias), python=sshd.python)) as device:
        device.connect()
        told = run_on(*made, device=device, act=act)
    assert any("was lost; reaching it again" in text for text in told.said)
    assert [key for key, text in told.stages if text == "running on, part 1 of 3"].count(cuts[0]) == 2
    assert [(one.error, one.sustained_problem) for one in made] == [(None, "")] * 2
    assert all(None not in one.sustained.medians_s for one in made)


def test_an_interrupt_keeps_what_was_measured(entry, run_on):
    made = [entry("a"), entry("b")]

    def act(_key, text):
        if text == "running on, part 3 of 3":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_on(*made, act=act)
    assert [one.sustained_problem for one in made] == [STOPPED] * 2
    (begun,) = [one for one in made if one.sustained]
    assert begun.sustained.medians_s[0] >= 200e-6
    assert begun.sustained.medians_s[2] is None
    assert begun.error is None


@pytest.mark.slow
def test_as_a_user_asks_for_it(edgeopt):
    quick = ("--seconds", "0.3", "--min-iterations", "60")
    code, out, err = edgeopt.run(
        "export", "-t", "tflite-int8,tflite-float32", *quick, "--sustained", "3s", "--json", "-"
    )
    assert code == 0, err
    run = Run.from_json(out)
    assert run.results[0].sustained is None
    ran = {result.target: result.sustained for result in run.results[1:]}
    assert {name: len(found.medians_s) for name, found in ran.items()} == {"tflite-int8": 3, "tflite-float32": 3}
    # which of the two is faster depends on the processor
    fastest = min(ran.values(), key=lambda found: found.medians_s[0])
    assert fastest.fastest_cold or not any(found.fastest_cold for found in ran.values())
    assert all(sum(found.iterations) > 1000 for found in ran.values())
    assert json.loads(out)["results"][1]["sustained"]["part_s"] == 1.0
    assert "Cold and hot\n1 s part" in err
