"""The command itself: its help, what it imports, how it fails, and completion."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.main import get_command

from edgeopt.cli import backends, doctor
from edgeopt.cli.app import app
from edgeopt.errors import ExportError

HELP = """\
Usage: edgeopt [OPTIONS] COMMAND [ARGS]...

  Export one TensorFlow/Keras model for many devices, run every file, see
  which one to ship.

Commands:
  export    Export a model, run every file, compare it with the model.
  profile   Measure artifacts that exist, on one device or several.
  backends  List the backends, whether they work here, and their options.
  doctor    Show what is installed here and what is missing.
  verify    Check the files of an artifact against its manifest.
  targets   List the targets, or show one of them.
  plugins   List the plugins, or make, check and prepare one.
  devices   List the devices, or add, check, prepare or clean one.

Options:
  --version             Print the version and end.
  --debug               Show where an error came from; works behind any
                        command too.
  --no-plugin NAME      Do without a plugin; works behind any command too.
  --install-completion  Install completion for the current shell.
  --show-completion     Show completion for the current shell, to copy it or
                        customize the installation.
  -h, --help            Show this message and exit.

  Start with: edgeopt export --target tflite-int8
"""
HEAVY = ("tensorflow", "keras", "tf_keras", "numpy", "ai_edge_litert", "litert_quantizer", "h5py")
LATE = (*HEAVY, "rich.console", "rich.table", "rich.markdown", "pluggy", "pydantic")


def test_help(cli):
    ended = cli("--help")
    assert (ended.code, ended.out, ended.err) == (0, HELP, "")


def test_no_arguments_show_the_help_as_a_usage_error(cli):
    ended = cli()
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.strip() == HELP.strip()


def commands(group, *words):
    """Every command with its words; a group that does something without a command is one too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield (*words, name), command
            yield from commands(command, *words, name)
        else:
            yield (*words, name), command


def test_every_command_writes_json():
    found = {words: {o for p in command.params for o in p.opts} for words, command in commands(get_command(app))}
    assert ("devices", "clean") in found
    assert [" ".join(words) for words, options in found.items() if "--json" not in options] == []


def test_version(cli):
    assert cli("--version").out == f"edgeopt {version('edgeopt')}\n"


@pytest.mark.parametrize(
    "command",
    [
        ["export"],
        ["targets"],
        ["targets", "show"],
        ["backends"],
        ["doctor"],
        ["verify"],
        ["devices"],
        ["devices", "add"],
    ],
)
def test_every_command_has_help_that_fits_80_columns(cli, command):
    ended = cli(*command, "--help")
    assert ended.code == 0
    assert f"Usage: edgeopt {' '.join(command)}" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def loaded_after(code: str, unwanted: tuple[str, ...]) -> list[str]:
    """Which of the `unwanted` modules a fresh interpreter holds after `code`."""
    found = f"print(*(name for name in {unwanted} if name in sys.modules))"
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\n{found}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[-2].split()


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import edgeopt", (*LATE, "typer", "typing", "rich")),
        ("import edgeopt; edgeopt.Run", HEAVY),
        ("import edgeopt; edgeopt.export", HEAVY),
        ("import edgeopt; edgeopt.__version__", LATE),
        ("from edgeopt.cli.app import app; app(['--help'])", LATE),
        ("from edgeopt.cli.app import app; app(['export', '--help'])", (*HEAVY, "rich.console", "pluggy")),
        ("from edgeopt.cli.app import app; app(['targets'])", HEAVY),
        ("from edgeopt.cli.app import app; app(['devices'])", HEAVY),
        ("from edgeopt.cli.app import app; app(['backends'])", HEAVY),
    ],
)
def test_nothing_heavy_is_loaded(code, unwanted):
    assert loaded_after(code, ("nothing", *unwanted)) == []


