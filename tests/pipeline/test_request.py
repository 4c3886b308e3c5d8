"""What can be asked of a run: numbers that nothing could be done with are refused before anything is done."""

import pytest

from edgeopt.errors import UsageError
from edgeopt.pipeline.request import NUMBERS, ExportSettings

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("seconds", float("inf"), "--seconds is inf; wanted a number from 0 to 1,000,000"),
        ("seconds", float("nan"), "--seconds is nan; wanted a number from 0 to 1,000,000"),
        ("seconds", "2", "--seconds is 2; wanted a number from 0 to 1,000,000"),
        ("timeout_s", 0, "--timeout is 0; wanted a number from 0.001 to 10,000,000"),
        ("timeout_s", float("inf"), "--timeout is inf; wanted a number from 0.001 to 10,000,000"),
        ("min_iterations", 10**20, f"--min-iterations is {10**20}; wanted a number from 1 to 10,000,000"),
        ("threads", 10**20, f"--threads is {10**20}; wanted a number from 1 to 1,024"),
        ("threads", True, "--threads is True; wanted a number from 1 to 1,024"),
        ("memory_limit_bytes", 0, "--memory-limit is 0; wanted a number from 67,108,864 to 1,152,921,504,606,846,976"),
        ("seed", 2**64, f"--seed is {2**64}; wanted a number from 0 to {2**63 - 1:,}"),
        ("min_agreement", float("nan"), "--min-agreement is nan; wanted a number from 0 to 1"),
        ("sustained_s", 1.0, "--sustained, in seconds, is 1.0; wanted a number from 3 to 86,400"),
        ("sustained_s", "5m", "--sustained, in seconds, is 5m; wanted a number from 3 to 86,400"),
        ("batch", None, "--batch is None; wanted a number from 1 to 1,000,000"),
    ],
)
def test_a_number_out_of_its_bounds_is_a_usage_error(setting, value, message):
    with pytest.raises(UsageError) as caught:
        ExportSettings(**{setting: value})
    assert caught.value.message == message


@pytest.mark.parametrize("setting", NUMBERS)
def test_both_bounds_are_allowed(setting):
    _, least, most = NUMBERS[setting]
    ExportSettings(**{setting: least})
    ExportSettings(**{setting: most})


def test_a_ranking_by_time_needs_times():
    with pytest.raises(UsageError, match="a ranking needs times") as raised:
        ExportSettings(rank=True, timing=False)
    assert raised.value.hint == "leave out --rank or --no-timing"
    assert ExportSettings(rank=True, timing=False, min_agreement=0.98).min_agreement == 0.98
