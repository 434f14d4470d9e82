"""AIS messages of several sentences, feeds that are cut and taken up again, and damaged ones."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from feeds_ais_tools import (
    STAMP,
    VOYAGE,
    count_records,
    ids_of,
    items_of,
    kinds,
    looks_of,
    pghp,
    plain,
    records,
    sentence,
    ship,
    tag_block,
    two_sentences,
)
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.feeds import ais_parts
from apss_fusion.feeds.ais_nmea import AisNmea
from apss_fusion.feeds.base import Item, Reject, Used
from apss_fusion.model import Look

# --- messages of several sentences ---


def test_parts_are_joined_and_remembered() -> None:
    report = tag_block(f"c:{STAMP}") + sentence(ship(second=2))
    found = items_of(AisNmea(), "\n".join([*two_sentences(), report]))
    assert found[0] == Used()
    assert isinstance(found[1], Look)
    detection = found[1].detections[0]
    assert detection.ids == {"mmsi": "235012345", "name": "SHIP 235012345"}
    assert detection.class_probs == {"cargo": 0.95, "other": 0.05}


def test_all_static_fields_are_attached() -> None:
    payload = ship(mmsi=351759000, second=2)
    parts = [sentence(VOYAGE[:60], 0, "2,1,1,A"), sentence(VOYAGE[60:], 2, "2,2,1,A")]
    look = looks_of(items_of(AisNmea(), "\n".join([*parts, f"{sentence(payload)},{STAMP}"])))[0]
    detection = look.detections[0]
    assert detection.ids == {"mmsi": "351759000", "imo": "9134270", "callsign": "3FOF8", "name": "EVER DIADEM"}
    assert (detection.length_m, detection.width_m) == (295.0, 32.0)


@given(st.permutations(range(8)))
def test_interleaved_parts_in_any_order(order: list[int]) -> None:
    lines = [
        *two_sentences(235000001, "1", "A"),
        *two_sentences(235000002, "1", "B"),
        *two_sentences(235000003, "2", "A"),
        *two_sentences(235000004, "1", "A", "BSVDM"),
    ]
    reports = [f"{sentence(ship(mmsi=235000001 + k))},{STAMP}" for k in range(4)]
    found = items_of(AisNmea(), "\n".join([*(lines[k] for k in order), *reports]))
    assert kinds(found) == {"Used": 4, "Look": 4}
    assert [ids_of(look)["name"] for look in looks_of(found)] == [f"SHIP {235000001 + k}" for k in range(4)]


def test_groups_keep_messages_apart() -> None:
    ships = [two_sentences(235000001), two_sentences(235000002)]
    lines = [tag_block(f"g:{part + 1}-2-{70 + k}") + ships[k][part] for part in (0, 1) for k in (0, 1)]
    reports = [f"{sentence(ship(mmsi=235000001 + k))},{STAMP}" for k in range(2)]
    found = items_of(AisNmea(), "\n".join([*lines, *reports]))
    assert [ids_of(look).get("name") for look in looks_of(found)] == ["SHIP 235000001", "SHIP 235000002"]


def test_a_group_on_one_part_only() -> None:
    first, second = two_sentences()
    assert kinds(items_of(AisNmea(), f"{tag_block('g:1-2-7')}{first}\n{second}")) == {"Used": 1}
    assert kinds(items_of(AisNmea(), f"{first}\n{tag_block('g:2-1-1')}{second}")) == {"Used": 1}


def test_parts_far_apart_in_time_are_not_joined() -> None:
    first, second = two_sentences()
    near = f"{tag_block(f'c:{STAMP}')}{first}\n{tag_block(f'c:{STAMP + 29}')}{second}"
    far = f"{tag_block(f'c:{STAMP}')}{first}\n{tag_block(f'c:{STAMP + 31}')}{second}"
    assert kinds(items_of(AisNmea(), near)) == {"Used": 1}
    assert kinds(items_of(AisNmea(), far)) == {"Reject": 2}


def test_parts_far_apart_in_lines_are_not_joined() -> None:
    first, second = two_sentences()
    assert kinds(items_of(AisNmea(), first + "\n#" * 999 + f"\n{second}")) == {"Used": 1}
    assert kinds(items_of(AisNmea(), first + "\n#" * 1000 + f"\n{second}")) == {"Reject": 2}


def test_a_lost_part_leaves_a_dead_letter_a_line() -> None:
    (one, _), two = two_sentences(235000001), two_sentences(235000002)
    found = items_of(AisNmea(), "\n".join([one, *two]))
    assert found[0] == Used()
    assert found[1] == Reject("the message misses a sentence", "fragment", 1, one.encode())
    three = [sentence("5" + "0" * 20, 0, f"3,{k},4,A") for k in (1, 3)]
    found = items_of(AisNmea(), "\n".join(three))
    assert [(item.line, item.field) for item in found if isinstance(item, Reject)] == [(1, "fragment"), (2, "fragment")]


def test_a_message_heard_twice_is_two() -> None:
    first, second = two_sentences()
    assert kinds(items_of(AisNmea(), "\n".join([first, first, second, second]))) == {"Used": 2}


def test_waiting_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ais_parts, "MAX_PARTIALS", 50)
    decoder = AisNmea()
    decoder.more_follows = True
    lines = [sentence("5" + "0" * 20, 0, f"2,1,{k % 10},{chr(65 + k % 26)}", f"{k % 89 + 10}VDM") for k in range(400)]
    found = items_of(decoder, "\n".join(lines))
    assert len(found) == 350
    assert [item.line for item in found if isinstance(item, Reject)] == list(range(1, 351))


def test_sentences_in_one_line() -> None:
    first, second = two_sentences()
    block = rf"\c:{STAMP},s:FM112*00" + "\\"
    assert kinds(items_of(AisNmea(), f"{block}{first}{block}{second}")) == {"Used": 1}
    two = sentence(ship(mmsi=235000001)), sentence(ship(mmsi=235000002))
    looks = looks_of(items_of(AisNmea(), f"{block}{two[0]}{block}{two[1]}"))
    assert [ids_of(look)["mmsi"] for look in looks] == ["235000001", "235000002"]
    assert {look.source_id for look in looks} == {"ais-nmea/FM112"}


# --- state ---


def mixed_feed() -> list[bytes]:
    """Some of everything, without tag blocks of one time only."""
    ships = [f"{sentence(ship(mmsi=235000001 + k, second=k))},{STAMP}" for k in range(10)]
    announced = [sentence(ship(mmsi=235000001 + k, second=20 + k)) for k in range(10)]
    stamps = [pghp(f"2012,1,31,5,7,{20 + k},500", "316", line[-2:]) for k, line in enumerate(announced)]
    three = [sentence("5" + "0" * 20, 0, f"3,{k},4,A") for k in (1, 3)]
    lines = [ships[0], two_sentences(235000001)[0], tag_block(f"g:1-2-77,s:X,c:{STAMP}"), "$BSALR,,006,V,V,x", ships[1]]
    lines += [two_sentences(235000001)[1], ships[0], three[0], tag_block("g:2-2-77") + announced[7], "noise", ships[2]]
    lines += [announced[0], stamps[1], two_sentences(235000002, "5")[1], stamps[0], announced[1], ships[3], three[1]]
    lines += [stamps[2], stamps[3], announced[3], two_sentences(235000002, "5")[0], announced[2], ships[1], ships[4]]
    lines += [
        two_sentences(235000003, "6")[0],
        *ships[5:],
        announced[4],
        stamps[4],
        announced[5],
        announced[6],
        stamps[6],
    ]
    return [line.encode() for line in lines]


def run_in_pieces(data: bytes, cuts: list[int]) -> list[Item]:
    """The items of a feed cut after some of its lines, each piece read by a decoder of its own."""
    lines = data.splitlines(keepends=True)
    edges = [0, *sorted(cuts), len(lines)]
    found: list[Item] = []
    state = b""
    for place, (start, end) in enumerate(pairwise(edges)):
        decoder = AisNmea()
        decoder.restore(state)
        decoder.more_follows = place < len(edges) - 2
        found += items_of(decoder, b"".join(lines[start:end]))
        state = decoder.state()
    return found


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_a_feed_cut_anywhere_is_the_feed(cuts: list[int]) -> None:
    lines = mixed_feed()
    data = b"\n".join(lines) + b"\n"
    whole = items_of(AisNmea(), data)
    assert {"Look", "Reject", "Used"} <= set(kinds(whole))
    assert [plain(item) for item in run_in_pieces(data, [min(cut, len(lines)) for cut in cuts])] == [
        plain(item) for item in whole
    ]


def test_without_more_to_follow_unfinished_messages_are_dead_letters() -> None:
    first, second = two_sentences()
    decoder = AisNmea()
    assert kinds(items_of(decoder, first)) == {"Reject": 1}
    other = AisNmea()
    other.restore(decoder.state())
    assert kinds(items_of(other, second)) == {"Reject": 1}


def test_foreign_states_are_refused() -> None:
    decoder = AisNmea()
    decoder.restore(b"")
    for state in (b"\x00", b"nonsense", AisNmea().state().replace(b"version\x01", b"version\x63")):
        with pytest.raises(ValueError):
            decoder.restore(state)


def test_reading_that_fails_gives_what_came_before() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            if not data:
                raise OSError("gone")
            return data

    line = sentence(ship(second=2))
    data = f"{pghp('2012,1,31,5,7,2,0', '1', line[-2:])}\n{line}\n" * 5
    items = AisNmea().items(Failing(data.encode()))
    found = [next(items) for _ in range(5)]
    assert all(isinstance(item, Look) for item in found)
    with pytest.raises(OSError, match="gone"):
        next(items)


# --- fuzz ---


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 90), st.binary(max_size=3), st.integers(0, 3)), max_size=12)
)
def test_damaged_lines_never_raise_and_add_up(damages: list[tuple[int, int, bytes, int]]) -> None:
    lines = mixed_feed()
    for number, place, put, drop in damages:
        line = lines[number % len(lines)]
        lines[number % len(lines)] = line[: place % (len(line) + 1)] + put + line[place % (len(line) + 1) + drop :]
    data = b"\n".join(lines)
    found = items_of(AisNmea(), data)
    assert records(found) == count_records(data)


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(mixed_feed())), max_size=30))
def test_noise_never_raises(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    for item in items_of(AisNmea(), data):
        if isinstance(item, Reject):
            assert isinstance(item.record, bytes)
            assert len(item.record) <= 4096


# --- recognising ---


@pytest.mark.parametrize(
    "head",
    [
        sentence(ship()),
        tag_block(f"c:{STAMP}") + sentence(ship()),
        "# comment\n\r\n$ABVSI,x*00\n" + sentence(ship()),
        pghp("2012,1,31,5,7,2,0", "1", "00") + "\r\n" + sentence(ship())[:30],
        "\ufeff" + sentence(ship()),
        "!--VDM,1,1,,,x",
    ],
)
def test_recognised(head: str) -> None:
    assert AisNmea.recognises(head.encode())


@pytest.mark.parametrize(
    "head",
    [
        "",
        "x",
        "MMSI,BaseDateTime,LAT,LON\n1,2,3,4\n",
        '{"msg_type":1,"nmea":"!AIVDM,1,1,,A,15M67FC000G?ufbE`FepT@3n00Sa,0*5C"}',
        "time,sentence\n2020-01-01,!AIVDM,1,1,,A,x",
        "$GPGGA,1,2,3*00\n",
        "!AIV",
        "\x1f\x8b",
    ],
)
def test_not_recognised(head: str) -> None:
    assert not AisNmea.recognises(head.encode())


@given(st.integers(0, 200))
def test_recognised_wherever_the_head_is_cut(cut: int) -> None:
    data = (tag_block(f"c:{STAMP}") + sentence(ship()) + "\n").encode()
    assert AisNmea.recognises(data + (data * 2)[:cut])
    assert AisNmea.recognises(data[:cut]) == (cut >= len(tag_block(f"c:{STAMP}")) + len("!AIVDM,1,1,,A,"))


def test_the_defaults_of_the_source() -> None:
    assert AisNmea.source.modality == "AIS"
    assert AisNmea.source.domains == ("SEA", "AIR")
    assert AisNmea.name == "ais-nmea"
