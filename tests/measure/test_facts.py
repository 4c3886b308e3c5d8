"""What a machine is and how it is; the doubts it leaves."""

import importlib.metadata
import json
import os
import platform
from dataclasses import asdict, replace

import pytest

from edgeopt.measure import facts
from edgeopt.measure.facts import Health

QUIET = Health(load_average=0.1, busy_share=0.02, governor="performance", temperature_c=45.0, cores_allowed=4)


def test_facts_of_this_machine_are_true_and_go_into_json():
    found = facts.find_facts("local")
    assert json.loads(json.dumps(asdict(found))) == asdict(found)
    assert (found.uri, found.machine, found.python) == ("local", platform.machine(), platform.python_version())
    assert 1 <= found.cores <= os.cpu_count()
    assert found.memory_bytes == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found.runtimes["numpy"] == importlib.metadata.version("numpy")
    assert platform.release() in found.os
    assert found.cpu


def test_a_missing_runtime_is_left_out():
    assert facts.find_runtimes(["numpy", "no-such-runtime"]).keys() == {"numpy"}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3.0),
    ],
)
def test_the_quota_of_a_control_group(tmp_path, monkeypatch, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(facts, "_CGROUP", tmp_path)
    assert facts._quota_cores() == cores


def test_health_of_this_machine():
    health = facts.find_health()
    assert health.cores_allowed == facts.cores_allowed()
    assert health.load_average >= 0
    assert health.busy_share is None or 0 <= health.busy_share <= 1


def test_the_hottest_sensor_counts(tmp_path, monkeypatch):
    for number, text in enumerate(["41000", "nonsense", "57500"]):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(text)
    monkeypatch.setattr(facts, "_THERMAL", tmp_path)
    assert facts._temperature_c() == 57.5


def test_a_quiet_machine_leaves_no_doubt():
    assert facts.find_doubts(QUIET, QUIET, {"source": 0.02}) == []
    assert facts.find_doubts(*[Health(None, None, None, None, 1)] * 2, {}) == []


@pytest.mark.parametrize(
    ("change", "spreads", "doubt"),
    [
        ({"busy_share": 0.5}, {}, "other processes used 50% of the machine; end them and measure again"),
        (
            {},
            {"b": 0.2, "a": 0.3, "c": 0.05},
            "the rounds of a, b lay more than 10% apart; measure again on a quiet machine or with more --seconds",
        ),
        (
            {"governor": "powersave"},
            {},
            (
                "the CPU governor is powersave, so clocks change while measuring;"
                " set it with: sudo cpupower frequency-set --governor performance"
            ),
        ),
        (
            {"temperature_c": 91.4},
            {},
            "the processor reached 91 °C and may have slowed down; let it cool and measure again",
        ),
    ],
)
def test_each_doubt_says_what_to_do(change, spreads, doubt):
    assert facts.find_doubts(replace(QUIET, **change), QUIET, spreads) == [doubt]


def test_the_summary_has_before_and_after():
    after = replace(QUIET, load_average=0.9, busy_share=0.4, temperature_c=60.0)
    assert facts.summarise_health(QUIET, after, {}) == {
        "governor": "performance",
        "cores_allowed": 4,
        "load_average": [0.1, 0.9],
        "busy_share": [0.02, 0.4],
        "temperature_c": [45.0, 60.0],
        "doubts": ["other processes used 40% of the machine; end them and measure again"],
    }
