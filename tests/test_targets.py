"""Target files: the ones that come with edgeopt, a user's own, and bad ones."""

import os
import shutil

import pytest

from edgeopt.errors import BadInputError, UsageError
from edgeopt.options import fill
from edgeopt.registry import find_backends
from edgeopt.targets import choose, find_targets, read_target

pytestmark = pytest.mark.quick


def test_every_target_that_comes_with_edgeopt_names_a_backend_and_valid_options(tmp_path):
    targets = find_targets(tmp_path)
    assert set(targets) >= {
        "tflite-int8", "tflite-float32", "tflite-float16", "tflite-dynamic-int8", "tf-gpu", "saved-without-optimizer",
    }  # fmt: skip
    for target in targets.values():
        assert target.summary
        fill(find_backends().get(target.backend).backend.Options, target.options, origin=target.name)


def test_target_files_of_the_user_are_found_and_one_of_a_taken_name_is_nobodys(tmp_path):
    (tmp_path / "targets").mkdir()
    (tmp_path / "more").mkdir()
    for place, name in (("targets", "mine"), ("more", "board"), ("more", "tflite-int8")):
        (tmp_path / place / f"{name}.toml").write_text(f'backend = "tflite"\nsummary = "{place}"\n')
    targets = find_targets(tmp_path, [tmp_path / "more", tmp_path / "targets"])
    assert (targets["mine"].summary, targets["board"].summary) == ("targets", "more")
    problem = targets["tflite-int8"].problem
    assert problem.message.startswith("several target files are called tflite-int8: ")
    assert str(tmp_path / "more" / "tflite-int8.toml") in problem.message
    assert problem.hint == "rename all of them but one"
    with pytest.raises(BadInputError, match="there is no folder of targets"):
        find_targets(tmp_path, [tmp_path / "gone"])


def test_a_target_file_is_read_whole(tmp_path):
    file = tmp_path / "board.toml"
    file.write_text(
        'summary = "s"\nbackend = "tflite"\ndevice = "local"\n'
        '[options]\nquantization = "int8"\n[budget]\nmax_size_bytes = 5\n'
    )
    target = read_target(file)
    assert (target.name, target.summary, target.backend, target.device) == ("board", "s", "tflite", "local")
    assert (dict(target.options), dict(target.budget)) == ({"quantization": "int8"}, {"max_size_bytes": 5})


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("backend = ", "cannot be read", ""),
        ('summary = "x"', "the key backend is missing", 'say which, for instance backend = "tflite"'),
        ('backend = "tflite"\nbackends = 1', "unknown key 'backends'", "did you mean backend?"),
        ("backend = 3", "backend is 3; wanted a text", ""),
        ('backend = "tflite"\noptions = 1', "options is 1; wanted a table", ""),
        ('backend = "tflite"\n[budget]\nmax_size = 1', "unknown budget 'max_size'", "did you mean max_size_bytes?"),
        (
            'backend = "tflite"\n[budget]\nmax_median_s = "1 ms"',
            "the budget max_median_s is '1 ms'; wanted a finite number",
            "",
        ),
    ],
)
def test_a_target_file_that_cannot_be_used_is_named(tmp_path, text, message, hint):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(BadInputError) as caught:
        read_target(file)
    assert str(file) in caught.value.message
    assert message in caught.value.message
    assert caught.value.hint == hint


@pytest.mark.parametrize("limit", ["nan", "inf", "true", "9" * 400])
def test_a_limit_that_no_number_can_be_held_against_is_refused(tmp_path, limit):
    file = tmp_path / "bad.toml"
    file.write_text(f'backend = "tflite"\n[budget]\nmax_size_bytes = {limit}\n')
    with pytest.raises(BadInputError, match=r"the budget max_size_bytes is .* wanted a finite number"):
        read_target(file)


def make_folder(file):
    file.mkdir()


def make_dangling_link(file):
    file.symlink_to("/no/such/file")


def make_loop(file):
    file.symlink_to(file)


def make_pipe(file):
    os.mkfifo(file)


def make_endless(file):
    file.symlink_to("/dev/zero")


def make_deep(file):
    file.write_text("a = " + "[" * 100_000)


def make_huge(file):
    file.write_text("#" * 1_100_000)


@pytest.mark.parametrize(
    "make", [make_folder, make_dangling_link, make_loop, make_pipe, make_endless, make_deep, make_huge]
)
def test_what_is_no_target_file_is_a_target_with_a_problem_and_nothing_hangs(tmp_path, make):
    (tmp_path / "targets").mkdir()
    make(tmp_path / "targets" / "odd.toml")
    targets = find_targets(tmp_path)
    assert "cannot be read" in targets["odd"].problem.message
    assert targets["tf-gpu"].problem is None


def test_a_target_file_with_an_impossible_name_is_refused(tmp_path):
    file = tmp_path / "My Board.toml"
    file.write_text('backend = "tflite"')
    with pytest.raises(BadInputError, match="a name that no target can have"):
        read_target(file)


def test_targets_are_chosen_by_name_by_list_and_all(tmp_path):
    targets = find_targets(tmp_path)
    assert [t.name for t in choose(["tf-gpu, tflite-int8", "tf-gpu"], targets)] == ["tf-gpu", "tflite-int8"]
    assert choose(["all"], targets) == list(targets.values())


def test_a_file_that_cannot_be_used_is_a_target_with_a_problem_and_the_others_stay(tmp_path):
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "bad.toml").write_text("backend = ")
    targets = find_targets(tmp_path)
    assert "cannot be read" in targets["bad"].problem.message
    assert [target.name for target in choose(["tf-gpu"], targets)] == ["tf-gpu"]
    assert "bad" in [target.name for target in choose(["all"], targets)]
    with pytest.raises(BadInputError, match="cannot be read"):
        choose(["bad"], targets)


def test_an_unknown_target_gets_a_suggestion(tmp_path):
    with pytest.raises(UsageError) as caught:
        choose(["tflite-int-8"], find_targets(tmp_path))
    assert caught.value.message == "no target is called 'tflite-int-8'"
    assert caught.value.hint.startswith("did you mean tflite-int8")


def test_files_that_say_the_same_are_one_target_as_in_a_checkout_beside_what_is_installed(tmp_path):
    (tmp_path / "targets").mkdir()
    ours = find_targets(tmp_path)
    for target in ours.values():
        shutil.copy(target.path, tmp_path / "targets")
    found = find_targets(tmp_path)
    assert {name: target.problem for name, target in found.items()} == dict.fromkeys(ours)
    (tmp_path / "targets" / "tf-gpu.toml").write_text('backend = "tf-gpu"\nsummary = "another"\n')
    assert find_targets(tmp_path)["tf-gpu"].problem.message.startswith("several target files are called tf-gpu: ")
