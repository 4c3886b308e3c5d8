"""Several artifacts side by side, in real harness processes with small runners."""

import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.devices.channel import Channel
from edgeopt.measure import harness, stats
from edgeopt.measure.control import PREFIX
from edgeopt.measure.process import Subject
from edgeopt.measure.session import Session, Settings
from edgeopt.measure.verdicts import compare

QUICK = Settings(seconds=0.4, min_iterations=30)
SPIN = """
    end = time.perf_counter_ns() + {us}_000
    while time.perf_counter_ns() < end: pass
"""


class Recorder(Channel):
    """A channel that writes down what it is asked."""

    asked: list[tuple[str, str]]
    name: str

    def ask(self, message, timeout_s, on_event=None):
        self.asked.append((self.name, message["op"]))
        return super().ask(message, timeout_s, on_event)


@pytest.fixture
def subject(device, feeds, tmp_path):
    """Return a function that makes a subject of a runner file."""

    def make(name: str, runner: Path) -> Subject:
        def launch():
            return device.open(Path(harness.__file__), log=tmp_path / f"{name}.log")

        return Subject(name, launch, device.push(runner), "/some/artifact", device.push(feeds))

    return make


def test_a_slower_artifact_is_found(subject, write_runner):
    told = []
    subjects = [
        subject("source", write_runner("source", invoke=SPIN.format(us=500))),
        subject("slow", write_runner("slow", invoke=SPIN.format(us=1000))),
    ]
    session = Session(subjects, QUICK, lambda name, text: told.append((name, text)), source="source")
    measured = session.run()
    assert list(measured) == ["slow", "source"]
    source, slow = measured["source"], measured["slow"]
    speedup = compare(slow, source, session.design)
    assert speedup.verdict == "slower"
    assert speedup.ratio == pytest.approx(0.5, abs=0.05)
    latency = stats.summarise(slow)
    assert 0.001 <= latency.median_s < 0.005
    assert latency.ci95_s[0] <= latency.median_s <= latency.ci95_s[1]
    assert latency.launches == 3
    assert latency.iterations >= 30
    assert [len(launch.rounds) for launch in source.launches] == [len(launch.rounds) for launch in slow.launches]
    assert 5_000_000 < slow.peak_bytes < 200_000_000
    assert slow.model_bytes < 5_000_000
    assert {("source", "loading"), ("slow", "warming up"), ("slow", "measuring, launch 1")} <= set(told)


def test_an_artifact_that_dies_is_an_error_and_the_others_go_on(subject, write_runner, device, tmp_path):
    spin = SPIN.format(us=300)
    flag = tmp_path / "measuring"
    count = f"self.timed = getattr(self, 'timed', 0) + os.path.exists({str(flag)!r})"
    crash = f"{spin}\n    {count}\n    if self.timed > 60: os.abort()"
    never = Subject("never", lambda: Channel(["no-such-program"], log=tmp_path / "never.log"), "", "", "")
    subjects = [
        subject("source", write_runner("source", invoke=spin)),
        subject("crashes", write_runner("crashes", invoke=crash)),
        subject("raises", write_runner("raises", load="raise ValueError('no such op: ERFC')")),
        never,
        subject("fine", write_runner("fine", invoke=spin)),
    ]

    def tell(name, text):
        if (name, text) == ("crashes", "measuring, launch 1"):
            flag.touch()

    session = Session(subjects, QUICK, tell, source="source")
    measured = session.run()
    errors = {name: found.error for name, found in measured.items() if found.error}
    assert {name: error.message for name, error in errors.items()} == {
        "crashes": "was killed by SIGABRT (Aborted)",
        "raises": "does not load: ValueError: no such op: ERFC",
        "never": "no-such-program cannot be started: No such file or directory",
    }
    assert errors["raises"].log == str(tmp_path / "raises.log")
    assert stats.summarise(measured["fine"]).launches == 3
    died = measured["crashes"]
    assert died.launches[0].rounds
    assert stats.summarise(died).median_s >= 300e-6
    assert (stats.summarise(died).ci95_s, died.peak_bytes, died.model_bytes) == (None, None, None)
    speedup = compare(died, measured["source"], session.design)
    assert (speedup.ci95, speedup.verdict, speedup.is_decided) == (None, None, False)
    assert stats.summarise(measured["raises"]) is None
    assert all(all(launch.rounds) for name in ("source", "fine") for launch in measured[name].launches)
    assert all(channel.closed for channel in device._channels)


