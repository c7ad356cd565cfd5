"""What the README shows runs."""

import pathlib
import re
import subprocess
import sys

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_ten_lines():
    text = README.read_text()
    (code,) = re.findall(r"test_readme\.py runs this -->\n```python\n(.*?)```", text, re.S)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(out) < 0.1


def test_bench():
    command = [sys.executable, "-m", "fusestep.bench", "--short", "--rounds", "4"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| 148 × 1,024 |" in out and "foreach" in out
