"""A scenario: what moves, which satellites look at it and how well. Every key of the TOML file has its default here."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, structs

from apss_fusion.model import Domain
from apss_fusion.model.look import Latitude, NotNegative, Positive, Probability, UtcTime

#: Longitude in degrees; of any turn around the globe.
AnyLongitude = Annotated[float, Meta(ge=-360.0, le=360.0)]
Place = tuple[Latitude, AnyLongitude]
Count = Annotated[int, Meta(ge=0)]
Domains = tuple[Domain, ...]


class Region(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The disc in which things move; looks that touch it are written."""

    lat: Latitude = 39.8
    lon: AnyLongitude = 4.5
    radius_km: Positive = 500.0


class Traffic(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What moves in the region."""

    ships: Count = 100
    #: In the region at a time, on average; flights enter and leave.
    aircraft: Count = 20
    vehicles: Count = 20
    #: Ports and turning points by name, and the lanes that join them; without lanes a network is made by the seed.
    ports: dict[str, Place] = {}
    waypoints: dict[str, Place] = {}
    lanes: tuple[tuple[str, ...], ...] = ()
    #: Centres of fishing; made by the seed if there are none.
    fishing_grounds: tuple[Place, ...] = ()
    #: Where roads are: a disc; at the region's centre if it is not said.
    ground: Place | None = None
    ground_radius_km: Positive = 25.0
    fishing_share: Probability = 0.2
    #: Ships that never send AIS.
    dark_share: Probability = 0.1
    #: Ships that send AIS but stop for `silence_s` at a time drawn by the seed.
    silenced_share: Probability = 0.1
    silence_s: Positive = 2400.0
    #: Pairs of ships that send one MMSI.
    shared_mmsi_pairs: Count = 0
    #: Ships whose radar can be heard.
    radar_share: Probability = 0.7
    #: Between two position messages of a ship (six times as long when it lies still) and of an aircraft.
    ais_interval_s: Positive = 30.0
    adsb_interval_s: Positive = 10.0


class Orbit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Element sets, or a circular orbit by its elements at the scenario's start, alone or as a train.

    A train follows one ground track, `interval_s` apart. With `over_at_s` the first of it passes over `over` (the
    region's centre if it is not said), moved east by `east_km`, that long after the start; `raan_deg` and `phase_deg`
    then follow from it.
    """

    #: Lines of two-line element sets, with or without lines of names.
    tle: tuple[str, ...] = ()
    #: Orbit mean-elements messages: a file (csv, xml or json), beside the scenario.
    omm_file: str | None = None
    altitude_km: Annotated[float, Meta(ge=150.0, le=2000.0)] = 550.0
    inclination_deg: Annotated[float, Meta(gt=0.0, lt=180.0)] = 97.6
    raan_deg: float = 0.0
    #: Argument of latitude at the start.
    phase_deg: float = 0.0
    over_at_s: float | None = None
    over: Place | None = None
    east_km: float = 0.0
    ascending: bool = True
    count: Annotated[int, Meta(ge=1)] = 1
    interval_s: Positive = 900.0


class Imager(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="modality", tag="SAR"):
    """A side-looking radar: the strip between two ground ranges, cut into looks of `frame_s`."""

    side: Literal["left", "right"] = "right"
    near_km: NotNegative = 200.0
    far_km: Positive = 450.0
    frame_s: Positive = 20.0
    p_detect: Probability = 0.9
    position_sigma_m: Positive = 60.0
    clutter_per_km2: NotNegative = 2e-5
    #: Relative error of length and width.
    size_sigma: NotNegative = 0.15
    domains: Domains = ("SEA",)


class Camera(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="modality", tag="EO"):
    """An agile camera: a square at each of its spots in turn, while they are within `reach_km` of its ground track."""

    #: The region's centre if there are none.
    spots: tuple[Place, ...] = ()
    side_km: Positive = 60.0
    reach_km: Positive = 500.0
    frame_s: Positive = 15.0
    p_detect: Probability = 0.85
    position_sigma_m: Positive = 20.0
    clutter_per_km2: NotNegative = 2e-4
    size_sigma: NotNegative = 0.1
    domains: Domains = ("SEA",)


class AisReceiver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="modality", tag="AIS"):
    """Hears ships' own messages within `radius_km` of the point below it."""

    radius_km: Positive = 2300.0
    #: That a message sent within reach is received.
    p_detect: Probability = 0.5
    position_sigma_m: Positive = 15.0
    domains: Domains = ("SEA",)


