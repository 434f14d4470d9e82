"""Whether two JSON Schemas, as msgspec writes them, are compatible: the rule of `topics/README.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: Words that say nothing of which values are valid.
ANNOTATIONS = {"title", "description", "examples", "$id", "$schema", "$defs"}
#: Words whose value is a set.
_SETS = {"enum", "required"}


def incompatible(old: Any, new: Any, forward: bool = True) -> list[str]:
    """Why `new` is not compatible with `old`, a line for each place; none where it is.

    Backward: what is valid by `old` is valid by `new`, in the same meaning. With `forward`, the other way round too.
    A property that is not required may come and go; then values with another thing under its name are left aside.
    """
    return list(_compare(_resolved(old, old), _resolved(new, new), "", forward))


def _resolved(part: Any, whole: Any) -> Any:
    """A schema without annotations, and with what its references refer to."""
    if isinstance(part, list):
        return [_resolved(item, whole) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        assert set(part) <= {"$ref"} | ANNOTATIONS, f"words beside a reference: {sorted(part)}"
        found = whole
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return _resolved(found, whole)
    # Under `properties` the keys are names, not words.
    return {
        word: {name: _resolved(schema, whole) for name, schema in value.items()}
        if word == "properties"
        else _resolved(value, whole)
        for word, value in part.items()
        if word not in ANNOTATIONS
    }


def _compare(old: Any, new: Any, where: str, forward: bool) -> Iterator[str]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield f"{where or '/'}: {old!r} has become {new!r}"
        return
    yield from _compare_properties(old, new, where, forward)
    for word in sorted((old.keys() | new.keys()) - {"properties", "required"}):
        at = f"{where}/{word}"
        if word not in old or word not in new:
            yield f"{at}: {'is new' if word in new else 'is gone'}"
        elif word in ("items", "additionalProperties"):
            yield from _compare(old[word], new[word], at, forward)
        elif word == "anyOf":
            yield from _compare_alternatives(old[word], new[word], at, forward)
        elif word in _SETS:
            gone, more = _without(old[word], new[word]), _without(new[word], old[word])
            if gone:
                yield f"{at}: {gone} gone"
            if more and forward:
                yield f"{at}: {more} new"
        elif old[word] != new[word]:
            yield f"{at}: {old[word]!r} has become {new[word]!r}"


def _compare_properties(old: dict[str, Any], new: dict[str, Any], where: str, forward: bool) -> Iterator[str]:
    had, has = old.get("properties", {}), new.get("properties", {})
    needed, needs = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(had.keys() | has.keys()):
        at = f"{where}/{name}"
        if name not in had:
            if name in needs:
                yield f"{at}: is new and required"
            elif "default" not in has[name]:
                yield f"{at}: is new and has no default"
        elif name not in has:
            if name in needed:
                yield f"{at}: was required and is gone"
            elif not forward and old.get("additionalProperties", True) is False:
                yield f"{at}: is gone"
        else:
            if name in needs and name not in needed:
                yield f"{at}: has become required"
            if name in needed and name not in needs and forward:
                yield f"{at}: is no longer required"
            yield from _compare(had[name], has[name], at, forward)
    # Where unknown properties are refused, one side refuses what the other has more.
    closed = False in (old.get("additionalProperties", True), new.get("additionalProperties", True))
    if closed and forward and had.keys() != has.keys():
        yield f"{where or '/'}: refuses properties that it does not know, and {sorted(had.keys() ^ has.keys())} differ"


def _compare_alternatives(old: list[Any], new: list[Any], where: str, forward: bool) -> Iterator[str]:
    """In any order, each alternative needs one on the other side that it is compatible with."""
    gone = [one for one in old if all(any(_compare(one, other, "", forward)) for other in new)]
    more = [one for one in new if all(any(_compare(other, one, "", forward)) for other in old)]
    if len(gone) == len(more) == 1:
        yield from _compare(gone[0], more[0], where, forward)
        return
    yield from (f"{where}: {one} is gone" for one in gone)
    if forward:
        yield from (f"{where}: {one} is new" for one in more)


def _without(some: list[Any], others: list[Any]) -> list[Any]:
    return [value for value in some if value not in others]
