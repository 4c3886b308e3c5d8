"""A good backend in NumPy alone, and bad ones: each is the good one with one change."""

from dataclasses import dataclass, field

from tests.conftest import install

BACKEND = '''
import json
import os
import re
import subprocess
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeopt.api import Artifact, Backend, ExportError, hookimpl

EDGEOPT_CONTRACT = 1


@dataclass(frozen=True)
class Options:
    bits: int = field(default=32, metadata={"help": "how many bits a weight has"})
    speed: Literal["fast", "slow"] = field(default="fast", metadata={"help": "how it runs"})


class Toy(Backend):
    name = "NAME"
    summary = "a toy"
    runner = Path(__file__).with_name(Path(__file__).stem + "_runner.py")
    Options = Options

    @classmethod
    def unavailable(cls):
        return None

    def export(self, request):
        import numpy as np

        source, out = request.source, request.out_dir
        if source.format != "keras":
            raise ExportError("a toy knows Keras files only", hint="give a .keras file")
        layers, weights, outputs = read(source.path)
        names = [spec.name for spec in source.outputs]
        if list(outputs) == [None]:
            outputs = {names[0]: outputs[None]}
        np.savez(out / "weights.npz", **weights)
        (out / "program.json").write_text(json.dumps({"layers": layers, "outputs": outputs}))
        return Artifact(out / "program.json", (out / "program.json", out / "weights.npz"))


def read(path):
    """Layers, weights and outputs of a Keras file."""
    import h5py

    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as stream, h5py.File(stream) as file:
        config = json.loads(archive.read("config.json"))["config"]
        layers, weights, counts, last = [], {}, {}, None
        for layer in config["layers"]:
            kind, own = layer["class_name"], layer["config"]
            key = re.sub("([a-z])([A-Z])", r"\\1_\\2", re.sub("(.)([A-Z][a-z]+)", r"\\1_\\2", kind)).lower()
            counts[key] = counts.get(key, -1) + 1
            group = f"layers/{key}" + (f"_{counts[key]}" if counts[key] else "") + "/vars"
            for number in sorted(file[group] if group in file else ()):
                weights[f"{own['name']}/{number}"] = file[group][number][()]
            nodes = layer.get("inbound_nodes")
            argument = nodes[0]["args"][0] if nodes else None
            many = argument if isinstance(argument, list) else [argument] if argument else []
            given = [tensor["config"]["keras_history"][0] for tensor in many] or ([last] if last else [])
            given = [] if kind == "InputLayer" else given
            wanted = ("activation", "strides", "padding", "epsilon", "scale")
            settings = {name: own[name] for name in wanted if name in own}
            layers.append([kind, own["name"], given, settings])
            last = own["name"]
    listed = config.get("output_layers", [last])
    if isinstance(listed, dict):
        return layers, weights, {name: history[0] for name, history in listed.items()}
    return layers, weights, {None: last}


@hookimpl
def edgeopt_backends():
    return [Toy]
'''