def test_what_must_not_be_timed_is_only_loaded(subject, write_runner):
    untimed = "untimed = 'no GPU on this device'"
    subjects = [
        subject("source", write_runner("source", invoke=SPIN.format(us=300))),
        subject(
            "gpu", write_runner("gpu", invoke="os.abort()", extra=f"{untimed}; facts = lambda self: {{'gpus': 0}}")
        ),
    ]
    gpu = Session(subjects, QUICK).run()["gpu"]
    assert gpu.untimed == "no GPU on this device"
    assert gpu.facts == {"gpus": 0}
    assert [launch.rounds for launch in gpu.launches] == [()]
    assert stats.summarise(gpu) is None


@pytest.mark.slow
def test_only_what_is_unclear_is_launched_again(subject, write_runner):
    """A latency that differs from process to process cannot become clear; the obvious one is left alone."""
    luck = """
        with open(__file__ + ".launches", "a+") as launches:
            launches.write(".")
            Runner.ns = 200_000 if launches.tell() % 2 else 400_000
    """
    unlucky = "end = time.perf_counter_ns() + self.ns\nwhile time.perf_counter_ns() < end: pass"
    subjects = [
        subject("source", write_runner("source", invoke=SPIN.format(us=300))),
        subject("luck", write_runner("luck", load=luck, invoke=unlucky)),
        subject("slow", write_runner("slow", invoke=SPIN.format(us=1000))),
    ]
    session = Session(subjects, Settings(seconds=1.25, min_iterations=30), source="source", free_bytes=0)
    measured = session.run()
    assert {name: len(m.launches) for name, m in measured.items()} == {"source": 5, "luck": 5, "slow": 3}
    assert compare(measured["luck"], measured["source"], session.design).verdict == "unclear"


def test_a_second_copy_of_the_fastest_takes_part_from_the_second_launch_on(subject, write_runner):
    subjects = [
        subject("source", write_runner("source", invoke=SPIN.format(us=1000))),
        subject("quick", write_runner("quick", invoke=SPIN.format(us=300))),
    ]
    told = []
    session = Session(subjects, QUICK, lambda name, _text: told.append(name), source="source")
    measured = session.run()
    assert list(measured) == ["quick", "source"]
    assert set(told) == {"quick", "source"}, "nobody asked for the copy"
    control = session.design.control
    assert (control.name, control.launches, session.control_problem) == ("quick", 2, "")
    assert control.ratio == pytest.approx(1.0, abs=0.1)
    assert len(session._launches[PREFIX + "quick"][0].rounds) == len(measured["quick"].launches[1].rounds)


@pytest.mark.parametrize(
    ("names", "free_bytes", "problem"),
    [
        (("a",), None, ""),  # with nothing to compare there is nothing to control
        (("a", "b"), 2**20, r"\d+ MiB of memory needed, 1 MiB free"),
        (("a", "b"), 2**40, ""),
    ],
)
def test_without_memory_there_is_no_second_copy(subject, write_runner, names, free_bytes, problem):
    subjects = [subject(name, write_runner(name, invoke=SPIN.format(us=300))) for name in names]
    session = Session(subjects, QUICK, free_bytes=free_bytes)
    assert all(measurement.error is None for measurement in session.run().values())
    assert re.fullmatch(problem, session.control_problem)
    assert (session.design.control is None) is (len(names) == 1 or free_bytes == 2**20)


THIRD = """
    with open(__file__ + ".launches", "a+") as launches:
        launches.write(".")
        if launches.tell() == {number}: {deed}
"""


