"""Within torch's engines for many processes: two of gloo's."""

import os
import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

import fusestep.torch


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def batches(rank, world):
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        x = torch.randn(8, 5, generator=generator)
        yield x.chunk(world)[rank]


def loss_of(m, x):
    return (m(x) - x[:, :3]).square().mean()


def alone(lr=0.1):
    """What one process trains, with torch's optimizer."""
    m = model()
    optimizer = torch.optim.AdamW(m.parameters(), lr=lr, foreach=False)
    for x in batches(0, 1):
        optimizer.zero_grad()
        loss_of(m, x).backward()
        optimizer.step()
    return m


def close(m):
    for p, q in zip(m.parameters(), alone().parameters()):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-4, atol=1e-5)


def ddp(rank, world):
    for view in (False, True):
        m = nn.parallel.DistributedDataParallel(model(), gradient_as_bucket_view=view)
        optimizer = fusestep.torch.AdamW(m.parameters(), lr=0.1)
        for x in batches(rank, world):
            optimizer.zero_grad()
            loss_of(m, x).backward()
            optimizer.step()
        close(m)


def zero(rank, world):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    m = nn.parallel.DistributedDataParallel(model())
    optimizer = ZeroRedundancyOptimizer(m.parameters(), optimizer_class=fusestep.torch.AdamW, lr=0.1)
    for i, x in enumerate(batches(rank, world)):
        if i == 3:  # saved, and loaded by a new one
            optimizer.consolidate_state_dict(0)
            state = [optimizer.state_dict() if rank == 0 else None]
            dist.broadcast_object_list(state, 0)
            optimizer = ZeroRedundancyOptimizer(m.parameters(), optimizer_class=fusestep.torch.AdamW, lr=0.1)
            optimizer.load_state_dict(state[0])
        optimizer.zero_grad()
        loss_of(m, x).backward()
        optimizer.step()
    close(m)


def fsdp(rank, world):
    """Shards of 7 rows are uneven, and one of 3 rows is, too."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
    from torch.distributed.fsdp import fully_shard

    m = model()
    for layer in (m[0], m[2]):
        fully_shard(layer)
    fully_shard(m)
    optimizer = fusestep.torch.AdamW(m.parameters(), lr=0.1)
    for i, x in enumerate(batches(rank, world)):
        if i == 3:  # saved by torch.distributed.checkpoint, and loaded by a new one
            import torch.distributed.checkpoint as dcp

            state = {"optimizer": get_optimizer_state_dict(m, optimizer)}
            where = [tempfile.mkdtemp() if rank == 0 else None]
            dist.broadcast_object_list(where, 0)
            dcp.save(state, checkpoint_id=where[0])
            optimizer.zero_grad()  # torch makes a new optimizer's state only where there are no gradients
            optimizer = fusestep.torch.AdamW(m.parameters(), lr=0.1)
            state = {"optimizer": get_optimizer_state_dict(m, optimizer)}
            dcp.load(state, checkpoint_id=where[0])
            set_optimizer_state_dict(m, optimizer, state["optimizer"])
        optimizer.zero_grad()
        loss_of(m, x).backward()
        optimizer.step()
    for p, q in zip(m.parameters(), alone().parameters()):
        torch.testing.assert_close(p.full_tensor().detach(), q.detach(), rtol=1e-4, atol=1e-5)
    assert type(optimizer.state[next(m.parameters())]["exp_avg"]).__name__ == "DTensor"
    for name in ("max_norm", "max_tensor_norm"):
        setattr(optimizer, name, 1.0)
        with pytest.raises(ValueError, match=f"^{name} of distributed"):
            optimizer.step()
        setattr(optimizer, name, None)


def run(rank, world, file, case):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    try:
        case(rank, world)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("case", [ddp, zero, fsdp], ids=lambda f: f.__name__)
def test_two_processes(case, tmp_path):
    mp.spawn(run, args=(2, str(tmp_path / "meet"), case), nprocs=2)
