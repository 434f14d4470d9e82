"""Which inputs of a run continue which of the run before, and what is saved of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from apss_fusion.feeds.ais_nmea import AisNmea
from apss_fusion.replay import state_file
from apss_fusion.replay.pipeline_inputs import InputReader, InputState
from apss_fusion.replay.pipeline_outputs import RunError
from apss_fusion.replay.pipeline_stop import Stop
from apss_fusion.replay.state_file import SavedRun
from apss_fusion.tracking.engine import Engine, StateError
from apss_fusion.tracking.times import NO_TIME_US


def load_state(path: str | None) -> SavedRun | None:
    """The state in a file; `RunError` of status 2 where it cannot be used."""
    if path is None:
        return None
    try:
        return state_file.load(path)
    except StateError as error:
        raise RunError(str(error), 2) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: {getattr(error, 'strerror', None) or error}", 2) from None


class Continued:
    """The inputs of a run, each begun where an input of the saved run left off.

    A file in which that run was interrupted is read on from there. Any other input follows the first of its format that
    was not followed yet, so the second part of a feed may lie under any name.

    Attributes
    ----------
    formats
        Formats whose built-in sources are in this run or were in the saved one.
    left
        Inputs of the saved run that none of this run follows.
    warnings
        One line each.

    Raises
    ------
    RunError
        Of status 2: the state of a decoder is of no use to this program.
    """

    def __init__(self, saved: SavedRun | None, readers: Sequence[InputReader], path: str) -> None:
        self.left: list[InputState] = [] if saved is None else list(saved.inputs)
        self.warnings: list[str] = []
        self.formats = set() if saved is None else set(saved.formats)
        self.formats |= {name for reader in readers for name in reader.built_in}
        try:
            rest = [reader for reader in readers if not self._go_on(reader)]
            for reader in rest:
                self._follow(reader)
        except (ValueError, msgspec.MsgspecError) as error:
            raise RunError(f"{path}: the state of a decoder cannot be used: {error}", 2) from None

    def _go_on(self, reader: InputReader) -> bool:
        for state in self.left:
            position = state.position
            if position is None or state.format != reader.format:
                continue
            if (position.size, position.digest) == reader.fingerprint:
                reader.go_on(position)
                self.left.remove(state)
                return True
        return False

    def _follow(self, reader: InputReader) -> None:
        state = next((state for state in self.left if state.format == reader.format), None)
        if state is None:
            return
        if state.position is not None:
            self.warnings.append(f"{reader.name}: the saved run was stopped within {state.name}, which is another file")
        reader.follow(state)
        self.left.remove(state)

    def unfinished(self, stop: Stop) -> list[InputReader]:
        """What was left unfinished by inputs that none of this run follows, each as an input of its own."""
        readers = []
        for state in self.left:
            if state.state:
                reader = InputReader(os.devnull, state.format, stop)
                reader.name = state.name
                reader.follow(state)
                readers.append(reader)
        return readers


def newest_time_us(saved: SavedRun | None) -> int:
    """The newest time of a look that had come before a run was saved; `NO_TIME_US` where none had."""
    return NO_TIME_US if saved is None else max((state.newest_us for state in saved.inputs), default=NO_TIME_US)


def expect_more(readers: Sequence[InputReader]) -> None:
    """Keep what is unfinished at the end of the inputs for those that follow them."""
    for reader in readers:
        if isinstance(reader.decoder, AisNmea):
            reader.decoder.more_follows = True


def saved_run(
    engine: Engine,
    before: SavedRun | None,
    readers: Sequence[InputReader],
    continued: Continued,
    settings: str,
    newest_us: int,
    interrupted: bool,
) -> SavedRun:
    """What a run is continued from: after its end, or (`interrupted`) from within its inputs.

    newest_us: the newest time of its looks and of those before, microseconds since 1970.
    """
    records = state_file.merged_records([] if before is None else before.records, engine.changes())
    inputs = [reader.state(interrupted, newest_us) for reader in readers if reader.decoder is not None]
    return SavedRun(records, [*inputs, *continued.left], sorted(continued.formats), settings)