@pytest.mark.parametrize(
    ("number", "deed", "shown"),
    [
        (3, "raise OSError('no room for a third')", (0, "does not load: OSError: no room for a third")),
        (5, "raise OSError('no room for a third')", (1, "does not load: OSError: no room for a third")),
        (3, "Runner.untimed = 'no second GPU'", (0, "no second GPU")),
    ],
)
def test_a_second_copy_that_fails_costs_the_control_alone(subject, write_runner, number, deed, shown):
    """It is loaded after its original, and what it has shown before stays."""
    quick = write_runner("quick", load=THIRD.format(number=number, deed=deed), invoke=SPIN.format(us=300))
    subjects = [subject("source", write_runner("source", invoke=SPIN.format(us=1000))), subject("quick", quick)]
    session = Session(subjects, QUICK, source="source")
    measured = session.run()
    assert {name: (m.error, len(m.launches)) for name, m in measured.items()} == {
        "source": (None, 3),
        "quick": (None, 3),
    }
    control = session.design.control
    assert (control.launches if control else 0, session.control_problem) == shown


def test_an_interrupt_keeps_what_the_second_copy_has_shown(subject, write_runner):
    subjects = [subject(name, write_runner(name, invoke=SPIN.format(us=300))) for name in ("a", "b")]

    def stop(name, text):
        if text == "measuring, launch 3":
            session.stop()

    session = Session(subjects, QUICK, stop)
    session.run()
    assert session.design.control.launches >= 1
    assert session.control_problem == ""


@pytest.mark.slow
def test_the_original_of_the_control_stays_as_long_as_something_is_unclear(subject, write_runner):
    subjects = [
        subject("source", write_runner("source", invoke=SPIN.format(us=600))),
        subject("alike", write_runner("alike", invoke=SPIN.format(us=606))),
        subject("quick", write_runner("quick", invoke=SPIN.format(us=200))),
        subject("slow", write_runner("slow", invoke=SPIN.format(us=2000))),
    ]
    session = Session(subjects, Settings(seconds=1.25, min_iterations=30), source="source")
    counts = {name: len(found.launches) for name, found in session.run().items()}
    assert (counts["source"], counts["alike"], counts["quick"], counts["slow"]) == (5, 5, 5, 3)
    assert (session.design.control.name, session.design.control.launches) == ("quick", 4)


@pytest.mark.parametrize(("rank", "pairs"), [(False, 3), (True, 6)])
def test_the_design_counts_the_pairs_that_are_compared(subject, write_runner, rank, pairs):
    subjects = [subject(name, write_runner(name)) for name in ("source", "a", "b", "c")]
    assert Session(subjects, Settings(rank=rank), source="source").design.pairs == pairs
    assert Session(subjects[:1], Settings()).design.pairs == 1


