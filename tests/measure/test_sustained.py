"""Artifacts that run on alone, one after another, in real harness processes with small runners."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.devices.channel import Channel
from edgeopt.errors import DeviceError, LinkLostError
from edgeopt.measure import cooling, harness
from edgeopt.measure.cooling import Cooling
from edgeopt.measure.facts import Health
from edgeopt.measure.process import Subject
from edgeopt.measure.sustained import (
    Endurance,
    Part,
    Settings,
    Slice,
    Stretch,
    compare,
    reversal,
    winners,
)

BRIEF = Settings(seconds=0.9)
SPIN = """
    end = time.perf_counter_ns() + {us}_000
    while time.perf_counter_ns() < end: pass
"""
TIRES = """
    slow = os.path.exists({flag!r})
    end = time.perf_counter_ns() + (6 if slow else 1) * {us}_000
    while time.perf_counter_ns() < end: pass
"""
"""Becomes slower from a moment on, as what gets hot does."""
COUNTED = """
    with open(__file__ + ".pids", "a") as pids:
        pids.write(f"{os.getpid()} ")
"""


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch):
    monkeypatch.setattr(cooling, "LEAST_REST_S", 0.0)
    monkeypatch.setattr(cooling, "LOOK_S", 0.05)


@pytest.fixture
def subject(device, feeds, tmp_path):
    """Return a function that makes a subject of a runner file."""

    def make(name: str, runner: Path) -> Subject:
        def launch():
            return device.open(Path(harness.__file__), log=tmp_path / f"{name}.log")

        return Subject(name, launch, device.push(runner), "/some/artifact", device.push(feeds))

    return make


def endure(subjects, settings=BRIEF, **changes):
    """Let subjects run on a device that is always cool, and return what came of it."""
    cool = Health(temperature_c=40.0)
    endurance = Endurance(subjects, settings, **{"health": lambda: cool, "stopping": threading.Event(), **changes})
    endurance.run()
    return endurance


def test_what_wins_cold_can_lose_hot(subject, write_runner, tmp_path):
    told, flag = [], tmp_path / "hot"

    def tell(name, text):
        told.append((name, text))
        if (name, text) == ("sprints", "running on, part 2 of 3"):
            flag.touch()

    endurance = endure(
        [
            subject("sprints", write_runner("sprints", invoke=TIRES.format(us=100, flag=str(flag)))),
            subject("lasts", write_runner("lasts", invoke=SPIN.format(us=250))),
        ],
        Settings(seconds=3.0),
        progress=tell,
    )
    found = endurance.found
    assert endurance.errors == {}
    cold, hot = ({name: getattr(stretch, end) for name, stretch in found.items()} for end in ("cold", "hot"))
    quiet = dict.fromkeys(found, 0.0)
    assert (winners(cold, quiet), winners(hot, quiet)) == ({"sprints"}, {"lasts"})
    assert compare(hot["sprints"], cold["sprints"]) == "slower"
    assert [len(stretch.parts) for stretch in found.values()] == [3, 3]
    assert ("sprints", "running on, part 3 of 3") in told


def test_each_runs_alone(subject, write_runner):
    """When one is started, the process of every other one has ended."""
    launched = []

    def noted(made):
        def launch():
            assert all(channel.closed for channel in launched)
            launched.append(made.launch())
            return launched[-1]

        return replace(made, launch=launch)

    made = [subject(name, write_runner(name, invoke=SPIN.format(us=200))) for name in ("a", "b")]
    endurance = endure([noted(one) for one in made])
    assert sorted(endurance.found) == ["a", "b"]
    assert len(launched) == 2
    assert all(channel.closed for channel in launched)


def test_one_that_dies_keeps_what_it_gave_and_the_others_go_on(subject, write_runner, tmp_path):
    flag = tmp_path / "hot"
    dies = TIRES.format(us=200, flag=str(flag)) + "\n    if slow: os.abort()"

    def tell(name, text):
        if (name, text) == ("dies", "running on, part 3 of 3"):
            flag.touch()

    endurance = endure(
        [
            subject("dies", write_runner("dies", invoke=dies)),
            subject("raises", write_runner("raises", load="raise ValueError('no such op: ERFC')")),
            subject("fine", write_runner("fine", invoke=SPIN.format(us=200))),
        ],
        Settings(seconds=3.0),
        progress=tell,
    )
    assert {name: error.message for name, error in endurance.errors.items()} == {
        "dies": "was killed by SIGABRT (Aborted)",
        "raises": "does not load: ValueError: no such op: ERFC",
    }
    assert sorted(endurance.found) == ["dies", "fine"]
    died = endurance.found["dies"]
    assert died.cold.median_s >= 200e-6
    assert (died.hot, died.after) == (None, None)
    assert endurance.found["fine"].hot.median_s >= 200e-6


def test_too_slow_for_its_parts(subject, write_runner):
    endurance = endure([subject("slow", write_runner("slow", invoke="time.sleep(0.2)"))])
    error = endurance.errors["slow"]
    assert error.message == "one inference takes 0.2 s, too long for parts of 0.3 s"
    assert error.hint == "measure longer with --sustained"
    assert endurance.found == {}


class Cut(Channel):
    """A channel that loses its link at the second slice."""

    left = 1

    def ask(self, message, timeout_s, on_event=None):
        if message["op"] == "time":
            if self.left == 0:
                raise LinkLostError("the link was lost")
            self.left -= 1
        return super().ask(message, timeout_s, on_event)


def cut(made, tmp_path, times):
    """Return a subject whose link is lost so many times."""
    launches = []

    def launch():
        launches.append(1)
        if len(launches) <= times:
            return Cut([sys.executable, harness.__file__], log=tmp_path / "cut.log")
        return made.launch()

    return replace(made, launch=launch)


def test_after_a_lost_link_an_artifact_begins_anew(subject, write_runner, tmp_path):
    made = subject("a", write_runner("a", invoke=SPIN.format(us=200)))
    reached = []
    endurance = endure([cut(made, tmp_path, 2)], reconnect=lambda: reached.append(1))
    assert len(reached) == 2
    assert endurance.errors == {}
    assert endurance.found["a"].hot.iterations > 20


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_link_that_is_lost_for_good_ends_it_for_all(subject, write_runner, tmp_path, comes_back):
    def reconnect():
        if not comes_back:
            raise DeviceError("it is gone")

    made = [subject(name, write_runner(name, invoke=SPIN.format(us=200))) for name in ("a", "b")]
    endurance = endure([cut(one, tmp_path, 9) for one in made], reconnect=reconnect)
    message = "the link was lost" if comes_back else "it is gone"
    assert endurance.errors == {}
    assert {name: error.message for name, error in endurance.lost.items()} == {"a": message, "b": message}
    (stretch,) = endurance.found.values()  # of the one that was begun; the other one never was
    assert (len(stretch.slices), stretch.hot) == (1, None)


def test_what_ran_to_its_end_is_whole_though_the_device_cannot_tell_how_it_is_then(subject, write_runner):
    cool = Health(temperature_c=40.0)
    looks = iter([cool, DeviceError("no answer"), cool, LinkLostError("the link was lost")])

    def health():
        look = next(looks)
        if isinstance(look, DeviceError):
            raise look
        return look

    made = [subject(name, write_runner(name, invoke=SPIN.format(us=200))) for name in ("a", "b")]
    endurance = endure(made, health=health)
    assert (endurance.errors, endurance.lost) == ({}, {})
    assert {name: stretch.after for name, stretch in endurance.found.items()} == {"a": None, "b": None}
    assert all(stretch.hot.iterations > 20 for stretch in endurance.found.values())


def test_stopping_from_another_thread_keeps_what_was_measured(subject, write_runner, device):
    stopping = threading.Event()

    def stop(_name, text):
        if text == "running on, part 2 of 3":
            stopping.set()

    made = [subject(name, write_runner(name, invoke=SPIN.format(us=200))) for name in ("a", "b")]
    endurance = endure(made, stopping=stopping, progress=stop)
    (stretch,) = endurance.found.values()
    assert stretch.cold.iterations > 20
    assert stretch.hot is None
    assert endurance.errors == {}
    assert all(channel.closed for channel in device._channels)


HOST = """
import sys, threading
from pathlib import Path
from edgeopt.devices.local import LocalDevice
from edgeopt.measure import harness
from edgeopt.measure.process import Subject
from edgeopt.measure.sustained import Endurance, Settings
device, folder = LocalDevice(), Path(sys.argv[1])
launch = lambda: device.open(Path(harness.__file__), log=folder / "log")
subject = Subject("a", launch, str(folder / "a.py"), str(folder), sys.argv[2])
tell = lambda name, text: print(text, flush=True)
endurance = Endurance(
    [subject], Settings(60.0), health=device.health, stopping=threading.Event(), progress=tell
)
endurance._cooling._longest_s = 0.1
try:
    endurance.run()
