"""An encoder of STANAG 4607 packets, from the tables of the standard alone, for the tests of the decoder."""

from __future__ import annotations

import struct

import pytest

#: Big-endian formats of D2 to D31 and D32.1 to D32.18 (AEDP-4607, tables 3-9 and 3-10).
DWELL_FORMATS = dict(enumerate("HHBHIiIiiIIIHHIbBHHHhhiIHHHhhB", 2))
TARGET_FORMATS = dict(enumerate("HiIhhhhHbBBHHBHBIb", 1))


def sa32(degrees: float) -> int:
    """A signed angle of 180 / 2^32 degrees a step."""
    return round(degrees / 180.0 * 2**32)


def ba32(degrees: float) -> int:
    """An angle of 0 to 360 degrees, 360 / 2^32 a step."""
    return round(degrees % 360.0 / 360.0 * 2**32) % 2**32


def ba16(degrees: float) -> int:
    """An angle of 0 to 360 degrees, 360 / 2^16 a step."""
    return round(degrees / 360.0 * 2**16)


def packet(
    *segments: bytes,
    platform: bytes = b"SENTRY1",
    mission: int = 7,
    job: int = 3,
    version: bytes = b"31",
    nation: bytes = b"LU",
    classification: int = 5,
    exercise: int = 0,
) -> bytes:
    """P1 to P10 and the segments."""
    body = b"".join(segments)
    head = struct.pack(">2sI2sB2sHB10sII", version, 32 + len(body), nation, classification, b"  ", 0, exercise,
                       platform.ljust(10), mission, job)  # fmt: skip
    return head + body


def segment(kind: int, payload: bytes) -> bytes:
    """S1, S2 and the payload."""
    return struct.pack(">BI", kind, 5 + len(payload)) + payload


def mission(year: int = 2024, month: int = 2, day: int = 28) -> bytes:
    """M1 to M7."""
    return segment(1, struct.pack(">12s12sB10sHBB", b"plan", b"flight", 255, b"config", year, month, day))


def job_definition(
    job: int = 3,
    slant_cm: int = 65535,
    cross: int = 0x8000,
    velocity_cms: int = 65535,
    mdv_dms: int = 255,
    pd_percent: int = 255,
    fad_db: int = 255,
) -> bytes:
    """J1 to J28; what is not given makes no statement."""
    head = struct.pack(">IB6sBB8i", job, 255, b"sensor", 0, 1, *([0] * 8))
    platform = (1, 0, 65535, 65535, 65535, 255, 65535)
    tail = struct.pack(">BHHHHBH", *platform)
    tail += struct.pack(">HHHBBBBB", slant_cm, cross, velocity_cms, mdv_dms, pd_percent, fad_db, 0, 0)
    return segment(5, head + tail)


def dwell(fields: dict[int, int] | None = None, targets: list[dict[int, int]] | None = None) -> bytes:
    """A dwell of raw field values: D2 to D31, and for each target D32.1 to D32.18 (the same fields for all)."""
    targets = targets or []
    values = DEFAULT_DWELL | {5: len(targets)} | (fields or {})
    present = sorted(targets[0]) if targets else []
    mask = sum(1 << (65 - field) for field in values) | sum(1 << (34 - field) for field in present)
    payload = struct.pack(">Q", mask)
    payload += b"".join(struct.pack(">" + DWELL_FORMATS[field], values[field]) for field in sorted(values))
    for target in targets:
        payload += b"".join(struct.pack(">" + TARGET_FORMATS[field], target[field]) for field in present)
    return segment(2, payload)


SENSOR = (40.0, 5.0, 700_000.0)
CENTRE = (45.0, 10.0)
#: D2 to D9 and D24 to D27: a satellite at 700 km looks 690 km to the north-east, 20 km deep, 2 degrees wide.
DEFAULT_DWELL = {
    2: 1,
    3: 2,
    4: 1,
    6: 86_400_000 + 3_600_000,
    7: sa32(SENSOR[0]),
    8: ba32(SENSOR[1]),
    9: round(SENSOR[2] * 100),
    24: sa32(CENTRE[0]),
    25: ba32(CENTRE[1]),
    26: 10 * 128,
    27: ba16(1.0),
}


def target(lat: float = 45.01, lon: float = 10.02, **fields: int) -> dict[int, int]:
    """A target with a high-resolution position; further fields as d6=100."""
    return {2: sa32(lat), 3: ba32(lon)} | {int(name[1:]): value for name, value in fields.items()}


def test_worked_examples_of_the_standard() -> None:
    """Annex C of AEDP-4607: binary angles, and figure 3-2: an existence mask."""
    assert ba16(125.31005859375) == 0b0101100100011100
    assert round(-34.8760986328125 / 180.0 * 2**16) & 0xFFFF == 0b1100111001100110
    assert sum(1 << (65 - field) for field in [*range(2, 10), *range(12, 18)]) >> 48 == 0xFF3F


def test_lengths() -> None:
    assert struct.calcsize(">" + "".join(DWELL_FORMATS.values())) == 78
    assert struct.calcsize(">" + "".join(TARGET_FORMATS.values())) == 36
    assert (len(mission()), len(job_definition())) == (5 + 39, 5 + 68)
    assert len(dwell()) == 5 + 8 + 35


@pytest.mark.parametrize("degrees", [-90.0, -0.5, 0.0, 45.0, 89.999])
def test_angles(degrees: float) -> None:
    assert abs(sa32(degrees) * 180.0 / 2**32 - degrees) <= 90.0 / 2**32
