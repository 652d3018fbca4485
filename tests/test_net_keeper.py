# SPDX-License-Identifier: Apache-2.0
import pytest

from netlab import Lab


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.end()


def test_first(lab):
    k = lab.up()
    print(k.address, k.interface, lab.ip("host", "addr"), lab.ip("host", "route"), lab.ruleset())
    assert k.guest.pings(k.gateway)
    assert k.guest.pings("198.51.100.2")
    assert k.stop() == 0, k.process.stderr.read()
    assert lab.leftovers() == ([], "", [])