finally:
    print("kept", len(endurance.found["a"].slices), endurance.found["a"].hot, flush=True)
"""


def test_an_interrupt_keeps_what_was_measured_and_leaves_no_process(write_runner, feeds, tmp_path):
    write_runner("a", load=COUNTED, invoke=SPIN.format(us=200))
    argv = [sys.executable, "-c", HOST, str(tmp_path), str(feeds)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as host:
        while not (line := host.stdout.readline()).startswith("running on"):
            assert line
        time.sleep(3)  # a slice takes a second
        host.send_signal(signal.SIGINT)
        out, errors = host.communicate(timeout=10)
    assert "KeyboardInterrupt" in errors
    kept = next(line for line in out.splitlines() if line.startswith("kept")).split()
    assert int(kept[1]) >= 1
    assert kept[2] == "None"
    pids = (tmp_path / "a.py.pids").read_text().split()
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists() and int(pid) != os.getpid()]


@pytest.mark.parametrize(
    ("seconds", "part_s", "parts"),
    [(300, 60, 5), (3600, 60, 60), (180, 60, 3), (210, 60, 3), (120, 30, 4), (60, 20, 3), (30, 10, 3), (3, 1, 3)],
)
def test_parts_are_minutes_or_less(seconds, part_s, parts):
    settings = Settings(float(seconds))
    assert (settings.part_s, settings.parts) == (part_s, parts)


def test_slices_fall_into_the_part_in_which_they_begin_and_the_last_one_has_the_rest():
    settings = Settings(100.0)
    stretch = Stretch("a", settings, Health(), Health(), is_whole=True)
    stretch.slices += [Slice(0.0, 1.0, 5), Slice(29.0, 3.0, 5), Slice(30.0, 4.0, 2), Slice(99.0, 7.0, 1)]
    assert [(part.median_s, part.iterations) for part in stretch.parts] == [(2.0, 10), (4.0, 2), (7.0, 1)]
    assert stretch.parts[1].ci95_s is None
    low, high = stretch.parts[0].ci95_s
    assert low < 2.0 < high


def part(median_s, spread=1.001):
    return Part(median_s, (median_s / spread, median_s * spread), 100)


@pytest.mark.parametrize(
    ("one", "other", "noise", "verdict"),
    [
        (part(1.10), part(1.0), 0.0, "slower"),
        (part(1.0), part(1.10), 0.0, "faster"),
        (part(1.02), part(1.0), 0.0, "same"),  # smaller than what two processes differ by
        (part(1.10, 1.2), part(1.0), 0.0, "unclear"),  # not sure
        (part(1.10), part(1.0), 0.2, "unclear"),  # it came and went by more than that
        (Part(1.10, None, 1), part(1.0), 0.0, None),  # of a single slice
        (part(1.10), Part(1.0, None, 1), 0.0, None),
        (Part(None, None, 0), part(1.0), 0.0, None),
    ],
)
def test_a_difference_must_be_sure_and_large(one, other, noise, verdict):
    assert compare(one, other, noise) == verdict


def test_what_comes_and_goes_is_no_heat():
    assert reversal([part(1.0), part(1.2), part(1.2), part(1.5)]) == 0.0
    assert reversal([part(1.0), part(1.2), part(1.0), part(1.1)]) == pytest.approx(0.182, abs=0.001)
    assert reversal([part(1.5), part(1.0), part(1.1)]) == pytest.approx(0.095, abs=0.001)
    assert reversal([Part(None, None, 0)]) == 0.0


def test_all_that_cannot_be_told_from_the_fastest_win():
    parts = {"a": part(1.0), "b": part(1.01), "c": part(1.3), "d": Part(None, None, 0)}
    assert winners(parts, dict.fromkeys(parts, 0.0)) == {"a", "b"}
    assert winners(parts, {**dict.fromkeys(parts, 0.0), "c": 0.5}) == {"a", "b", "c"}
    assert winners({}, {}) == set()


class Kettle:
    """A device that cools by some degrees from look to look."""

    def __init__(self, *temperatures, throttled=()):
        self.temperatures, self.throttled, self.looks = list(temperatures), throttled, 0

    def health(self):
        self.looks += 1
        hot = self.temperatures.pop(0)
        return Health(temperature_c=hot, throttled=self.throttled if hot is not None and hot > 70 else ())


def test_the_device_rests_until_it_is_as_cool_as_at_first():
    kettle, told = Kettle(45.0, 80.0, 60.0, 46.9), []
    rests = Cooling(kettle.health, threading.Event(), 60.0)
    assert rests.rest(told.append).temperature_c == 45.0
    assert rests.rest(told.append).temperature_c == 46.9
    assert told[1:] == [
        "letting the device rest",
        "letting the device cool: 80 °C, wanted 45 °C",
        "letting the device cool: 60 °C, wanted 45 °C",
    ]


def test_a_rest_has_an_end_and_without_a_sensor_it_takes_that_long():
    rests = Cooling(Kettle(*[None] * 99).health, threading.Event(), 0.3)
    rests.rest(lambda _: None)
    begin, told = time.monotonic(), []
    rests.rest(told.append)
    assert 0.3 <= time.monotonic() - begin < 20
    assert told[-1] == "letting the device cool for as long as an artifact runs; it tells no temperature"


def test_a_rest_ends_when_everything_does():
    stopping = threading.Event()
    rests = Cooling(Kettle(45.0, 80.0, 80.0).health, stopping, 60.0)
    rests.rest(lambda _: None)
    rests.rest(lambda text: stopping.set())


def test_slowed_is_not_as_cool():
    first = Health(temperature_c=45.0)
    assert cooling.is_as_cool(first, first)
    assert not cooling.is_as_cool(replace(first, throttled=("throttled",)), first)
    assert cooling.is_as_cool(replace(first, throttled=("throttled",)), replace(first, throttled=("throttled",)))
