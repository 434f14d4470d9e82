"""The JSON Schemas of what is exchanged, generated from the structs: ``python -m apss_fusion.model.schemas [--check]``.

They stand in `topics/schemas/` of a checkout, for those who read or write our topics and files in another language.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from apss_fusion.model import DeadLetter, Look, Picture, Source, TrackUpdate

#: The schemas' files, by the struct that each describes.
FILES: dict[str, type[msgspec.Struct]] = {
    "dead_letter.schema.json": DeadLetter,
    "look.schema.json": Look,
    "picture.schema.json": Picture,
    "source.schema.json": Source,
    "track_update.schema.json": TrackUpdate,
}

#: In a checkout, seen from its root.
_FOLDER = Path("topics", "schemas")


def schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a struct, whole in itself; other structs in it stand under ``$defs``."""
    definitions = msgspec.json.schema(struct)["$defs"]
    top = definitions.pop(struct.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:apss-fusion:{struct.__name__}",
        **top,
        **({"$defs": definitions} if definitions else {}),
    }


def text(struct: type[msgspec.Struct]) -> str:
    """A schema as it is written: keys sorted, two spaces, a line end."""
    return json.dumps(schema(struct), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the schemas of a checkout, or with ``--check`` name those that differ from the structs; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m apss_fusion.model.schemas", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a file differs")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="where they stand (default: %(default)s)")
    options = parser.parse_args(arguments)
    differing = [
        path
        for name, struct in FILES.items()
        if not (path := options.folder / name).is_file() or path.read_text(encoding="utf-8") != text(struct)
    ]
    for path in differing:
        if options.check:
            print(f"{path}: differs from its struct; `make schemas` writes it anew", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(FILES[path.name]), encoding="utf-8")
            print(path)
    return 1 if options.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
