"""How long slow steps took before, in a file that anything may have happened to."""

import pytest

from edgeopt.isolation import CACHE_VARIABLE
from edgeopt.pipeline.durations import FILE, MOST_STEPS, Durations, in_words

pytestmark = pytest.mark.quick


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_step_is_announced_with_the_time_that_it_took_last(cache):
    durations = Durations()
    assert durations.about("step") == ""
    durations.keep("step", 5.64)
    assert Durations().about("step") == ", about 6 s"
    Durations().keep("step", 250.0)
    assert durations.about("step") == ", about 4 min"


def test_a_short_step_is_not_announced(cache):
    durations = Durations()
    durations.keep("step", 1.9)
    assert durations.about("step") == ""


@pytest.mark.parametrize(
    "text",
    ["", "[", "[1]", "[" * 100_000, '{"step": "long"}', '{"step": NaN}', '{"step": true}', '{"step": 1e99}', "\x00"],
)
def test_a_damaged_file_costs_the_announcement_alone(cache, text):
    cache.mkdir()
    (cache / FILE).write_text(text)
    durations = Durations()
    assert durations.about("step") == ""
    durations.keep("step", 3.0)
    assert durations.about("step") == ", about 3 s"


def test_a_file_that_cannot_be_written_costs_the_announcement_alone(cache):
    cache.write_text("a file is where the folder would be")
    durations = Durations()
    durations.keep("step", 3.0)
    assert durations.about("step") == ""


def test_the_latest_steps_are_kept(cache):
    durations = Durations()
    for number in range(MOST_STEPS):
        durations.keep(f"step {number}", 3.0)
    durations.keep("step 0", 4.0)
    durations.keep("another", 3.0)
    assert durations.about("step 1") == ""
    assert durations.about("step 0") == ", about 4 s"
    assert durations.about("another") == ", about 3 s"
    assert [file.name for file in cache.iterdir()] == [FILE]


@pytest.mark.parametrize(("seconds", "words"), [(2.4, "2 s"), (99.4, "99 s"), (150.0, "2 min"), (3600.0, "60 min")])
def test_a_duration_in_words(seconds, words):
    assert in_words(seconds) == words
