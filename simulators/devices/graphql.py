"""As much of GraphQL as a miner's web page asks: one anonymous query that selects fields out of a
document.

    project({"bos": {"hostname": "a", "uptime": 5}}, "{ bos { hostname } }")  →  {"bos":
    {"hostname": "a"}}

Inline fragments (`... on Type { … }`) select from the same object; arguments, variables and
mutations are refused.
"""

import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(r"\s*(\{|\}|\.\.\.|[A-Za-z_][A-Za-z0-9_]*|\S)")
_SEPARATORS = re.compile(r"[\s,]+")
QUERY_CHARS_MAX = 8_192
DEPTH_MAX = 24

Selection = dict[str, "Selection | None"]


class QueryError(ValueError):
    """The query is not understood; the message goes into `errors`."""


def project(document: Mapping[str, Any], query: str) -> dict[str, Any]:
    """Select the query's fields; a field that the document lacks is null. Raises QueryError."""
    return _pick(document, parse(query))


def parse(query: str) -> Selection:
    """Read a query into nested field names. Raises QueryError."""
    if len(query) > QUERY_CHARS_MAX:
        raise QueryError("query is too long")
    tokens = _TOKEN.findall(_SEPARATORS.sub(" ", query))
    if tokens[:1] == ["query"]:
        del tokens[0]
    if tokens[:1] != ["{"]:
        raise QueryError("expected a selection in braces")
    selection, rest = _selection(tokens, 1, 0)
    if rest != len(tokens):
        raise QueryError(f"unexpected {tokens[rest]!r} after the query")
    return selection


def _selection(tokens: list[str], at: int, depth: int) -> tuple[Selection, int]:
    """Fields up to the closing brace, and the place behind it."""
    if depth > DEPTH_MAX:
        raise QueryError("query is too deep")
    fields: Selection = {}
    while at < len(tokens):
        word = tokens[at]
        if word == "}":
            return fields, at + 1
        if word == "...":
            if tokens[at + 1 : at + 2] != ["on"] or tokens[at + 3 : at + 4] != ["{"]:
                raise QueryError("only inline fragments are understood")
            inner, at = _selection(tokens, at + 4, depth + 1)
            fields.update(inner)
        elif word.isidentifier():
            if tokens[at + 1 : at + 2] == ["{"]:
                fields[word], at = _selection(tokens, at + 2, depth + 1)
            else:
                fields[word], at = None, at + 1
        else:
            raise QueryError(f"unexpected {word!r}")
    raise QueryError("query is cut off")


def _pick(document: Mapping[str, Any], selection: Selection) -> dict[str, Any]:
    picked: dict[str, Any] = {}
    for name, inner in selection.items():
        value = document.get(name)
        if inner is None:
            picked[name] = None if isinstance(value, Mapping) else value
        elif isinstance(value, Mapping):
            picked[name] = _pick(value, inner)
        elif isinstance(value, list):
            picked[name] = [_pick(item, inner) for item in value if isinstance(item, Mapping)]
        else:
            picked[name] = None
    return picked
