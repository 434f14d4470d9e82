"""What every feed format shares: how a decoder is written, found and fed, and how records are accounted for.

A new format is one file in this folder that defines a subclass of :class:`Decoder`; it is found by itself.

Each record that a decoder reads ends in exactly one of: a look (``Decoded`` or a bare ``Look``, which stands for one
record), ``Used`` (it lives on in later looks: a ship's name), ``Ignored`` (valid, nothing for a picture in it) or a
``Reject`` (a dead letter). Nothing raises on data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, ClassVar

from msgspec import Struct

from apss_fusion.feeds.until_fault import UntilFault
from apss_fusion.model import Look, Source

#: Longest line that is read whole; the rest of a longer one is skipped and the line becomes a dead letter.
MAX_LINE_BYTES = 8 * 2**20


class Decoded(Struct, frozen=True):
    """A look made of `records` records (a scene of many CSV rows)."""

    look: Look
    records: int = 1


class Used(Struct, frozen=True):
    """Records without a look of their own, whose content is carried by later ones."""

    records: int = 1


class Ignored(Struct, frozen=True):
    """Valid records with nothing for a picture in them: a base station, a bearing without a position."""

    reason: str
    records: int = 1


class Reject(Struct, frozen=True):
    """A record that cannot be used (or, with ``is_record`` false, a bad detection of a look that can)."""

    reason: str
    field: str | None
    #: Number of the line, element or packet in its file, from 1.
    line: int | None
    record: bytes | str | None
    is_record: bool = True


Item = Look | Decoded | Used | Ignored | Reject


class Decoder:
    """Turns one input of one format into items, in the order of the input.

    Subclasses set the class variables and write `recognises` and `items`. An instance belongs to one input (in a resumed
    run: to the same format's input of the run before); what it must remember between inputs is its `state`.
    """

    #: The name that ``--format`` takes, which is also the id of the built-in source.
    name: ClassVar[str]
    #: One line for the list of formats.
    title: ClassVar[str]
    #: The built-in source of looks in this format; ids ``name/STATION`` inherit it.
    source: ClassVar[Source]
    #: Whether its files are archives in no order of time, without times of arrival: looks are sorted, not fused as they come.
    archive: ClassVar[bool] = False
    #: Lower numbers are asked first whether they recognise an input.
    priority: ClassVar[int] = 50

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether the first bytes (up to 64 KiB, decompressed, perhaps cut anywhere) are of this format."""
        raise NotImplementedError

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """All items of a decompressed binary stream. Raises nothing because of data; errors of reading pass through."""
        raise NotImplementedError

    @classmethod
    def pieces(cls, stream: BinaryIO) -> Iterator[bytes]:
        """An input cut into the smallest records that stand alone, each in the form of a small input of the format.

        One decoder that is given all pieces in order, each as an input of its own and with `more_follows` where it has
        that, finds what it finds in the whole: the same looks in the same order, and as many of every other item. Only
        what a decoder gives up at the end of an input goes on waiting for the next piece.

        Here the input is one piece, which is what formats need whose records make a look together wherever they stand.
        An input without content has no piece. Raises nothing because of data; an error of reading passes through, after
        the pieces of what was read before it.
        """
        source = UntilFault(stream)
        data = b"".join(iter(lambda: source.read(2**20), b""))
        if data.strip():
            yield data
        source.check()

    def state(self) -> bytes:
        """What a later input of this format needs from this one (unfinished messages, names by identity)."""
        return b""

    def restore(self, state: bytes) -> None:
        """Take up the state of an earlier decoder of this format."""


def lines(stream: BinaryIO, cut: bool = False) -> Iterator[tuple[int, bytes | None]]:
    r"""Lines of a stream with their numbers from 1, without line ends (``\\n``, ``\\r\\n`` or ``\\r`` alike).

    A line longer than `MAX_LINE_BYTES` comes as None or, with `cut`, as one byte more than those. Memory stays bounded.
    """
    number = 0
    rest = b""
    too_long = False
    last_was_cr = False
    while block := stream.read(2**16):
        if last_was_cr and block.startswith(b"\n"):
            block = block[1:]
        last_was_cr = block.endswith(b"\r")
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *more = block.split(b"\n")
        if not too_long:
            rest += first
            too_long = len(rest) > MAX_LINE_BYTES
            if too_long:
                rest = rest[: MAX_LINE_BYTES + 1] if cut else b""
        if not more:
            continue
        number += 1
        yield number, None if too_long and not cut else rest
        too_long = False
        for line in more[:-1]:
            number += 1
            yield number, line
        rest = more[-1]
    if rest or too_long:
        yield number + 1, None if too_long and not cut else rest


def line_pieces(stream: BinaryIO) -> Iterator[bytes]:
    """The lines of a stream that are not blank, without line ends, as pieces of an input whose lines stand alone."""
    for _, line in lines(stream, cut=True):
        if line and line.strip():
            yield line