def test_the_test_above_can_fail():
    assert loaded_after("import numpy", HEAVY) == ["numpy"]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["exprt"], "no such command 'exprt'", "did you mean export?"),
        (["zzz"], "no such command 'zzz'", "see edgeopt --help"),
        (["export", "--targt", "x"], "no such option: --targt", "did you mean --data or --target?"),
        (["--nope"], "no such option: --nope", "see edgeopt --help"),
        (["verify"], "missing argument 'PATH'", "see edgeopt verify --help"),
        (["targets", "shw"], "no such command 'shw'", "did you mean show?"),
        (
            ["export", "-t", "x", "--threads", "0"],
            "invalid value for '--threads': Input should be greater than or equal to 1",
            "see edgeopt export --help",
        ),
        (["export"], "no target was named", "for instance --target tflite-int8; edgeopt targets lists all"),
        (
            ["export", "-t", "x", "--memory-limit", "much"],
            "--memory-limit 'much' is no size",
            "write it as 4GB or 512MiB",
        ),
        (["targets", "show", "tflite-in8"], "no target is called 'tflite-in8'", "did you mean tflite-int8?"),
    ],
)
def test_misuse(cli, arguments, message, hint):
    ended = cli(*arguments)
    assert (ended.code, ended.out) == (2, "")
    first, second = ended.err.splitlines()
    assert first == f"error: {message}"
    assert second.startswith(f"hint: {hint.removesuffix('?')}")


@pytest.fixture
def failing(monkeypatch):
    """Let `edgeopt backends` raise; the command's own way to the library is the place where errors come from."""

    def install(error: BaseException) -> None:
        def find_backends():
            raise error

        monkeypatch.setattr("edgeopt.registry.find_backends", find_backends)

    return install


def test_an_error_has_its_hint_its_log_and_its_code(cli, failing):
    failing(ExportError("it broke \x1b[31m", hint="try this", log="/x/y.log"))
    ended = cli("backends")
    assert (ended.code, ended.out) == (5, "")
    assert ended.err == "error: it broke \\x1b[31m\nhint: try this\nlog: /x/y.log\n"


def test_a_bug_is_one_line_and_says_how_to_report_it(cli, failing):
    failing(ZeroDivisionError("division by [bold]zero"))
    ended = cli("backends")
    assert ended.code == 1
    assert ended.err == (
        "error: a bug in edgeopt: ZeroDivisionError: division by [bold]zero\n"
        "hint: run the same command with --debug, then report what it prints, together with the output of edgeopt"
        " doctor\n"
    )


@pytest.mark.parametrize("arguments", [("--debug", "backends"), ("backends", "--debug")])
def test_debug_shows_the_traceback_wherever_it_stands(cli, failing, arguments):
    failing(ZeroDivisionError("division by zero"))
    ended = cli(*arguments)
    assert ended.code == 1
    assert ended.err.startswith("Traceback (most recent call last):\n")
    assert "in find_backends\n" in ended.err
    assert ended.err.endswith("hint: report what it prints, together with the output of edgeopt doctor\n")


def test_ctrl_c(cli, failing):
    failing(KeyboardInterrupt())
    ended = cli("backends")
    assert (ended.code, ended.out, ended.err) == (130, "", "error: interrupted\n")


def complete(words: str, position: int, folder) -> list[str]:
    """Ask for completion as the script does that `--show-completion` prints for bash."""
    environment = {
        **os.environ,
        "_EDGEOPT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(position),
    }
    done = subprocess.run(
        [sys.executable, "-m", "edgeopt"], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_completion(tmp_path):
    own = tmp_path / "targets"
    own.mkdir()
    (own / "my-board.toml").write_text('backend = "tflite"\n')
    assert complete("edgeopt ex", 1, tmp_path) == ["export"]
    assert complete("edgeopt export --tar", 2, tmp_path) == ["--target", "--targets-dir"]
    assert complete("edgeopt export --target my", 3, tmp_path) == ["my-board"]
    assert complete("edgeopt export -t tflite-int8,my", 3, tmp_path) == ["tflite-int8,my-board"]
    assert complete("edgeopt targets show my", 3, tmp_path) == ["my-board"]
    (own / "broken.toml").write_text("backend = ")
    assert complete("edgeopt export --target my", 3, tmp_path) == ["my-board"]
    assert complete("edgeopt export --target bro", 3, tmp_path) == []


def test_completion_script(cli, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    ended = subprocess.run(
        [sys.executable, "-m", "edgeopt", "--show-completion", "bash"], capture_output=True, text=True, check=True
    )
    assert "_EDGEOPT_COMPLETE=complete_bash" in ended.stdout


def test_every_module_of_a_command_is_registered():
    names = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert {
        "export",
        "targets",
        "plugins",
        "devices",
        "profile",
        backends.backends.__name__,
        doctor.doctor.__name__,
        "verify",
    } == names
