"""The bare environment: exactly what is required can be imported."""

import json
import subprocess
import sys

from edgeopt.testing.bare import closure, command, make_bare

PROBE = """
import json, sys
found = {}
for name in sys.argv[1:]:
    try:
        __import__(name)
        found[name] = True
    except ImportError:
        found[name] = False
print(json.dumps(found))
"""


def imports(tmp_path, requirements, *modules):
    """Which modules a process in the bare environment can import."""
    make_bare(tmp_path / "packages", requirements)
    script = tmp_path / "probe.py"
    script.write_text(PROBE)
    argv = [*command(sys.executable, tmp_path / "packages", script), *modules]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=tmp_path)
    return json.loads(done.stdout.splitlines()[-1])


def test_without_requirements_there_is_numpy_and_the_standard_library(tmp_path):
    found = imports(tmp_path, [], "json", "numpy", "packaging", "edgeopt", "pytest")
    assert found == {"json": True, "numpy": True, "packaging": False, "edgeopt": False, "pytest": False}


def test_what_is_required_comes_with_all_that_it_requires(tmp_path):
    found = imports(tmp_path, ["pytest>=8"], "pytest", "iniconfig", "pluggy", "rich")
    assert found == {"pytest": True, "iniconfig": True, "pluggy": True, "rich": False}


def test_a_shared_namespace_shows_only_the_part_that_is_required(tmp_path):
    make_bare(tmp_path / "packages", ["protobuf"])
    assert {place.name for place in (tmp_path / "packages" / "google").iterdir()} == {"protobuf", "_upb"}


def test_a_whole_package_is_one_link(tmp_path):
    make_bare(tmp_path / "packages", [])
    assert (tmp_path / "packages" / "numpy").is_symlink()


def test_extras_are_followed_and_what_is_not_installed_is_left_out():
    assert {"edgeopt", "tf-keras"} <= set(closure(["edgeopt[legacy]"]))
    assert "tf-keras" not in closure(["edgeopt"])
    assert closure(["no-such-distribution>=1"]) == {}
