"""A measurement that was ended, and what of it is taken up again."""

import json
import time

import pytest

from edgeopt.errors import DeviceError, DeviceGoneError, LinkLostError
from edgeopt.measure import stats
from edgeopt.measure.control import PREFIX
from edgeopt.measure.journal import Journal
from edgeopt.measure.process import Subject
from edgeopt.measure.session import MOST_CUTS, Session, Settings
from edgeopt.measure.verdicts import Design, compare

pytestmark = pytest.mark.quick

SETTINGS = Settings(seconds=0.1, min_iterations=24)
HEAD = {"artifacts": {"a": "1", "b": "2"}}


class Harness:
    """A harness as far as a session can tell; its answers are made up, and the link may be cut before one of them."""

    log_path = None

    def __init__(self, ns, link):
        self.ns, self.link = ns, link

    def ask(self, message, timeout_s, on_event=None):
        self.link.use(message["op"])
        return {
            "load": {"load_s": 0.1, "untimed": None, "facts": {"threads": 1}},
            "feed": {},
            "warm": {"first_s": 0.01, "latency_s": self.ns / 1e9, "steady": True},
            "time": {"samples_ns": [self.ns + number % 3 for number in range(message.get("iterations", 0))]},
            "memory": {"peak_bytes": 10, "model_bytes": 5, "facts": {}},
        }[message["op"]]

    def close(self):
        pass


class Link:
    """Is cut before the questions whose numbers are given, and counts them by their kind."""

    def __init__(self, *cuts, error=LinkLostError):
        self.cuts, self.error = list(cuts), error
        self.asked = []
        self.reconnected = 0

    def use(self, op):
        self.asked.append(op)
        if len(self.asked) in self.cuts:
            raise self.error("the cable was pulled")

    def reconnect(self):
        self.reconnected += 1

    def subjects(self):
        return [
            Subject(name, lambda ns=ns: Harness(ns, self), "", "", "")
            for name, ns in (("a", 1_000_000), ("b", 2_000_000))
        ]


def measure(link, journal=None):
    """Measure without a control, so that the questions of a launch can be counted."""
    return Session(link.subjects(), SETTINGS, reconnect=link.reconnect, journal=journal, free_bytes=0).run()


def rounds(measured):
    return {name: [len(launch.rounds) for launch in found.launches] for name, found in measured.items()}


def test_a_round_that_was_cut_is_thrown_away_for_all_and_the_rest_is_made_up_for():
    whole = rounds(measure(Link()))
    per_launch = whole["a"][0]
    before = Link()
    measure(before)
    third_round = [number for number, op in enumerate(before.asked, 1) if op == "time"][5]  # the second of its two
    link = Link(third_round)
    measured = measure(link)
    assert link.reconnected == 1
    assert rounds(measured)["a"] == rounds(measured)["b"] == [2, per_launch - 2, per_launch, per_launch]
    assert all(found.error is None for found in measured.values())
    assert compare(measured["b"], measured["a"], Design(3)).ratio == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("op", ["load", "feed", "memory"])
def test_a_link_that_is_lost_between_the_rounds_costs_no_round(op):
    before = Link()
    whole = rounds(measure(before))
    link = Link(before.asked.index(op) + 1)
    measured = measure(link)
    assert link.reconnected == 1
    assert rounds(measured) == whole


class Crowded(Link):
    """A link that knows, by launch, how many artifacts were loaded at the same time."""

    def __init__(self, *cuts):
        super().__init__(*cuts)
        self.loading, self.cut, self.crowds = 0, 0, []

    def use(self, op):
        if op == "load":
            if self.asked[-1:] in ([], ["memory"]) or self.reconnected > self.cut:  # a launch begins
                self.crowds.append(0)
                self.cut = self.reconnected
            self.loading += 1
        super().use(op)
        if op == "load":
            time.sleep(0.05)
            self.crowds[-1] = max(self.crowds[-1], self.loading)
            self.loading -= 1


def test_what_has_no_launch_is_loaded_alone_after_a_first_launch_that_gave_nothing_too():
    """The load time that is reported is that of an artifact's first launch."""
    first_warming_up = 3
    link = Crowded(first_warming_up)
    measure(link)
    assert link.crowds == [1, 1, 2, 2]


