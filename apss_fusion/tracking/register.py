"""The register of sources, resolved: what each is, by number, for compiled code and for the writers of tracks.

Also the sets of sources that contributed to a track, and the marking that such a set has.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from apss_fusion.association.pairs import PairTable
from apss_fusion.association.scratch import UNION
from apss_fusion.model import COOPERATIVE, Marking, Modality, Source
from apss_fusion.tracking.attributes import FragmentTable
from apss_fusion.tracking.rows import DOMAIN_NAMES, UNKNOWN

#: Marking of what nobody has marked.
UNMARKED = "UNMARKED"
#: Classifications from lowest to highest. NATO words (C-M(2002)49) rank with the national ones.
_LEVELS = (
    (UNMARKED,),
    ("NATO UNCLASSIFIED", "UNCLASSIFIED"),
    ("NATO RESTRICTED", "RESTRICTED"),
    ("NATO CONFIDENTIAL", "CONFIDENTIAL"),
    ("NATO SECRET", "SECRET"),
    ("COSMIC TOP SECRET", "TOP SECRET"),
)
#: Word to (level, order within the level): of two of one level a fused track takes the NATO word.
CLASSIFICATIONS = {word: (i, -j) for i, words in enumerate(_LEVELS) for j, word in enumerate(words)}

#: Parameters of a source with defaults resolved. `domains` has bit d set where the source can touch domain d;
#: `domain` is the only one of them, else UNKNOWN.
SOURCE = np.dtype(
    [
        ("position_sigma_m", "f8"),
        ("time_sigma_s", "f8"),
        ("p_detect", "f8"),
        ("clutter_per_m2", "f8"),
        ("speed_sigma_mps", "f8"),
        ("course_sigma_deg", "f8"),
        ("max_latency_us", "i8"),
        ("name_hash", "u8"),
        ("cooperative", "i1"),
        ("may_initiate", "i1"),
        ("domains", "i1"),
        ("domain", "i1"),
    ],
    align=True,
)


class ModalityDefaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a source of a modality is where the register does not say: see ``model/source_defaults.toml``."""

    position_sigma_m: float
    p_detect: float
    clutter_per_km2: float
    max_latency_s: float
    speed_sigma_mps: float
    course_sigma_deg: float
    time_sigma_s: float = 0.0


class DetectionDefaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sigmas of what a detection states without one."""

    range_rate_sigma_mps: float
    climb_sigma_mps: float
    slow_mps: float
    #: By datum, with UNSTATED for an altitude without one.
    alt_sigma_m: dict[str, float]


class SourceDefaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``model/source_defaults.toml``."""

    modality: dict[Modality, ModalityDefaults]
    detection: DetectionDefaults


