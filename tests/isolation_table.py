# SPDX-License-Identifier: Apache-2.0
"""docs/isolation.md as data: every row of its tables, strictly."""

import re
import shlex
from dataclasses import dataclass

HEAD = ["id", "setup", "from -> to", "packet", "Softnet or Anka", "Linzer", "why"]
MODES = ("shared", "softnet", "host", "bridged")
PLACES = ("guest", "other", "host", "world", "lan")
EVERYTHING = "softnet allow=0.0.0.0/0"  # what the other guest has where a row does not say


class Malformed(Exception):
    pass


@dataclass(frozen=True)
class Side:
    """How one guest is started."""
    mode: str
    allow: str = ""
    block: str = ""
    expose: tuple = ()  # (host's port, guest's port)...
    filter: str = ""
    host_wide: str = ""
    no_local: bool = False


@dataclass(frozen=True)
class Setup:
    text: str
    guest: Side
    other: Side


@dataclass(frozen=True)
class Row:
    id: str
    setup: Setup
    sender: str
    target: str
    packet: str
    passes: bool
    line: int


def ports(text):
    pairs = [re.fullmatch(r"(\d+):(\d+)", pair) for pair in text.split(",")]
    if not all(pairs):
        raise Malformed(f"expose: {text}")
    return tuple((int(pair[1]), int(pair[2])) for pair in pairs)


def lines(text):
    return text.replace("; ", "\n") + "\n"


OPTIONS = {"allow": ("allow", str), "block": ("block", str), "expose": ("expose", ports), "filter": ("filter", lines),
           "host-wide": ("host_wide", lines)}


def parse_side(text):
    mode, *words = shlex.split(text)
    if mode not in MODES:
        raise Malformed(f"mode: {mode}")
    fields = {}
    for word in words:
        key, given, value = word.partition("=")
        name, read = ("no_local", bool) if word == "no-local" else OPTIONS.get(key, (None, None))
        if not name or name in fields or bool(given) == (name == "no_local"):
            raise Malformed(f"option: {word}")
        fields[name] = read(value or word)
    if mode != "softnet" and ("allow" in fields or "block" in fields):
        raise Malformed(f"lists are softnet's: {text}")
    return Side(mode, **fields)


def parse_setup(text):
    guest, plus, other = text.partition(" + ")
    return Setup(text, parse_side(guest), parse_side(other if plus else EVERYTHING))


def code(cell):
    """What stands between backticks, which is all of the cell."""
    match = re.fullmatch(r"`([^`]+)`", cell)
    if not match:
        raise Malformed(f"not `code`: {cell}")
    return match[1]


def parse_row(cells, number, above):
    if len(cells) != len(HEAD):
        raise Malformed(f"{len(cells)} cells")
    ident, setup, ends, packet, theirs, ours, _ = cells
    name = re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code(ident))
    way = re.fullmatch(r"(\w+) -> (\w+)", ends)
    verdict = re.fullmatch(r"(passes|dropped)(, .+)?", ours)
    if not name or not verdict or not packet or not theirs or not way or set(way.groups()) - set(PLACES):
        raise Malformed(" | ".join(cells))
    if not setup and not above:
        raise Malformed("the first row says no setup")
    return Row(name[0], parse_setup(code(setup)) if setup else above.setup, way[1], way[2], packet,
               verdict[1] == "passes", number)


def cells_of(line):
    if not line.endswith("|"):
        raise Malformed("a row ends with |")
    return [cell.strip() for cell in line[1:-1].split("|")]


def read_tables(text):
    """-> [Row]. An empty setup is the one of the row above."""
    rows, table, above = [], 0, None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("|"):
            table, above = 0, None
            continue
        table += 1
        try:
            cells = cells_of(line)
            if table == 1 and cells != HEAD or table == 2 and not all(re.fullmatch("-+", c) for c in cells):
                raise Malformed("head of the table")
            if table > 2:
                above = parse_row(cells, number, above)
                rows.append(above)
        except (Malformed, ValueError) as e:
            raise Malformed(f"line {number}: {e}") from None
    check(rows)
    return rows


def check(rows):
    """Ids are unique; to each row that is dropped something in its setup passes."""
    seen = set()
    for row in rows:
        if row.id in seen:
            raise Malformed(f"line {row.line}: {row.id} is there twice")
        seen.add(row.id)
        control_of(row, rows)


def control_of(row, rows):
    """What shows that a test of the row, which is dropped, could have failed: a row of the same
    setup that passes, from the same sender if there is one."""
    passing = [r for r in rows if r.passes and r.setup == row.setup]
    same = [r for r in passing if r.sender == row.sender]
    if not row.passes and not passing:
        raise Malformed(f"line {row.line}: nothing passes in the setup of {row.id}")
    return (same or passing or [None])[0]
