"""The table of a mesh's sites, as CSV or TOML; whatever is wrong in it has its line and column.

CSV: a header with the columns' names, then a row for each site; commas, semicolons or tabs between the fields, "..."
around one that has such a character, "#" before a comment. TOML: [[site]] for each, with the same names as keys.

    name, endpoint, networks, address
    berlin, berlin.example.org, 192.168.1.0/24 192.168.7.0/24,
    paris, 203.0.113.1:51821, 192.168.2.0/24, 10.99.0.77
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from pywg.config.addresses import parse_ip
from pywg.errors import ConfigError
from pywg.manage.sites.site import Site, parse_endpoint, parse_name, parse_networks

COLUMNS: Final = ("name", "endpoint", "networks", "address")
MOST_SITES: Final = 5000
"""A full mesh has a part for each pair, at both ends: 25 million here."""


class Cell(NamedTuple):
    """A value and where it stands, 1-based."""

    text: str
    line: int
    column: int


Row = dict[str, Cell]


class Entry(NamedTuple):
    """A site as the table has it."""

    site: Site
    address: list[bytes]
    """what the table gives it in the tunnel, one of a family; none: whatever is free"""
    line: int


def parse(text: str, file: str) -> list[Entry]:
    """The sites. Raises ConfigError with FILE:LINE:COLUMN."""
    rows = _toml_rows(text, file) if file.endswith(".toml") else _csv_rows(text, file)
    entries: list[Entry] = []
    lines: dict[str, int] = {}
    addresses: dict[bytes, int] = {}
    for row in rows:
        entry = _entry(row, file)
        name = row["name"]
        if first := lines.setdefault(entry.site.name, name.line) - name.line:
            raise _error(file, name, f"{entry.site.name} is also the name of line {name.line + first}")
        for ip in entry.address:
            if (first := addresses.setdefault(ip, name.line)) != name.line:
                raise _error(file, row["address"], f"this is the address of line {first} too")
        entries.append(entry)
        if len(entries) > MOST_SITES:
            raise _error(file, name, f"more than {MOST_SITES} sites")
    if not entries:
        raise ConfigError(f"{file}: no site in it")
    return entries


def _entry(row: Row, file: str) -> Entry:
    def value(column: str, parse: Callable[[str], object]) -> object:
        cell = row.get(column)
        if cell is None or not cell.text:
            return None
        try:
            return parse(cell.text)
        except ConfigError as error:
            raise _error(file, cell, f"{column}: {error}") from None

    site = Site("")
    site.name = value("name", parse_name)  # type: ignore[assignment]
    if not site.name:
        raise _error(file, row["name"], "name: a site needs one")
    site.endpoint = value("endpoint", parse_endpoint)  # type: ignore[assignment]
    site.networks = value("networks", parse_networks) or []  # type: ignore[assignment]
    address = value("address", lambda text: [parse_ip(word) for word in re.split(r"[\s,]+", text)])
    return Entry(site, address or [], row["name"].line)  # type: ignore[arg-type]


def _error(file: str, cell: Cell, message: str) -> ConfigError:
    return ConfigError(f"{file}:{cell.line}:{cell.column}: {message}")


def _check_columns(header: list[Cell], file: str) -> None:
    for number, cell in enumerate(header):
        if cell.text not in COLUMNS:
            raise _error(file, cell, f"expected one of the columns {', '.join(COLUMNS)}")
        if any(cell.text == other.text for other in header[:number]):
            raise _error(file, cell, f"the column {cell.text} is there already")
    if not any(cell.text == "name" for cell in header):
        raise _error(file, header[0], "there is no column `name`")


def _csv_rows(text: str, file: str) -> Iterator[Row]:
    header: list[Cell] = []
    separator = ""
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        separator = separator or max(",;\t", key=line.count)
        cells = _fields(line, number, separator, file)
        if not header:
            header = [Cell(cell.text.lower(), cell.line, cell.column) for cell in cells]
            _check_columns(header, file)
            continue
        if len(cells) > len(header) and any(cell.text for cell in cells[len(header) :]):
            text = f"more fields than the {len(header)} columns: put quotation marks around what has a comma in it"
            raise _error(file, cells[len(header)], text)
        row = {column.text: cell for column, cell in zip(header, cells, strict=False)}
        yield {"name": Cell("", number, 1), **row}


def _fields(line: str, number: int, separator: str, file: str) -> list[Cell]:
    fields, at = [], 0
    while at <= len(line):
        while line[at : at + 1] == " ":
            at += 1
        if line[at : at + 1] == '"':
            found = re.compile(r'"((?:[^"]|"")*)"\s*').match(line, at)
            if found is None or line[found.end() : found.end() + 1] not in ("", separator):
                raise _error(file, Cell("", number, at + 1), "this quotation mark has no other one at the field's end")
            fields.append(Cell(found[1].replace('""', '"').strip(), number, at + 1))
            at = found.end() + 1
        else:
            end = line.find(separator, at)
            end = len(line) if end < 0 else end
            fields.append(Cell(line[at:end].strip(), number, at + 1))
            at = end + 1
    return fields


def _toml_rows(text: str, file: str) -> Iterator[Row]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_about_toml(str(error), file, text)) from None
    places = _toml_places(text)
    sites = document.pop("site", None)
    if document or not isinstance(sites, list) or not all(isinstance(site, dict) for site in sites):
        raise ConfigError(f"{file}:1:1: expected [[site]] for each site, and nothing else")
    for number, site in enumerate(sites):
        where = places[number] if number < len(places) else {}
        row = {"name": Cell("", *where.get("", (1, 1)))}
        for key, value in site.items():
            line, column = where.get(key) or where.get("") or (1, 1)
            if isinstance(value, list) and all(isinstance(one, str) for one in value):
                value = " ".join(value)  # noqa: PLW2901
            cell = Cell(value if isinstance(value, str) else "", line, column)
            if key not in COLUMNS:
                raise _error(file, cell, f"expected one of the keys {', '.join(COLUMNS)}")
            if not isinstance(value, str):
                raise _error(file, cell, f"{key}: expected a string, or a list of strings")
            row[key] = cell
        yield row


def _about_toml(message: str, file: str, text: str) -> str:
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.S)
    if found is None:  # at the end of the document
        lines = text.split("\n")
        return f"{file}:{len(lines)}:{len(lines[-1]) + 1}: {message.removesuffix(' (at end of document)')}"
    return f"{file}:{found[2]}:{found[3]}: {found[1]}"


def _toml_places(text: str) -> list[dict[str, tuple[int, int]]]:
    """Of each [[site]] in turn: where it begins, as "", and where its keys have their values."""
    places: list[dict[str, tuple[int, int]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if re.match(r"\s*\[\[\s*[\"']?site[\"']?\s*\]\]", line):
            places.append({"": (number, 1)})
        elif places and (found := re.match(r"\s*[\"']?(\w+)[\"']?\s*=\s*", line)):
            places[-1].setdefault(found[1], (number, found.end() + 1))
    return places
