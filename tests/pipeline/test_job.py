"""What ends a run early: what was found before it is kept, saved and returned."""

import errno
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeopt.artifact import HashedFile
from edgeopt.errors import (
    BadInputError,
    DeviceError,
    DeviceGoneError,
    ExitCode,
    ExportError,
    LinkLostError,
    StoppedError,
)
from edgeopt.measure.facts import Health
from edgeopt.measure.measurement import Launch, Measurement
from edgeopt.measure.verdicts import Design
from edgeopt.pipeline import export
from edgeopt.pipeline import job as job_module
from edgeopt.pipeline.entries import Entry
from edgeopt.pipeline.exporting import Exported
from edgeopt.pipeline.findings import exit_code
from edgeopt.pipeline.job import Job
from edgeopt.pipeline.request import ExportSettings, Silence
from edgeopt.pipeline.workspace import Workspace
from edgeopt.report.schema import SOURCE_TARGET
from tests.report.conftest import DEAD, MISSING

pytestmark = pytest.mark.quick

LAUNCH = Launch(0, 0.1, 0.1, True, ((1000, 1000),), 10, 5)

UNCONTROLLED = {"design": Design(3), "control_problem": ""}


class Steps(Silence):
    """A job whose steps do what a test says; writes down what was done."""

    settings = ExportSettings()

    def __init__(self, **deeds):
        self.deeds = deeds
        self.done = []
        self.found = self
        self.progress = Silence()
        self.workspace = SimpleNamespace(folder=Path())

    def step(self, name):
        self.done.append(name)
        if name in self.deeds:
            raise self.deeds[name]

    def export(self, workers):
        self.step("export")

    def measure(self):
        self.step("measure")

    def save(self, run):
        self.step("save")

    def stop(self, reason=None):
        self.done.append(f"stop: {reason}")

    def close(self):
        self.step("close")


@pytest.fixture
def carry_out(monkeypatch):
    """Carry out a job of such steps."""
    monkeypatch.setattr(export, "make_run", lambda found: "the run")
    monkeypatch.setattr(export, "exit_code", lambda run, named: ExitCode.OK)
    return lambda steps: export._carry_out(steps, steps)


def test_a_bug_after_the_exports_costs_nothing_of_what_was_found(carry_out):
    steps = Steps(measure=OverflowError("too large"))
    outcome = carry_out(steps)
    assert outcome.run == "the run"
    assert outcome.failure is steps.deeds["measure"]
    bug = "stop: a bug in edgeopt: OverflowError: too large"
    assert steps.done == ["export", "close", "save", "measure", bug, "save"]


def test_a_run_that_cannot_be_saved_is_returned(carry_out):
    full = BadInputError("the disk is full")
    outcome = carry_out(Steps(save=full))
    assert (outcome.run, outcome.failure) == ("the run", full)


def test_a_bug_comes_before_a_full_disk(carry_out):
    steps = Steps(export=ZeroDivisionError(), save=BadInputError("the disk is full"))
    assert carry_out(steps).failure is steps.deeds["export"]