RUNNER = """
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np


class Model:
    def __init__(self, path, threads):
        with open(path) as file:
            self.program = json.load(file)
        self.weights = dict(np.load(os.path.join(os.path.dirname(path), "weights.npz")))
        self.calls = 0
        self.kept = []

    def feed(self, inputs):
        self.inputs = dict(inputs)

    def invoke(self):
        self.found = self.run()

    def outputs(self):
        return dict(self.found)

    def run(self):
        values = dict(self.inputs)
        for kind, name, given, settings in self.program["layers"]:
            if kind != "InputLayer":
                values[name] = LAYERS[kind](self, name, [values[key] for key in given], settings)
        return {name: values[layer] for name, layer in self.program["outputs"].items()}

    def weight(self, name, number):
        return self.weights[f"{name}/{number}"]


def dense(model, name, given, settings):
    answer = given[0] @ model.weight(name, 0) + model.weight(name, 1)
    if settings["activation"] == "relu":
        return np.maximum(answer, 0)
    if settings["activation"] == "softmax":
        answer = np.exp(answer - answer.max(-1, keepdims=True))
        return answer / answer.sum(-1, keepdims=True)
    return answer


def windows(x, size, step, padding):
    if padding == "same":
        wide = [max(0, (-(-n // step) - 1) * step + size - n) for n in x.shape[1:3]]
        x = np.pad(x, [(0, 0), *((w // 2, w - w // 2) for w in wide), (0, 0)])
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))[:, ::step, ::step]


def conv(model, name, given, settings):
    kernel = model.weight(name, 0)
    seen = windows(given[0], kernel.shape[0], settings["strides"][0], settings["padding"])
    flat = seen.reshape(*seen.shape[:3], -1)
    return flat @ kernel.transpose(2, 0, 1, 3).reshape(-1, kernel.shape[3])


def depthwise(model, name, given, settings):
    kernel = model.weight(name, 0)
    seen = windows(given[0], kernel.shape[0], settings["strides"][0], settings["padding"])
    return np.einsum("bhwcij,ijc->bhwc", seen, kernel[..., 0])


def normalise(model, name, given, settings):
    gamma, beta, mean, variance = (model.weight(name, number) for number in range(4))
    scale = gamma / np.sqrt(variance + np.float32(settings["epsilon"]))
    return given[0] * scale + (beta - mean * scale)


LAYERS = {
    "Add": lambda model, name, given, settings: given[0] + given[1],
    "BatchNormalization": normalise,
    "Concatenate": lambda model, name, given, settings: np.concatenate(given, -1),
    "Conv2D": conv,
    "Dense": dense,
    "DepthwiseConv2D": depthwise,
    "Dropout": lambda model, name, given, settings: given[0],
    "Embedding": lambda model, name, given, settings: model.weight(name, 0)[given[0]],
    "Flatten": lambda model, name, given, settings: given[0].reshape(len(given[0]), -1),
    "GlobalAveragePooling2D": lambda model, name, given, settings: given[0].mean((1, 2)),
    "ReLU": lambda model, name, given, settings: np.maximum(given[0], 0),
    "Rescaling": lambda model, name, given, settings: given[0] * np.float32(settings["scale"]),
}


def load(path, threads):
    return Model(path, threads)


def operators(path, threads, feed, seconds):
    model = load(path, threads)
    model.feed(feed)
    times_s = []
    for _ in range(20):  # a single one, and the first at that, would tell how busy the machine is
        begin = time.perf_counter()
        model.invoke()
        times_s.append(time.perf_counter() - begin)
    return [{"name": "everything", "kernel": "numpy", "count": 1, "time_s": min(times_s)}]
"""

WRITE = "        np.savez(out"
ANSWER = "        return dict(self.found)"
INVOKE = "        self.found = self.run()"


@dataclass(frozen=True)
class Bad:
    """What is changed, which check must fail, and what its message must say."""

    check: str
    says: str
    see: str
    backend: dict[str, str] = field(default_factory=dict)
    runner: dict[str, str] = field(default_factory=dict)


ABSENT = {"        return None\n": "        return 'it is a toy'\n"}
"""What is wrong in the listing is seen without any export."""


def refusing(condition, error='ExportError("a toy does not", hint="no hint helps")'):
    """A backend that does not export some models."""
    return {WRITE: f"        if {condition}:\n            raise {error}\n{WRITE}"}