def test_a_link_that_is_lost_again_and_again_is_given_up_and_what_was_measured_stays():
    before = Link()
    measure(before)
    times = [number for number, op in enumerate(before.asked, 1) if op == "time"]
    link = Link(*range(times[4], 10_000))
    measured = measure(link)
    assert link.reconnected == MOST_CUTS
    assert all(str(found.error) == "the cable was pulled" for found in measured.values())
    assert rounds(measured) == {"a": [2], "b": [2]}


class Gone(Link):
    """A link that is cut for good when the first question of a launch is asked, counted from 0."""

    def __init__(self, launch, ns):
        super().__init__()
        self.launch, self.ns = launch, ns

    def use(self, op):
        super().use(op)
        if self.asked.count("load") > self.launch * len(self.ns):
            raise LinkLostError("the cable was pulled")

    def reconnect(self):
        super().reconnect()
        raise DeviceGoneError("it did not come back")

    def subjects(self):
        def make(name, values):
            values = iter(values)
            return Subject(name, lambda: Harness(next(values), self), "", "", "")

        return [make(name, values) for name, values in self.ns.items()]


NS = {
    "a": [1_000_000] * 9,
    "b": [1_000_000, 1_200_000, 1_000_000] * 3,  # cannot be told from a
    "c": [3_000_000] * 9,
    "untold": [3_000_000, 3_600_000, 3_000_000] * 3,  # from c, which nobody asks
}


@pytest.mark.parametrize(("launch", "error"), [(2, "it did not come back"), (3, None)])
def test_a_device_that_is_gone_is_waited_for_once_and_what_has_its_launches_is_sound(launch, error):
    link = Gone(launch, NS)
    wanted = Settings(seconds=1.25, min_iterations=24, loads_at_once=1)
    session = Session(link.subjects(), wanted, reconnect=link.reconnect, free_bytes=0)
    measured = session.run()
    assert (link.reconnected, link.asked.count("load")) == (1, launch * len(NS) + 1)
    assert str(session.lost) == "it did not come back"
    assert {name: len(found.launches) for name, found in measured.items()} == dict.fromkeys(NS, launch)
    assert {found.error and str(found.error) for found in measured.values()} == {error}


def test_without_a_way_back_a_lost_link_is_the_end():
    link = Link(1)
    found = Session(link.subjects(), SETTINGS).run()
    assert [str(measured.error) for measured in found.values()] == ["the cable was pulled"] * 2


