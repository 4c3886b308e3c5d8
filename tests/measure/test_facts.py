"""What the host takes from a device's answer, and the doubts that a health leaves."""

import importlib.metadata
import json
import os
import platform
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edgeopt.measure import facts, observer
from edgeopt.measure.facts import Facts, Health
from edgeopt.report.schema import DeviceRecord

QUIET = Health(
    load_average=0.1,
    busy_share=0.02,
    governor="performance",
    temperature_c=45.0,
    cores_allowed=4,
    temperature_zone="cpu-thermal",
    frequencies_mhz={"policy0": {"cur": 2400, "max": 2400, "allowed": 2400}},
    throttle_counts={"core_throttle_count": 7, "throttled has occurred": 0},
    available_bytes=2**31,
    battery_percent=80,
    charging=True,
)
EXPLAINED = Path(__file__).parents[2] / "docs/health-warnings.md"


def test_facts_of_this_machine_are_true_and_go_into_json():
    found = facts.find_facts("local")
    assert json.loads(json.dumps(asdict(found))) == asdict(found)
    assert (found.uri, found.machine, found.python) == ("local", platform.machine(), platform.python_version())
    assert 1 <= found.cores <= os.cpu_count()
    assert 0 < found.memory_bytes <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found.runtimes["numpy"] == importlib.metadata.version("numpy")
    assert platform.release() in found.os
    assert found.cpu
    assert DeviceRecord(**asdict(found)).details["kernel"] == platform.release()


def test_a_missing_runtime_is_left_out():
    assert facts.find_runtimes(["numpy", "no-such-runtime"]).keys() == {"numpy"}


def test_health_of_this_machine():
    health = facts.find_health()
    assert health.cores_allowed == facts.cores_allowed()
    assert health.load_average >= 0
    assert health.busy_share is None or 0 <= health.busy_share <= 1
    assert 0 < facts.available_bytes() <= facts.memory_bytes() == facts.find_facts("local").memory_bytes


def test_what_a_device_answers_is_taken_key_by_key():
    answer = {"machine": "aarch64", "details": {"soc": "x", "userland_bits": 64, "new": True, "r": 0.5}, "later": 1}
    assert Facts.from_dict(answer) == Facts(machine="aarch64", details=answer["details"])
    assert Facts.from_dict({}) == Facts(
        uri="", machine="", os="", cpu="", cores=1, memory_bytes=0, python="", runtimes={}, details={}
    )
    assert Health.from_dict({"throttled": ["hot"], "load_average": 1, "charging": None, "later": {}}) == Health(
        load_average=1.0, throttled=("hot",)
    )
    assert Health.from_dict(json.loads(json.dumps(asdict(QUIET)))) == QUIET


@pytest.mark.parametrize("answer", [None, [], "facts", 5])
def test_an_answer_that_is_no_mapping_is_refused(answer):
    with pytest.raises(ValueError, match="the device did not answer its facts, but"):
        Facts.from_dict(answer)
    with pytest.raises(ValueError, match="the device did not answer its health, but"):
        Health.from_dict(answer)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Facts, "machine", None),
        (Facts, "machine", 5),
        (Facts, "cores", "4"),
        (Facts, "cores", True),
        (Facts, "cores", 4.0),
        (Facts, "memory_bytes", -1),
        (Facts, "memory_bytes", 10**400),
        (Facts, "runtimes", {"numpy": 2}),
        (Facts, "runtimes", ["numpy"]),
        (Facts, "details", {"nested": {}}),
        (Facts, "details", {"none": None}),
        (Facts, "details", {"number": float("nan")}),
        (Facts, "details", {str(number): 0 for number in range(2000)}),
        (Health, "load_average", "0.1"),
        (Health, "load_average", float("inf")),
        (Health, "load_average", 10**400),
        (Health, "busy_share", False),
        (Health, "governor", 1),
        (Health, "frequencies_mhz", {"policy0": 5}),
        (Health, "frequencies_mhz", {"policy0": {"cur": "fast"}}),
        (Health, "throttled", "hot"),
        (Health, "throttled", [1]),
        (Health, "throttle_counts", {"a": 1.5}),
        (Health, "charging", 1),
        (Health, "cores_allowed", None),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(kind, name, value):
    with pytest.raises(ValueError, match=f"the device answered for {name}: ") as raised:
        kind.from_dict({name: value})
    assert len(str(raised.value)) < 400


def test_hostile_words_are_made_plain():
    evil = "a\x1b[31mb\x1b]0;title\x07\r\n\u202ec\ud800" + "x" * 10_000
    found = Facts.from_dict({"cpu": evil, "details": {evil: evil}, "runtimes": {"numpy": evil}})
    health = Health.from_dict({"governor": evil, "throttled": [evil], "throttle_counts": {evil: 1}})
    texts = [found.cpu, *found.details, *found.details.values(), *found.runtimes.values(), health.governor]
    for text in [*texts, *health.throttled, *health.throttle_counts]:
        assert text.startswith("ab")
        assert text.isprintable()
        assert len(text) <= 300


def test_a_quiet_device_leaves_no_doubt():
    assert facts.find_doubts(QUIET, QUIET, {"source": 0.02}) == []
    assert facts.find_doubts(Health(), Health(), {}) == []


