"""Writes the tables of configuration.md anew from the defaults and their comments: ``python docs/make_configuration.py``."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

PAGE = Path(__file__).with_name("configuration.md")
Values = dict[str, Any]


def text_of(package: str, name: str) -> str:
    """A data file of the package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def shown(value: object) -> str:
    """A value as TOML writes it."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def row(*cells: str) -> str:
    """One row of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(head: tuple[str, ...], rows: list[str]) -> str:
    """A table."""
    return "\n".join([row(*head), "|" + "---|" * len(head), *rows])


def keys_table(text: str, values: Values, name: str) -> str:
    """Keys of a table with the comment above each; a key without one shares that of the key before."""
    meanings: dict[str, str] = {}
    comment: list[str] = []
    last = ""
    for line in text.partition(f"[{name}]")[2].partition("\n[")[0].splitlines():
        if line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif key := line.partition("=")[0].strip():
            last = " ".join(comment) if comment else last
            meanings[key], comment = last, []
    return table(("key", "default", "meaning"), [row(f"`{k}`", shown(v), meanings[k]) for k, v in values[name].items()])


def domain_table(text: str, values: Values) -> str:
    """Keys of a domain with its default in each, and the meaning that the comment above the first domain gives."""
    lines = text.partition("\n[domain.")[0].rstrip().split("\n\n")[-1].splitlines()
    comment = " ".join(line.removeprefix("#").strip() for line in lines)
    parts = re.split(r"(?:^|(?<=[.)] ))((?:[a-z]\w*, )*[a-z]\w*): ", comment)
    meanings = {
        key: meaning.strip() for keys, meaning in zip(parts[1::2], parts[2::2], strict=True) for key in keys.split(", ")
    }
    meanings.setdefault("great_circle", "whether its objects fly great circles; else they hold their course")
    domains = values["domain"]
    keys = next(iter(domains.values()))
    return table(
        ("key", *domains, "meaning"),
        [row(f"`{k}`", *(shown(domain[k]) for domain in domains.values()), meanings[k]) for k in keys],
    )


def modality_table(values: Values) -> str:
    """Defaults of a source, a row a modality."""
    keys = list(next(iter(values["modality"].values())))
    return table(
        ("modality", *(f"`{key}`" for key in keys)),
        [row(name, *(shown(entry[key]) for key in keys)) for name, entry in values["modality"].items()],
    )


def detection_table(values: Values) -> str:
    """Sigmas that stand in where a detection gives a value without one."""
    plain = {k: v for k, v in values["detection"].items() if not isinstance(v, dict)}
    plain |= {f"alt_sigma_m.{k}": v for k, v in values["detection"]["alt_sigma_m"].items()}
    return table(("key", "default"), [row(f"`{k}`", shown(v)) for k, v in plain.items()])


def page(old: str) -> str:
    """The page with its tables written anew, each between its two marks."""
    engine = text_of("apss_fusion.tracking", "defaults.toml")
    engine_values = msgspec.toml.decode(engine)
    source_values = msgspec.toml.decode(text_of("apss_fusion.model", "source_defaults.toml"))
    tables = {
        "tracking": keys_table(engine, engine_values, "tracking"),
        "accurate": keys_table(engine, engine_values, "accurate"),
        "domain": domain_table(engine, engine_values),
        "modality": modality_table(source_values),
        "detection": detection_table(source_values),
    }
    for name, new in tables.items():
        mark = f"<!-- {name} -->"
        before, _, after = old.split(mark)
        old = f"{before}{mark}\n{new}\n{mark}{after}"
    return old


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
