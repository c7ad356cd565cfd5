"""What the GPU bundle asks of fusestep.torch on hardware, on the emulated GPU, but for times."""

import contextlib
import importlib.util
import pathlib

import emulated
import pytest
import torch

_spec = importlib.util.spec_from_file_location("fusestep_torch", pathlib.Path(__file__).parents[3] / "bench/gpu/fusestep_torch.py")
bundle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bundle)


@pytest.mark.parametrize("scaled", [False, True], ids=["", "GradScaler"])
@pytest.mark.parametrize("case", [bundle.CASES[0], bundle.CASES[6]], ids=lambda case: case[0])
def test_equality(case, scaled, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(bundle, "SHAPES", [(1,), (700,), (33, 5), (4500,), ()])
    want = bundle.train(*case, torch.device("cpu"), contextlib.nullcontext(), scaled)
    for emulated.current[0] in (0, emulated.make_stream(0)):
        assert bundle.same(want, bundle.train(*case, torch.device("cuda", 0), contextlib.nullcontext(), scaled))


def test_captured(monkeypatch, capsys):
    def capture(step):
        with emulated.Graph() as graph:
            step()
        return graph.replay

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(bundle, "SHAPES", [(1,), (70,), (33, 5), (450,), ()])
    monkeypatch.setattr(bundle, "CASES", [bundle.CASES[1]])
    monkeypatch.setattr(bundle, "capture", capture)
    monkeypatch.setattr(bundle, "wait", lambda device: emulated.synchronize(0, 0))
    monkeypatch.setattr(bundle, "streams", lambda device: {"": contextlib.nullcontext})
    bundle.captured(torch.device("cuda", 0))
    assert capsys.readouterr().out.count("the bits of steps") == 4
