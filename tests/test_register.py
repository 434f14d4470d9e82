"""The register of sources: read, inherited, resolved; sets of sources and their markings."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.feeds.registry import decoders
from apss_fusion.model import COOPERATIVE, Domain, Modality, Source
from apss_fusion.tracking.register import CLASSIFICATIONS, Register, load_sources, source_defaults
from apss_fusion.tracking.rows import AIR, DOMAIN_NAMES, GROUND, SEA, UNKNOWN

WORDS = [word for word in CLASSIFICATIONS if word != "UNMARKED"]
SOURCES = st.builds(
    Source,
    modality=st.sampled_from(get_args(Modality)),
    nation=st.none() | st.sampled_from(["LUX", "NOR"]),
    classification=st.sampled_from([*WORDS, "UNMARKED"]),
    releasable_to=st.lists(st.sampled_from(["LUX", "NOR", "USA"])).map(tuple),
    caveats=st.lists(st.sampled_from(["ORCON", "EXERCISE"])).map(tuple),
)


# ---------------------------------------------------------------- parameters


def test_every_modality_has_defaults_that_make_sense() -> None:
    defaults = source_defaults()
    assert set(defaults.modality) == set(get_args(Modality))
    for d in defaults.modality.values():
        assert d.position_sigma_m > 0 and 0 < d.p_detect <= 1 and d.clutter_per_km2 > 0
        assert d.max_latency_s > 0 and d.speed_sigma_mps > 0 and d.course_sigma_deg > 0


def test_a_source_that_says_nothing_has_the_defaults_of_its_modality() -> None:
    register = Register({m: Source(modality=m) for m in get_args(Modality)})
    for modality in get_args(Modality):
        own = register.defaults.modality[modality]
        number = register.number(modality)
        row = register.parameters[number]
        assert row["position_sigma_m"] == own.position_sigma_m
        assert row["p_detect"] == own.p_detect
        assert row["clutter_per_m2"] == own.clutter_per_km2 / 1e6
        assert row["max_latency_us"] == own.max_latency_s * 1e6
        assert row["cooperative"] == (modality in COOPERATIVE)
        assert row["may_initiate"] == 1
        assert (row["domains"], row["domain"]) == (0b111, UNKNOWN)


def test_what_a_source_says_wins_also_where_it_is_zero() -> None:
    source = Source(
        modality="SAR",
        position_sigma_m=7.0,
        p_detect=0.0,
        clutter_per_km2=0.0,
        max_latency_s=0.0,
        may_initiate=False,
        domains=("AIR",),
    )
    register = Register({"x": source})
    number = register.number("x")
    row = register.parameters[number]
    assert row["position_sigma_m"] == 7.0
    assert row["p_detect"] == row["clutter_per_m2"] == row["max_latency_us"] == row["may_initiate"] == 0
    assert (row["domains"], row["domain"]) == (1 << AIR, AIR)


@pytest.mark.parametrize(
    ("domains", "mask", "single"),
    [
        (None, 0b111, UNKNOWN),
        ((), 0b111, UNKNOWN),
        (("SEA",), 1 << SEA, SEA),
        (("SEA", "SEA"), 1 << SEA, SEA),
        (("SEA", "GROUND"), 1 << SEA | 1 << GROUND, UNKNOWN),
        (("SEA", "UNKNOWN"), 0b111, UNKNOWN),
        (("UNKNOWN",), 0b111, UNKNOWN),
    ],
)
def test_domains(domains: tuple[Domain, ...] | None, mask: int, single: int) -> None:
    register = Register({"x": Source(modality="EO", domains=domains)})
    number = register.number("x")
    assert (register.parameters[number]["domains"], register.parameters[number]["domain"]) == (mask, single)
    assert DOMAIN_NAMES[single] in (*(domains or ()), "UNKNOWN")


def test_numbers_are_given_once_and_in_order() -> None:
    register = Register({"a": Source(modality="AIS")})
    names = [f"a/{i}" for i in range(200)]
    assert [register.number(n) for n in names] == list(range(200))
    assert [register.number(n) for n in names] == list(range(200))
    assert register.names == names and len(register) == len(register.parameters) == 200
    assert [register.ids.get(i).decode() for i in range(200)] == names


# ---------------------------------------------------------------- inheritance


def test_a_station_inherits_the_longest_registered_prefix_under_its_own_id() -> None:
    register = Register(
        {
            "ais": Source(modality="AIS", nation="NOR"),
            "ais/north": Source(modality="AIS", nation="ISL", may_initiate=False),
        }
    )
    for name, nation in (("ais/x", "NOR"), ("ais/north/7", "ISL"), ("ais/north", "ISL"), ("ais/northern", "NOR")):
        number = register.number(name)
        assert register.source(number).nation == nation
        assert json.loads(register.heads.get(number) + b"0}") == {
            "source_id": name,
            "nation": nation,
            "modality": "AIS",
            "n": 0,
        }
    assert register.warnings == []
    assert register.is_registered("ais/north/7/8") and not register.is_registered("aisx")


def test_a_head_is_the_beginning_that_the_writers_continue() -> None:
    register = Register({"x": Source(modality="AIS")})
    assert register.heads.get(register.number("x")) == b'{"source_id":"x","nation":null,"modality":"AIS","n":'
    number = register.number('x/"\n')
    assert json.loads(register.heads.get(number) + b'1,"last":null}')["source_id"] == 'x/"\n'


def test_an_unregistered_source_is_other_unmarked_and_warned_of_once() -> None:
    register = Register({"ais": Source(modality="AIS", releasable_to=("LUX",))})
    for _ in range(3):
        for name in ("radar", "radar/1", "ais"):
            register.number(name)
    assert [w.split("'")[1] for w in register.warnings] == ["radar", "radar/1"]
    number = register.number("radar")
    assert register.source(number).modality == "OTHER"
    assert register.parameters[number]["may_initiate"] == 1
    marking = register.marking(register.set_number(["radar", "ais"]))
    assert (marking.classification, marking.releasable_to) == ("UNMARKED", ())


# ---------------------------------------------------------------- sets and markings


def test_the_rank_of_classifications() -> None:
    order = ["UNMARKED", "UNCLASSIFIED", "RESTRICTED", "CONFIDENTIAL", "SECRET", "TOP SECRET"]
    nato = ["NATO UNCLASSIFIED", "NATO RESTRICTED", "NATO CONFIDENTIAL", "NATO SECRET", "COSMIC TOP SECRET"]
    assert sorted(order, key=CLASSIFICATIONS.__getitem__) == order
    for national, word in zip(order[1:], nato, strict=True):
        assert CLASSIFICATIONS[word][0] == CLASSIFICATIONS[national][0]
    register = Register({w: Source(modality="EO", classification=w) for w in WORDS})
    for a, b in itertools.product(WORDS, WORDS):
        highest = register.marking(register.set_number([a, b])).classification
        assert CLASSIFICATIONS[highest][0] == max(CLASSIFICATIONS[a][0], CLASSIFICATIONS[b][0])
        assert highest == register.marking(register.set_number([b, a])).classification


@given(st.dictionaries(st.sampled_from("abcdef"), SOURCES, min_size=1), st.permutations(list("abcdef")))
def test_a_marking_is_no_less_strict_than_any_of_its_sources(sources: dict[str, Source], order: list[str]) -> None:
    register = Register(sources)
    number = 0
    members = [name for name in order if name in sources]
    for name in members:
        for _ in range(2):
            slot = register.sets.learn(number, register.number(name))
            number = int(register.sets.rows["value"][slot])
    assert register.set_members(number) == tuple(sorted(members))
    assert number == register.set_number(reversed(members))
    marking = register.marking(number)
    for name in members:
        source = sources[name]
        assert set(marking.releasable_to) <= set(source.releasable_to)
        assert set(marking.caveats) >= set(source.caveats)
        if source.classification == "UNMARKED":
            assert (marking.classification, marking.releasable_to) == ("UNMARKED", ())
        elif marking.classification != "UNMARKED":
            assert CLASSIFICATIONS[marking.classification] >= CLASSIFICATIONS[source.classification]
    if all(source.classification != "UNMARKED" for source in sources.values()):
        common = set.intersection(*[set(s.releasable_to) for s in sources.values()])
        assert marking.releasable_to == tuple(sorted(common))
    assert marking.caveats == tuple(sorted({c for s in sources.values() for c in s.caveats}))
    assert json.loads(register.markings.get(number)) == {
        "classification": marking.classification,
        "releasable_to": list(marking.releasable_to),
        "caveats": list(marking.caveats),
    }


def test_the_empty_set_vouches_for_nothing() -> None:
    register = Register({})
    assert register.set_number([]) == 0
    assert register.markings.get(0) == b'{"classification":"UNMARKED","releasable_to":[],"caveats":[]}'


def test_a_classification_in_small_letters_is_the_same() -> None:
    register = Register({"a": Source(modality="EO", classification="Nato Secret", releasable_to=("NOR",))})
    assert register.marking(register.set_number(["a"])).classification == "NATO SECRET"


@pytest.mark.parametrize("word", ["", "SECRET//NOFORN", "PUBLIC", "NATO", "TOPSECRET"])
def test_an_unknown_classification_is_refused_before_anything_is_fused(word: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="classification"):
        Register({"a": Source(modality="EO", classification=word)})
    path = tmp_path / "s.toml"
    path.write_text(f'[sources."a"]\nmodality = "EO"\nclassification = "{word}"\n')
    with pytest.raises(ValueError, match="classification"):
        load_sources(path)


# ---------------------------------------------------------------- files


def test_a_register_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(
        """
        [sources."sar-1"]
        modality = "SAR"
        nation = "NOR"
        provider = "p"
        platform = "q"
        domains = ["SEA"]
        position_sigma_m = 20
        p_detect = 0.9
        clutter_per_km2 = 1e-5
        max_latency_s = 900
        may_initiate = false
        classification = "NATO RESTRICTED"
        releasable_to = ["LUX", "NOR"]
        caveats = ["EXERCISE"]

        [sources.ais-nmea]
        modality = "AIS"
        """,
        encoding="utf-8",
    )
    sources = load_sources(path)
    assert list(sources) == ["sar-1", "ais-nmea"]
    assert sources["ais-nmea"] == Source(modality="AIS")
    assert sources["sar-1"] == Source(
        modality="SAR",
        nation="NOR",
        provider="p",
        platform="q",
        domains=("SEA",),
        position_sigma_m=20.0,
        p_detect=0.9,
        clutter_per_km2=1e-5,
        max_latency_s=900.0,
        may_initiate=False,
        classification="NATO RESTRICTED",
        releasable_to=("LUX", "NOR"),
        caveats=("EXERCISE",),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[sources."a"]\nnation = "NOR"\n', ['[sources."a"]', "modality"]),
        ('[sources."a"]\nmodality = "AIS"\nnations = "NOR"\n', ['[sources."a"]', "nations"]),
        ('[sources."a"]\nmodality = "SONAR"\n', ['[sources."a"]', "modality", "SONAR"]),
        ('[sources."a"]\nmodality = "AIS"\np_detect = "high"\n', ['[sources."a"]', "p_detect", "str"]),
        ('[sources."a"]\nmodality = "AIS"\np_detect = 1.5\n', ['[sources."a"]', "p_detect"]),
        ('[sources."a"]\nmodality = "AIS"\nposition_sigma_m = inf\n', ['[sources."a"]', "position_sigma_m"]),
        ('[sources."a"]\nmodality = "AIS"\nmax_latency_s = nan\n', ['[sources."a"]', "max_latency_s"]),
        ('[sources."a"]\nmodality = "AIS"\ndomains = ["LAKE"]\n', ['[sources."a"]', "domains", "LAKE"]),
        ('[sources.""]\nmodality = "AIS"\n', ["empty"]),
        ("sources = 3\n", ["sources"]),
        ("[sources]\na = 3\n", ['[sources."a"]']),
        ('[source."a"]\nmodality = "AIS"\n', ["source"]),
        ('[sources."a"\n', ["not TOML", "line 1"]),
    ],
)
def test_an_error_names_the_file_the_table_and_the_key_in_one_line(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "register.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as error:
        load_sources(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    for word in words:
        assert word in message


def test_bytes_that_are_no_text_are_no_register(tmp_path: Path) -> None:
    path = tmp_path / "register.toml"
    path.write_bytes(b"# \xff\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        load_sources(path)


def test_a_register_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_sources(tmp_path / "none.toml")


def test_an_empty_register_has_no_sources(tmp_path: Path) -> None:
    path = tmp_path / "register.toml"
    path.write_text("")
    assert load_sources(path) == {}


def test_the_built_in_sources_of_all_formats_can_be_registered() -> None:
    register = Register({d.name: d.source for d in decoders()})
    for d in decoders():
        assert register.is_registered(d.name)
        register.number(d.name)
    assert register.warnings == []
