"""What is known of an object besides its motion: its identifiers and its class, interned under one number.

Equal maps have the same number, 0 is "nothing known", and a track's and a detection's numbers are merged by a table
that compiled code reads. Numbers are of one process; what is saved is their content.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from apss_fusion.association.pairs import PairTable
from apss_fusion.tracking.spellings import Spellings

#: Keys of `ids` that identify an object, the most lasting first; the first that is present is the identity.
IDENTITY_KEYS = ("icao24", "mmsi", "address", "imo", "callsign", "registration")

#: Least probability of any class: no classifier is believed beyond one in a hundred, so a track can change its class.
CLASS_FLOOR = 0.01
#: Class probabilities of tracks are kept in steps of this; smaller ones are dropped.
CLASS_STEP = 1e-3
_CLASS_DECIMALS = 3
#: Bounds of the class factor of one detection.
FACTOR_MIN, FACTOR_MAX = 0.1, 10.0

_CACHE_SIZE = 1 << 18
_ENCODE = msgspec.json.Encoder(order="sorted").encode
_IDS = msgspec.json.Decoder(dict[str, str] | None)
_CONTENT_IDS = msgspec.json.Decoder(dict[str, str])
_CONTENT_CLASSES = msgspec.json.Decoder(dict[str, float])
_PARTS = msgspec.json.Decoder(tuple[msgspec.Raw, msgspec.Raw])
_CLASSES = msgspec.json.Decoder(dict[str, float] | None)


class FragmentTable:
    """Byte strings under numbers from 0, in one growing buffer that compiled code can copy from."""

    def __init__(self) -> None:
        self._buffer: NDArray[np.uint8] = np.empty(4096, np.uint8)
        self._offsets: NDArray[np.int64] = np.zeros(256, np.int64)
        self._count = 0
        # Appended since the arrays were last asked for, when they are copied in together.
        self._pending: list[bytes] = []

    def __len__(self) -> int:
        return self._count + len(self._pending)

    def append(self, fragment: bytes) -> int:
        """Add a byte string; its number."""
        self._pending.append(fragment)
        return self._count + len(self._pending) - 1

    def get(self, number: int) -> bytes:
        """The byte string with this number."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        if number >= self._count:
            return self._pending[number - self._count]
        return self._buffer[self._offsets[number] : self._offsets[number + 1]].tobytes()

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """(buffer, offsets): fragment n is ``buffer[offsets[n]:offsets[n + 1]]``. Of the fragments there are now."""
        if self._pending:
            start, count = int(self._offsets[self._count]), len(self)
            text = np.frombuffer(b"".join(self._pending), np.uint8)
            if start + len(text) > len(self._buffer):
                self._buffer = _grown(self._buffer, start + len(text))
            if count >= len(self._offsets):
                self._offsets = _grown(self._offsets, count + 1)
            self._buffer[start : start + len(text)] = text
            self._offsets[self._count + 1 : count + 1] = start + np.cumsum([len(f) for f in self._pending])
            self._count = count
            self._pending.clear()
        return self._buffer, self._offsets[: self._count + 1]


def _grown(array: NDArray, needed: int) -> NDArray:
    larger = np.zeros(max(needed, 2 * len(array)), array.dtype)
    larger[: len(array)] = array
    return larger


def identity_of(ids: Mapping[str, str]) -> int:
    """Hash of ``key:value`` of the first of `IDENTITY_KEYS` that is present (and not empty); 0 for none."""
    for key in IDENTITY_KEYS:
        if value := ids.get(key):
            return xxh3_64_intdigest(f"{key}:{value}".encode()) or 1
    return 0


