"""The rule of what may change in a schema: that it is kept since the last release, and that its checker sees breaks."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from packaging.version import Version
from schema_compatibility import incompatible

from apss_fusion.model.schemas import FILES

SCHEMAS = Path(__file__).parents[1] / "topics" / "schemas"
RELEASED = max((SCHEMAS / "released").iterdir(), key=lambda folder: Version(folder.name))
#: Of a file that only this project reads: old ones must stay valid, new ones need not be valid for an old program.
READ_HERE_ONLY = {"source.schema.json"}

Json = dict[str, Any]


def read(path: Path) -> Json:
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def released() -> list[Path]:
    return sorted(RELEASED.glob("*.schema.json"))


@pytest.mark.parametrize("path", released(), ids=lambda path: path.name)
def test_schemas_are_compatible_with_the_last_release(path: Path) -> None:
    forward = path.name not in READ_HERE_ONLY
    assert incompatible(read(path), read(SCHEMAS / path.name), forward) == []


def test_there_is_one_release_and_it_has_what_is_exchanged() -> None:
    assert [folder.name for folder in (SCHEMAS / "released").iterdir()] == [RELEASED.name]
    assert {path.name for path in released()} <= set(FILES)
    assert {"look.schema.json", "track_update.schema.json", "dead_letter.schema.json"} <= {p.name for p in released()}


# --- the checker ---


def objects(part: Any) -> Iterator[Json]:
    """The schemas of objects with named properties within a schema, itself included."""
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict):
            yield part
        for value in part.values():
            yield from objects(value)
    elif isinstance(part, list):
        for value in part:
            yield from objects(value)


def leaves(part: Any) -> Iterator[Json]:
    """The schemas within a schema that have a type or an enum of their own."""
    if isinstance(part, dict):
        if isinstance(part.get("type"), str) or isinstance(part.get("enum"), list):
            yield part
        for value in part.values():
            yield from leaves(value)
    elif isinstance(part, list):
        for value in part:
            yield from leaves(value)


def breaks(whole: Json) -> Iterator[tuple[str, Json]]:
    """Every way to break a schema in one place, each with the broken schema."""

    def change(what: str, places: Callable[[Any], Iterator[Json]], number: int, edit: Callable[[Json], Any]) -> Any:
        broken = copy.deepcopy(whole)
        place = list(places(broken))[number]
        edit(place)
        return f"{what} in {place.get('title', number)}", broken

    for number, place in enumerate(objects(whole)):
        required = place.get("required", [])
        for name in place["properties"]:
            if name in required:
                yield change(f"{name} gone", objects, number, lambda at, name=name: at["properties"].pop(name))  # type: ignore[misc]
                yield change(
                    f"{name} not required",
                    objects,
                    number,
                    lambda at, name=name: at["required"].remove(name),  # type: ignore[misc]
                )
            else:
                yield change(
                    f"{name} required",
                    objects,
                    number,
                    lambda at, name=name: at.setdefault("required", []).append(name),  # type: ignore[misc]
                )
                yield change(
                    f"another default of {name}",
                    objects,
                    number,
                    lambda at, name=name: at["properties"][name].update(default="another"),  # type: ignore[misc]
                )
        yield change("a new required", objects, number, _add_required)
        yield change("a new one without default", objects, number, lambda at: at["properties"].update(new={}))
    for number, place in enumerate(leaves(whole)):
        if "enum" in place:
            yield change("a value gone", leaves, number, lambda at: at["enum"].pop())
            yield change("a value more", leaves, number, lambda at: at["enum"].append("ANOTHER"))
        if place.get("type") in ("number", "integer", "string", "array"):
            yield change("another type", leaves, number, lambda at: at.update(type="boolean"))
        if place.get("type") == "number":
            yield change("narrower type", leaves, number, lambda at: at.update(type="integer"))
            yield change("a limit", leaves, number, lambda at: at.update(maximum=at.get("maximum", 99) - 1))
        for limit in {"minimum", "maximum", "exclusiveMinimum", "minItems", "maxItems", "format"} & place.keys():
            yield change(f"{limit} gone", leaves, number, lambda at, limit=limit: at.pop(limit))  # type: ignore[misc]


def _add_required(at: Json) -> None:
    at["properties"]["new"] = {"type": "string", "default": ""}
    at.setdefault("required", []).append("new")


@pytest.mark.parametrize("path", released(), ids=lambda path: path.name)
def test_every_break_in_one_place_is_seen(path: Path) -> None:
    whole = read(path)
    tried = 0
    for what, broken in breaks(whole):
        assert incompatible(whole, broken) != [], what
        assert incompatible(broken, whole) != [] or what.startswith("a new one"), what
        tried += 1
    assert tried > 15


@pytest.mark.parametrize("path", released(), ids=lambda path: path.name)
def test_what_may_change_may(path: Path) -> None:
    whole = read(path)
    other = copy.deepcopy(whole)
    for place in objects(other):
        place["title"], place["description"] = "Another", "Other words."
    assert incompatible(whole, other) == incompatible(other, whole) == []
    for number, place in enumerate(objects(whole)):
        if place.get("additionalProperties") is not False:
            other = copy.deepcopy(whole)
            list(objects(other))[number]["properties"]["new"] = {"type": "number", "default": 0}
            assert incompatible(whole, other) == incompatible(other, whole) == []


def test_where_only_we_read_more_is_no_break() -> None:
    old = {"type": "object", "additionalProperties": False, "properties": {"a": {"enum": ["X"], "default": "X"}}}
    new = copy.deepcopy(old)
    new["properties"] = {"a": {"enum": ["X", "Y"], "default": "X"}, "b": {"default": 1}}
    assert incompatible(old, new, forward=False) == []
    assert incompatible(new, old, forward=False) == ["/a/enum: ['Y'] gone", "/b: is gone"]
    assert len(incompatible(old, new)) == 2


NAMES = st.sampled_from("abcdef")


def schemas() -> st.SearchStrategy[Json]:
    simple = st.one_of(
        st.builds(lambda low: {"type": "integer", "minimum": low}, st.integers(-3, 3)),
        st.just({"type": "string"}),
        st.builds(lambda values: {"enum": sorted(values)}, st.sets(st.sampled_from("XYZ"), min_size=1)),
    )
    return st.recursive(
        simple,
        lambda inner: st.one_of(
            st.builds(lambda items: {"type": "array", "items": items}, inner),
            st.builds(an_object, made_of(inner)),
            st.builds(lambda other: {"anyOf": [other, {"type": "null"}]}, st.builds(an_object, made_of(inner))),
        ),
        max_leaves=6,
    )


def made_of(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[dict[str, tuple[Json, bool]]]:
    return st.dictionaries(NAMES, st.tuples(inner, st.booleans()), max_size=4)


def an_object(properties: dict[str, tuple[Json, bool]]) -> Json:
    return {
        "type": "object",
        "properties": {
            name: schema if required else {**schema, "default": None} for name, (schema, required) in properties.items()
        },
        "required": [name for name, (_, required) in properties.items() if required],
    }


def values(schema: Json) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of([values(part) for part in schema["anyOf"]])
    match schema["type"]:
        case "null":
            return st.none()
        case "integer":
            return st.integers(schema["minimum"], 9)
        case "string":
            return st.text(max_size=2)
        case "array":
            return st.lists(values(schema["items"]), max_size=2)
    made = {name: values(part) for name, part in schema["properties"].items()}
    needed = {name: made.pop(name) for name in schema["required"]}
    return st.fixed_dictionaries(needed, optional=made)


@st.composite
def versions(draw: st.DrawFn) -> tuple[Json, Json]:
    """A schema and another that began as it: some parts replaced, optional properties come and gone."""
    old = draw(st.builds(an_object, made_of(schemas())))
    new = copy.deepcopy(old)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(list(objects(new))))
        name = draw(NAMES)
        if draw(st.booleans()):
            place["properties"][name] = {**draw(schemas()), "default": None}
        elif name not in place["required"]:
            place["properties"].pop(name, None)
    return old, new


def shared(value: Any, old: Json, new: Json) -> Any:
    """A value without the properties that only one of two schemas names: those may be another thing to the other."""
    if isinstance(value, list):
        return [shared(item, old["items"], new["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    old, new = (schema["anyOf"][0] if "anyOf" in schema else schema for schema in (old, new))
    return {
        name: shared(part, old["properties"][name], new["properties"][name])
        for name, part in value.items()
        if name in old["properties"] and name in new["properties"]
    }


@given(versions(), st.data())
def test_compatible_schemas_take_each_others_values(pair: tuple[Json, Json], data: st.DataObject) -> None:
    old, new = pair
    problems = incompatible(old, new)
    assert bool(problems) == bool(incompatible(new, old))
    if problems:
        return
    for writer, reader in ((old, new), (new, old)):
        value = data.draw(values(writer))
        Draft202012Validator(writer).validate(value)
        Draft202012Validator(reader).validate(shared(value, old, new))
