# SPDX-License-Identifier: Apache-2.0
"""The man pages describe what the option tables have, no less and no more: linzer.1 in a subsection for each
subcommand, and the page that is made of each (man/split)."""

import re
import subprocess

import pytest

from conftest import BUILD, ROOT

PAGE = ROOT / "man/linzer.1"
SERVICES = [ROOT / "man/linzer-agent.8", ROOT / "man/linzer-net.8"]


def options(text):
    """Those that have an item."""
    return set(re.findall(r"(?:^\.It Fl |, )(?:\w , )?-([a-z][a-z-]+)", text, re.M))


def documented():
    """Subcommand -> the options whose items its subsection has."""
    parts = re.split(r"^\.Ss ", PAGE.read_text(), flags=re.M)[1:]
    return {part.split()[0]: options(part.split("\n.Sh ")[0]) for part in parts}


def pages():
    """Subcommand -> its own page."""
    return {path.stem.removeprefix("linzer-"): path for path in (BUILD / "man").glob("linzer-*.1")}


def implemented(linzer):
    root = linzer("--help-hidden").stdout
    found = {}
    for verb in re.findall(r"^  (\w+)", root[root.index("Subcommands:"):root.index("Options:")],
                           re.M):
        text = linzer(verb, "--help-hidden").stdout
        found[verb] = set(re.findall(r"^  (?:-\w, )?--([a-z][a-z-]+)", text, re.M)) | \
            set(re.findall(r"^  --[a-z-]+/--(no-[a-z-]+)", text, re.M))
        found[verb] -= {"version", "help"}
    return found


def test_every_subcommand_and_option_is_in_the_man_page(linzer):
    page = documented()
    for verb, options in implemented(linzer).items():
        assert verb in page, f"{verb} is not in the man page"
        assert options == page[verb], verb


def test_every_subcommand_has_a_page_of_its_own(linzer):
    own = pages()
    table = implemented(linzer)
    assert set(own) == set(table)
    for verb, path in own.items():
        text = path.read_text()
        assert options(text) == table[verb], verb
        summary = linzer(verb, "--help").stdout.split("\n")[0]
        assert f".Nm linzer-{verb}\n.Nd {summary}\n.Sh SYNOPSIS\n.Nm linzer\n.Cm {verb}\n" in text
        assert ".Sx" not in text  # what it refers to stands in linzer(1)


def test_a_pages_synopsis_names_the_arguments(linzer):
    """Those of the usage line, in its order."""
    for verb, path in pages().items():
        usage = next(line for line in linzer(verb, "--help").stdout.splitlines() if line.startswith("Usage: "))
        arguments = re.findall(r"<([a-z-]+)>", re.sub(r"\[-[^]]*\]|\[<options>\]", "", usage))
        text = path.read_text().split(".Sh SYNOPSIS\n")[1].split(".Sh")[0]
        named = [word for word in re.findall(r"Ar ([a-z-]+)", text) if word != "options"]
        assert named == arguments or verb == "net", verb  # "show" and "set" are one argument to the table


def test_the_agents_page_has_its_options():
    text = subprocess.check_output([BUILD / "linzer-agent", "--help"], text=True)
    assert options(SERVICES[0].read_text()) == set(re.findall(r"(?:^  |, )--([a-z-]+)", text, re.M))


def test_the_networks_page_has_its_settings():
    keys = re.search(r'keys\[KEYS\] = \{ ([^}]*)\}', (ROOT / "src/net/conf.c").read_text())[1]
    shown = re.findall(r"^([a-z-]+) = ", SERVICES[1].read_text(), re.M)
    assert shown == re.findall(r'"([a-z-]+)"', keys)


@pytest.mark.parametrize("which", ["linzer.1", "services", "pages"])
def test_the_man_pages_are_well_formed(which):
    paths = {"linzer.1": [PAGE], "services": SERVICES, "pages": sorted(pages().values())}[which]
    assert paths
    for path in paths:
        done = subprocess.run(["groff", "-mandoc", "-Tutf8", "-ww", "-z", path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stderr == "", path
