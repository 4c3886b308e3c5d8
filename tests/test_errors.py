"""Words of strangers, made safe: whatever an exception says, it can be shown and stored."""

import errno

import pytest

from edgeopt.errors import ExportError, full_disk, in_words, last_words, one_line, readable

pytestmark = pytest.mark.quick


class Speechless(Exception):  # noqa: N818
    def __str__(self):
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("it is Tuesday"), "ValueError: it is Tuesday"),
        (ValueError("first\nsecond"), "ValueError: first"),
        (ValueError("\n  first"), "ValueError: first"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError("a \udcff b"), "ValueError: a \\udcff b"),
        (ValueError("\x1b[1mbold\x1b[0m"), "ValueError: bold"),
        (Speechless(), "Speechless: <Speechless whose text fails with ValueError>"),
        (ValueError("x" * 5000), f"ValueError: {'x' * 300}"),
    ],
)
def test_any_exception_has_words_of_one_line(error, words):
    assert in_words(error) == words


def test_colours_and_lines_go_and_characters_stay():
    assert one_line("\x1b[1mé\x1b[0m\n  µ") == "é µ"


def test_an_error_holds_only_what_can_be_written_as_utf8():
    error = ExportError("a \udcff", hint=5, log="\udc80")
    assert (error.message, str(error), error.hint, error.log) == ("a \\udcff", "a \\udcff", "5", "\\udc80")
    assert readable("é µ 😀") == "é µ 😀"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        ("RuntimeError: write failed: No space left on device", True),
        (OSError(errno.ENOENT, "No such file or directory"), False),
        (Speechless(), False),
    ],
)
def test_a_full_disk_is_known_by_its_number_or_its_words(error, full):
    found = full_disk(error)
    assert (found is not None) == full
    assert found is None or (found.message, found.kind) == ("the disk is full", "bad-input")


def test_a_full_disk_of_a_device_is_said_to_be_the_devices():
    found = full_disk("cat: write error: Quota exceeded", "ssh://pi5")
    assert (found.message, found.kind) == ("ssh://pi5: its disk is full", "device")
    assert found.hint == "free some space there: edgeopt devices clean NAME"


@pytest.mark.parametrize(
    ("output", "hint"),
    [("begin\n\x1b[31mSegmentation fault\x1b[0m\n \n", "its last words: Segmentation fault"), (" \n\n", ""), ("", "")],
)
def test_the_last_words_of_a_program_are_its_last_line_that_says_something(output, hint):
    assert last_words(output) == hint
