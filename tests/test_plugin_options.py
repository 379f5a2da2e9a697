"""Options of tasks and models: texts become values of the field's type, or one line says what would be right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest

from registry.options import option
from registry.plugin_options import describe_options, not_an_option, options_of, other_options, with_options

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Fields of every type, one of which only type checkers can name."""

    size: int = option(1, "How large.", minimum=1, maximum=9)
    rate: float | None = option(None, above=0)
    sure: bool = False
    kind: Literal["plain", "fancy"] = "plain"
    mode: str = option("none", choices=("none", "balanced"))
    names: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    steps: int | Literal["auto"] | None = None
    table: Mapping[str, int] = field(default_factory=dict)
    widths: tuple[int, ...] = option((3, 4), minimum=1)
    letters: list[str] = option(["a"], choices=("a", "b"))
    batch: int = option(8, minimum=1, words=("auto",))
    most: int | str = option("all", minimum=1)
    tensor: Tensor | None = not_an_option(None)


@dataclass(frozen=True, kw_only=True)
class Open(Thing):
    """Takes any other key as well."""

    config: Mapping[str, Any] = other_options("Passed on.")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("size", "3", 3),
        ("rate", "1e-3", 0.001),
        ("rate", "none", None),
        ("sure", "yes", True),
        ("sure", "False", False),
        ("kind", "fancy", "fancy"),
        ("mode", "balanced", "balanced"),
        ("names", "a, b,c", ("a", "b", "c")),
        ("names", '["a,b"]', ("a,b",)),
        ("pair", "3,0.5", (3, 0.5)),
        ("steps", "auto", "auto"),
        ("steps", "7", 7),
        ("table", '{"a": 1}', {"a": 1}),
        ("widths", "5,6", (5, 6)),
        ("letters", "b,a", ["b", "a"]),
        ("batch", "auto", "auto"),
        ("most", "all", "all"),
        ("most", "3", 3),
    ],
)
def test_texts_become_values_that_come_back(key: str, text: str, value: Any) -> None:
    changed = with_options(Thing(), {key: text})
    assert getattr(changed, key) == value
    assert type(getattr(changed, key)) is type(value)
    assert with_options(Thing(), options_of(changed)) == changed


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("size", "1.5", "--task-option size: '1.5' is not a whole number"),
        ("size", "0", "--task-option size: 0 is below 1"),
        ("size", "10", "--task-option size: 10 is above 9"),
        ("size", "none", "--task-option size: 'none' is not a whole number"),
        ("rate", "0", "--task-option rate: 0.0 must be above 0"),
        ("rate", "nan", "--task-option rate: 'nan' is not float or none"),
        ("sure", "maybe", "--task-option sure: 'maybe' is not true or false"),
        ("kind", "fancier", "--task-option kind: 'fancier' is not one of plain, fancy (did you mean fancy?)"),
        ("mode", "balance", "--task-option mode: 'balance' is not one of none, balanced (did you mean balanced?)"),
        ("widths", "5,0", "--task-option widths: 0 is below 1"),
        ("letters", "a,c", "--task-option letters: 'c' is not one of a, b"),
        ("batch", "0", "--task-option batch: 0 is below 1"),
        ("most", "0", "--task-option most: 0 is below 1"),
        ("pair", "3", "--task-option pair: expected 2 values separated by commas, found 1"),
        ("table", "3", "--task-option table: '3' is not a mapping (write {\"key\": value})"),
        (
            "sise",
            "3",
            "--task-option: unknown key 'sise'; did you mean size? valid keys: batch, kind, letters, ",
        ),
        ("tensor", "3", "--task-option: unknown key 'tensor'; valid keys: "),
    ],
)
def test_wrong_values_are_one_line(key: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}") as raised:
        with_options(Thing(), {key: text}, flag="--task-option")
    assert "\n" not in str(raised.value)


def test_dashes_and_underscores_are_the_same() -> None:
    @dataclass(frozen=True)
    class Long:
        label_smoothing: float = 0.0

    assert with_options(Long(), {"label-smoothing": "0.1"}).label_smoothing == 0.1


def test_other_keys_are_collected_and_guessed() -> None:
    changed = with_options(Open(), {"size": "2", "num_hidden_layers": "4", "eps": "1e-5", "act": "gelu", "tie": "True"})
    assert changed.size == 2
    assert changed.config == {"num_hidden_layers": 4, "eps": 1e-05, "act": "gelu", "tie": True}
    assert options_of(changed)["num_hidden_layers"] == 4
    assert with_options(Open(), options_of(changed)) == changed
    assert with_options(changed, {"num_hidden_layers": "6"}).config["act"] == "gelu"


def test_nothing_changes_without_values() -> None:
    thing = Thing()
    assert with_options(thing, {}) is thing


def test_descriptions() -> None:
    described = {item.name: item for item in describe_options(Open())}
    assert (described["size"].type, described["size"].default, described["size"].help) == ("int", 1, "How large.")
    assert described["mode"].type == "none|balanced"
    assert described["kind"].type == "plain|fancy"
    assert described["steps"].type == "int or auto or none"
    assert described["…"].help == "Passed on."
    assert "tensor" not in described
