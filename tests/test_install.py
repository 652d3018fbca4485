# SPDX-License-Identifier: Apache-2.0
"""`make install` into a DESTDIR: everything is there, and the installed program finds its helper."""

import os
import subprocess

from conftest import BUILD, ROOT


def test_install(tmp_path):
    env = dict(os.environ, DESTDIR=str(tmp_path))
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet"], env=env, check=True,
                   stdout=subprocess.DEVNULL)
    prefix = next(tmp_path.rglob("bin/linzer")).parent.parent
    found = {str(p.relative_to(prefix)) for p in prefix.rglob("*") if p.is_file()}
    assert found >= {"bin/linzer", "libexec/linzer/linzer-net", "libexec/linzer/linzer-agent",
                     "share/man/man1/linzer.1", "share/man/man1/linzer-run.1", "share/man/man8/linzer-net.8",
                     "share/man/man8/linzer-agent.8", "share/bash-completion/completions/linzer"}
    version = subprocess.check_output([prefix / "bin/linzer", "--version"], text=True)
    assert f"version: '{version.strip()}'" in (ROOT / "meson.build").read_text()
    agent = subprocess.check_output(["readelf", "--program-headers", prefix / "libexec/linzer/linzer-agent"], text=True)
    assert "LOAD" in agent and "INTERP" not in agent, "not static"
    assert (prefix / "libexec/linzer/linzer-agent").stat().st_size < 3 << 20
