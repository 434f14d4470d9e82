"""The kinds of AIS archives in CSV, as tables: a new one is one more entry of `DIALECTS`."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from apss_fusion.feeds.ais_times import Moment, day_first_moment, iso_moment, unix_moment

#: What a row tells of the report and of the craft.
REPORT_COLUMNS = ("time", "mmsi", "lat", "lon", "sog", "cog", "heading", "mobile")
CRAFT_COLUMNS = (
    "mmsi",
    "imo",
    "callsign",
    "name",
    "ship_type",
    "length",
    "width",
    "bow",
    "stern",
    "port",
    "starboard",
)
#: By these a dialect is recognised, those of them that it has.
NEEDED_COLUMNS = ("time", "mmsi", "lat", "lon", "mobile")


class Dialect(Struct, frozen=True):
    """A kind of file: what reads its times, and its columns by what they tell (in lower case, without a leading ``#``).

    The ship type is a code of ITU-R M.1371-5 or a word, `mobile` says which sort of station reports, `bow`, `stern`,
    `port` and `starboard` are the distances to the antenna. Speeds are in knots, lengths in metres, courses in degrees.
    """

    read_time: Callable[[str], Moment | None]
    columns: dict[str, str]


DIALECTS = {
    "MarineCadastre, to 2023": Dialect(
        iso_moment,
        {
            "time": "basedatetime",
            "mmsi": "mmsi",
            "lat": "lat",
            "lon": "lon",
            "sog": "sog",
            "cog": "cog",
            "heading": "heading",
            "imo": "imo",
            "callsign": "callsign",
            "name": "vesselname",
            "ship_type": "vesseltype",
            "length": "length",
            "width": "width",
        },
    ),
    "MarineCadastre, from 2024": Dialect(
        iso_moment,
        {
            "time": "base_date_time",
            "mmsi": "mmsi",
            "lat": "latitude",
            "lon": "longitude",
            "sog": "sog",
            "cog": "cog",
            "heading": "heading",
            "imo": "imo",
            "callsign": "call_sign",
            "name": "vessel_name",
            "ship_type": "vessel_type",
            "length": "length",
            "width": "width",
        },
    ),
    "Danish Maritime Authority": Dialect(
        day_first_moment,
        {
            "time": "timestamp",
            "mobile": "type of mobile",
            "mmsi": "mmsi",
            "lat": "latitude",
            "lon": "longitude",
            "sog": "sog",
            "cog": "cog",
            "heading": "heading",
            "imo": "imo",
            "callsign": "callsign",
            "name": "name",
            "ship_type": "ship type",
            "length": "length",
            "width": "width",
            "bow": "a",
            "stern": "b",
            "port": "c",
            "starboard": "d",
        },
    ),
    "Solent, published with Stone Soup": Dialect(
        iso_moment,
        {
            "time": "time",
            "mmsi": "mmsi",
            "lat": "latitude_degrees",
            "lon": "longitude_degrees",
            "sog": "sog_knots",
            "cog": "cog_degrees",
        },
    ),
    "French Naval Academy, Brest": Dialect(
        unix_moment,
        {
            "time": "t",
            "mmsi": "sourcemmsi",
            "lat": "lat",
            "lon": "lon",
            "sog": "speedoverground",
            "cog": "courseoverground",
            "heading": "trueheading",
        },
    ),
}
