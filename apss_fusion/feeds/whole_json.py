"""JSON documents that are read whole: one array of records, alone or as a value of one object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import msgspec
from msgspec import Raw, Struct

from apss_fusion.feeds.base import Reject

#: Larger documents are refused: they have no place in memory. Feeds of that size come as lines.
MAX_DOCUMENT_BYTES = 2**30

_AT = re.compile(r"^(.*) - at `\$\.?(.*)`$", re.DOTALL)
#: What a broken document is reported with.
_EXCERPT = 1000


class Document(Struct, frozen=True):
    """The elements of the array, what stands beside it in the object, and where the document is broken."""

    elements: list[Raw]
    beside: dict[str, Raw]
    broken: Reject | None = None


class Rejoined(BytesIO):
    """A stream whose first bytes were read already, to be read from its beginning."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__(head)
        self._rest = rest

    def read(self, size: int | None = -1, /) -> bytes:
        """Bytes of the head, and after them of the rest."""
        return super().read(size) or self._rest.read(-1 if size is None else size)


def problem(error: Exception) -> tuple[str, str | None]:
    """Reason and field (``detections[0].lat``) of an error of msgspec."""
    text = str(error) or type(error).__name__
    match = _AT.match(text)
    return (match[1], match[2] or None) if match else (text, None)


def read_whole(stream: BinaryIO) -> bytes:
    """All bytes of a stream, at most one more than are allowed."""
    blocks: list[bytes] = []
    size = 0
    while size <= MAX_DOCUMENT_BYTES and (block := stream.read(min(2**24, MAX_DOCUMENT_BYTES + 1 - size))):
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)


def parse(data: bytes, keys: tuple[str, ...] = ()) -> Document:
    """The elements of a document ``[...]``, or with `keys` of ``{"key": [...]}`` with the first of them that is there.

    Where the document is broken, the elements before the break are kept, and NaN reads as null. Raises nothing.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        return Document([], {}, Reject(f"the document is longer than {MAX_DOCUMENT_BYTES} bytes", None, None, None))
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        return Document([], {})
    try:
        if not keys:
            return Document(msgspec.json.decode(data, type=list[Raw]), {})
        beside = msgspec.json.decode(data, type=dict[str, Raw])
        for key in keys:
            if key in beside:
                elements = msgspec.json.decode(beside.pop(key), type=list[Raw] | None)
                return Document(elements or [], beside)
        return Document([], {}, Reject(f"no array of the name {' or '.join(keys)}", keys[0], None, data[:_EXCERPT]))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _salvaged(data, keys, problem(error)[0])


def element_pieces(document: Document, before: bytes, after: bytes, keys: tuple[str, ...] = ()) -> Iterator[bytes]:
    """The elements of a document parsed with `keys`, each between `before` and `after` as a document of its own.

    Where the document is broken, what the last piece holds is broken too: one dead letter.
    """
    for element in document.elements:
        yield before + element + after
    if document.broken is None:
        return
    record = document.broken.record or b""
    given = before + (record.encode() if isinstance(record, str) else record)
    alone = parse(given, keys)
    # The rest of a document may be sound without what stood before it: with a comma in front it is not.
    yield given if alone.broken is not None and not alone.elements else before + b"," + given[len(before) :]


def _salvaged(data: bytes, keys: tuple[str, ...], reason: str) -> Document:
    """The elements before the break, read one by one by the more lenient decoder of the standard library."""
    text = data.decode("utf-8", errors="replace")
    decoder = json.JSONDecoder()
    elements: list[Raw] = []
    beside: dict[str, Raw] = {}
    start = re.search(rf'"(?:{"|".join(keys)})"\s*:\s*\[', text) if keys else re.match(r"\s*\[", text)
    if start is None:
        return Document([], {}, Reject(reason, None, None, data[:_EXCERPT]))
    at = start.end()
    try:
        if keys:
            head = text[: start.start()].rstrip().removesuffix(",")
            beside = msgspec.json.decode(head + "}", type=dict[str, Raw])
        at = _skip(text, at)
        while text[at : at + 1] != "]":
            element, end = decoder.raw_decode(text, at)
            given = text[at:end]
            is_json = "NaN" not in given and "Infinity" not in given
            elements.append(Raw(given.encode() if is_json else msgspec.json.encode(element)))  # NaN becomes null
            at = _skip(text, end)
            if text[at : at + 1] == ",":
                at = _skip(text, at + 1)
            elif text[at : at + 1] != "]":
                raise ValueError
        tail = text[at + 1 :].strip()
        if not keys and not tail:
            return Document(elements, beside)
        if keys and tail.startswith((",", "}")):
            after = msgspec.json.decode("{" + tail.removeprefix(","), type=dict[str, Raw])
            return Document(elements, beside | after)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        pass
    number = len(elements) + 1
    broken = Reject(f"the JSON is broken from element {number} on: {reason}", None, number, text[at : at + _EXCERPT])
    return Document(elements, beside, broken)


def _skip(text: str, at: int) -> int:
    """The place of the first character from `at` on that is no white space."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
