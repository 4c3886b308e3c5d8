"""Runs artifacts in a process of its own: a runner must set threads and GPUs up before TensorFlow has started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CHILD = """
import importlib.util, json, sys
from pathlib import Path
import numpy as np

for number, case in enumerate(json.loads(Path(sys.argv[1], "cases.json").read_text())):
    spec = importlib.util.spec_from_file_location("runner", case["runner"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.load(case["artifact"], 1)
    model.feed(dict(np.load(Path(sys.argv[1], f"{number}-feed.npz"))))
    model.invoke()
    np.savez(Path(sys.argv[1], f"{number}-outputs.npz"), **model.outputs())
    said = {"untimed": model.untimed, "facts": model.facts(), "imported": "edgeopt" in sys.modules}
    Path(sys.argv[1], f"{number}.json").write_text(json.dumps(said))
"""


@dataclass
class Ran:
    """What a runner answered and said about itself."""

    outputs: dict[str, Any]
    facts: dict[str, Any]
    untimed: str | None
    imported_edgeopt: bool


def run_all(folder: Path, cases: list[tuple[Path, Path, dict[str, Any]]]) -> list[Ran]:
    """Run each case, a runner file, an artifact and a feed, one after another without a GPU."""
    folder.mkdir()
    for number, (_, _, feed) in enumerate(cases):
        np.savez(folder / f"{number}-feed.npz", **feed)
    listed = [{"runner": str(runner), "artifact": str(artifact)} for runner, artifact, _ in cases]
    (folder / "cases.json").write_text(json.dumps(listed))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run([sys.executable, "-c", CHILD, str(folder)], check=True, env=environment, cwd=folder)
    ran = []
    for number in range(len(cases)):
        said = json.loads((folder / f"{number}.json").read_text())
        outputs = dict(np.load(folder / f"{number}-outputs.npz"))
        ran.append(Ran(outputs, said["facts"], said["untimed"], said["imported"]))
    return ran
