# SPDX-License-Identifier: Apache-2.0
"""`make demo` (scripts/demo) for who has neither root nor capabilities: it finds out by itself that the host cannot
dial the guest's address, and takes an exposed port. The other forms' steps are test_life_as_user.py's."""

import os
import re
import subprocess

import pytest

from conftest import ROOT
from people import Person, host
from test_life import BOOT, eventually
from test_life_as_user import NOTHING

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and users need root")
UID = 61500


def test_demo_without_privilege(image_home, tmp_path):
    with host(tmp_path) as there:
        there.add_user("mia", UID)
        person = Person(there, "mia", UID)
        subprocess.run(["cp", "-a", "--sparse=always", image_home / "vms/debian", person.home / "vms"], check=True)
        person.own()
        scripts = there.place / "scripts"
        scripts.mkdir()
        (scripts / "demo").write_bytes((ROOT / "scripts/demo").read_bytes())
        done = subprocess.run([*person.before, "sh", scripts / "demo"], env=person.environment(BUILD=str(there.place)),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=4 * BOOT)
        assert done.returncode == 0, (done.stdout, done.stderr)
        lines = done.stdout.splitlines()
        assert lines[0].startswith("demo: linzer clone debian ") and lines[-1] == "demo: done"
        assert any(re.fullmatch(r"demo: ssh -p \d+ admin@127\.0\.0\.1 .*", line) for line in lines)
        assert sum(line.startswith("Linux ") for line in lines) == 2  # by exec and by SSH
        assert person("list", "--quiet").stdout == "debian\n"
        eventually(lambda: person.left() == NOTHING, 60, lambda: str(person.left()))
        person.end()
