"""What two copies of one artifact show, and when there is a second one."""

import math

import pytest

from edgeopt.measure.control import Control, SecondCopy, check_control
from edgeopt.measure.effects import LaunchEffect
from edgeopt.measure.process import Subject

pytestmark = pytest.mark.quick


def effects(*values):
    return [LaunchEffect(value, 0.0) for value in values]


def test_noise_is_no_bias_and_a_lasting_difference_is():
    quiet = check_control("a", effects(0.001, -0.001, 0.0))
    assert (quiet.name, quiet.launches, quiet.bias) == ("a", 3, 0.0)
    loud = check_control("a", effects(0.019, 0.018, 0.017))
    assert loud.bias == pytest.approx(0.018, rel=0.02)
    assert loud.ratio == pytest.approx(math.exp(0.018))
    assert loud.ci95[0] < loud.ratio < loud.ci95[1]


def test_fewer_than_three_launches_show_no_bias():
    assert check_control("a", []) is None
    assert check_control("a", effects(0.02)) == Control("a", pytest.approx(math.exp(0.02)), None, 1, 0.0)
    assert check_control("a", effects(0.02, 0.02)).bias == 0.0


A = Subject("a", None, "runner", "artifact", "feeds")


@pytest.mark.parametrize(
    ("free_bytes", "problem"),
    [(None, ""), (200 << 20, ""), (199 << 20, "200 MiB of memory needed, 199 MiB free")],
)
def test_a_copy_is_made_where_all_processes_fit(free_bytes, problem):
    copy = SecondCopy(free_bytes)
    assert copy.is_open
    copy.choose(A, {"a": 50 << 20, "b": 100 << 20})
    assert copy.problem == problem
    assert not copy.is_open
    if not problem:
        assert (copy.name, copy.original, copy.subject.artifact) == ("second copy of a", "a", "artifact")


def test_after_a_failure_there_is_no_other_copy():
    copy = SecondCopy(None)
    copy.choose(A, {"a": 1})
    copy.fail("does not load")
    assert (copy.subject, copy.problem, copy.original, copy.is_open) == (None, "does not load", "a", False)
