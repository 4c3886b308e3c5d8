"""Where things are printed: results, messages and JSON, in whatever encoding the terminal has."""

import os
import subprocess
import sys

import pytest

from edgeopt.cli import console
from edgeopt.cli.lists import Paragraph
from edgeopt.errors import BadInputError


def test_json_on_standard_output_stands_alone(capsys):
    console.messages.cache_clear()
    console.deliver("{}", "-", "the table", beside=True)
    console.deliver("[]", "-", "a list")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("{}\n[]\n", "the table\n")


def printed(code: str, **environment: str) -> bytes:
    script = f"from edgeopt.cli.console import deliver\nfrom edgeopt.cli.lists import Paragraph\n{code}"
    environment = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout


def test_a_terminal_that_lacks_a_character_shows_a_question_mark():
    assert printed("deliver('', None, '3.1 ms ± 0.1')", PYTHONIOENCODING="ascii") == b"3.1 ms ? 0.1\n"


def test_json_is_utf8_everywhere():
    assert printed("deliver('\"µ\"', '-')", PYTHONIOENCODING="ascii") == '"µ"\n'.encode()


def test_columns_and_no_color_are_respected():
    code = "deliver('', None, Paragraph('one two three', 2, 'red'))"
    assert printed(code, COLUMNS="9") == b"  one two\n  three\n"
    coloured = printed(code, COLUMNS="40", FORCE_COLOR="1", TERM="xterm")
    assert coloured == b"  \x1b[31mone two three\x1b[0m\n"
    assert printed(code, COLUMNS="40", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm") == b"  one two three\n"


def test_paragraph_keeps_long_words_whole(capsys):
    console.results.cache_clear()
    console.deliver("", None, Paragraph("see " + "x" * 200))
    assert capsys.readouterr().out == "see\n" + "x" * 200 + "\n"


def test_a_document_that_cannot_be_written_does_not_cost_the_table(capsys, tmp_path):
    console.results.cache_clear()
    with pytest.raises(BadInputError, match="Is a directory"):
        console.deliver("{}", str(tmp_path), "the table")
    assert capsys.readouterr().out == "the table\n"


def test_a_table_that_cannot_be_drawn_does_not_cost_the_document(tmp_path):
    class Broken:
        def __rich__(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        console.deliver("{}", str(tmp_path / "run.json"), Broken())
    assert (tmp_path / "run.json").read_text() == "{}\n"


@pytest.mark.parametrize(
    ("file", "message"), [("no/run.json", "there is no folder"), (".", "it is a folder"), ("", "it is a folder")]
)
def test_where_json_cannot_go_is_found_before_the_work(tmp_path, monkeypatch, file, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=message):
        console.check_json(file)
    console.check_json("run.json")
    console.check_json("-")
