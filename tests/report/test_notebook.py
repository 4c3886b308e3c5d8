"""The notebook view: the figures of the table, and nothing from outside that is HTML."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from edgeopt.report.schema import Run
from tests.report.conftest import INT8, SOURCE

pytestmark = pytest.mark.quick


class Tags(HTMLParser):
    """Collects tags and text, and that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


def parse(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    tags.close()
    assert not tags.open
    return tags


def test_view_holds_what_the_table_holds(run: Run) -> None:
    tags = parse(run._repr_html_())
    for text in ("tflite-int8", "4.03 MB", "3.12 ms ± 0.05", "4.58x ± 0.08", "98.8 %", "no GPU on this device"):
        assert text in tags.text
    assert "tflite-int8-int16: try --set quantizer=converter" in tags.text
    assert "dist/mobilenet_v2" in tags.text


def test_names_from_outside_are_escaped(run: Run) -> None:
    nasty = '<script>alert("x")</script>'
    row = replace(INT8, target=nasty, warnings=(nasty,))
    html = replace(run, model=replace(run.model, name=nasty), results=(SOURCE, row), folder=nasty)._repr_html_()
    assert parse(html).seen == {"p", "strong", "table", "tr", "th", "td", "ul", "li", "code"}
