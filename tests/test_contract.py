"""The contract is stored, documented to the last member, and does not change under its number."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from edgeopt import api
from edgeopt.contract import CONTRACT_VERSION, OLDEST_CONTRACT

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "tests" / "contracts"
MEMBERS = [
    (name, member)
    for name, structure in json.loads((STORED / f"{CONTRACT_VERSION}.json").read_text()).items()
    if isinstance(structure, dict)
    for member in (*structure.get("fields", ()), *structure.get("methods", ()))
]


@pytest.fixture(scope="module")
def make_contract():
    """The script that makes the document."""
    spec = importlib.util.spec_from_file_location("make_contract", ROOT / "docs" / "make_contract.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sections():
    """The document's text under each heading."""
    parts = re.split(r"^#+ (.*)$", (ROOT / "docs" / "contract.md").read_text("utf-8"), flags=re.MULTILINE)
    return {heading.strip("`"): text.strip() for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_a_contract_does_not_change_under_its_number(make_contract):
    stored = json.loads((STORED / f"{CONTRACT_VERSION}.json").read_text())
    assert make_contract.structure() == stored, (
        f"edgeopt.api is no longer contract {CONTRACT_VERSION}: plugins rely on what it was. Take the change back, or "
        "raise CONTRACT_VERSION, say in docs/contract-history.md what changed, and run python docs/make_contract.py"
    )


def test_the_test_above_can_fail(make_contract, monkeypatch):
    before = make_contract.structure()
    monkeypatch.setattr(api.Backend, "export", lambda self, request, more: None)
    assert make_contract.structure()["Backend"] != before["Backend"]
    monkeypatch.undo()
    monkeypatch.setitem(api.Artifact.__annotations__, "size", "int")
    assert make_contract.structure()["Artifact"] != before["Artifact"]
    monkeypatch.undo()
    monkeypatch.setattr(api.Artifact.__dataclass_fields__["calibration_feeds"], "default", 1)
    assert make_contract.structure()["Artifact"] != before["Artifact"]
    monkeypatch.undo()
    monkeypatch.setattr(api, "__all__", [*api.__all__, "__doc__"])
    assert make_contract.structure() != before


def test_a_stored_contract_is_not_written_again(make_contract, monkeypatch, tmp_path):
    monkeypatch.setattr(make_contract, "DOCUMENT", tmp_path / "contract.md")
    monkeypatch.setattr(make_contract, "STORED", tmp_path / "contracts" / "1.json")
    make_contract.main()
    assert json.loads((tmp_path / "contracts" / "1.json").read_text()) == make_contract.structure()
    (tmp_path / "contracts" / "1.json").write_text("{}")
    make_contract.main()
    assert (tmp_path / "contracts" / "1.json").read_text() == "{}"


def test_every_version_is_stored_and_has_its_history():
    history = (ROOT / "docs" / "contract-history.md").read_text("utf-8")
    for version in range(1, CONTRACT_VERSION + 1):
        assert (STORED / f"{version}.json").is_file()
        assert f"## Version {version}\n" in history
    assert 1 <= OLDEST_CONTRACT <= CONTRACT_VERSION


def test_the_history_names_everything_that_there_is():
    named = set(re.findall(r"`(\w+)", (ROOT / "docs" / "contract-history.md").read_text("utf-8")))
    assert named >= {*api.__all__, *(member for _, member in MEMBERS)}


def test_the_document_is_what_the_docstrings_say(make_contract):
    assert (ROOT / "docs" / "contract.md").read_text("utf-8") == make_contract.document(), (
        "run python docs/make_contract.py"
    )


@pytest.mark.parametrize("name", sorted(api.__all__))
def test_every_name_is_documented(sections, name):
    assert re.search(r"^[A-Z][^|]{20,}\.$", sections[name], flags=re.MULTILINE), f"{name} has no meaning"


@pytest.mark.parametrize(("name", "member"), MEMBERS)
def test_every_member_is_documented(sections, name, member):
    if f"{name}.{member}" in sections:
        code, said = sections[f"{name}.{member}"].removeprefix("```python\n").split("\n```\n")
        assert f"def {member}(" in code
    else:
        (row,) = re.findall(rf"^\| `{member}` \|.*\|$", sections[name], flags=re.MULTILINE)
        said = row.replace("\\|", "").split("|")[4]
    assert len(said.split()) > 2, f"{name}.{member} has no meaning"
