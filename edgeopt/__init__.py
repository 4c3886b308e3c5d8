"""Export one TensorFlow/Keras model for many devices, run every artifact, and see which file to ship.

Importing this package costs nothing; what is used is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take this name for true; importing typing would cost more than all the rest here
if TYPE_CHECKING:
    from typing import Any

    from edgeopt.pipeline.library import export as export
    from edgeopt.pipeline.library import profile as profile
    from edgeopt.report.schema import Run as Run

    __version__: str

__all__ = ["Run", "__version__", "export", "profile"]

if not TYPE_CHECKING:  # else every misspelt name would pass a type checker

    def __getattr__(name: str) -> Any:
        if name in ("export", "profile"):
            from edgeopt.pipeline import library

            return getattr(library, name)
        if name == "Run":
            from edgeopt.report.schema import Run

            return Run
        if name == "__version__":
            from importlib.metadata import version

            return version("edgeopt")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
