"""Within torch's engines for many processes, of gloo's."""

import multiprocessing
import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

import fusestep.torch
from conftest import BOTH, OURS
from test_rule import layer

# Processes are forked from one that has imported these, which takes seconds, and has used nothing of them.
IMPORTED = ["pytest", "torch", "torch._dynamo", "torch.distributed.checkpoint.state_dict", "torch.distributed.fsdp", "torch.distributed.optim", "fusestep.torch"]
multiprocessing.set_forkserver_preload(IMPORTED)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def batches(rank, world, first=0, last=6):
    generator = torch.Generator().manual_seed(1)
    for i in range(last):
        x = torch.randn(8, 5, generator=generator)
        if i >= first:
            yield x.chunk(world)[rank]


def train(m, optimizer, xs):
    for x in xs:
        optimizer.zero_grad()
        (m(x) - x[:, :3]).square().mean().backward()
        optimizer.step()


def alone():
    """What one process trains, with torch's optimizer."""
    m = model()
    train(m, torch.optim.AdamW(m.parameters(), lr=0.1, foreach=False), batches(0, 1))
    return m


def close(m):
    for p, q in zip(m.parameters(), alone().parameters()):
        p = p.full_tensor() if hasattr(p, "full_tensor") else p
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-4, atol=1e-5)


def ddp(rank, world, folder):
    for view in (False, True):
        m = nn.parallel.DistributedDataParallel(model(), gradient_as_bucket_view=view)
        train(m, fusestep.torch.AdamW(m.parameters(), lr=0.1), batches(rank, world))
        close(m)


def redundancy(params, make, **kwargs):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer(params, optimizer_class=make, **kwargs)


def zero(rank, world, folder):
    m = nn.parallel.DistributedDataParallel(model())
    optimizer = redundancy(m.parameters(), fusestep.torch.AdamW, lr=0.1)
    train(m, optimizer, batches(rank, world, 0, 3))
    optimizer.consolidate_state_dict(0)  # saved, and loaded by a new one
    state = [optimizer.state_dict() if rank == 0 else None]
    dist.broadcast_object_list(state, 0)
    optimizer = redundancy(m.parameters(), fusestep.torch.AdamW, lr=0.1)
    optimizer.load_state_dict(state[0])
    train(m, optimizer, batches(rank, world, 3))
    close(m)


def zero_bits(rank, world, folder):
    """Every optimizer's rule is of one element at a time, so each process steps its parameters to the bits of one process."""
    shapes = [(3, 4), (5,), (), (2, 3, 2), (33,), (1,)]
    for name in BOTH + OURS:
        make = getattr(fusestep.torch, name)
        generator = torch.Generator().manual_seed(2)
        start = [torch.randn(s, generator=generator) for s in shapes]
        sides = []
        for of in (make, lambda params, **kwargs: redundancy(params, make, **kwargs)):
            params = [x.clone().requires_grad_() for x in start]
            sides.append((params, of(params, lr=0.1)))
        for _ in range(5):
            grads = [torch.randn(s, generator=generator) for s in shapes]
            for params, optimizer in sides:
                for p, g in zip(params, grads):
                    p.grad = g.clone()
                optimizer.step()
        for p, q, x in zip(sides[0][0], sides[1][0], start):
            assert torch.equal(p, q) and not torch.equal(p, x), name


def sharded(m):
    from torch.distributed.fsdp import fully_shard

    for layer in (m[0], m[2]):
        fully_shard(layer)
    return fully_shard(m)


def state_of(m, optimizer):
    from torch.distributed.checkpoint.state_dict import get_state_dict

    return dict(zip(("model", "optimizer"), get_state_dict(m, optimizer)))


def save(rank, world, folder):
    """Shards of 7 rows and of 3 are uneven; one of 4 processes has none of the 3."""
    import torch.distributed.checkpoint as dcp

    m = sharded(model())
    optimizer = fusestep.torch.AdamW(m.parameters(), lr=0.1)
    train(m, optimizer, batches(rank, world, 0, 3))
    dcp.save(state_of(m, optimizer), checkpoint_id=os.path.join(folder, "checkpoint"))


def load(rank, world, folder):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import set_state_dict

    m = sharded(model())
    optimizer = fusestep.torch.AdamW(m.parameters(), lr=0.1)
    state = state_of(m, optimizer)
    dcp.load(state, checkpoint_id=os.path.join(folder, "checkpoint"))
    set_state_dict(m, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    train(m, optimizer, batches(rank, world, 3))
    close(m)
    assert type(optimizer.state[next(m.parameters())]["exp_avg"]).__name__ == "DTensor"
    rule = layer(m.parameters())
    with pytest.raises(ValueError, match="^Rule steps by sums over whole tensors"):
        rule.step()
    for name in ("max_norm", "max_tensor_norm"):
        setattr(optimizer, name, 1.0)
        with pytest.raises(ValueError, match=f"^{name} of distributed"):
            optimizer.step()
        setattr(optimizer, name, None)


def run(rank, world, folder, case):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/{case.__name__}", rank=rank, world_size=world)
    try:
        case(rank, world, folder)
    finally:
        dist.destroy_process_group()


def processes(world, folder, *cases):
    for case in cases:
        mp.start_processes(run, args=(world, str(folder), case), nprocs=world, start_method="forkserver")


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("case", [ddp, zero, zero_bits], ids=lambda f: f.__name__)
def test_replicated(case, world, tmp_path):
    processes(world, tmp_path, case)


@pytest.mark.parametrize("saved,loaded", [(2, 2), (4, 4), (4, 2)])
def test_sharded(saved, loaded, tmp_path):
    """What torch.distributed.checkpoint saved is loaded by as many processes, or by others."""
    processes(saved, tmp_path, save)
    processes(loaded, tmp_path, load)