BADS = {
    "talkative": Bad(
        "its summary is one line",
        "one line, of 100 characters",
        "the-backend",
        ABSENT | {'summary = "a toy"': 'summary = "a toy\\nof two lines"'},
    ),
    "heavy": Bad(
        "listing it is cheap and imports nothing heavy",
        "listing it imports numpy",
        "the-backend",
        ABSENT | {"import zipfile\n": "import zipfile\nimport numpy\n"},
    ),
    "slow": Bad(
        "listing it is cheap and imports nothing heavy",
        "0.5 s are allowed",
        "the-backend",
        ABSENT
        | {"\nEDGEOPT": "\nend = time.process_time() + 0.7\nwhile time.process_time() < end:\n    pass\nEDGEOPT"},
    ),
    "silent": Bad(
        "it says whether it is available",
        "it gives ''",
        "the-backend",
        {"        return None\n": "        return ''\n"},
    ),
    "undescribed": Bad(
        "its options are described",
        "no help for bits",
        "options",
        ABSENT | {'metadata={"help": "how many bits a weight has"}': "metadata={}"},
    ),
    "self-willed": Bad(
        "its options have sound defaults",
        "its own defaults are changed: bits",
        "options",
        ABSENT
        | {
            "\n\nclass Toy": "\n    def __post_init__(self):\n"
            '        object.__setattr__(self, "bits", 4)\n\n\nclass Toy'
        },
    ),
    "picky": Bad(
        "its options are validated",
        "speed='slow' raises UsageError: a target: the backend refuses these options: ValueError: not slow",
        "options",
        ABSENT
        | {
            "\n\nclass Toy": '\n    def __post_init__(self):\n        if self.speed == "slow":\n'
            '            raise ValueError("not slow")\n\n\nclass Toy'
        },
    ),
    "aimless": Bad(
        "its target files are sound",
        "unknown option 'bit'",
        "targets",
        ABSENT | {"EDGEOPT_CONTRACT = 1": 'EDGEOPT_CONTRACT = 1\n__path__ = [str(Path(__file__).with_suffix(""))]'},
    ),
    "clumsy": Bad(
        "it exports the demo",
        "ValueError: fell over",
        "export",
        refusing("source.name == 'demo'", 'ValueError("fell over")'),
    ),
    "forgetful": Bad(
        "it lists every file",
        "files that it does not list: notes.txt",
        "export",
        {WRITE: f'        if source.name == "demo":\n            (out / "notes.txt").write_text("a note")\n{WRITE}'},
    ),
    "astray": Bad(
        "it writes only inside its folder",
        "wrote outside its output folder",
        "export",
        {WRITE: f'        if source.name == "demo":\n            Path("stray.txt").write_text("here")\n{WRITE}'},
    ),
    "secretive": Bad(
        "it writes only inside its folder",
        "stray.txt",
        "export",
        {WRITE: f'        if source.name == "demo":\n            subprocess.run(["touch", "stray.txt"])\n{WRITE}'},
    ),
    "latin": Bad(
        "it works with any letters in paths",
        "the export fails there: a toy does not",
        "export",
        refusing("not str(out).isascii()"),
    ),
    "latin-reader": Bad(
        "it works with any letters in paths",
        "the artifact does not run there: at 'load' it raised UnicodeEncodeError",
        "export",
        runner={"        self.calls = 0": "        self.calls = 0\n        path.encode('ascii')"},
    ),
    "fickle": Bad(
        "it writes the same bytes twice",
        "program.json differs: the keys made",
        "the-same-bytes-twice",
        {'"outputs": outputs}': '"outputs": outputs, "made": time.time_ns()}'},
    ),
    "dependent": Bad(
        "its runner imports no edgeopt",
        "imports edgeopt in line",
        "the-runner",
        runner={"import os\n": "import os\ntry:\n    import edgeopt\nexcept ImportError:\n    pass\n"},
    ),
    "failing": Bad(
        "its runner answers",
        "at 'evaluate' it raised ValueError: too many",
        "the-runner",
        runner={INVOKE: f'        if len(self.weights) > 30:\n            raise ValueError("too many")\n{INVOKE}'},
    ),
    "needy": Bad(
        "its runner works in a bare environment",
        "No module named 'packaging'",
        "requirements",
        runner={"import os\n": "import os\nimport packaging\n"},
    ),
    "wide": Bad(
        "it keeps names shapes and dtypes",
        "probabilities (300, 10) float64",
        "the-runner",
        runner={
            ANSWER: "        kinds = {'probabilities': 'float64'}\n"
            "        return {name: value.astype(kinds.get(name, value.dtype)) for name, value in self.found.items()}"
        },
    ),
    "moody": Bad(
        "it gives the same answer twice",
        "the output probabilities differs by",
        "the-runner",
        runner={
            ANSWER: "        self.calls += 1\n"
            "        factor = np.float32(1 + self.calls / 1000)\n"
            "        return {name: value * factor for name, value in self.found.items()}"
        },
    ),
    "undying": Bad(
        "its process ends by itself",
        "it still ran 5 s later",
        "the-runner",
        runner={
            "def load(path, threads):\n": "def load(path, threads):\n    threading.Thread(target=input_never).start()\n"
        }
        | {"LAYERS = {": "def input_never():\n    threading.Event().wait()\n\n\nLAYERS = {"},
    ),
    "greedy": Bad(
        "it honours threads",
        "with threads=1 it could have kept",
        "threads",
        runner={
            "        self.kept = []": "        self.kept = []\n        self.pool = ThreadPoolExecutor(4)",
            INVOKE: "        self.found = list(self.pool.map(lambda _: self.run(), range(4)))[0]",
        },
    ),
    "leaky": Bad(
        "it takes no more memory with time",
        "MB more",
        "the-runner",
        runner={INVOKE: INVOKE + "\n        self.kept.append([{**self.inputs}, {**self.found}])"},
    ),
    "hasty": Bad(
        "it synchronises",
        "for 64 times the work",
        "synchronising",
        runner={
            "        self.kept = []": "        self.kept = []\n        self.pool = ThreadPoolExecutor(1)",
            INVOKE: "        self.pending = self.pool.submit(self.run)",
            ANSWER: "        return dict(self.pending.result())",
        },
    ),
    "boastful": Bad(
        "it tells its operators",
        "together they take",
        "the-runner",
        runner={'"time_s": min(times_s)': '"time_s": 1e6 * min(times_s)'},
    ),
    "lonely": Bad(
        "it takes batches", "a toy does not", "models-it-must-take", refusing("source.inputs[0].shape[0] == 8")
    ),
    "single": Bad(
        "it takes several inputs and outputs",
        "a toy does not",
        "models-it-must-take",
        refusing("len(source.inputs) > 1"),
    ),
    "mixed-up": Bad(
        "it takes several inputs and outputs",
        "a cosine of",
        "models-it-must-take",
        runner={ANSWER: "        return {n: v[:, ::-1] if n == 'kind' else v for n, v in self.found.items()}"},
    ),
    "wordless": Bad(
        "it takes int32 inputs",
        "a cosine of",
        "models-it-must-take",
        runner={"model.weight(name, 0)[given[0]]": "model.weight(name, 0)[given[0] * 0]"},
    ),
    "curt": Bad(
        "it takes an odd model or says why not",
        "a toy knows Keras files only",
        "models-it-must-take",
        {', hint="give a .keras file"': ""},
    ),
    "surprised": Bad(
        "it takes an odd model or says why not",
        "KeyError",
        "models-it-must-take",
        {'ExportError("a toy knows Keras files only", hint="give a .keras file")': 'KeyError("keras")'},
    ),
    "mortal": Bad(
        "it takes an odd model or says why not",
        "its process ended after",
        "models-it-must-take",
        {'raise ExportError("a toy knows Keras files only", hint="give a .keras file")': "os._exit(3)"},
    ),
    "mistaken": Bad(
        "it agrees with the source on the demo",
        "on 0.0 %",
        "fidelity",
        runner={ANSWER: "        return {n: np.roll(v, n == 'probabilities', -1) for n, v in self.found.items()}"},
    ),
}


def install_toy(site, name, bad=None):
    """Put a toy into a folder of packages, as a distribution of its own."""
    code, runner = BACKEND.replace("NAME", name), RUNNER
    for old, new in (bad.backend if bad else {}).items():
        assert code.count(old) == 1, (name, old)
        code = code.replace(old, new)
    for old, new in (bad.runner if bad else {}).items():
        assert runner.count(old) == 1, (name, old)
        runner = runner.replace(old, new)
    install(site, name, code)
    module = name.replace("-", "_")
    (site / f"{module}_runner.py").write_text(runner)
    if "__path__" in code:
        (site / module / "targets").mkdir(parents=True)
        target = f'summary = "one bit"\nbackend = "{name}"\n\n[options]\nbit = 1\n'
        (site / module / "targets" / "one-bit.toml").write_text(target)