@cache
def source_defaults() -> SourceDefaults:
    """The defaults that come with the package."""
    text = files("apss_fusion.model").joinpath("source_defaults.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), SourceDefaults)


def load_sources(path: str | Path) -> dict[str, Source]:
    """Read a register: a TOML file with one table ``[sources."ID"]`` a source.

    Raises
    ------
    ValueError
        One line that names the file, the table and the key: not TOML, an unknown key, a wrong type or value, no
        modality, an unknown classification.
    OSError
        The file cannot be read.
    """
    try:
        document = tomllib.loads(Path(path).read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML: {error}") from None
    tables = document.pop("sources", {})
    if document:
        raise ValueError(f'{path}: unknown key {next(iter(document))!r}: only tables [sources."ID"] are known')
    if not isinstance(tables, dict):
        raise ValueError(f"{path}: sources: not a table")
    return {name: _source(f'{path}: [sources."{name}"]', name, table) for name, table in tables.items()}


def _source(where: str, name: str, table: Any) -> Source:
    try:
        source = msgspec.convert(table, Source)
        check_source(name, source)
    except (msgspec.ValidationError, ValueError) as error:
        # msgspec: "Object contains unknown field `x`", "Expected `float`, got `str` - at `$.p_detect`".
        reason, _, at = str(error).partition(" - at `$.")
        raise ValueError(f"{where}: {at.rstrip('`') + ': ' if at else ''}{reason}") from None
    return source


def check_source(name: str, source: Source) -> None:
    """Fail closed: ``ValueError`` (``key: reason``) on what cannot be registered, as an unknown classification."""
    if not name:
        raise ValueError("the id is empty")
    for key in ("position_sigma_m", "clutter_per_km2", "max_latency_s", "p_detect"):
        value = getattr(source, key)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{key}: not finite")
    if source.classification.upper() not in CLASSIFICATIONS:
        known = ", ".join(CLASSIFICATIONS)
        raise ValueError(f"classification: {source.classification!r} is none of {known}")


class Register:
    """Sources by number, in the order in which they were first asked for.

    Parameters
    ----------
    sources
        The registered sources by id.
    defaults
        Defaults by modality; those of the package where ``None``.

    Attributes
    ----------
    ids
        Source number to its id.
    heads
        Source number to the beginning of its JSON as a contributor,
        ``{"source_id":"x","nation":null,"modality":"AIS","n":``.
    sets
        (number of a set of sources, source number) to the number of the union. Set 0 is empty.
    markings
        Set number to the JSON of its marking.
    warnings
        One line for each source that was asked for and is not registered, in order.
    """

    def __init__(self, sources: Mapping[str, Source], defaults: SourceDefaults | None = None) -> None:
        for name, source in sources.items():
            check_source(name, source)
        self.defaults = defaults or source_defaults()
        self.ids = FragmentTable()
        self.heads = FragmentTable()
        self.sets = PairTable(self._union)
        self.markings = FragmentTable()
        self.warnings: list[str] = []
        self._registered = dict(sources)
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._sources: list[Source] = []
        self._parameters = np.zeros(64, SOURCE)
        self._sets: list[tuple[str, ...]] = []
        self._set_numbers: dict[tuple[str, ...], int] = {}
        self.set_number(())

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> list[str]:
        """Number to source id, for reading only."""
        return self._names

    @property
    def parameters(self) -> NDArray[np.void]:
        """Number to parameters, (len,) of `SOURCE`. Valid until the next new source."""
        return self._parameters[: len(self._names)]

    def number(self, source_id: str) -> int:
        """The number of a source. ``name/STATION`` inherits the longest registered ``name`` before a slash.

        An id without a registered prefix gets the defaults of modality OTHER, is `UNMARKED` and adds a warning.
        ``UnicodeEncodeError`` where the id cannot be written as UTF-8.
        """
        known = self._numbers.get(source_id)
        return self._add(source_id) if known is None else known

    def source(self, number: int) -> Source:
        """The register's entry of a source (the inherited one of a station)."""
        return self._sources[number]

    def is_registered(self, source_id: str) -> bool:
        """Whether `source_id` or a prefix of it before a slash is registered."""
        return self._entry(source_id) is not None

    def set_number(self, source_ids: Iterable[str]) -> int:
        """The number of a set of sources, given by ids: numbers of sets are of one process, ids are what is saved."""
        members = tuple(sorted(set(source_ids)))
        known = self._set_numbers.get(members)
        if known is None:
            known = self._set_numbers[members] = len(self._sets)
            self._sets.append(members)
            self.markings.append(orjson.dumps(msgspec.structs.asdict(self._marking(members))))
        return known

    def set_members(self, number: int) -> tuple[str, ...]:
        """The ids of a set, sorted."""
        return self._sets[number]

    def marking(self, number: int) -> Marking:
        """The marking of a set: highest classification, intersection of releasability, union of caveats.

        Where any member is unmarked, or the set is empty, nothing is vouched for: `UNMARKED`, releasable to nobody.
        """
        return self._marking(self._sets[number])

    def _entry(self, source_id: str) -> Source | None:
        name = source_id
        while name not in self._registered:
            name, slash, _ = name.rpartition("/")
            if not slash:
                return None
        return self._registered[name]

    def _add(self, source_id: str) -> int:
        name = source_id.encode()
        entry = self._entry(source_id)
        if entry is None:
            self.warnings.append(
                f"source {source_id!r} is not registered: fused with the defaults of OTHER, {UNMARKED}"
            )
        source = entry or Source(modality="OTHER", classification=UNMARKED)
        number = self._numbers[source_id] = len(self._names)
        self._names.append(source_id)
        self.ids.append(name)
        self._sources.append(source)
        if number >= len(self._parameters):
            self._parameters = np.concatenate([self._parameters, np.zeros(len(self._parameters), SOURCE)])
        self._parameters[number] = self._resolved(source_id, source)
        head = orjson.dumps({"source_id": source_id, "nation": source.nation, "modality": source.modality, "n": 0})
        self.heads.append(head[: -len(b"0}")])
        return number

    def _resolved(self, source_id: str, source: Source) -> tuple:
        own = self.defaults.modality[source.modality]
        domains = [DOMAIN_NAMES.index(d) for d in dict.fromkeys(source.domains or ())]
        every = not domains or UNKNOWN in domains
        return (
            _or(source.position_sigma_m, own.position_sigma_m),
            _or(source.time_sigma_s, own.time_sigma_s),
            _or(source.p_detect, own.p_detect),
            _or(source.clutter_per_km2, own.clutter_per_km2) / 1e6,
            own.speed_sigma_mps,
            own.course_sigma_deg,
            round(_or(source.max_latency_s, own.max_latency_s) * 1e6),
            xxh3_64_intdigest(source_id.encode()),
            source.modality in COOPERATIVE,
            source.may_initiate,
            0b111 if every else sum(1 << d for d in domains),
            domains[0] if len(domains) == 1 else UNKNOWN,
        )

    def _union(self, number: int, source: int) -> tuple[int, float]:
        """The set of a set and a source, or of two sets."""
        if source >= UNION:
            return self.set_number((*self._sets[number], *self._sets[source - UNION])), 1.0
        return self.set_number((*self._sets[number], self._names[source])), 1.0

    def _marking(self, source_ids: tuple[str, ...]) -> Marking:
        members = [self.source(self.number(i)) for i in source_ids]
        words = [m.classification.upper() for m in members]
        caveats = tuple(sorted({c for m in members for c in m.caveats}))
        if not words or UNMARKED in words:
            return Marking(UNMARKED, (), caveats)
        releasable = set.intersection(*[set(m.releasable_to) for m in members])
        highest = max(words, key=lambda word: CLASSIFICATIONS[word])
        return Marking(highest, tuple(sorted(releasable)), caveats)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