GOVERNED = "so clocks change while measuring; set it with: " + facts.GOVERNOR_COMMAND
SLOWED = "so something slows it; cool the device, check its power supply and measure again"
THROTTLED = "cool it, check its power supply and measure again"
DOUBTS = [
    ({"busy_share": 0.5}, {}, "other processes used 50 % of the machine; end them and measure again"),
    (
        {},
        {"b": 0.2, "a": 0.3, "c": 0.05},
        "the rounds of a, b lay more than 10 % apart; measure again on a quiet machine or with more --seconds",
    ),
    ({"governor": "schedutil"}, {}, f"the CPU governor is schedutil, {GOVERNED}"),
    (
        {"governor": "performance (policy0), powersave (policy4)"},
        {},
        f"the CPU governor is performance (policy0), powersave (policy4), {GOVERNED}",
    ),
    (
        {"frequencies_mhz": {"policy0": {"cur": 1500, "max": 2400, "allowed": 2400}}},
        {},
        f"the clock of the processor was 1500 of 2400 MHz after the run, {SLOWED}",
    ),
    (
        {"frequencies_mhz": {"policy0": {"max": 2400, "allowed": 1000}, "policy4": {"max": 3000, "allowed": 2000}}},
        {},
        f"the clock of the processor was 1000 of 2400 MHz after the run, {SLOWED}",
    ),
    (
        {"temperature_c": 91.4},
        {},
        "the processor reached 91 °C (cpu-thermal) and may have slowed down; let it cool and measure again",
    ),
    (
        {"throttled": ("under-voltage", "throttled")},
        {},
        f"the device was throttled during the run (under-voltage, throttled); {THROTTLED}",
    ),
    (
        {"throttle_counts": {"core_throttle_count": 9, "throttled has occurred": 1, "new": 3}},
        {},
        f"the device was throttled during the run (core throttle count, throttled has occurred); {THROTTLED}",
    ),
    (
        {"battery_percent": 19},
        {},
        "the battery was at 19 %, and devices save power then; charge it and measure again",
    ),
    (
        {"charging": False},
        {},
        "the device ran on its battery, and many are slower then; connect it to power and measure again",
    ),
    (
        {"available_bytes": 100 * 2**20},
        {},
        "only 100 MiB of memory were free; end other processes and measure again",
    ),
]
EMULATED = "the processor is emulated (qemu), so these are not the times of a real one; measure on the device itself"


@pytest.mark.parametrize(("change", "spreads", "doubt"), DOUBTS)
def test_each_doubt_says_what_to_do(change, spreads, doubt):
    assert facts.find_doubts(QUIET, replace(QUIET, **change), spreads) == [doubt]


def test_an_emulated_processor_is_no_real_one():
    emulated = replace(QUIET, emulated="qemu")
    assert facts.find_doubts(emulated, emulated, {}) == [EMULATED]


@pytest.mark.parametrize(
    "change",
    [
        # a server: cores that rest, and cores that share what one may have alone
        {"frequencies_mhz": {f"policy{n}": {"cur": 800 + n * 700, "max": 3400, "base": 2100} for n in range(3)}},
        # no clock is known
        {"frequencies_mhz": {"policy0": {"cur": 100}, "policy1": {"max": 2400}}},
        # it was throttled long ago, or a count began anew
        {"throttle_counts": {"core_throttle_count": 7, "package_throttle_count": 100}},
        {"throttle_counts": {"core_throttle_count": 0}},
        {"battery_percent": 20},
        {"charging": None},
        {"available_bytes": None},
    ],
)
def test_what_is_usual_is_no_doubt(change):
    assert facts.find_doubts(QUIET, replace(QUIET, **change), {}) == []


def test_a_clock_at_rest_says_nothing_where_it_follows_the_load():
    resting = replace(QUIET, governor="schedutil", frequencies_mhz={"policy0": {"cur": 600, "max": 2400}})
    assert [doubt.split(",")[0] for doubt in facts.find_doubts(resting, resting, {})] == [
        "the CPU governor is schedutil"
    ]


def test_every_doubt_is_explained():
    """The headings of the document are the doubts, with figures and names left out."""
    headings = re.findall(r"^## (.*)$", EXPLAINED.read_text(encoding="utf-8"), re.MULTILINE)
    patterns = [".*".join(map(re.escape, heading.split("…"))) for heading in headings]
    doubts = [doubt for _, _, doubt in DOUBTS] + [EMULATED]
    matched = {heading: [d for d in doubts if re.match(p, d)] for heading, p in zip(headings, patterns, strict=True)}
    assert all(matched.values()), "a heading stands for no doubt"
    assert {doubt for found in matched.values() for doubt in found} == set(doubts)


def test_the_summary_has_before_and_after():
    after = replace(
        QUIET,
        load_average=0.9,
        busy_share=0.4,
        temperature_c=60.0,
        throttled=("thermal status light",),
        available_bytes=2**30,
        battery_percent=79,
    )
    clocks = {"policy0": {"cur": 2400, "max": 2400, "allowed": 2400}}
    counts = {"core_throttle_count": 7, "throttled has occurred": 0}
    summary = facts.summarise_health(QUIET, after, {})
    assert summary == {
        "governor": "performance",
        "cores_allowed": 4,
        "emulated": "",
        "load_average": [0.1, 0.9],
        "busy_share": [0.02, 0.4],
        "temperature_c": [45.0, 60.0],
        "temperature_zone": ["cpu-thermal", "cpu-thermal"],
        "frequencies_mhz": [clocks, clocks],
        "throttled": [[], ["thermal status light"]],
        "throttle_counts": [counts, counts],
        "available_bytes": [2**31, 2**30],
        "battery_percent": [80, 79],
        "charging": [True, True],
        "doubts": [
            "other processes used 40 % of the machine; end them and measure again",
            f"the device was throttled during the run (thermal status light); {THROTTLED}",
        ],
    }
    assert json.loads(json.dumps(summary)) == summary


def test_what_the_observer_gives_is_what_the_host_takes():
    assert observer.facts().keys() | {"uri", "runtimes"} == set(Facts.__dataclass_fields__)
    assert observer.health().keys() == set(Health.__dataclass_fields__)
