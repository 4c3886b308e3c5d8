"""`edgeopt verify`: an artifact as it was written, and every way in which it can differ."""

import json
from dataclasses import replace

import pytest

from edgeopt.artifact import check_files, write_manifest
from edgeopt.devices.local import LocalDevice
from edgeopt.devices.remote import NoPythonError


@pytest.fixture
def artifact(tmp_path):
    """An artifact of two files, in the folder of a run."""
    folder = tmp_path / "dist" / "model" / "target"
    (folder / "sub").mkdir(parents=True)
    files = [folder / "model.bin", folder / "sub" / "more.bin"]
    for file in files:
        file.write_bytes(b"content of " + file.name.encode())
    write_manifest(folder, {"target": "target"}, check_files(folder, files[0], files))
    return folder


@pytest.mark.parametrize("path", ["dist/model/target", "dist/model", "dist"])
def test_untouched(cli, artifact, path):
    ended = cli("verify", path)
    assert (ended.code, ended.out, ended.err) == (0, "dist/model/target is as it was written (2 files)\n", "")


def test_changed_missing_and_extra_files(cli, artifact):
    (artifact / "model.bin").write_bytes(b"content of model.bim")
    (artifact / "sub" / "more.bin").unlink()
    (artifact / "extra").write_text("x")
    ended = cli("verify", "dist/model/target")
    assert ended.code == 8
    assert (
        ended.out
        == """\
dist/model/target has changed
  model.bin has changed
  sub/more.bin is missing
  extra is not in the manifest
"""
    )


def test_as_json(cli, artifact):
    (artifact / "extra").write_text("x")
    ended = cli("verify", "dist", "--json", "-")
    assert ended.code == 8
    assert json.loads(ended.out) == [
        {"path": "dist/model/target", "files": 2, "problems": ["extra is not in the manifest"]}
    ]


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_no_artifact(cli, path):
    ended = cli("verify", path)
    assert (ended.code, ended.out) == (8, "")
    assert ended.err.startswith("error: ")
    assert ended.err.endswith("is no artifact: it has no edgeopt.json\nhint: name a folder that edgeopt export wrote\n")


@pytest.fixture
def needy(artifact, monkeypatch):
    """An artifact of tflite that needs VNNI, on a processor without it."""
    facts = LocalDevice.facts

    def without_vnni(device):
        found = facts(device)
        return replace(found, machine="x86_64", cpu="Old", details={**found.details, "int8_features": "none"})

    monkeypatch.setattr(LocalDevice, "facts", without_vnni)
    known = {"target": "target", "backend": "tflite", "needs": ["vnni"], "fallback": "reduce_range=true"}
    files = [artifact / "model.bin", artifact / "sub" / "more.bin"]
    (artifact / "edgeopt.json").unlink()
    write_manifest(artifact, known, check_files(artifact, files[0], files))
    return artifact


def test_a_device_that_cannot_run_it(cli, needy):
    ended = cli("verify", "dist", "--device", "local")
    assert ended.code == 4
    assert (
        ended.out
        == """\
dist/model/target is as it was written (2 files)
  cannot run on local: this file needs VNNI, which local (Old) does not have:
  its results would be wrong
  hint: export again with --set target.reduce_range=true, or with --device for a
  device that has VNNI
"""
    )
    ended = cli("verify", "dist", "--device", "local", "--json", "-")
    assert json.loads(ended.out) == [
        {
            "path": "dist/model/target",
            "files": 2,
            "problems": [],
            "misfits": {
                "local": {
                    "message": "this file needs VNNI, which local (Old) does not have: its results would be wrong",
                    "hint": "export again with --set target.reduce_range=true,"
                    " or with --device for a device that has VNNI",
                }
            },
        }
    ]


def test_a_device_that_can(cli, needy):
    manifest = json.loads((needy / "edgeopt.json").read_text())
    (needy / "edgeopt.json").write_text(json.dumps({**manifest, "needs": []}))
    ended = cli("verify", "dist", "--device", "local")
    assert (ended.code, ended.out) == (
        0,
        "dist/model/target is as it was written (2 files)\n  can run on local\n",
    )


def test_an_older_int8_file_does_not_say_on_which_processors_it_is_right(cli, needy):
    manifest = json.loads((needy / "edgeopt.json").read_text())
    old = {name: value for name, value in manifest.items() if name not in {"needs", "fallback"}}
    (needy / "edgeopt.json").write_text(json.dumps({**old, "metadata": {"quantization": "int8"}}))
    ended = cli("verify", "dist", "--device", "local")
    assert ended.code == 4
    assert "does not declare whether this int8 file is right without VNNI" in " ".join(ended.out.split())


def test_a_phone_without_python(cli, needy, monkeypatch):
    def no_python(self, distributions, environment=None):
        raise NoPythonError("local: it has no Python", hint="install it")

    monkeypatch.setattr(LocalDevice, "versions", no_python)
    manifest = json.loads((needy / "edgeopt.json").read_text())
    (needy / "edgeopt.json").write_text(json.dumps({**manifest, "needs": []}))
    ended = cli("verify", "dist", "--device", "local")
    assert (ended.code, ended.out.splitlines()[1:]) == (
        4,
        ["  cannot run on local: local: it has no Python", "  hint: install it"],
    )


def test_one_broken_manifest_hides_no_other_artifact(cli, needy):
    broken = needy.parent / "broken"
    broken.mkdir()
    (broken / "edgeopt.json").write_text('{"files": [{"path": "x", "bytes": "x", "sha256": ""}]}')
    ended = cli("verify", "dist", "--device", "local")
    assert ended.code == 8
    assert "dist/model/broken has changed" in ended.out
    assert "dist/model/target is as it was written (2 files)" in ended.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": ["quantization"], "needs": None}, "metadata is ['quantization']"),
        ({"needs": "vnni"}, "needs is 'vnni'"),
        ({"fallback": "x=1; rm -rf ~"}, "fallback is 'x=1; rm -rf ~'"),
        ({"needs": ["avx99"]}, "this file needs avx99; this edgeopt does not know all of it"),
        ({"needs": ["vnni", "vnni"]}, "this file needs VNNI, which"),
    ],
)
def test_a_manifest_that_says_something_else(cli, needy, change, message):
    manifest = json.loads((needy / "edgeopt.json").read_text())
    (needy / "edgeopt.json").write_text(json.dumps({**manifest, **change}))
    ended = cli("verify", "dist", "--device", "local")
    assert ended.code == 4
    assert message in " ".join(ended.out.split())


def test_a_device_that_nobody_knows(cli, artifact):
    ended = cli("verify", "dist", "--device", "toaster")
    assert (ended.code, ended.out) == (2, "")
    assert "\nerror: no device is called 'toaster'\n" in ended.err