def class_distribution(probs: Mapping[str, float], names: tuple[str, ...]) -> list[float]:
    """Probability of each of `names`, then of "none of them", as a classifier's answer `probs` says it.

    What the answer leaves over (1 less its sum; a sum above 1 is scaled to 1) is shared evenly by the names that it
    lacks and by "none of them". No probability is below `CLASS_FLOOR`; the result is normalised.
    """
    total = math.fsum(probs.values())
    scale = 1.0 / total if total > 1.0 else 1.0
    lacking = sum(name not in probs for name in names) + 1
    share = max(0.0, 1.0 - total * scale) / lacking
    p = [max(CLASS_FLOOR, probs[name] * scale if name in probs else share) for name in names]
    p.append(max(CLASS_FLOOR, share))
    norm = math.fsum(p)
    return [x / norm for x in p]


def merge_classes(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """Class of a track `a` after an answer `b`, and the likelihood factor of the answer.

    Bayes over the union of the names: p(c) ~ p_a(c) p_b(c), rounded to `CLASS_STEP`, and
    factor = sum_c p_a(c) p_b(c) / sum_c p_0(c) p_b(c) with p_0 uniform, within [`FACTOR_MIN`, `FACTOR_MAX`].
    Where either is unknown it is the other's, and the factor is 1.
    """
    if not a or not b:
        return dict(a or b), 1.0
    names = tuple(sorted(a.keys() | b.keys()))
    joint = [x * y for x, y in zip(class_distribution(a, names), class_distribution(b, names), strict=True)]
    total = math.fsum(joint)
    merged = {name: round(p / total, _CLASS_DECIMALS) for name, p in zip(names, joint, strict=False)}
    factor = total * len(joint)
    return {k: v for k, v in merged.items() if v >= CLASS_STEP}, min(max(factor, FACTOR_MIN), FACTOR_MAX)


class Attributes:
    """Interned pairs of an `ids` map and a `class_probs` map.

    Attributes
    ----------
    ids_json, class_json
        Number to compact JSON with sorted keys, ``{}`` for none.
    pairs
        (number of a track, number of a detection) to (merged number, class factor): ids are the union, in which the
        detection's values win; classes are merged by `merge_classes`.
    """

    def __init__(self) -> None:
        self.ids_json = FragmentTable()
        self.class_json = FragmentTable()
        self.pairs = PairTable(self._merge)
        self._contents: list[bytes] = []
        self._identities: NDArray[np.uint64] = np.zeros(256, np.uint64)
        self._numbers: dict[bytes, int] = {}
        # Spellings that were met, to their numbers: only a cache, emptied when it is full.
        self._spellings: dict[bytes, int] = {}
        self._kinds: dict[str, Spellings] = {}
        self._intern({}, {})

    def __len__(self) -> int:
        return len(self._contents)

    def number(self, ids: Mapping[str, str] | None, class_probs: Mapping[str, float] | None) -> int:
        """The number of these maps; ``None`` and an empty map are the same.

        Raises
        ------
        ValueError
            With the message ``field: reason``, where `ids` is not a map of text to text or `class_probs` not one of
            text to numbers from 0 to 1.
        """
        try:
            spelling = _ENCODE((ids, class_probs))
        except (TypeError, ValueError):
            spelling = b""
        known = self._spellings.get(spelling)
        if known is None:
            known = self._intern(_checked_ids(ids or {}), _checked_classes(class_probs or {}))
            self._remember(spelling, known)
        return known

    def number_of_json(self, ids_json: bytes | None, class_json: bytes | None) -> int:
        """The number of two maps as JSON text in any spelling (``None``, empty or ``null`` for none): see `number`."""
        spelling = b"%b\0%b" % (ids_json or b"", class_json or b"")
        known = self._spellings.get(spelling)
        if known is None:
            ids = _decoded(_IDS, ids_json, "ids")
            classes = _decoded(_CLASSES, class_json, "class_probs")
            known = self._intern(_checked_ids(ids), _checked_classes(classes))
            self._remember(spelling, known)
        return known

    def spellings(self, kind: str) -> Spellings:
        """The cache of a quick reader for texts of its kind: the same for all readers of that kind."""
        if kind not in self._kinds:
            self._kinds[kind] = Spellings()
        return self._kinds[kind]

    def ids(self, number: int) -> dict[str, str]:
        """A copy of the ids."""
        return _IDS.decode(self.ids_json.get(number)) or {}

    def classes(self, number: int) -> dict[str, float]:
        """A copy of the class probabilities."""
        return _CLASSES.decode(self.class_json.get(number)) or {}

    @property
    def identities(self) -> NDArray[np.uint64]:
        """Number to `identity_of` its ids, (len,)."""
        return self._identities[: len(self._contents)]

    def content(self, number: int) -> bytes:
        """The maps as one canonical byte string, the same in every process: what is saved and hashed."""
        return self._contents[number]

    @property
    def contents(self) -> list[bytes]:
        """Number to `content`, for reading only."""
        return self._contents

    def number_of_content(self, content: bytes) -> int:
        """The number of a saved `content`; ``ValueError`` where it is none."""
        known = self._numbers.get(content)
        if known is not None:
            return known
        try:
            ids_json, class_json = map(bytes, _PARTS.decode(content))
            ids = _CONTENT_IDS.decode(ids_json)
            if class_json != b"{}":
                _checked_classes(_CONTENT_CLASSES.decode(class_json))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"attributes: {error}") from None
        # What was saved is canonical already.
        return self._add(content, ids_json, class_json, ids)

    def _intern(self, ids: dict[str, str], classes: dict[str, float]) -> int:
        ids_json = orjson.dumps(ids, option=orjson.OPT_SORT_KEYS)
        class_json = orjson.dumps(classes, option=orjson.OPT_SORT_KEYS)
        content = b"[%b,%b]" % (ids_json, class_json)
        number = self._numbers.get(content)
        return self._add(content, ids_json, class_json, ids) if number is None else number

    def _add(self, content: bytes, ids_json: bytes, class_json: bytes, ids: Mapping[str, str]) -> int:
        number = self._numbers[content] = len(self._contents)
        self.ids_json.append(ids_json)
        self.class_json.append(class_json)
        self._contents.append(content)
        if number >= len(self._identities):
            self._identities = _grown(self._identities, number + 1)
        self._identities[number] = identity_of(ids)
        return number

    def _remember(self, spelling: bytes, number: int) -> None:
        if len(self._spellings) >= _CACHE_SIZE:
            self._spellings.clear()
        self._spellings[spelling] = number

    def _merge(self, a: int, b: int) -> tuple[int, float]:
        if a == 0 or b == 0:
            return a or b, 1.0
        ids_a, classes_a = self.ids(a), self.classes(a)
        ids_b, classes_b = self.ids(b), self.classes(b)
        classes, factor = merge_classes(classes_a, classes_b)
        return self._intern(ids_a | ids_b, classes), factor


