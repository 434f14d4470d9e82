"""Tables of pairs: found where learned, computed once, whatever the order and the number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.association.pairs import PairTable, find_pair

NUMBERS = st.integers(0, 2**31 - 1)


def combined(a: int, b: int) -> tuple[int, float]:
    return (a * 31 + b) % 2**40, 1.0 + (a % 7) / 8.0


def value_of(table: PairTable, slot: int) -> tuple[int, float]:
    return int(table.rows[slot]["value"]), float(table.rows[slot]["factor"])


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=60), st.tuples(NUMBERS, NUMBERS))
def test_what_was_learned_is_found_and_nothing_else(pairs: list[tuple[int, int]], other: tuple[int, int]) -> None:
    table = PairTable(combined)
    for a, b in pairs:
        slot = table.learn(a, b)
        assert value_of(table, slot) == combined(a, b)
    for a, b in pairs:
        slot = find_pair(table.rows, a, b)
        assert value_of(table, slot) == combined(a, b)
    assert len(table) == len(set(pairs))
    if other not in pairs:
        assert find_pair(table.rows, *other) == -1


def test_a_pair_is_not_its_reverse() -> None:
    table = PairTable(combined)
    table.learn(1, 2)
    assert find_pair(table.rows, 2, 1) == -1


def test_the_first_and_the_last_numbers_have_a_place() -> None:
    table = PairTable(combined)
    for pair in ((0, 0), (0, 2**31 - 1), (2**31 - 1, 0), (2**31 - 1, 2**31 - 1)):
        assert find_pair(table.rows, *pair) == -1
        assert value_of(table, table.learn(*pair)) == combined(*pair)


def test_it_grows_and_computes_each_pair_once() -> None:
    asked: list[tuple[int, int]] = []

    def compute(a: int, b: int) -> tuple[int, float]:
        asked.append((a, b))
        return combined(a, b)

    table = PairTable(compute)
    pairs = [(i // 100, i % 100) for i in range(5000)]
    for _ in range(2):
        for a, b in pairs:
            table.learn(a, b)
    assert asked == pairs
    assert len(table) == 5000 and 2 * len(table) <= len(table.rows)
    slots = [int(find_pair(table.rows, a, b)) for a, b in pairs]
    assert len(set(slots)) == 5000
    assert [value_of(table, slot) for slot in slots] == [combined(a, b) for a, b in pairs]


def test_a_pair_may_be_learned_while_another_is_computed() -> None:
    table = PairTable(lambda a, b: (value_of(table, table.learn(a - 1, b))[0] + 1 if a else 0, 1.0))
    assert value_of(table, table.learn(400, 7)) == (400, 1.0)
    assert len(table) == 401
