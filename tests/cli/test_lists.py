"""`edgeopt targets` and `edgeopt backends`: whole outputs for a target and a plugin of the test's own."""

import json

import pytest

from edgeopt.targets import find_targets

BOARD = """
summary = "everything that fits on our board"
backend = "tf-gpu"
device = "local"

[options]
precision = "float16"
xla = true

[budget]
max_size_bytes = 300000
"""
PLUGIN = """
    from dataclasses import dataclass, field
    from pathlib import Path
    from typing import Literal
    from edgeopt.api import Backend, hookimpl

    @dataclass(frozen=True)
    class Options:
        level: int = field(default=2, metadata={"help": "how hard to try"})
        mode: Literal["fast", "small"] = field(default="fast", metadata={"help": "what to go for"})
        check: bool = field(default=True, metadata={"help": "look at the result afterwards, which takes a while"})

    class Board(Backend):
        name = "board"
        summary = "Files for our board"
        runner = Path(__file__)
        Options = Options

        @classmethod
        def unavailable(cls):
            return REASON

        def export(self, request):
            raise NotImplementedError

    @hookimpl
    def edgeopt_backends():
        return [Board]
"""


@pytest.fixture
def board(tmp_path):
    file = tmp_path / "targets" / "a-board.toml"
    file.parent.mkdir()
    file.write_text(BOARD)
    return file


def test_targets(cli, board):
    ended = cli("targets")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    width = max(map(len, find_targets(board.parents[1])))
    assert lines[0] == f"{'a-board':{width}}  everything that fits on our board"
    assert any(line.startswith("tflite-int8 ") for line in lines)
    assert lines[-3:] == [
        "",
        "edgeopt targets show NAME tells more about one; a file targets/NAME.toml here",
        "adds one.",
    ]


def test_one_target(cli, board):
    assert (
        cli("targets", "show", "a-board").out
        == f"""\
target   a-board
summary  everything that fits on our board
backend  tf-gpu
option   precision = float16
option   xla = true
budget   max_size_bytes = 300000
device   local
file     {board}
"""
    )


def test_targets_as_json(cli, board):
    found = {target["name"]: target for target in json.loads(cli("targets", "--json", "-").out)}
    assert found["a-board"] == {
        "name": "a-board",
        "summary": "everything that fits on our board",
        "backend": "tf-gpu",
        "options": {"precision": "float16", "xla": True},
        "budget": {"max_size_bytes": 300000},
        "device": "local",
        "path": str(board),
        "problem": None,
    }
    assert json.loads(cli("targets", "show", "a-board", "--json", "-").out) == found["a-board"]


def test_json_file_comes_beside_the_list(cli, board, tmp_path):
    listed = cli("targets").out
    assert cli("targets", "--json", "targets.json").out == listed
    assert json.loads((tmp_path / "targets.json").read_text())[0]["name"] == "a-board"


def test_json_into_a_missing_folder_is_refused_before_anything_runs(cli):
    ended = cli("targets", "--json", "no/such/file.json")
    assert (ended.code, ended.out) == (8, "")
    assert ended.err == "error: --json no/such/file.json: there is no folder no/such\nhint: make it first\n"


def test_json_that_cannot_be_written(cli, tmp_path):
    (tmp_path / "folder").mkdir()
    ended = cli("targets", "--json", "folder")
    assert ended.code == 8
    assert ended.err == "error: --json folder: it is a folder\nhint: name a file in it, or - for standard output\n"


def test_broken_target_file(cli, board):
    board.write_text("backend = ")
    listed = cli("targets")
    assert listed.code == 0
    assert "a-board" in listed.out
    assert f"cannot be used: {board} cannot be read: it is no valid TOML" in " ".join(listed.out.split())
    assert "tflite-int8" in listed.out
    shown = cli("targets", "show", "a-board")
    assert (shown.code, shown.out) == (8, "")
    assert shown.err.startswith(f"error: {board} cannot be read: it is no valid TOML")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('backend = "tf-gp"', "names no known backend: no backend is called 'tf-gp'"),
        (
            'backend = "tf-gpu"\n[options]\nxlaa = true',
            "unknown option 'xlaa'; the valid ones are: precision, xla, allow_cpu",
        ),
    ],
)
def test_a_target_that_cannot_work_says_so_in_the_list(cli, board, text, problem):
    board.write_text(text)
    listed = {target["name"]: target for target in json.loads(cli("targets", "--json", "-").out)}
    assert problem in listed["a-board"]["problem"]
    assert listed["tflite-int8"]["problem"] is None


def blocks(out: str) -> dict[str, str]:
    """The paragraphs of a list, by their first word."""
    return {block.split()[0]: block for block in out.split("\n\n")}


def test_backends_with_a_strangers_plugin_and_a_broken_one(edgeopt):
    edgeopt.environment["COLUMNS"] = "60"
    edgeopt.install("board-tool", PLUGIN.replace("REASON", "None"), version="2.5")
    edgeopt.install("wreck", "import no_such_module")
    code, out, err = edgeopt.run("backends")
    assert (code, err) == (0, "")
    assert (
        blocks(out)["board"]
        == """\
board (board-tool 2.5) ready
  Files for our board
  level  int (default: 2). how hard to try
  mode   fast | small (default: fast). what to go for
  check  true | false (default: true). look at the result
         afterwards, which takes a while"""
    )
    assert (
        blocks(out)["wreck"]
        == """\
wreck (wreck 1.0) broken
  ModuleNotFoundError: No module named 'no_such_module'"""
    )
    assert "tflite (edgeopt" in out
    assert out.endswith("--set\nKEY=VALUE.\n")


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ('"boardc is not installed"', "boardc is not installed"),
        ("1 / 0", "its check failed: ZeroDivisionError: division by zero"),
    ],
)
def test_backend_that_cannot_work_here_says_why(edgeopt, reason, shown):
    edgeopt.install("board-tool", PLUGIN.replace("REASON", reason))
    _, out, _ = edgeopt.run("backends")
    assert blocks(out)["board"].splitlines()[:3] == [
        "board (board-tool 1.0) not available",
        f"  {shown}",
        "  Files for our board",
    ]


def test_backends_as_json(edgeopt):
    edgeopt.install("board-tool", PLUGIN.replace("REASON", '"no"'))
    edgeopt.install("wreck", "raise SystemExit(3)")
    code, document = edgeopt.json("backends")
    assert code == 0
    found = {backend["name"]: backend for backend in document["backends"]}
    assert found["board"]["unavailable"] == "no"
    assert found["board"]["options"][1] == {
        "name": "mode", "type": "choice", "default": "fast", "help": "what to go for", "choices": ["fast", "small"],
    }  # fmt: skip
    assert document["broken"][-1:] == [
        {"name": "wreck", "plugin": "wreck", "version": "1.0", "reason": "SystemExit: 3"}
    ]