@pytest.mark.slow
def test_the_order_of_the_targets_decides_nothing(write_runner, feeds, tmp_path):
    runner = write_runner(invoke="time.sleep(0.001)")

    def schedule(names):
        asked = []

        def make(name):
            def launch():
                argv = [sys.executable, harness.__file__]
                channel = Recorder(argv, log=tmp_path / "log")
                channel.asked, channel.name = asked, name
                return channel

            return Subject(name, launch, str(runner), "", str(feeds))

        Session([make(name) for name in names], Settings(seconds=0.01, min_iterations=24)).run()
        return [name for name, op in asked if op == "time"]

    forward = schedule(["a", "b", "c"])
    assert len(forward) == 8 * (3 + 4 + 4), "from the second launch on there is a control"
    # Of which of them the control is a copy, their speed decides.
    assert forward[:24] == schedule(["c", "b", "a"])[:24]
    rounds = [tuple(forward[i : i + 3]) for i in range(0, 24, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(set(rounds)) > 3


def test_a_hang_in_one_artifact_is_its_own_failure(subject, write_runner):
    subjects = [
        subject("source", write_runner("source", invoke=SPIN.format(us=300))),
        subject("hangs", write_runner("hangs", invoke="time.sleep(60)")),
    ]
    settings = Settings(seconds=0.1, min_iterations=24, timeout_s=1.0)
    measured = Session(subjects, settings, source="source").run()
    assert measured["hangs"].error.message == "gave no answer within 1 s and was ended"
    assert len(measured["source"].launches) == 3


FORGE = """
    import __main__
    def {op}(self, **asked): return {answer}
    __main__.Harness.{op} = {op}
"""
WARM = "{{'first_s': {0}, 'latency_s': {0}, 'steady': True}}"


@pytest.mark.parametrize(
    ("op", "answer", "why"),
    [
        ("time", "{'samples_ns': ['x'] * asked['iterations']}", "ValueError: its samples are no times"),
        ("time", "{'samples_ns': [-5] * asked['iterations']}", "ValueError: its samples are no times"),
        ("time", "{'samples_ns': [0] * asked['iterations']}", "ValueError: its samples are no times"),
        ("time", "{'samples_ns': [10**400] * asked['iterations']}", "ValueError: its samples are no times"),
        ("time", "{'samples_ns': [10**6]}", "ValueError: its samples are no times"),
        ("warm", WARM.format("0.0"), "ValueError: its times are none"),
        ("warm", WARM.format("float('nan')"), "ValueError: its times are none"),
        ("memory", "{'peak_bytes': 'much', 'model_bytes': 0, 'facts': {}}", "ValueError: its memory is no size"),
    ],
)
def test_a_forged_answer_is_its_artifacts_own_failure(subject, write_runner, op, answer, why):
    subjects = [
        subject("forges", write_runner("forges", load=FORGE.format(op=op, answer=answer))),
        subject("fine", write_runner("fine", invoke=SPIN.format(us=300))),
    ]
    measured = Session(subjects, Settings(seconds=0.1, min_iterations=24)).run()
    assert measured["forges"].error.message == f"its answer cannot be used: {why}"
    assert (measured["fine"].error, len(measured["fine"].launches)) == (None, 3)


@pytest.mark.parametrize(
    ("where", "message", "kind"),
    [("", "the disk is full", "bad-input"), ("ssh://pi5", "ssh://pi5: its disk is full", "device")],
)
def test_a_full_disk_is_that_of_the_machine_that_the_artifact_runs_on(subject, write_runner, where, message, kind):
    full = subject("full", write_runner("full", load="raise OSError(28, 'No space left on device')"))
    error = Session([replace(full, device=where)], QUICK).run()["full"].error
    assert (error.message, error.kind) == (message, kind)


HOST = """
import sys
from pathlib import Path
from edgeopt.devices.local import LocalDevice
from edgeopt.measure import harness
from edgeopt.measure.control import PREFIX
from edgeopt.measure.process import Subject
from edgeopt.measure.session import Session, Settings
device, folder = LocalDevice(), Path(sys.argv[1])
def subject(name):
    launch = lambda: device.open(Path(harness.__file__), log=folder / "log")
    return Subject(name, launch, str(folder / "hangs.py"), str(folder / name), sys.argv[2])
Session([subject("a"), subject("b")], Settings(), lambda name, text: print(name, text, flush=True)).run()
"""


@pytest.mark.parametrize("line", ["load", "invoke"])
def test_an_interrupt_leaves_no_process(write_runner, feeds, tmp_path, line):
    path = "path" if line == "load" else "self.path"
    write_runner("hangs", **{line: f"open({path}, 'w').write(str(os.getpid())); time.sleep(60)"})
    argv = [sys.executable, "-c", HOST, str(tmp_path), str(feeds)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as host:
        deadline = time.monotonic() + 20
        while not (pids := [(tmp_path / name).read_text() for name in ("a", "b") if (tmp_path / name).exists()]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        host.send_signal(signal.SIGINT)
        _, errors = host.communicate(timeout=10)
    assert "KeyboardInterrupt" in errors
    assert not [pid for pid in pids if pid and Path(f"/proc/{pid}").exists()]


def test_a_process_that_starts_while_all_are_being_ended_is_ended_too(subject, write_runner):
    hangs = subject("hangs", write_runner("hangs", load="time.sleep(60)"))
    session = Session([hangs], Settings())
    session._stopped = True
    session._launch([hangs])
    assert session.outcomes()["hangs"].error.message == "was stopped"


class Emptied(list):
    """A list that another thread empties whenever this one has looked whether there is something in it."""

    def __bool__(self):
        found = len(self) > 0
        self.clear()
        return found


def test_processes_may_be_ended_from_two_threads_at_once(subject, write_runner):
    session = Session([subject("a", write_runner("a"))], QUICK)
    session._open = Emptied([session._subjects[0].launch()])
    session.stop()
    assert session._open == []


def test_the_default_settings_bound_the_time():
    assert (Settings().min_launches, Settings().max_launches) == (3, 8)
    assert [Settings(seconds=seconds).max_launches for seconds in (0.0, 0.5, 1.0, 5.0, 60.0)] == [3, 3, 4, 20, 20]