@pytest.mark.parametrize("step", ["export", "measure", "save"])
def test_an_interrupt_saves_what_is_known(carry_out, step):
    steps = Steps(**{step: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        carry_out(steps)
    assert steps.done[-2:] == ["stop: None", "save"] or step == "save"
    assert steps.done[-1] == "save"


def make_job(device=None, **found):
    defaults = {"entries": {}, "source_measurement": None, "source_error": None, "source_untimed": "", "health": {}}
    found = SimpleNamespace(**{**defaults, **found})
    return Job(settings=ExportSettings(), progress=Silence(), workspace=None, device=device, found=found)


@pytest.mark.parametrize("room", [True, False])
def test_a_full_disk_is_given_room_for_the_run(tmp_path, monkeypatch, room):
    with Workspace.create(tmp_path, "m") as workspace:
        (workspace.scratch / "feeds").mkdir()
        job = replace(make_job(), workspace=workspace)
        write = Workspace._write

        def full(self, text):
            if not room or (workspace.scratch / "feeds").exists():
                raise OSError(errno.ENOSPC, "No space left on device")
            write(self, text)

        monkeypatch.setattr(Workspace, "_write", full)
        run = SimpleNamespace(to_json=lambda: "{}")
        if room:
            job.save(run)
            assert (tmp_path / "m" / "run.json").read_text() == "{}\n"
        else:
            with pytest.raises(BadInputError, match="cannot be written to: No space left on device"):
                job.save(run)


def measured(name):
    return Measurement(name, 1, (LAUNCH,))


def test_an_interrupt_right_after_measuring_loses_nothing():
    def health():
        raise KeyboardInterrupt

    entry = Entry(None)
    job = make_job(SimpleNamespace(health=health), entries={"t": entry})
    outcomes = {SOURCE_TARGET: measured("source"), "t": measured("t")}
    session = SimpleNamespace(outcomes=lambda: outcomes, stopped=False, lost=None, **UNCONTROLLED)
    with pytest.raises(KeyboardInterrupt):
        job._take(session, Health(None, None, None, None, 1))
    assert entry.measurement == measured("t")
    assert job.found.source_measurement == measured("source")


class Told(Silence):
    """Keeps what was said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_what_was_measured_on_a_device_that_is_gone_is_sound_and_nothing_else_is_tried_there():
    gone = DeviceGoneError("ssh://pi5 did not come back")

    def unreachable():
        raise LinkLostError("the link was lost")

    entries = {"done": Entry(None), "cut": Entry(None)}
    job = make_job(SimpleNamespace(health=unreachable), entries=entries)  # has nothing but its health
    job.progress = told = Told()
    outcomes = {"done": measured("done"), "cut": replace(measured("cut"), error=gone)}
    job._take(SimpleNamespace(outcomes=lambda: outcomes, stopped=False, lost=gone, **UNCONTROLLED), Health())
    assert told.said == ["ssh://pi5 did not come back; what was measured by then stays"]
    job.measure_operators()
    job.measure_sustained()
    problems = {name: (one.error, one.operators_problem, one.sustained_problem) for name, one in entries.items()}
    assert problems == {"done": (None, gone.message, gone.message), "cut": (gone, "", "")}


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (None, ""),
        (DeviceError("pi5: its disk is full"), "pi5: its disk is full"),
        (LinkLostError("the link to pi5 was lost"), "the link to pi5 was lost"),
    ],
)
def test_a_source_model_that_cannot_be_pushed_is_not_timed_and_nothing_else_is_lost(fault, why):
    def push(path):
        if fault:
            raise fault

    versions = {"tensorflow": "2.21.0"}
    job = make_job(SimpleNamespace(uri="pi5", push=push, connect=lambda: None, versions=lambda names: versions))
    job.saved_model = Path("saved_model")
    assert job._why_source_untimed() == why


def test_a_device_that_is_gone_when_the_source_model_is_pushed_ends_the_timing():
    def push(path):
        raise DeviceGoneError("pi5 did not come back")

    job = make_job(SimpleNamespace(uri="pi5", push=push, versions=lambda names: {"tensorflow": "2.21.0"}))
    job.saved_model = Path("saved_model")
    with pytest.raises(DeviceGoneError):
        job._why_source_untimed()


@dataclass
class Board:
    """A device as far as a journal knows it."""

    uri = name = "pi5"
    runtime: str = "1.18.0"

    def versions(self, distributions, environment=None):
        return dict.fromkeys(distributions, self.runtime)


CHANGES = {
    "nothing": lambda job, runner, monkeypatch: None,
    "the runner": lambda job, runner, monkeypatch: runner.write_text("import other_runtime\n"),
    "its runtime": lambda job, runner, monkeypatch: setattr(job.device, "runtime", "1.19.0"),
    "another runtime": lambda job, runner, monkeypatch: job.found.facts.runtimes.update(numpy="2.1"),
    "edgeopt": lambda job, runner, monkeypatch: monkeypatch.setattr(job_module, "edgeopt_version", lambda: "9.9"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_runs_in_the_same_way_is_resumed(tmp_path, monkeypatch, change):
    runner = tmp_path / "runner.py"
    runner.write_text("import runtime\n")
    backend = SimpleNamespace(runner=runner, requires=("onnxruntime>=1.18",))
    plan = SimpleNamespace(backend=backend, environment=None, target=SimpleNamespace(name="t"))
    exported = Exported(plan, tmp_path, runner, (HashedFile("model", 3, "abc"),), {}, (), 0)
    with Workspace.create(tmp_path, "m") as workspace:
        job = make_job(Board(), facts=SimpleNamespace(python="3.12.1", runtimes={"numpy": "2.0"}, details={}))
        job.workspace, job.progress = workspace, Told()
        entries = [Entry(plan, exported=exported)]
        job._open_journal(entries).append({"launch": 0, "rounds": 2})
        CHANGES[change](job, runner, monkeypatch)
        job.settings = replace(job.settings, resume=True)
        resumed = job._open_journal(entries).earlier
    assert (resumed is not None) == (change == "nothing")
    sentence = "nothing to resume of these artifacts and settings: there is none"
    assert job.progress.said == ([] if change == "nothing" else [sentence])


def test_the_user_stops_what_is_not_done_the_source_included():
    entries = {
        "new": Entry(None),
        "ended": Entry(None, DeviceError("was stopped")),
        "bad": Entry(None, ExportError("x")),
    }
    entries["done"] = Entry(None, published=True, measurement=measured("done"))
    job = make_job(entries=entries, source_error=DeviceError("was stopped"))
    job.stop()
    assert {name: type(entry.error) for name, entry in entries.items()} == {
        "new": StoppedError,
        "ended": StoppedError,
        "bad": ExportError,
        "done": type(None),
    }
    assert isinstance(job.found.source_error, StoppedError)


def test_a_source_that_was_measured_is_not_stopped():
    job = make_job(source_measurement=measured("source"))
    job.stop()
    assert job.found.source_error is None


def test_a_source_that_nobody_wanted_to_time_is_not_stopped():
    job = make_job(source_untimed="a profile times artifacts")
    job.stop()
    assert job.found.source_error is None


def test_what_ended_a_run_takes_the_place_of_no_other_error():
    bug, died = ExportError("a bug"), DeviceError("died")
    entries = {"new": Entry(None), "died": Entry(None, died)}
    make_job(entries=entries).stop(bug)
    assert (entries["new"].error, entries["died"].error) == (bug, died)


def test_what_came_with_all_may_be_unavailable_and_what_was_named_may_not():
    both = SimpleNamespace(results=(DEAD, MISSING), ranking=None)
    assert exit_code(both, named=("all",)) == ExitCode.EXPORT_FAILED
    alone = SimpleNamespace(results=(MISSING,), ranking=None)
    assert exit_code(alone, named=(MISSING.target,)) == ExitCode.UNAVAILABLE
    assert exit_code(alone, named=("all",)) == ExitCode.OK


def test_names_in_one_text_with_spaces_are_names_all_the_same():
    settings = export._completed(ExportSettings(targets=("tf-gpu, board", " all,")))
    assert settings.targets == ("tf-gpu", "board", "all")
