"""Formats: found by themselves, told apart by content, and what holds for each of them."""

from __future__ import annotations

import importlib
import io
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FEEDS
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.feeds import registry
from apss_fusion.feeds.base import Decoded, Decoder, Ignored, Reject, Used
from apss_fusion.feeds.reading import open_input
from apss_fusion.model import Look, Source


class Words(Decoder):
    """Takes what starts with a word."""

    name = "words"
    priority = 50

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith(b"words\n")


class Anything(Decoder):
    """Would take whatever nobody else does."""

    name = "anything"
    priority = 90

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.isascii()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty package that formats can be put into."""
    folder = tmp_path / "formats_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] in (folder.name, "elsewhere")]:
        del sys.modules[name]


ONE_FORMAT = """
    from apss_fusion.feeds.base import Decoder as D
    from apss_fusion.model import Source
    class Base(D):
        source = Source(modality="OTHER")
    class {cls}(Base):
        name = "{name}"
        priority = {priority}
    Alias = {cls}
"""


def add_format(folder: Path, file: str, **values: object) -> None:
    (folder / file).write_text(textwrap.dedent(ONE_FORMAT).format(**values))


def test_a_format_is_one_more_file_in_the_folder(package: Path) -> None:
    add_format(package, "a.py", cls="A", name="zulu", priority=50)
    add_format(package, "b.py", cls="B", name="alpha", priority=50)
    add_format(package, "c.py", cls="C", name="last", priority=60)
    add_format(package, "d.py", cls="D", name="first", priority=10)
    (package.parent / "elsewhere.py").write_text((package / "a.py").read_text().replace("zulu", "imported"))
    (package / "imports.py").write_text("from elsewhere import A\nfrom formats_of_a_test.b import B\n")
    found = registry._decoders_of(importlib.import_module(package.name))
    assert [decoder.name for decoder in found] == ["first", "alpha", "zulu", "last"]


def test_two_formats_of_one_name_are_an_error(package: Path) -> None:
    add_format(package, "a.py", cls="A", name="same", priority=50)
    add_format(package, "b.py", cls="B", name="same", priority=50)
    with pytest.raises(TypeError, match="both define the format 'same'"):
        registry._decoders_of(importlib.import_module(package.name))


def test_where_two_recognise_an_input_the_priority_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "decoders", lambda: (Words, Anything))
    assert registry.recognise(b"words\n") is Words
    assert registry.recognise(b"others\n") is Anything
    assert registry.recognise(b"\xff") is None
    assert registry.decoder_named("anything") is Anything
    with pytest.raises(ValueError, match="takes one of anything, words"):
        registry.decoder_named("none")


class TestBuiltInFormats:
    """What holds for every decoder of the feeds folder, whichever they are."""

    def test_they_say_what_they_are(self) -> None:
        for decoder in registry.decoders():
            assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", decoder.name)
            assert decoder.title
            assert "\n" not in decoder.title
            assert isinstance(decoder.source, Source)
            assert registry.decoder_named(decoder.name) is decoder
            assert isinstance(decoder().state(), bytes)

    @given(head=st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | st.just(b"\x00" * 2**16))
    def test_recognising_never_raises(self, head: bytes) -> None:
        for decoder in registry.decoders():
            assert isinstance(decoder.recognises(head), bool), decoder.name

    @given(content=st.binary(max_size=500))
    def test_decoding_never_raises(self, content: bytes) -> None:
        for decoder in registry.decoders():
            for item in decoder().items(io.BytesIO(content)):
                assert isinstance(item, Look | Decoded | Used | Ignored | Reject), decoder.name

    @pytest.mark.feeds
    def test_no_two_claim_a_recorded_feed(self) -> None:
        if not FEEDS.is_dir():
            pytest.skip("needs the recorded feeds, which are not part of the project")
        for path in sorted(path for path in FEEDS.glob("*/*") if path.is_file()):
            with open_input(path) as source:
                head = source.peek(registry.HEAD_BYTES)
            claims = [decoder.name for decoder in registry.decoders() if decoder.recognises(head)]
            assert len(claims) <= 1, f"{path.name}: {claims}"
