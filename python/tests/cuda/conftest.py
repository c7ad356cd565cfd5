"""The tests of tensors on a GPU, which is emulated."""

import gc
import os

os.environ["ATEN_CPU_CAPABILITY"] = "default"

import emulated
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def alone():
    """For a test that looks who waits: what tests before have left would be freed in it, and waited for."""
    gc.collect()


@pytest.fixture(autouse=True)
def gpus(monkeypatch):
    torch.manual_seed(0)
    emulated.install(monkeypatch)
    with emulated.Operations():
        yield
    for index in emulated.current:
        emulated.current[index] = 0
