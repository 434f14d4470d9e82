"""The engine's configuration: `defaults.toml`, overridden key by key."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from apss_fusion.estimation.motion import PIECEWISE
from apss_fusion.model.look import NotNegative, Positive, Probability
from apss_fusion.tracking.rows import DOMAIN_NAMES

_Share = Annotated[float, Meta(gt=0.0, lt=1.0)]

#: Parameters of a domain as the kernels read them; see defaults.toml.
DOMAIN = np.dtype(
    [
        ("q", "f8"),
        ("g", "f8"),  # 1/s, rate at which the velocity noise returns
        ("departure", "f8"),  # 1/s
        ("birth_speed_var", "f8"),
        ("limit_var", "f8"),  # of the larger axis, m^2
        ("undetected", "f8"),  # 1/m^2
        ("arrival", "f8"),  # 1/s
        ("cooperative", "f8"),  # 1/m^2
        ("max_speed", "f8"),
        ("interval", "f8"),
        ("stop_probability", "f8"),
        ("great_circle", "i8"),
    ]
)

#: Two-dimensional 95 % ellipse over one sigma.
ELLIPSE95 = 2.4477468306808166


#: Numbers of the filter as the kernels read them; see defaults.toml.
FILTER = np.dtype(
    [
        ("gate", "f8"),
        ("edge_floor", "f8"),
        ("edge_dominated", "f8"),
        ("sweeps", "i8"),
        ("recycle", "f8"),
        ("recycle_mass_min", "f8"),
        ("confirm", "f8"),
        ("birth_min", "f8"),
        ("birth_cooperative", "f8"),
        ("inside_min", "f8"),
        ("coast_intervals", "f8"),
        ("interval_gain", "f8"),
        ("identity_error", "f8"),
        ("identity_count", "f8"),
        ("manoeuvre_probability", "f8"),
        ("manoeuvre_factor", "f8"),
        ("manoeuvre_jump", "f8"),
        ("wrong_velocity", "f8"),
        ("intensity_resolution", "i8"),
        ("altitude_span_m", "f8"),
        ("length_span_m", "f8"),
        ("length_error_share", "f8"),
        ("length_error_m", "f8"),
        ("tentative", "i8"),
        ("least_factor", "f8"),
    ]
)


class Params(NamedTuple):
    """What the kernels read: one DOMAIN row a domain, one FILTER row, and the factors of the process noise."""

    domain: NDArray[np.void]
    filter: NDArray[np.void]
    factors: NDArray[np.float64]  # of the bank of process noises


class DomainConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How objects of one domain move, come and go; see defaults.toml."""

    q: Positive
    return_s: NotNegative
    departure_s: Positive
    birth_speed_sigma_mps: Positive
    limit95_m: Positive
    undetected_per_km2: NotNegative
    arrival_s: Positive
    cooperative_per_km2: Positive
    max_speed_mps: Positive
    interval_s: Positive
    stop_probability: Probability
    great_circle: bool
    noise: Literal["continuous", "piecewise"] = "continuous"


class TrackingConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Numbers of the filter; see defaults.toml."""

    gate: Positive
    edge_floor: _Share
    edge_dominated: _Share
    sweeps: Annotated[int, Meta(ge=1, le=1000)]
    recycle: _Share
    recycle_mass_min: _Share
    confirm: _Share
    birth_min: _Share
    birth_cooperative: _Share
    inside_min: _Share
    coast_intervals: Positive
    interval_gain: _Share
    identity_error: _Share
    identity_count: Positive
    manoeuvre_probability: Probability
    manoeuvre_factor: Positive
    manoeuvre_jump: NotNegative
    wrong_velocity: _Share
    intensity_resolution: Annotated[int, Meta(ge=2, le=7)]
    altitude_span_m: Positive
    length_span_m: Positive
    length_error_share: Positive
    length_error_m: Positive


class AccurateConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is otherwise in the setting `accurate`; see defaults.toml."""

    recycle: _Share
    histories: Annotated[int, Meta(ge=1, le=8)]
    noise_factors: Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=4)]
    least_factor: _Share


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The engine's configuration. `Config.of()` gives the defaults."""

    tracking: TrackingConfig
    accurate: AccurateConfig
    domain: dict[str, DomainConfig]
    #: How late a look may come after its time, s; the sources' worst latency where None.
    lag_s: Annotated[float, Meta(ge=0.0, le=1e9)] | None = None
    #: Whether looks wait until nothing earlier may come (no revisions then), instead of being fused as they arrive.
    hold_back: bool = False
    #: Clusters that late looks may weigh again for each look that arrives; what is left is pending, and goes on with the next.
    budget_clusters: Annotated[int, Meta(ge=1)] = 5000
    #: Pictures are made for every multiple of this since 1970, s; none where None.
    picture_interval_s: Positive | None = None
    #: Whether updates of tentative tracks are published too.
    tentative: bool = False
    #: How hypotheses become tracks again: the variational projection with several histories, or moment matching a track.
    filter: Literal["accurate", "fast"] = "accurate"

    @classmethod
    def of(cls, overrides: dict[str, Any] | None = None) -> Config:
        """The defaults with some keys replaced, e.g. ``{"lag_s": 60, "domain": {"SEA": {"q": 0.02}}}``.

        Raises ValueError that names the key which is unknown or has a bad value.
        """
        text = files("apss_fusion.tracking").joinpath("defaults.toml").read_text(encoding="utf-8")
        values = _merged(msgspec.toml.decode(text), overrides or {})
        if not isinstance(values["domain"], dict):
            raise ValueError("configuration: domain: not a table")
        unknown = set(values["domain"]) - set(DOMAIN_NAMES)
        if unknown:
            raise ValueError(f"configuration: no domain is named {sorted(unknown)[0]!r}")
        try:
            config = msgspec.convert(values, cls)
            accurate = config.accurate
            factors = accurate.noise_factors
            if len(factors) > accurate.histories or factors[0] != 1.0 or len(set(factors)) < len(factors):
                raise ValueError(
                    "configuration: accurate: noise_factors begin with 1.0, differ, and are no more than histories"
                )
            if 2.0 * accurate.least_factor * len(factors) > 1.0:
                raise ValueError("configuration: accurate: least_factor: more than half of all weight for all factors")
            return config
        except msgspec.ValidationError as error:
            raise ValueError(f"configuration: {error}") from None

    @classmethod
    def read(cls, path: str | Path) -> Config:
        """The defaults overridden by a TOML file. Raises ValueError that names the file and the key."""
        try:
            return cls.of(msgspec.toml.decode(Path(path).read_bytes()))
        except (ValueError, msgspec.DecodeError) as error:
            raise ValueError(f"{path}: {error}") from None

    @property
    def histories(self) -> int:
        """Association histories of a track; 0 where it is one Gaussian."""
        return self.accurate.histories if self.filter == "accurate" else 0

    def params(self) -> Params:
        """The same numbers in the shape that the kernels read."""
        domain = np.zeros(len(DOMAIN_NAMES), DOMAIN)
        for row, name in zip(domain, DOMAIN_NAMES, strict=True):
            d = self.domain[name]
            row["q"] = d.q
            row["g"] = 1.0 / d.return_s if d.return_s else 0.0
            if d.noise == "piecewise":
                row["g"] = PIECEWISE
            row["departure"] = 1.0 / d.departure_s
            row["birth_speed_var"] = d.birth_speed_sigma_mps**2
            row["limit_var"] = (d.limit95_m / ELLIPSE95) ** 2
            row["undetected"] = d.undetected_per_km2 * 1e-6
            row["arrival"] = 1.0 / d.arrival_s
            row["cooperative"] = d.cooperative_per_km2 * 1e-6
            row["max_speed"] = d.max_speed_mps
            row["interval"] = d.interval_s
            row["stop_probability"] = d.stop_probability
            row["great_circle"] = d.great_circle
        numbers = np.zeros(1, FILTER)
        for name, value in msgspec.structs.asdict(self.tracking).items():
            numbers[name] = value
        if self.histories:
            numbers["recycle"] = self.accurate.recycle
        numbers["least_factor"] = self.accurate.least_factor
        numbers["tentative"] = self.tentative
        return Params(domain, numbers, np.array(self.accurate.noise_factors, np.float64))


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        out[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out
