"""Checks of a backend's exports."""

from __future__ import annotations

from fnmatch import fnmatch

from edgeopt.testing.guide import Section, refuse, require
from edgeopt.testing.machine import ODD
from edgeopt.testing.rig import RunnerError
from edgeopt.testing.stock import stocked
from edgeopt.testing.subject import Subject, describe
from edgeopt.testing.watching import differences

SHOWN = 8
"""Maximum number of files named in one message."""


class ExportChecks(Subject):
    """Checks on two exports of the embedded demo, each in its own process and folder."""

    def test_it_exports_the_demo(self) -> None:
        """The demo is the first model that every backend must accept."""
        self.must_export("demo", Section.EXPORT, "an artifact of the embedded demo, a small network of convolutions")

    def test_it_lists_every_file(self) -> None:
        """The artifact lists exactly the files in its folder."""
        attempt = self.attempt("demo")
        if attempt.error is not None and attempt.is_mislisted:
            expected = "Artifact.files names every file that was written, all of them inside out_dir"
            refuse(Section.EXPORT, expected, attempt.error.message)
        self.exported("demo")

    def test_it_writes_only_inside_its_folder(self) -> None:
        """Neither Python nor a library creates or changes a file outside `out_dir`."""
        attempt = self.attempt("demo")
        expected = "nothing written outside request.out_dir, but for temporary files, made with the module tempfile"
        if attempt.error is not None and attempt.has_strayed:
            refuse(Section.EXPORT, expected, attempt.error.message)
        require(not attempt.written_outside, Section.EXPORT, expected, _some(attempt.written_outside))
        self.exported("demo")

    def test_it_works_with_any_letters_in_paths(self) -> None:
        """Paths with spaces and non-ASCII letters work, in the export and when the artifact runs."""
        self.exported("demo")
        expected = f"paths such as {ODD!r} work: spaces, and letters beyond ASCII"
        attempt = self.attempt("demo", ODD)
        if attempt.error is not None:
            refuse(Section.EXPORT, expected, f"the export fails there: {describe(attempt.error, attempt.log)}")
        self.answers()
        try:
            with self.lab.open("demo", place=ODD) as rig:
                rig.answers(stocked("demo").few)
        except RunnerError as error:
            refuse(Section.EXPORT, expected, f"the artifact does not run there: {describe(error)}")

    def test_it_writes_the_same_bytes_twice(self) -> None:
        """Two exports of one model are identical, except for the files that the author named."""
        found = differences(self.exported("demo").folder, self.exported("demo", ODD).folder)
        unstated = {path: how for path, how in found.items() if not any(fnmatch(path, wild) for wild in self.varies)}
        expected = "the same bytes from two exports in fresh processes and folders; or name the file: varies=(...)"
        listed = tuple(f"{path} differs: {how}" for path, how in unstated.items())
        require(not unstated, Section.SAME_BYTES, expected, _some(listed))


def _some(texts: tuple[str, ...]) -> str:
    """Join the first `SHOWN` texts, and count the rest."""
    more = f", and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more
