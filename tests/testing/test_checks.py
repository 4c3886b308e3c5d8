"""The conformance test: a good backend passes every check, and each bad one fails the check that it was made for."""

import os

import pytest

from edgeopt.testing.guide import GUIDE
from edgeopt.testing.suite import run_suite
from tests.testing.toys import BADS, install_toy

pytestmark = pytest.mark.slow
GOOD = "toy-good"


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """What the checks find, by toy; all of them for the good one, and for each bad one the check that it breaks.

    All run in one process, which shares the models.
    """
    site = tmp_path_factory.mktemp("toys") / "site-packages"
    toys = {GOOD: None, **{f"toy-{name}": bad for name, bad in BADS.items()}}
    for name, bad in toys.items():
        install_toy(site, name, bad)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]))
        patch.setenv("EDGEOPT_PLUGINS", ",".join(toys))
        only = {f"toy-{name}": [bad.check] for name, bad in BADS.items()}
        found = run_suite(list(toys), {}, tmp_path_factory.mktemp("suite"), lambda _: None, only)
    return {name: [finding for finding in found if finding.backend == name] for name in toys}


def test_a_good_backend_passes_every_check(findings):
    outcomes = {finding.check: finding.outcome for finding in findings[GOOD]}
    assert outcomes.pop("its target files are sound") == "skipped"
    if len(os.sched_getaffinity(0)) < 2:
        outcomes.pop("it honours threads")
    assert set(outcomes.values()) == {"ok"}, [finding for finding in findings[GOOD] if finding.outcome == "failed"]
    assert len(outcomes) == 27


@pytest.mark.parametrize("name", BADS)
def test_a_bad_backend_fails_the_check_that_it_breaks(findings, name):
    bad = BADS[name]
    if bad.check == "it honours threads" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    failed = [finding for finding in findings[f"toy-{name}"] if finding.outcome == "failed"]
    assert [finding.check for finding in failed] == [bad.check], failed
    assert failed[0].reason.startswith("expected: ")
    assert bad.says in failed[0].reason
    assert failed[0].see == f"{GUIDE}#{bad.see}"


def test_every_check_is_broken_by_some_backend(findings):
    checks = {finding.check for finding in findings[GOOD]}
    assert {bad.check for bad in BADS.values()} == checks - {"an installed plugin gives it"}
