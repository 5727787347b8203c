"""What others have written does not control the operator's terminal."""

from __future__ import annotations

import pytest

from bursar.output import LONGEST_CHANGE, Output, change


@pytest.mark.parametrize("as_json", [False, True])
def test_control_characters_and_markup_are_printed_as_text(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    hostile = "\x1b[2J[bold]x[/bold]\r\n"
    output = Output(as_json=as_json)
    if as_json:
        output.json([hostile])
    else:
        output.table(("a", "b"), [(hostile, hostile)], empty="none")
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "[bold]x[/bold]" in printed


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table(("a",), [], empty="Nothing.")
    assert capsys.readouterr().out == "Nothing.\n"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ({"price": 100}, {"price": 200}, "price: 100 -> 200"),
        (None, {"code": "NEW"}, "code: NEW"),
        ({"queue": "a.b"}, None, "queue: a.b"),
        (None, None, ""),
    ],
)
def test_a_change_is_one_line(before: dict[str, object] | None, after: dict[str, object] | None, text: str) -> None:
    assert change(before, after) == text


def test_a_long_change_is_shortened() -> None:
    assert len(change(None, {"events": ["evt_1"] * 100})) == LONGEST_CHANGE + 1
