"""AIS sentences to tracks, file to file, beside decoding the same file with pyais and doing nothing with it."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import xor
from pathlib import Path
from typing import Any

import numpy as np
from pyais.encode import encode_dict
from pyais.exceptions import AISBaseException
from pyais.stream import FileReaderStream

from apss_fusion.feeds.reading import FeedReader
from apss_fusion.replay.pipeline import FuseJob, Outcome, fuse
from apss_fusion.tracking.config import Config
from benchmarks.measuring import Sizes, cpu_of, median, table
from benchmarks.scenes import START

COLUMNS = (
    "AIS file to file",
    "records",
    "records a CPU second",
    "CPU us a record",
    "decoding of it",
    "pyais alone: CPU us a message",
    "times pyais alone",
    "detections",
    "tracks confirmed",
)
#: Messages of a receiver at a busy coast: class A positions, class B positions, names and voyages, base stations.
_KINDS, _SHARES = (1, 18, 5, 4), (0.78, 0.12, 0.08, 0.02)
_SHIPS = 1_000
_KNOT_MPS = 1852.0 / 3600.0


def tables(sizes: Sizes, feeds: Sequence[Path] = ()) -> None:
    """Print the table: of sentences that are made here, then of recorded files."""

    def rows() -> Iterator[list[Any]]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            made = folder / "made.nmea"
            made.write_bytes(b"".join(sentences(min(2_000, sizes.nmea))))
            measured(made, folder / "tracks.ndjson")
            made.write_bytes(b"".join(sentences(sizes.nmea)))
            yield [f"made: {sizes.nmea:,} messages of {_SHIPS:,} ships", *measured(made, folder / "tracks.ndjson")]
            for feed in feeds:
                plain = folder / "feed.nmea"
                plain.write_bytes(gzip.decompress(feed.read_bytes()) if feed.suffix == ".gz" else feed.read_bytes())
                yield [feed.name, *measured(plain, folder / "tracks.ndjson")]

    table(
        "AIS, file to file",
        COLUMNS,
        rows(),
        ["A record is one message, its sentences together; compressed files are unpacked before."],
    )


def measured(path: Path, out: Path) -> list[Any]:
    """The cells of a row after its name."""
    fuse_s, outcome = median(lambda: _run(path, out))
    decode_s, _ = median(lambda: cpu_of(lambda: _decode(path)))
    pyais_s, messages = median(lambda: cpu_of(lambda: _pyais(path)))
    summary = outcome.summary
    records = int(summary["records_in"])
    return [
        records,
        records / fuse_s,
        1e6 * fuse_s / records,
        1e6 * decode_s / records,
        1e6 * pyais_s / messages,
        fuse_s / pyais_s,
        summary["detections"],
        summary["tracks_confirmed"],
    ]


def _run(path: Path, out: Path) -> tuple[float, Outcome]:
    job = FuseJob(inputs=(str(path),), out=str(out), config=Config.of(), format="ais-nmea")
    cpu_s, outcome = cpu_of(lambda: fuse(job))
    if outcome.status:
        raise RuntimeError("; ".join(outcome.errors))
    return cpu_s, outcome


def _decode(path: Path) -> int:
    """Decode to looks, as the pipeline does, and drop them."""
    reader = FeedReader(str(path), "ais-nmea")
    try:
        return sum(1 for _ in reader.items())
    finally:
        reader.input.close()


def _pyais(path: Path) -> int:
    """Messages that pyais assembles and decodes."""
    messages = 0
    with FileReaderStream(str(path)) as stream:
        for message in stream:
            messages += 1
            try:
                message.decode()
            except AISBaseException:
                continue
    return messages


def sentences(messages: int, seed: int = 5) -> Iterator[bytes]:
    """Lines with tag blocks of ships that steam about 55 N, 3 E, twenty messages a second."""
    rng = np.random.default_rng(seed)
    lat, lon = 55.0 + rng.uniform(-1, 1, _SHIPS), 3.0 + rng.uniform(-2, 2, _SHIPS)
    knots, course = rng.uniform(2, 20, _SHIPS), rng.uniform(0, 360, _SHIPS)
    kinds = rng.choice(_KINDS, messages, p=_SHARES).tolist()
    # A ship has a transponder of one class.
    class_b = np.flatnonzero(np.arange(_SHIPS) % 7 == 0)
    class_a = np.flatnonzero(np.arange(_SHIPS) % 7)
    epoch_s = int(START.timestamp())
    for k, kind in enumerate(kinds):
        ship = int(rng.choice(class_b if kind == 18 else class_a))
        t = k / 20.0
        north, east = (
            knots[ship] * _KNOT_MPS * t * np.array([np.cos(np.radians(course[ship])), np.sin(np.radians(course[ship]))])
        )
        place = {
            "lat": lat[ship] + north / 111_300,
            "lon": lon[ship] + east / (111_400 * np.cos(np.radians(lat[ship]))),
            "speed": round(float(knots[ship]), 1),
            "course": round(float(course[ship]), 1),
            "heading": int(course[ship]),
            "second": (epoch_s + int(t)) % 60,
        }
        fields: dict[str, Any] = {"msg_type": kind, "mmsi": 230_000_000 + ship}
        if kind == 5:
            fields |= {"shipname": f"SHIP {ship}", "callsign": f"C{ship}", "imo": 9_000_000 + ship, "ship_type": 70}
            fields |= {"to_bow": 80, "to_stern": 20, "to_port": 8, "to_starboard": 8, "destination": "ROTTERDAM"}
        elif kind == 4:
            fields |= {"mmsi": 2_300_001, "lat": 55.0, "lon": 8.0}
        else:
            fields |= place
        tag = f"s:coast,c:{epoch_s + int(t)}"
        block = f"\\{tag}*{reduce(xor, tag.encode()):02X}\\"
        for line in encode_dict(fields, talker_id="AI", sentence_type="VDM", seq_id=k % 10):
            yield f"{block}{line}\r\n".encode()
