"""What the README shows runs. In this process, as nothing here needs one of its own and torch takes seconds to import."""

import os
import pathlib
import re
import runpy
import sys

import torch

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_ten_lines(capsys):
    text = README.read_text()
    (code,) = re.findall(r"test_readme\.py runs this -->\n```python\n(.*?)```", text, re.S)
    exec(code, {})
    assert float(capsys.readouterr().out) < 0.1


def test_bench(capsys, monkeypatch):
    """With one processor: with more, torch's threads wait for each other by spinning, which takes minutes where others run."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    monkeypatch.setattr(sys, "argv", ["fusestep.bench", "--short", "--rounds", "4"])
    before = torch.get_num_threads()
    try:
        runpy.run_module("fusestep.bench", run_name="__main__")
    finally:
        torch.set_num_threads(before)
    out = capsys.readouterr().out
    assert "| AdamW, 148 × 1,024 |" in out and "| torch foreach |" in out and "| 1 × 1,024 |" in out
