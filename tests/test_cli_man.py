# SPDX-License-Identifier: Apache-2.0
"""The man page describes what the option tables have, no less and no more."""

import pathlib
import re
import subprocess

PAGE = pathlib.Path(__file__).resolve().parent.parent / "man" / "linzer.1"


def documented():
    """Subcommand -> the options whose items its subsection has."""
    parts = re.split(r"^\.Ss ", PAGE.read_text(), flags=re.M)[1:]
    sections = {part.split()[0]: part.split("\n.Sh ")[0] for part in parts}
    return {verb: set(re.findall(r"(?:^\.It Fl |, )(?:\w , )?-([a-z][a-z-]+)", text, re.M))
            for verb, text in sections.items()}


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


def test_the_man_page_is_well_formed():
    done = subprocess.run(["groff", "-mandoc", "-Tutf8", "-ww", "-z", PAGE], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
