"""The guide for plugin authors: its code is one plugin that works, and what messages link to is there."""

import re
from pathlib import Path

import pytest

from edgeopt.testing.guide import GUIDE, Section

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / GUIDE).read_text("utf-8")
BLOCK = re.compile(r"^<!-- (?:file: (\S+)|command) -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADINGS = [
    "The backend",
    "Options",
    "Export",
    "The same bytes twice",
    "The runner",
    "Requirements",
    "Processors",
    "Threads",
    "Synchronising",
    "Models it must take",
    "Fidelity",
    "Targets",
    "Publishing",
]


def files() -> dict[str, str]:
    """By path: the text of each file of the plugin; later blocks of one file go on where the one before ended."""
    found = {}
    for path, _, code in BLOCK.findall(TEXT):
        if path:
            gap = "\n" if code.startswith(" ") else "\n\n"
            found[path] = f"{found[path]}{gap}{code}" if path in found else code
    return found


def commands() -> list[str]:
    return [code.strip() for path, language, code in BLOCK.findall(TEXT) if not path and language == "sh"]


def test_headings():
    assert re.findall(r"^## (.*)$", TEXT, flags=re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("section", Section)
def test_every_link_of_the_conformance_kit_arrives(section):
    anchors = {heading.lower().replace(" ", "-") for heading in HEADINGS}
    file, _, anchor = section.link.partition("#")
    assert (ROOT / file).is_file()
    assert anchor in anchors


def test_every_link_of_the_documents_arrives():
    for document in ("writing-a-backend.md", "contract.md", "contract-history.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "docs" / document).read_text("utf-8")):
            assert (ROOT / "docs" / link).exists(), f"{document} links to {link}"


def test_no_block_is_left_out():
    assert len(BLOCK.findall(TEXT)) == TEXT.count("\n```") // 2
    assert sorted(files()) == [
        "pyproject.toml",
        "src/edgeopt_zipped/__init__.py",
        "src/edgeopt_zipped/backend.py",
        "src/edgeopt_zipped/options.py",
        "src/edgeopt_zipped/packing.py",
        "src/edgeopt_zipped/runner.py",
        "src/edgeopt_zipped/targets/zipped-lzma.toml",
        "src/edgeopt_zipped/targets/zipped.toml",
        "tests/test_backend.py",
    ]