@pytest.mark.parametrize("after", [0, 1, 3, 7, 1000])
def test_an_ended_measurement_goes_on_where_it_ended(tmp_path, after):
    """However far it came, both together measure as much as one that was never ended."""
    complete = Link()
    whole = rounds(measure(complete))
    times = [number for number, op in enumerate(complete.asked, 1) if op == "time"]
    ended = Link(times[after] if after < len(times) else 10_000, error=KeyboardInterrupt)
    file = tmp_path / "journal"
    try:
        measure(ended, Journal(file, HEAD))
    except KeyboardInterrupt:
        with file.open("a") as lines:
            lines.write('{"launch": 0, "rou')  # a line that was cut
    again = Link()
    measured = measure(again, Journal(file, HEAD, resume=True))
    assert {name: sum(counts) for name, counts in rounds(measured).items()} == {
        name: sum(counts) for name, counts in whole.items()
    }
    assert again.asked.count("time") <= max(0, len(times) - 2 * (after // 2))
    assert measured["a"].facts["threads"] == 1
    latency = stats.summarise(measured["b"])
    assert latency.median_s == pytest.approx(0.002, rel=0.001)


@pytest.mark.parametrize("after", [9, 20, 30, 45])
def test_a_control_goes_on_too(tmp_path, after):
    complete = Link()
    session = Session(complete.subjects(), SETTINGS)
    session.run()
    times = [number for number, op in enumerate(complete.asked, 1) if op == "time"]
    ended = Link(times[after], error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        Session(ended.subjects(), SETTINGS, journal=Journal(tmp_path / "journal", HEAD)).run()
    again = Session(Link().subjects(), SETTINGS, journal=Journal(tmp_path / "journal", HEAD, resume=True))
    measured = again.run()
    assert list(measured) == ["a", "b"]
    control, whole = again.design.control, session.design.control
    assert (control.name, whole.name) == ("a", "a")
    assert control.launches >= whole.launches == 2
    finished = Session(Link().subjects(), SETTINGS, journal=Journal(tmp_path / "journal", HEAD, resume=True))
    finished.run()
    assert finished.design.control == control, "nothing was left to measure"
    total = [sum(len(launch.rounds) for launch in one._launches[PREFIX + "a"]) for one in (again, session)]
    assert total[0] == total[1]


def test_a_launch_that_another_thread_stopped_is_not_whole(tmp_path):
    """Its processes fail one after another, which must not look like rounds that gave nothing."""
    complete = Link()
    whole = rounds(measure(complete))
    link = Link()
    session = Session(link.subjects(), SETTINGS, journal=Journal(tmp_path / "journal", HEAD))
    use = link.use

    def stop_at_the_third_round(op):
        use(op)
        if link.asked.count("time") > 4:
            session.stop()
            raise DeviceError("was stopped")

    link.use = stop_at_the_third_round
    session.run()
    again = Link()
    measured = measure(again, Journal(tmp_path / "journal", HEAD, resume=True))
    assert rounds(measured)["a"] == [2, whole["a"][0] - 2, *whole["a"][1:]]
    assert rounds(measured)["a"] == rounds(measured)["b"]


def test_a_finished_measurement_is_not_measured_again(tmp_path):
    measure(Link(), Journal(tmp_path / "journal", HEAD))
    again = Link()
    measured = measure(again, Journal(tmp_path / "journal", HEAD, resume=True))
    assert again.asked == []
    assert measured["a"].peak_bytes == 10


@pytest.mark.parametrize("text", ["", "{", '{"artifacts": {"a": "other"}}\n', json.dumps(HEAD) + "\n[]\n", "\x00\xff"])
def test_a_journal_of_something_else_is_replaced(tmp_path, text):
    file = tmp_path / "journal"
    file.write_text(text)
    journal = Journal(file, HEAD, resume=True)
    assert (journal.earlier, journal.kept) == (None, None)
    assert file.read_text() == json.dumps(HEAD) + "\n"
    assert list(tmp_path.iterdir()) == [file]


def test_a_line_that_was_cut_is_gone_when_the_next_one_is_written(tmp_path):
    file = tmp_path / "journal"
    measure(Link(), Journal(file, HEAD))
    complete = file.read_text()
    for _ in range(2):
        with file.open("a") as lines:
            lines.write('{"launch": 9, "rou')
        Journal(file, HEAD, resume=True).append({"launch": 9, "whole": True})
        complete += '{"launch": 9, "whole": true}\n'
        assert file.read_text() == complete


def test_a_journal_that_does_not_fit_is_kept_and_taken_up_when_it_does(tmp_path):
    file, old, other = tmp_path / "journal", tmp_path / "journal.old", {**HEAD, "seconds": 2}
    measure(Link(), Journal(file, HEAD))
    first = file.read_text()
    mistyped = Journal(file, other, resume=True)
    assert (mistyped.earlier, mistyped.kept) == (None, old)
    assert (file.read_text(), old.read_text()) == (json.dumps(other) + "\n", first)
    mistyped_again = Journal(file, {**HEAD, "seconds": 3}, resume=True)  # nothing was measured between them
    assert (mistyped_again.earlier, mistyped_again.kept, old.read_text()) == (None, old, first)
    resumed = Journal(file, HEAD, resume=True)
    assert resumed.earlier.whole == 3
    assert file.read_text() == first
    assert {path.name for path in tmp_path.iterdir()} == {"journal", "journal.old"}


def test_after_a_record_that_could_not_be_written_none_is(tmp_path):
    file = tmp_path / "journal"
    journal = Journal(file, HEAD)
    file.unlink()
    file.mkdir()
    journal.append({"launch": 0, "rounds": 2})
    file.rmdir()
    journal.append({"launch": 0, "whole": True})
    assert not file.exists()


def test_a_journal_that_cannot_be_written_ends_nothing(tmp_path):
    journal = Journal(tmp_path / "no such folder" / "journal", HEAD)
    assert set(measure(Link(), journal)) == {"a", "b"}
