"""What a backend writes outside of its folder, as Python itself tells; in a process of its own, since a hook stays."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, shutil, sys, tempfile
from pathlib import Path
from edgeopt.errors import PluginError
from edgeopt.watch import Watch

workspace = Path(sys.argv[1])
out, elsewhere = workspace / "exports" / "it", workspace.parent / "elsewhere"
watch = Watch()
watch.allow_always(workspace)
Path(elsewhere / "before.txt").write_text("not watched yet")
with watch.allowing(out):
    exec(sys.argv[2])
try:
    watch.check()
except PluginError as error:
    print(error.message.removeprefix("the backend wrote outside its output folder: "))
with watch.allowing(out):
    pass
watch.check()
"""


@pytest.mark.parametrize(
    ("deed", "strays"),
    [
        ("(out / 'model.bin').write_bytes(b'x'); os.mkdir(out / 'sub')", []),
        ("(workspace / 'shared' / 'x').write_text('once')", []),
        ("open(elsewhere / 'before.txt').read()", []),
        ("open(os.devnull, 'w').close()", []),
        ("import json.tool", []),
        ("shutil.rmtree(tempfile.mkdtemp(dir=workspace / 'tmp'))", []),
        ("(out / 'a' / 'b').mkdir(parents=True); (out / 'a' / 'b' / 'c').touch(); shutil.rmtree(out / 'a')", []),
        ("(elsewhere / 'a.txt').write_text('x')", ["a.txt"]),
        ("os.close(os.open(elsewhere / 'b.txt', os.O_CREAT | os.O_WRONLY))", ["b.txt"]),
        ("os.mkdir(elsewhere / 'c')", ["c"]),
        ("os.rename(elsewhere / 'before.txt', out / 'taken.txt')", ["before.txt"]),
        ("(elsewhere / 'before.txt').unlink()", ["before.txt"]),
        ("(elsewhere / 'k').mkdir(); shutil.rmtree(elsewhere / 'k')", ["k"]),
        ("os.chdir(elsewhere); open('d.txt', 'w').close()", ["d.txt"]),
        ("[(elsewhere / f'{n}').touch() for n in range(5)]", ["0", "1", "2 and 2 more"]),
    ],
)
def test_only_what_is_written_elsewhere_is_told(tmp_path, deed, strays):
    workspace = tmp_path / "work"
    for folder in ("exports/it", "shared", "source", "tmp"):
        (workspace / folder).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    argv = [sys.executable, "-c", SCRIPT, str(workspace), deed]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    listed = done.stdout.strip()
    assert listed == ", ".join(str(tmp_path / "elsewhere" / name) for name in strays)