def _decoded(decoder: msgspec.json.Decoder, text: bytes | None, field: str) -> dict:
    if not text:
        return {}
    try:
        return decoder.decode(text) or {}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{field}: {error}") from None


def _checked_ids(ids: Mapping[str, str]) -> dict[str, str]:
    checked: dict[str, str] = {}
    try:
        for key, value in ids.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise ValueError("ids: not a map of text to text")
            # Text that UTF-8 cannot write (a lone surrogate) cannot be published.
            (key + value).encode()
            checked[key] = value
    except UnicodeEncodeError:
        raise ValueError("ids: not valid Unicode") from None
    except AttributeError:
        raise ValueError("ids: not a map") from None
    return checked


def _checked_classes(class_probs: Mapping[str, float]) -> dict[str, float]:
    checked: dict[str, float] = {}
    try:
        for key, value in class_probs.items():
            if not isinstance(key, str) or isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError("class_probs: not a map of text to numbers")
            if not 0.0 <= value <= 1.0:
                raise ValueError("class_probs: not from 0 to 1")
            key.encode()
            checked[key] = float(value) + 0.0
    except UnicodeEncodeError:
        raise ValueError("class_probs: not valid Unicode") from None
    except AttributeError:
        raise ValueError("class_probs: not a map") from None
    return checked
