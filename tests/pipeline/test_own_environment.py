"""A backend whose requirements cannot live beside edgeopt's: an environment of its own, made when asked."""

import json

import pytest

PLUGIN = '''
    """A backend that stores what the source answers, and works only where `toolz` is."""

    import sys
    from pathlib import Path

    from edgeopt.api import Artifact, Backend, ExportError, hookimpl


    class Apart(Backend):
        name = "apart"
        summary = "lives apart"
        runner = Path(__file__).with_name("apart_runner.py")
        environment = ("toolz==1.0.0",)
        requires = ("toolz>=1", "numpy")

        def export(self, request):
            import numpy as np
            import toolz

            found = []
            for module in ("tensorflow", "edgeopt_tflite", "pytest"):
                try:
                    __import__(module)
                    found.append(module)
                except ImportError:
                    pass
            feed = toolz.first(request.calibration)
            wanted = request.source.infer(feed)
            try:
                request.source.keras()
            except ExportError as error:
                refused = error.message
            main = request.out_dir / "model.npz"
            np.savez(main, **{name: array.shape for name, array in wanted.items()})
            total = float(wanted["probabilities"].sum())
            facts = {"prefix": sys.prefix, "found": ",".join(found), "refused": refused, "sum": total}
            return Artifact(main, (main,), facts)


    @hookimpl
    def edgeopt_backends():
        return [Apart]
'''
RUNNER = """
import sys

import numpy as np
import toolz


class Runner:
    def __init__(self, path):
        self.shapes = dict(np.load(path))

    def feed(self, inputs):
        self.pixels = toolz.first(inputs.values()).reshape(-1).astype(np.float32)

    def invoke(self):
        sizes = {name: int(np.prod(shape)) for name, shape in self.shapes.items()}
        self.answer = {name: self.pixels[400 : 400 + size].reshape(self.shapes[name]) for name, size in sizes.items()}

    def outputs(self):
        return self.answer

    def facts(self):
        return {"runner_prefix": sys.prefix}


def load(path, threads):
    return Runner(path)
"""


@pytest.fixture
def apart(edgeopt):
    edgeopt.install("edgeopt-apart", PLUGIN, version="1.2")
    module = edgeopt.folder / "site-packages" / "edgeopt_apart.py"
    package = module.with_suffix("")
    package.mkdir()
    module.rename(package / "__init__.py")
    (package / "apart_runner.py").write_text(RUNNER)
    (edgeopt.folder / "targets").mkdir()
    (edgeopt.folder / "targets" / "apart.toml").write_text('backend = "apart"\n')
    return edgeopt


@pytest.mark.slow
def test_it_is_made_when_asked_and_neither_export_nor_runner_sees_the_other(apart):
    quick = ("--seconds", "0.2", "--min-iterations", "30")
    code, run = apart.json("export", "-t", "apart", *quick)
    assert code == 4
    error = run["results"][1]["error"]
    command = "edgeopt plugins prepare apart"
    assert error["message"] == f"its own environment is not made yet; make it: {command}"
    code, listed = apart.json("plugins")
    plugin = next(plugin for plugin in listed["plugins"] if plugin["name"] == "edgeopt-apart")
    assert plugin["backends"] == [{"name": "apart", "unavailable": error["message"], "environment": ["toolz==1.0.0"]}]

    code, out, err = apart.run("plugins", "prepare", "apart", "--json", "prepared.json")
    assert code == 0, err
    assert err.startswith("apart gets an environment with toolz==1.0.0, numpy")
    assert out.startswith("apart is ready, in ")
    prepared = json.loads((apart.folder / "prepared.json").read_text())
    assert (prepared["name"], prepared["python"]) == ("apart", f"{prepared['folder']}/bin/python")
    assert out == f"apart is ready, in {prepared['folder']}\n"
    assert prepared["packages"]["toolz"] == "1.0.0"

    code, run = apart.json("export", "-t", "apart,tflite-float32", *quick)
    assert code == 0, json.dumps(run["results"][1]["error"])
    rows = {row["target"]: row for row in run["results"]}
    facts = rows["apart"]["artifact"]["metadata"]
    made = str(apart.folder / "cache" / "environments" / "apart-")
    assert facts["prefix"].startswith(made)
    assert facts["runner_prefix"] == facts["prefix"]
    assert facts["found"] == ""
    assert facts["sum"] == pytest.approx(1, abs=1e-5)
    assert facts["refused"] == "a backend with an environment of its own has no Keras model"
    assert rows["apart"]["plugin"] == "edgeopt-apart 1.2"
    assert rows["apart"]["latency"]["median_s"] > 0
    assert rows["tflite-float32"]["status"] == "ok"


def test_what_cannot_be_installed_leaves_no_environment_behind(apart):
    module = apart.folder / "site-packages" / "edgeopt_apart" / "__init__.py"
    module.write_text(module.read_text().replace("toolz==1.0.0", "toolz==0.0.0.1"))
    code, out, err = apart.run("plugins", "prepare", "apart")
    assert (code, out) == (4, "")
    assert "error: the environment cannot be made: ERROR: " in err
    assert "hint: does this machine reach a package registry" in err
    assert list((apart.folder / "cache" / "environments").iterdir()) == []


def test_a_backend_without_one_has_nothing_to_prepare(edgeopt):
    assert edgeopt.run("plugins", "prepare", "tflite") == (
        2,
        "",
        "error: the backend tflite has no environment of its own\nhint: there is nothing to prepare\n",
    )
