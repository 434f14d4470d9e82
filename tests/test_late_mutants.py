"""The mutants of `mutants.py` still break what they say: their texts stand once in the sources."""

from __future__ import annotations

import pytest
from mutants import MUTANTS, source_of


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_changes_something(name: str) -> None:
    mutant = MUTANTS[name]
    assert source_of(mutant).count(mutant.text) == (2 if "cells" in name else 1)
    assert mutant.instead != mutant.text
