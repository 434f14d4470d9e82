"""Interned ids and classes: equal content, one number; merging by union and by Bayes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from apss_fusion.tracking.attributes import (
    CLASS_FLOOR,
    FACTOR_MAX,
    FACTOR_MIN,
    IDENTITY_KEYS,
    Attributes,
    FragmentTable,
    class_distribution,
    identity_of,
    merge_classes,
)
from apss_fusion.tracking.spellings import Spellings

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
IDS = st.dictionaries(st.sampled_from(["mmsi", "imo", "icao24", "name", "callsign", "ä"]) | TEXTS, TEXTS, max_size=4)
PROBABILITIES = st.floats(0.0, 1.0)
CLASSES = st.dictionaries(st.sampled_from(["cargo", "tanker", "fishing", "tug"]), PROBABILITIES, max_size=4)


# ---------------------------------------------------------------- fragments


@given(st.lists(st.binary(max_size=300), max_size=400))
def test_fragments_are_what_was_appended(fragments: list[bytes]) -> None:
    table = FragmentTable()
    for i, fragment in enumerate(fragments):
        assert table.append(fragment) == i
        if i % 7 == 3:
            assert len(table.arrays()[1]) == i + 2
    assert [table.get(i) for i in range(len(table))] == fragments
    buffer, offsets = table.arrays()
    assert [buffer[offsets[i] : offsets[i + 1]].tobytes() for i in range(len(fragments))] == fragments


def test_there_is_no_fragment_beyond_the_last() -> None:
    table = FragmentTable()
    table.append(b"x")
    for number in (-1, 1):
        with pytest.raises(IndexError):
            table.get(number)


# ---------------------------------------------------------------- numbers


@given(IDS, CLASSES)
def test_a_number_gives_back_what_it_stands_for(ids: dict[str, str], classes: dict[str, float]) -> None:
    attributes = Attributes()
    number = attributes.number(ids, classes)
    assert attributes.ids(number) == ids and attributes.classes(number) == classes
    assert json.loads(attributes.ids_json.get(number)) == ids
    assert json.loads(attributes.class_json.get(number)) == classes
    assert (number == 0) == (not ids and not classes)
    assert attributes.identities[number] == identity_of(ids)


@given(st.lists(st.tuples(IDS, CLASSES), max_size=12))
def test_numbers_are_equal_where_contents_are(pairs: list[tuple[dict[str, str], dict[str, float]]]) -> None:
    attributes, other = Attributes(), Attributes()
    numbers = [attributes.number(*p) for p in pairs]
    for i, a in enumerate(pairs):
        for j, b in enumerate(pairs):
            assert (numbers[i] == numbers[j]) == (a == b)
    # Any order of keys, either way in, and another process' numbers.
    for (ids, classes), number in zip(reversed(pairs), reversed(numbers), strict=True):
        again = dict(reversed(ids.items())), dict(reversed(classes.items()))
        assert attributes.number(*again) == number
        assert (
            attributes.number_of_json(json.dumps(again[0], indent=1).encode(), json.dumps(again[1]).encode()) == number
        )
        assert other.content(other.number(ids, classes)) == attributes.content(number)


@given(IDS, CLASSES)
def test_content_comes_back_in_another_process(ids: dict[str, str], classes: dict[str, float]) -> None:
    here, there = Attributes(), Attributes()
    there.number({"mmsi": "1"}, None)
    content = here.content(here.number(ids, classes))
    number = there.number_of_content(content)
    assert there.content(number) == content
    assert (there.ids(number), there.classes(number)) == (ids, classes)
    assert there.number(ids, classes) == number


def test_nothing_known_is_zero_in_every_spelling() -> None:
    attributes = Attributes()
    ids: dict[str, str] | None
    classes: dict[str, float] | None
    for ids in (None, {}):
        for classes in (None, {}):
            assert attributes.number(ids, classes) == 0
    for ids_json in (None, b"", b"null", b"{}", b" { } "):
        for class_json in (None, b"", b"null", b"{}"):
            assert attributes.number_of_json(ids_json, class_json) == 0
    assert attributes.ids_json.get(0) == attributes.class_json.get(0) == b"{}"
    assert len(attributes) == 1


def test_one_and_one_point_zero_are_one_class_probability_and_zero_has_no_sign() -> None:
    attributes = Attributes()
    assert attributes.number(None, {"cargo": 1}) == attributes.number(None, {"cargo": 1.0})
    assert attributes.number(None, {"cargo": -0.0}) == attributes.number(None, {"cargo": 0.0})
    assert attributes.number_of_json(None, b'{"cargo":-0.0}') == attributes.number(None, {"cargo": 0})


def test_ids_and_classes_are_not_confused() -> None:
    attributes = Attributes()
    assert len({attributes.number({"a": "1"}, None), attributes.number(None, {"a": 1.0}), 0}) == 3


def test_many_spellings_are_forgotten_but_not_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apss_fusion.tracking.attributes._CACHE_SIZE", 8)
    attributes = Attributes()
    numbers = [attributes.number({"mmsi": str(i)}, None) for i in range(100)]
    assert [attributes.number({"mmsi": str(i)}, None) for i in range(100)] == numbers
    assert len(attributes) == 101


@pytest.mark.parametrize(
    ("ids", "classes", "field"),
    [
        ({"mmsi": 1}, None, "ids"),
        ({1: "x"}, None, "ids"),
        ({"mmsi": None}, None, "ids"),
        ({"name": "\ud800"}, None, "ids"),
        (["mmsi"], None, "ids"),
        (None, {"cargo": "1"}, "class_probs"),
        (None, {"cargo": True}, "class_probs"),
        (None, {"cargo": None}, "class_probs"),
        (None, {"cargo": math.nan}, "class_probs"),
        (None, {"cargo": 1.1}, "class_probs"),
        (None, {"cargo": -0.1}, "class_probs"),
        (None, {"\udfff": 0.5}, "class_probs"),
        (None, {2: 0.5}, "class_probs"),
        (None, 0.5, "class_probs"),
    ],
)
def test_what_is_no_map_of_the_right_kind_is_refused_by_name(ids: object, classes: object, field: str) -> None:
    attributes = Attributes()
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^{field}: "):
            attributes.number(ids, classes)  # type: ignore[arg-type]
    assert len(attributes) == 1


@pytest.mark.parametrize(
    ("ids", "classes", "field"),
    [
        (b"[]", b"", "ids"),
        (b'{"mmsi":1}', b"", "ids"),
        (b'{"mmsi":"1"', b"", "ids"),
        (b'{"mmsi":"\xff"}', b"", "ids"),
        (b"", b'{"cargo":"1"}', "class_probs"),
        (b"", b'{"cargo":1.5}', "class_probs"),
        (b"", b"1", "class_probs"),
    ],
)
def test_json_of_the_wrong_kind_is_refused_by_name(ids: bytes, classes: bytes, field: str) -> None:
    attributes = Attributes()
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^{field}: "):
            attributes.number_of_json(ids, classes)


@pytest.mark.parametrize("content", [b"", b"[]", b"[{},{},{}]", b'[{"a":1},{}]', b'[{},{"a":2.0}]', b"\xff"])
def test_a_foreign_content_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        Attributes().number_of_content(content)


# ---------------------------------------------------------------- identity


def test_identity_is_the_hash_of_the_most_lasting_key_present() -> None:
    everything = {key: f"{i}" for i, key in enumerate(IDENTITY_KEYS)} | {"name": "X"}
    for i, key in enumerate(IDENTITY_KEYS):
        assert identity_of(everything) == xxh3_64_intdigest(f"{key}:{i}".encode())
        everything[key] = ""
    assert identity_of(everything) == identity_of({}) == 0


def test_the_order_of_identity_keys_is_fixed() -> None:
    # Saved states and the identities of tracks rest on it.
    assert IDENTITY_KEYS == ("icao24", "mmsi", "address", "imo", "callsign", "registration")


# ---------------------------------------------------------------- merging


def test_merged_ids_are_the_union_in_which_the_detection_wins() -> None:
    attributes = Attributes()
    track = attributes.number({"mmsi": "1", "name": "OLD"}, None)
    detection = attributes.number({"name": "NEW", "imo": "9"}, None)
    slot = attributes.pairs.learn(track, detection)
    assert attributes.ids(int(attributes.pairs.rows["value"][slot])) == {"mmsi": "1", "name": "NEW", "imo": "9"}
    assert attributes.pairs.rows["factor"][slot] == 1.0


@given(IDS, CLASSES, IDS, CLASSES)
def test_merging_is_a_function_of_content_alone(
    ids_a: dict[str, str], classes_a: dict[str, float], ids_b: dict[str, str], classes_b: dict[str, float]
) -> None:
    def merged(attributes: Attributes) -> tuple[bytes, float]:
        slot = attributes.pairs.learn(attributes.number(ids_a, classes_a), attributes.number(ids_b, classes_b))
        return attributes.content(int(attributes.pairs.rows["value"][slot])), float(
            attributes.pairs.rows["factor"][slot]
        )

    fresh, used = Attributes(), Attributes()
    used.number(ids_b, classes_b)
    used.number({"mmsi": "77"}, {"tug": 0.25})
    content, factor = merged(fresh)
    assert merged(used) == (content, factor)
    ids, classes = json.loads(content)
    assert ids == ids_a | ids_b
    assert FACTOR_MIN <= factor <= FACTOR_MAX
    assert math.fsum(classes.values()) <= 1.0 + 0.001 * len(classes) or not classes_a or not classes_b


@given(CLASSES)
def test_unknown_changes_nothing(classes: dict[str, float]) -> None:
    assert merge_classes({}, classes) == merge_classes(classes, {}) == (classes, 1.0)


def test_golden_merge_by_hand() -> None:
    # Over (cargo, tanker, none of them): a = (.9, .05, .05), b = (.3, .6, .1).
    merged, factor = merge_classes({"cargo": 0.9}, {"cargo": 0.3, "tanker": 0.6})
    joint = (0.9 * 0.3, 0.05 * 0.6, 0.05 * 0.1)
    assert merged == {"cargo": round(joint[0] / sum(joint), 3), "tanker": round(joint[1] / sum(joint), 3)}
    assert factor == pytest.approx(3 * sum(joint))


@given(CLASSES, st.lists(st.sampled_from(["cargo", "tanker", "fishing", "tug", "ferry"]), unique=True))
def test_a_class_distribution_is_one(classes: dict[str, float], others: list[str]) -> None:
    names = tuple(sorted({*classes, *others}))
    p = class_distribution(classes, names)
    assert len(p) == len(names) + 1
    assert math.isclose(math.fsum(p), 1.0)
    assert min(p) >= CLASS_FLOOR / (1.0 + CLASS_FLOOR * len(p))


def test_an_answer_whose_sum_is_above_one_is_scaled() -> None:
    assert class_distribution({"a": 1.0, "b": 1.0}, ("a", "b"))[0] == pytest.approx(0.5, abs=0.01)


def test_agreement_raises_the_weight_and_contradiction_lowers_it() -> None:
    _, same = merge_classes({"cargo": 0.9}, {"cargo": 0.9})
    _, other = merge_classes({"cargo": 0.9}, {"fishing": 0.9})
    assert same > 1.0 > other


def test_a_track_that_was_sure_can_change_its_mind() -> None:
    classes = {"cargo": 1.0}
    for _ in range(6):
        classes, _ = merge_classes(classes, {"fishing": 0.8, "cargo": 0.1})
    assert max(classes, key=lambda name: classes[name]) == "fishing"


def test_repeated_answers_settle_so_that_few_numbers_are_made() -> None:
    attributes = Attributes()
    track, answer = 0, attributes.number(None, {"cargo": 0.61, "tanker": 0.2, "fishing": 0.19})
    for _ in range(50):
        slot = attributes.pairs.learn(track, answer)
        track = int(attributes.pairs.rows["value"][slot])
    assert len(attributes) < 12
    assert np.isclose(attributes.classes(track)["cargo"], 0.99, atol=0.02)


# ---------------------------------------------------------------- spellings


def parts_of(parts: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    text = np.frombuffer(bytearray(b"".join(parts)) + b"\0", np.uint8)
    return text, np.cumsum([0, *map(len, parts)])


@given(st.lists(st.lists(st.binary(max_size=3) | st.binary(max_size=300), max_size=30), max_size=5))
def test_each_spelling_is_computed_once_and_found_again(batches: list[list[bytes]]) -> None:
    spellings = Spellings()
    numbers: dict[bytes, int] = {}
    for parts in batches:

        def compute(rows: list[int], parts: list[bytes] = parts) -> list[int | ValueError]:
            out: list[int | ValueError] = []
            for j in rows:
                assert parts[j] not in numbers
                if parts[j].startswith(b"\1"):
                    out.append(ValueError("x: y"))
                else:
                    out.append(numbers.setdefault(parts[j], len(numbers)))
            return out

        wrong: dict[int, ValueError] = {}
        got = spellings.numbers(*parts_of(parts), compute, wrong).tolist()
        assert sorted(wrong) == [j for j, part in enumerate(parts) if part.startswith(b"\1")]
        assert got == [0 if j in wrong else numbers[part] for j, part in enumerate(parts)]


def test_many_spellings_make_it_grow_and_too_many_make_it_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apss_fusion.tracking.spellings._MAX_BYTES", 100_000)
    spellings = Spellings()
    asked: list[int] = []
    for start in (0, 0, 5000, 10_000, 0):
        parts = [b"%d" % k for k in range(start, start + 5000)]

        def compute(rows: list[int], start: int = start) -> list[int | ValueError]:
            asked.append(len(rows))
            return [start + j for j in rows]

        assert spellings.numbers(*parts_of(parts), compute, {}).tolist() == list(range(start, start + 5000))
    assert asked == [5000, 5000, 5000]
    monkeypatch.setattr("apss_fusion.tracking.spellings._MAX_BYTES", 1000)
    assert spellings.numbers(*parts_of([b"7"]), lambda rows: [70] * len(rows), {}).tolist() == [70]
