"""How the processes of a launch are started: which of them at the same time, and what that must not change."""

import threading
import time

import pytest

from edgeopt.measure.process import Subject
from edgeopt.measure.session import Session, Settings

pytestmark = pytest.mark.quick

LATENCIES_S = {"fast": 0.001, "slow": 0.002}
SETTINGS = Settings(seconds=0.4, min_iterations=30)


class Machine:
    """A machine on which whatever warms up beside another process is three times as slow, and unsteady."""

    def __init__(self):
        self.lock, self.starting = threading.Lock(), 0
        self.started = []
        """Every process, in order."""

    def subjects(self):
        return [Subject(name, lambda name=name: Harness(name, self), "", "", "") for name in LATENCIES_S]

    def launches(self, name):
        """What each process of an artifact was asked, in order."""
        return [process.asked for process in self.started if process.name == name]


class Harness:
    """A harness as far as a session can tell; its answers are made up."""

    log_path = None

    def __init__(self, name, machine):
        self.name, self.machine, self.asked = name, machine, []
        with machine.lock:
            machine.starting += 1
            machine.started.append(self)
            self.others = machine.starting - 1
            """How many others were being started when it began."""

    def ask(self, message, timeout_s, on_event=None):
        self.asked.append(message)
        latency_s = LATENCIES_S[self.name]
        if message["op"] == "warm":
            return self.warm(latency_s)
        return {
            "load": {"load_s": 0.1, "untimed": None, "facts": {}},
            "feed": {},
            "time": {"samples_ns": [round(latency_s * 1e9)] * message.get("iterations", 0)},
            "memory": {"peak_bytes": 10, "model_bytes": 5, "facts": {}},
        }[message["op"]]

    def warm(self, latency_s):
        time.sleep(0.05)
        with self.machine.lock:
            beside = self.machine.starting > 1
            self.machine.starting -= self.count("warm") == 1
        return {"first_s": 0.01, "latency_s": latency_s * (3 if beside else 1), "steady": not beside}

    def count(self, op):
        return sum(message["op"] == op for message in self.asked)

    def close(self):
        pass


def test_two_at_a_time_are_started_after_the_first_launch_and_the_unsteady_warm_up_again_alone():
    machine = Machine()
    measured = Session(machine.subjects(), SETTINGS, free_bytes=0).run()
    assert [process.others for process in machine.started] == [0, 0, 0, 1, 0, 1]
    assert all(launch.steady for found in measured.values() for launch in found.launches)
    warmed = [process.count("warm") for process in machine.started]
    assert warmed[:2] == [1, 1]
    assert sum(warmed[2:4]) == sum(warmed[4:]) == 3, "the first of two that was warm had the other beside it"


@pytest.mark.parametrize("name", LATENCIES_S)
def test_one_that_was_slow_beside_another_has_rounds_as_long_as_before(name):
    machine = Machine()
    Session(machine.subjects(), SETTINGS, free_bytes=0).run()
    asked = [
        {(message["iterations"], message["settle"]) for message in launch if message["op"] == "time"}
        for launch in machine.launches(name)
    ]
    assert len(asked) == 3
    assert asked[0] == asked[1] == asked[2]
    assert len(asked[0]) == 1


def test_a_second_copy_is_started_last_until_it_has_shown_that_there_is_memory_for_it():
    machine = Machine()
    Session(machine.subjects(), SETTINGS).run()
    first, second, third = machine.started[:2], machine.started[2:5], machine.started[5:8]
    assert [process.others for process in first] == [0, 0]
    assert [process.others for process in second] == [0, 1, 0]
    assert [process.others for process in third] == [0, 1, 1]
    assert second[-1].name == third[-1].name == "fast"
