# SPDX-License-Identifier: Apache-2.0
"""What a killed test leaves is removed by the next one; what a living one has is let be."""

import os
import pathlib
import signal
import subprocess
import sys

import scratch

HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import scratch
with scratch.directory() as path:
    (path / "file").touch()
    print(path, flush=True)
    time.sleep(600)
"""


def test_only_the_dead_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "WHERE", tmp_path)  # where no other tests sweep
    child = subprocess.Popen([sys.executable, "-c", HOLDER, pathlib.Path(__file__).parent], stdout=subprocess.PIPE,
                             text=True, env={**os.environ, "TEST_DIR": str(tmp_path)})
    try:
        theirs = pathlib.Path(child.stdout.readline().rstrip())
        with scratch.directory():
            assert (theirs / "file").exists()
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert (theirs / "file").exists()
        with scratch.directory() as ours:
            assert not theirs.exists()
        assert not ours.exists()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
