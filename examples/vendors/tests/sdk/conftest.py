"""Starts the scripted vendors: the binary in AIHUB_VENDORS_BIN, else the one cargo built."""

import json
import os
import pathlib
import subprocess

import pytest


@pytest.fixture(scope="session")
def vendors():
    root = pathlib.Path(__file__).parents[4]
    binary = os.environ.get("AIHUB_VENDORS_BIN", root / "target" / "debug" / "aihub-vendors")
    # It stops when its standard input closes, so it cannot outlive this run.
    with subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(timeout=5) == 0


WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
