# SPDX-License-Identifier: Apache-2.0
"""Directories for tests under $TEST_DIR (else /var/tmp), as src/base/scratch.h has them.

Each is flocked as long as its test lives. What a killed test left is removed by the next one;
tests that run at the same time are let be.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile

PREFIX = "linzer-test-"
WHERE = pathlib.Path(os.environ.get("TEST_DIR", "/var/tmp"))


def _locked(path):
    """A descriptor that holds the directory's lock; None if somebody else does, or it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.lstat(path)):
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def sweep():
    for path in WHERE.glob(PREFIX + "*"):
        fd = _locked(path)
        if fd is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)


@contextlib.contextmanager
def directory():
    """The path of a new directory."""
    sweep()
    fd = None
    while fd is None:  # another sweep may be quicker
        path = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX, dir=WHERE))
        fd = _locked(path)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)
