"""What clients may send: JSON bodies to items, with a message that says what would be right."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from registry.serving.limits import Refused, ServingLimits
from registry.serving.service import Item

_TEXT = {"type": "string"}
_COLUMNS = {"type": "object", "additionalProperties": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}}


def _list_of(name: str, items: dict[str, Any]) -> dict[str, Any]:
    listed = {"type": "array", "items": items, "minItems": 1}
    return {"type": "object", "required": [name], "properties": {name: listed}, "additionalProperties": False}


def _docs(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": shown}}}}


PREDICT_DOCS = _docs(
    {"anyOf": [_list_of("texts", {"anyOf": [_TEXT, _COLUMNS]}), _COLUMNS]},
    {
        "many texts": {"texts": ["a moving film", "a dull one"]},
        "one text": {"text": "a moving film"},
        "pairs": {"texts": [{"text": "How old are you?", "text_pair": "What is your age?"}]},
        "a question": {"question": "Which department?", "context": "…"},
    },
)
RUN_DOCS = [{"name": "run", "in": "path", "required": True, "schema": _TEXT}]
QUERY_DOCS = _docs(_list_of("sentences", _TEXT), {"sentences": {"sentences": ["a moving film", "a dull one"]}})


def read_items(body: bytes, limits: ServingLimits) -> list[Item]:
    """The items of a /predict body: `{"texts": […]}`, or one item's columns at the top level."""
    values = _object(body, '{"texts": ["…"]}')
    if "texts" not in values:
        return _checked([values], limits, "the request")
    _only(values, "texts")
    return _checked(values["texts"], limits, "texts")


def read_sentences(body: bytes, limits: ServingLimits) -> list[Item]:
    """The items of a /query body: `{"sentences": […]}`."""
    values = _object(body, '{"sentences": ["…"]}')
    _only(values, "sentences")
    return _checked(values.get("sentences"), limits, "sentences")


def _object(body: bytes, right: str) -> dict[str, Any]:
    try:
        values = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(400, f"the body is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise Refused(422, f"expected an object such as {right}, found {_kind(values)}")
    return values


def _only(values: dict[str, Any], name: str) -> None:
    extra = [key for key in values if key != name]
    if extra:
        raise Refused(422, f"unknown key {extra[0][:80]!r} beside {name!r}")


def _checked(items: Any, limits: ServingLimits, name: str) -> list[Item]:
    if not isinstance(items, list):
        raise Refused(422, f"{name} must be a list of texts, found {_kind(items)}")
    if not items:
        raise Refused(422, f"{name} is empty; send at least one text")
    if len(items) > limits.max_items:
        raise Refused(413, f"{name} has {len(items):,} items; at most {limits.max_items:,} are allowed in one request")
    for number, item in enumerate(items):
        where = f"{name}[{number}]" if name != "the request" else name
        if isinstance(item, dict) and item:
            for key, value in item.items():
                texts = value if isinstance(value, list) else [value]
                if not all(isinstance(text, str) for text in texts):
                    raise Refused(422, f"{where}: {key[:80]!r} must be text, found {_kind(value)}")
        elif not isinstance(item, str):
            raise Refused(422, f"{where} must be a text or an object of texts, found {_kind(item)}")
    return items


def _kind(value: Any) -> str:
    names = {dict: "an empty object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
