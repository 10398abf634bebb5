"""The process ends with the step's exit code, even if its threads are busy."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RENDERING = """
import sys, threading
from itertools import count
from pydantic import BaseModel
from coval_gate.base.runtime import leave

class Row(BaseModel):
    number: int

class Table(BaseModel):
    rows: list[Row]

def rows():
    for number in count():
        begun.set()
        yield Row(number=number)

begun = threading.Event()
threading.Thread(target=lambda: Table(rows=rows()), daemon=True).start()
begun.wait()
print("the last line", end="")
print("a complaint", end="", file=sys.stderr)
leave({code})
"""


@pytest.mark.parametrize("code", [0, 1])
def test_process_that_leaves_a_rendering_behind_keeps_its_exit_code(code: int) -> None:
    command = [sys.executable, "-c", RENDERING.format(code=code)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "the last line", "a complaint")


@pytest.mark.parametrize("name", ["entrypoint.py", "post_entrypoint.py"])
def test_both_steps_leave_this_way(name: str) -> None:
    text = Path(ROOT, name).read_text()
    assert "    leave(" in text
    assert "sys.exit(" not in text
