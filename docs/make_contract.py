"""Writes `contract.md` from the docstrings, and the structure of a new contract into `tests/contracts/`.

Run it as `python docs/make_contract.py` after a change to `edgeopt.api`. A structure that is stored already is never
written again: a contract that plugins rely on does not change, there is a next one.
"""  # noqa: INP001 - a script beside the documents, in no package

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt import api, contract, errors, hookspec

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).resolve().parent
DOCUMENT = DOCS / "contract.md"
STORED = DOCS.parent / "tests" / "contracts" / f"{api.CONTRACT_VERSION}.json"
ORDER = (
    "Backend",
    "ExportRequest",
    "SourceModel",
    "TensorSpec",
    "Artifact",
    "NativeTimes",
    "NoOptions",
    "ExportError",
    "Scalar",
)
"""What is read first; whatever else `edgeopt.api` gives comes behind."""
HEAD = """\
# The contract

<!-- Made by docs/make_contract.py from the docstrings; do not edit. -->

This is contract {version}. [Its history](contract-history.md) says what changed, [the guide](writing-a-backend.md)
shows how it is used.
"""


def document() -> str:
    """Return the whole of `contract.md`."""
    parts = [HEAD.format(version=api.CONTRACT_VERSION), inspect.cleandoc(contract.__doc__ or ""), "## The hook"]
    hook = _find(_parsed(hookspec), "edgeopt_backends")
    parts += [_signature(hook).replace("@hookspec", "@hookimpl"), *_text(ast.get_docstring(hook))]
    parts.append("## The names in `edgeopt.api`")
    for name in (*ORDER, *(name for name in api.__all__ if name not in ORDER)):
        parts += _about(name)
    parts.append("## Types that only signatures name")
    for name in ("Feed", "Array"):
        parts += _about(name)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def structure() -> dict[str, Any]:
    """Return names, signatures, fields, types and defaults of `edgeopt.api`: all that a plugin can break on."""
    found = {name: _structure_of(getattr(api, name)) for name in sorted(api.__all__)}
    return {**found, "edgeopt_backends": str(inspect.signature(hookspec.edgeopt_backends))}


def structure_as_text() -> str:
    """Return the structure as it is stored."""
    return json.dumps(structure(), indent=1, sort_keys=True) + "\n"


def _about(name: str) -> Iterator[str]:
    """Yield the paragraphs about one name."""
    node = next((node for module in (contract, errors, hookspec) if (node := _find(_parsed(module), name))), None)
    if node is None:
        raise LookupError(f"{name} is defined neither in contract.py nor in errors.py nor in hookspec.py")
    yield f"### `{name}`"
    if not isinstance(node, ast.ClassDef):
        yield f"`{name} = {ast.unparse(node.value)}`"
        yield from _text(_meaning(node))
        return
    yield from _text(ast.get_docstring(node))
    if name == "ExportError":
        yield f"`{name}{inspect.signature(api.ExportError)}`".replace("'", "")
        yield from _text(inspect.getdoc(errors.EdgeoptError))
        return
    fields = [member for member in node.body if isinstance(member, ast.AnnAssign)]
    if fields:
        yield "\n".join(["| member | type | default | meaning |", "|---|---|---|---|", *map(_row, fields)])
    for method in (member for member in node.body if isinstance(member, ast.FunctionDef)):
        yield f"#### `{name}.{method.name}`"
        yield _signature(method)
        yield from _text(ast.get_docstring(method))


def _row(field: ast.AnnAssign) -> str:
    """Return the row of a table for one field."""
    annotation = ast.unparse(field.annotation).replace("|", "\\|")
    default = "required" if field.value is None else f"`{ast.unparse(field.value)}`"
    if isinstance(field.value, ast.Call):
        default = f"`{next(ast.unparse(word.value) for word in field.value.keywords)}()`"
    return f"| `{ast.unparse(field.target)}` | `{annotation}` | {default} | {' '.join(_meaning(field).split())} |"


def _signature(function: ast.FunctionDef) -> str:
    """Return a function's own line, as code."""
    marks = "".join(f"@{ast.unparse(mark)}\n" for mark in function.decorator_list)
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"```python\n{marks}def {function.name}({ast.unparse(function.args)}){returns}\n```"


def _text(docstring: str | None) -> Iterator[str]:
    """Yield the paragraphs of a docstring; arguments and errors become a list."""
    for paragraph in (docstring or "").split("\n\n"):
        head, _, rest = paragraph.partition("\n")
        if head not in ("Args:", "Raises:"):
            yield paragraph
            continue
        items = (line.partition(": ") for line in textwrap.dedent(rest).replace("\n    ", " ").splitlines())
        raises = "raises " if head == "Raises:" else ""
        yield "\n".join(f"- {raises}`{word}`: {meaning}" for word, _, meaning in items)


def _parsed(module: Any) -> list[ast.stmt]:
    """Return the statements of a module, with those that only type checkers see."""
    body = ast.parse(inspect.getsource(module)).body
    return [inner for node in body for inner in (node.body if isinstance(node, ast.If) else [node])]


def _find(body: list[ast.stmt], name: str) -> Any:
    """Return the statement that defines `name`, with the docstring behind it where it is a variable."""
    for node, following in zip(body, [*body[1:], None], strict=True):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if getattr(node, "name", None) == name or name in [getattr(target, "id", None) for target in targets]:
            _attach(node, following)
            if isinstance(node, ast.ClassDef):
                for member, behind in zip(node.body, [*node.body[1:], None], strict=True):
                    _attach(member, behind)
            return node
    return None


def _attach(node: ast.stmt, following: ast.stmt | None) -> None:
    """Keep the text that stands behind a variable as its meaning."""
    if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
        node.meaning = inspect.cleandoc(str(following.value.value))  # type: ignore[attr-defined]


def _meaning(node: ast.stmt) -> str:
    return str(getattr(node, "meaning", ""))


def _structure_of(value: Any) -> Any:
    """Return what a plugin can see of one name."""
    if not isinstance(value, type):
        return type(value).__name__ if isinstance(value, int) or callable(value) else str(value)
    if issubclass(value, Exception):
        return {"bases": [base.__name__ for base in value.__mro__], "call": str(inspect.signature(value))}
    defaults = {field.name: field for field in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else {}
    fields = {
        name: annotation + _default(defaults.get(name, vars(value).get(name, dataclasses.MISSING)))
        for name, annotation in value.__annotations__.items()
    }
    methods = {
        name: " ".join([type(member).__name__, *_call(getattr(value, name))])
        for name, member in vars(value).items()
        if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
    }
    return {"bases": [base.__name__ for base in value.__bases__], "fields": fields, "methods": methods}


def _call(member: Any) -> list[str]:
    abstract = ["abstract"] if getattr(member, "__isabstractmethod__", False) else []
    return [str(inspect.signature(member)), *abstract] if callable(member) else abstract


def _default(value: Any) -> str:
    """Return how a field is filled where nobody fills it; nothing where somebody must."""
    if isinstance(value, dataclasses.Field):
        made = value.default_factory
        return f" = {made.__name__}()" if made is not dataclasses.MISSING else _default(value.default)
    if value is dataclasses.MISSING or inspect.ismemberdescriptor(value):
        return ""
    return f" = {value.__name__}" if isinstance(value, type) else f" = {value!r}"


def main() -> None:
    """Write the document and, for a new contract, its structure."""
    DOCUMENT.write_text(document(), "utf-8")
    STORED.parent.mkdir(exist_ok=True)
    if not STORED.exists():
        STORED.write_text(structure_as_text(), "utf-8")


if __name__ == "__main__":
    main()