class AdsbReceiver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="modality", tag="ADSB"):
    """Hears aircraft's own messages within `radius_km` of the point below it."""

    radius_km: Positive = 2000.0
    p_detect: Probability = 0.7
    position_sigma_m: Positive = 25.0
    domains: Domains = ("AIR",)


class Direction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="modality", tag="RF"):
    """Locates ships' radars in the disc of `radius_km` below it; errors are long ellipses."""

    radius_km: Positive = 800.0
    frame_s: Positive = 30.0
    #: Of a ship whose radar is on.
    p_detect: Probability = 0.4
    #: Along the ellipse's major axis (its mean; each is 0.5 to 2 times that) and, as a share of it, the minor one.
    position_sigma_m: Positive = 2500.0
    axis_ratio: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.3
    clutter_per_km2: NotNegative = 2e-7
    domains: Domains = ("SEA",)


class MovingTargetRadar(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="modality", tag="GMTI"
):
    """Dwells on its spots in turn while they are in reach, and sees what moves along the line of sight."""

    #: The ground area if there are none.
    spots: tuple[Place, ...] = ()
    radius_km: Positive = 40.0
    min_reach_km: NotNegative = 150.0
    reach_km: Positive = 900.0
    frame_s: Positive = 8.0
    p_detect: Probability = 0.85
    #: Across the line of sight; along it `range_sigma_m`.
    position_sigma_m: Positive = 80.0
    range_sigma_m: Positive = 15.0
    range_rate_sigma_mps: Positive = 0.4
    min_detectable_speed_mps: NotNegative = 1.5
    clutter_per_km2: NotNegative = 5e-5
    domains: Domains = ("GROUND",)


#: Sensors with a footprint: what they do not see is information too.
Looking = Imager | Camera | Direction | MovingTargetRadar
Sensor = Looking | AisReceiver | AdsbReceiver


class Satellite(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One satellite, or a train of them, each a source of its own: ``name``, or ``name-1``, ``name-2`` and so on."""

    name: Annotated[str, Meta(min_length=1)]
    sensor: Sensor
    orbit: Orbit = Orbit()
    nation: str | None = None
    provider: str | None = None
    #: From the end of a look to its arrival: gamma distributed, cut at `latency_max_s` (mean and four sigmas).
    latency_mean_s: NotNegative = 60.0
    latency_sigma_s: NotNegative = 20.0
    latency_max_s: NotNegative | None = None
    may_initiate: bool = True
    classification: str = "UNCLASSIFIED"
    releasable_to: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def worst_latency_s(self) -> float:
        """From the end of a look to its arrival, at most."""
        if self.latency_max_s is not None:
            return self.latency_max_s
        return self.latency_mean_s + 4.0 * self.latency_sigma_s


class Scenario(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a simulation depends on."""

    seed: Count = 1
    start: UtcTime = datetime(2026, 1, 1, 6, tzinfo=UTC)
    duration_s: Positive = 7200.0
    truth_interval_s: Positive = 60.0
    region: Region = Region()
    traffic: Traffic = Traffic()
    satellites: tuple[Satellite, ...] = ()


def load(path: Path) -> Scenario:
    """Read a scenario. Raises ValueError that names file and key if it is not one, OSError if it cannot be read."""
    try:
        scenario = msgspec.toml.decode(path.read_bytes(), type=Scenario)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    names = [satellite.name for satellite in scenario.satellites]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: satellites.name: {twice[0]} is there twice")
    known = scenario.traffic.ports.keys() | scenario.traffic.waypoints.keys()
    if scenario.traffic.ports and not scenario.traffic.lanes:
        raise ValueError(f"{path}: traffic.lanes: no lane joins the ports")
    for lane in scenario.traffic.lanes:
        if len(lane) < 2:
            raise ValueError(f"{path}: traffic.lanes: a lane joins two places or more")
        if strange := [place for place in lane if place not in known]:
            raise ValueError(f"{path}: traffic.lanes: {strange[0]} is neither a port nor a waypoint")
    for satellite in scenario.satellites:
        if isinstance(satellite.sensor, Imager) and satellite.sensor.near_km >= satellite.sensor.far_km:
            raise ValueError(f"{path}: satellites.sensor: near_km of {satellite.name} is not less than far_km")
    return structs.replace(scenario, satellites=tuple(_with_path(s, path.parent) for s in scenario.satellites))


def _with_path(satellite: Satellite, folder: Path) -> Satellite:
    if satellite.orbit.omm_file is None:
        return satellite
    omm_file = str(folder / satellite.orbit.omm_file)
    return structs.replace(satellite, orbit=structs.replace(satellite.orbit, omm_file=omm_file))
