"""Plugins: the built-in ones, and installed distributions that break the contract in every way."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from edgeopt.contract import Backend
from edgeopt.discovery import Plugin
from edgeopt.errors import PluginError, UsageError
from edgeopt.probe import call_stranger
from edgeopt.registry import RegisteredBackend, find_backends, make_registry
from tests.conftest import install

GOOD = """
    from pathlib import Path
    from edgeopt.api import Artifact, Backend, hookimpl

    class Stranger(Backend):
        name = "stranger"
        summary = "a stranger's backend"
        runner = Path(__file__)

        def export(self, request):
            raise NotImplementedError

    @hookimpl
    def edgeopt_backends():
        return [Stranger]
"""
BUILT_IN = sorted(find_backends().backends)
SPEECHLESS = """
class Odd(Exception):
    def __str__(self):
        return 1 / 0
raise Odd
"""
LISTING = """
import json
from edgeopt.registry import find_backends
registry = find_backends()
print(json.dumps({
    "backends": {name: r.plugin.origin for name, r in registry.backends.items()},
    "broken": {plugin.name: [plugin.distribution, plugin.version, reason] for plugin, reason in registry.broken},
    "contracts": {plugin.name: plugin.contract for plugin in registry.plugins},
}))
"""


def listing(site, **variables):
    """What a fresh process with these packages finds."""
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "EDGEOPT_CACHE": str(site / "cache"), **variables}
    done = subprocess.run([sys.executable, "-c", LISTING], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_the_built_in_backends_come_through_the_same_door():
    registry = find_backends()
    assert set(registry.backends) >= {"tflite", "tf-gpu", "saved-without-optimizer"}
    assert registry.broken == ()
    assert registry.get("tflite").plugin.distribution == "edgeopt"


def test_a_strangers_backend_is_found_with_its_distribution(tmp_path):
    install(tmp_path, "edgeopt-stranger", GOOD, version="2.5")
    assert listing(tmp_path)["backends"]["stranger"] == "edgeopt-stranger 2.5"


def test_broken_plugins_are_rows_with_a_reason_and_the_others_stay(tmp_path):
    replace = [
        ("imports", "import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("exits", "raise SystemExit(3)", "SystemExit: 3"),
        ("leaves", "import os; os._exit(3)", "importing it ended the process with exit code 3"),
        ("aborts", "import os; os.abort()", "importing it ended the process by SIGABRT"),
        ("segfaults", "import ctypes; ctypes.string_at(0)", "importing it ended the process by SIGSEGV"),
        ("odd", "class Odd(BaseException): pass\nraise Odd('no')", "Odd: no"),
        ("interrupts", "raise KeyboardInterrupt('mine')", "KeyboardInterrupt: mine"),
        ("speechless", SPEECHLESS, "Odd: <Odd whose text fails with ZeroDivisionError>"),
        ("undecodable", "raise ValueError('bad \\udcff name')", "ValueError: bad \\udcff name"),
        ("untold", GOOD.replace('"a stranger\'s backend"', "None"), "Stranger.summary is None; wanted a text"),
        ("demanding", GOOD.replace("runner =", "requires = 5\n        runner ="), "requires is 5; wanted a tuple of"),
        ("choosy", GOOD.replace("runner =", "preferred_devices = None\n        runner ="), "preferred_devices is None"),
        (
            "leaves-later",
            GOOD.replace("return [Stranger]", "import os; os._exit(3)"),
            "ended the process with exit code 3",
        ),
        ("endless", GOOD.replace("return [Stranger]", "while True: yield Stranger"), "gave more than 1,000 backends"),
        ("no-path", GOOD.replace("Path(__file__)", "None"), "Stranger.runner is None, and there is no such file"),
        ("chatty", "print('x' * 1_000_000)", "implements no hook edgeopt_backends; is @hookimpl missing?"),
        ("misspelt", GOOD.replace("def edgeopt_backends", "def edgeopt_backend"), "unknown hook 'edgeopt_backend'"),
        ("hookless", "", "implements no hook edgeopt_backends; is @hookimpl missing?"),
        ("abstract", GOOD.replace("def export", "def exports"), "Stranger does not implement export"),
        ("nameless", GOOD.replace('name = "stranger"', ""), "Stranger has no name"),
        ("shouting", GOOD.replace('"stranger"', '"STRANGER"'), "wanted lower case with hyphens"),
        ("runnerless", GOOD.replace("Path(__file__)", 'Path("gone.py")'), "there is no such file"),
        ("text", GOOD.replace("[Stranger]", '"stranger"'), "returned str, not an iterable of Backend classes"),
        ("instance", GOOD.replace("[Stranger]", "[1]"), "returned 1, which is no subclass of Backend"),
        ("raises", GOOD.replace("return [Stranger]", "1 / 0"), "ZeroDivisionError: division by zero"),
    ]
    for name, code, _ in replace:
        install(tmp_path, name, code)
    found = listing(tmp_path)
    assert set(found["backends"]) >= {"tflite", "tf-gpu", "saved-without-optimizer"}
    for name, _, reason in replace:
        distribution, version, said = found["broken"][name]
        assert (distribution, version) == (name, "1.0")
        assert reason in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "EDGEOPT_CONTRACT = 99",
            "written for contract 99, a newer one: this edgeopt keeps contracts 1 to 2; upgrade edgeopt",
        ),
        (
            "EDGEOPT_CONTRACT = 0",
            "written for contract 0, a retired one: this edgeopt keeps contracts 1 to 2; upgrade aged",
        ),
        ("EDGEOPT_CONTRACT = 'one'", "EDGEOPT_CONTRACT is 'one'; wanted a whole number"),
    ],
)
def test_a_plugin_of_another_contract_is_listed_and_not_loaded(tmp_path, line, said):
    install(tmp_path, "aged", f"{line}\nopen({str(tmp_path / 'loaded')!r}, 'w').close()")
    found = listing(tmp_path)
    assert found["broken"]["aged"] == ["aged", "1.0", said]
    assert not (tmp_path / "loaded").exists()


def test_a_plugin_that_hangs_on_import_is_broken_and_a_good_one_is_tried_once(tmp_path, monkeypatch):
    import edgeopt.probe

    install(tmp_path, "sleeper", "import time; time.sleep(60)")
    install(tmp_path, "counted", f"open({str(tmp_path / 'imports')!r}, 'a').write('.')")
    monkeypatch.setattr(edgeopt.probe, "LIMIT_S", 1.0)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("EDGEOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    assert edgeopt.probe.why_deadly("sleeper", "1") == "importing it took more than 1 s"
    for version in ("1", "1", "2"):
        assert edgeopt.probe.why_deadly("counted", version) is None
    assert (tmp_path / "imports").read_text() == ".."


def test_what_says_no_contract_was_written_for_the_first(tmp_path):
    install(tmp_path, "plain", GOOD)
    install(tmp_path, "exact", "EDGEOPT_CONTRACT = 1\n" + textwrap.dedent(GOOD).replace('"stranger"', '"exact"'))
    assert listing(tmp_path)["contracts"].items() >= {"plain": 1, "exact": 1}.items()


@pytest.mark.parametrize(
    ("wanted", "backends"),
    [
        ("", []),
        ("plain", ["stranger"]),
        ("edgeopt", BUILT_IN),
        ("tflite", ["tflite"]),
    ],
)
def test_the_user_says_which_plugins_are_loaded(tmp_path, wanted, backends):
    install(tmp_path, "plain", GOOD)
    install(tmp_path, "wreck", "1 / 0")
    found = listing(tmp_path, EDGEOPT_PLUGINS=wanted)
    assert sorted(found["backends"]) == backends
    assert found["broken"] == {}


def test_an_unknown_plugin_is_a_usage_error(edgeopt):
    edgeopt.environment["EDGEOPT_PLUGINS"] = "tflit"
    code, out, err = edgeopt.run("backends")
    assert (code, out) == (2, "")
    assert err == "error: EDGEOPT_PLUGINS: no plugin is called 'tflit'\nhint: did you mean tflite?\n"


@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_plugin_can_be_left_out(edgeopt, place):
    edgeopt.install("wreck", "1 / 0")
    given = ["--no-plugin", "wreck", "--no-plugin=tf-gpu"]
    arguments = [*given, "backends"] if place == "before" else ["backends", *given]
    code, found = edgeopt.json(*arguments)
    assert code == 0
    assert [backend["name"] for backend in found["backends"]] == [name for name in BUILT_IN if name != "tf-gpu"]
    assert found["broken"] == []


def test_two_plugins_with_one_backend_name_are_both_named_and_neither_is_used(tmp_path):
    install(tmp_path, "one", GOOD)
    install(tmp_path, "two", GOOD)
    found = listing(tmp_path)
    assert "stranger" not in found["backends"]
    assert {name: said for name, (_, _, said) in found["broken"].items()} == dict.fromkeys(
        ("one", "two"), "the backend name 'stranger' is claimed more than once: one 1.0 and two 1.0"
    )


def test_a_target_whose_backend_two_plugins_claim_is_a_row_and_not_the_end(edgeopt):
    edgeopt.install("one", GOOD)
    edgeopt.install("two", GOOD)
    (edgeopt.folder / "targets").mkdir()
    (edgeopt.folder / "targets" / "both.toml").write_text('backend = "stranger"\n')
    code, run = edgeopt.json("export", "-t", "both")
    assert code == 3
    error = run["results"][1]["error"]
    assert error["kind"] == "plugin"
    assert error["message"] == "the backend name 'stranger' is claimed more than once: one 1.0 and two 1.0"
    assert error["hint"] == "uninstall all of them but one, or use --no-plugin"


def test_an_unknown_backend_gets_a_suggestion_and_a_broken_one_its_reason():
    sick = Plugin("sick", "edgeopt_sick", "edgeopt-sick", "0.3", problem="it coughs")
    registry = make_registry([*find_backends().plugins, sick])
    with pytest.raises(UsageError) as caught:
        registry.get("tflit")
    assert caught.value.hint == "did you mean tflite?"
    with pytest.raises(PluginError) as caught:
        registry.get("sick")
    assert caught.value.message == "the plugin sick of edgeopt-sick 0.3 is broken: it coughs"
    assert caught.value.hint == "tell its authors, or remove it: pip uninstall edgeopt-sick"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return False", "its check gave a bool; wanted None, or a text that says why"),
        ("raise SystemExit(9)", "its check failed: SystemExit: 9"),
        ("raise KeyboardInterrupt", "its check failed: KeyboardInterrupt"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", "its check failed: Odd: <Odd whose text"),
        ("print('hello'); return 'because'", "because"),
    ],
)
def test_what_a_check_of_a_backend_does_is_its_reason(capfd, body, said):
    scope = {}
    exec(f"def unavailable():\n    {body}", scope)  # noqa: S102 - lines of this test
    backend = type("Sick", (Backend,), {"name": "sick", "unavailable": scope["unavailable"]})
    reason = RegisteredBackend(backend, Plugin("sick", "sick", "sick", "1")).why_not()
    assert reason.startswith(said)
    assert capfd.readouterr().out == ""


def test_what_a_module_changes_for_the_whole_process_is_put_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEPT", "here")

    def stray():
        os.chdir("/")
        os.environ.clear()
        return sys.stdin.fileno() and os.read(0, 10)

    monkeypatch.setattr(sys, "stdin", os.fdopen(0, closefd=False))
    assert not call_stranger(stray)
    assert Path.cwd() == tmp_path
    assert os.environ["KEPT"] == "here"


def test_a_real_ctrl_c_in_a_strangers_code_still_interrupts(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(KeyboardInterrupt):
            call_stranger(lambda: os.kill(os.getpid(), signal.SIGINT) or time.sleep(5))
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


LOUD = """
    import os, sys
    os.write(1, b"by the descriptor")
    print("by Python")
    os.system("echo by a child")
    kept = sys.stdout
    sys.stdout = None
    sys.__stdout__.close()
"""


def test_whatever_a_module_does_to_standard_output_json_stands_alone(edgeopt):
    edgeopt.install("loud", LOUD)
    code, found = edgeopt.json("backends")
    assert code == 0
    assert [plugin["name"] for plugin in found["broken"]] == ["loud"]
