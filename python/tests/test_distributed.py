"""Within torch's engines for many processes, of gloo's."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

import fusestep.torch
from conftest import BOTH, OURS
from test_rule import layer

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


def alone(make):
    """What one process trains."""
    m = model()
    train(m, make(m.parameters(), lr=0.1), batches(0, 1))
    return m


def close(m, make=torch.optim.AdamW):
    for p, q in zip(m.parameters(), alone(make).parameters()):
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
    """Every optimizer's rule is of one tensor at a time, so each process steps its parameters to the bits of one process."""
    for name in BOTH + OURS:
        make = getattr(fusestep.torch, name)
        shapes = [(3, 4), (5,), (), (1 if name in ("Adafactor", "CAME") else 2, 3, 2), (33,), (1,)]  # of these one matrix
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


def whole(rank, world, folder):
    """Distributed tensors that each process has whole: norms are theirs, and sums. A gradient that is placed elsewhere is refused."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh

    mesh = init_device_mesh("cpu", (world,))
    values, gradients = [torch.ones(4, 2), torch.ones(3)], [torch.randn(4, 2, generator=torch.Generator().manual_seed(1)), torch.ones(3)]
    for make in (lambda ps: fusestep.torch.AdamW(ps, lr=0.1, max_norm=0.5), lambda ps: fusestep.torch.LAMB(ps, lr=0.1)):
        ps, qs = [v.clone() for v in values], [distribute_tensor(v, mesh, [Replicate()]) for v in values]
        for p, q, g in zip(ps, qs, gradients):
            p.grad, q.grad = g.clone(), distribute_tensor(g, mesh, [Replicate()])
        for params in (ps, qs):
            make(params).step()
        for p, q in zip(ps, qs):
            assert torch.equal(p, q.full_tensor())
    optimizer = fusestep.torch.SGD([("w", qs[0])])
    qs[0].grad = distribute_tensor(gradients[0], mesh, [Shard(0)])
    with pytest.raises(TypeError, match=r"gradient of parameter w .* placed \(Shard\(dim=0\),\), .* placed \(Replicate\(\),\)"):
        optimizer.step()


def sharded(m):
    from torch.distributed.fsdp import fully_shard

    for layer in (m[0], m[2]):
        fully_shard(layer)
    return fully_shard(m)


def state_of(m, optimizer):
    from torch.distributed.checkpoint.state_dict import get_state_dict

    return dict(zip(("model", "optimizer"), get_state_dict(m, optimizer)))


SHARDED = ["AdamW", "AdamMini"]  # of the second each row has a moment, and shards are of whole rows


def save(rank, world, folder):
    """Shards of 7 rows and of 3 are uneven; one of 4 processes has none of the 3."""
    import torch.distributed.checkpoint as dcp

    for name in SHARDED:
        m = sharded(model())
        optimizer = getattr(fusestep.torch, name)(m.parameters(), lr=0.1)
        train(m, optimizer, batches(rank, world, 0, 3))
        dcp.save(state_of(m, optimizer), checkpoint_id=os.path.join(folder, name))


def load(rank, world, folder):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import set_state_dict
    from torch.distributed.tensor import Shard, distribute_tensor

    for name in SHARDED:
        m = sharded(model())
        optimizer = getattr(fusestep.torch, name)(m.parameters(), lr=0.1)
        state = state_of(m, optimizer)
        dcp.load(state, checkpoint_id=os.path.join(folder, name))
        set_state_dict(m, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
        train(m, optimizer, batches(rank, world, 3))
        close(m, getattr(torch.optim if name in BOTH else fusestep.torch, name))
        assert all(type(x).__name__ == "DTensor" for k, x in optimizer.state[next(m.parameters())].items() if k != "step")
    assert optimizer.state[m[0].weight]["vmean"].shape == (7, 1)
    rules = (layer, "Rule"), (fusestep.torch.Adafactor, "Adafactor"), (fusestep.torch.CAME, "CAME")
    for make, name in rules:
        with pytest.raises(ValueError, match=rf"^{name} steps by sums over whole tensors.* parameter 0\.0,"):
            make(m.parameters()).step()
    with pytest.raises(ValueError, match=r"^parameter 0\.0 is distributed, and a process may not have whole rows"):
        fusestep.torch.AdamMini(m.parameters(), rows=7).step()
    columns = distribute_tensor(torch.randn(3, 8), m[0].weight.device_mesh, [Shard(1)]).requires_grad_()
    columns.grad = torch.zeros_like(columns)
    with pytest.raises(ValueError, match=r"^parameter columns is distributed, and a process may not have whole rows"):
        fusestep.torch.AdamMini([("columns", columns)]).step()
    for name in ("max_norm", "max_tensor_norm", "adaptive_clip"):
        setattr(optimizer, name, 1.0)
        with pytest.raises(ValueError, match=f"^{name} of sharded"):
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
@pytest.mark.parametrize("case", [ddp, zero, zero_bits, whole], ids=lambda f: f.__name__)
def test_replicated(case, world, tmp_path):
    processes(world, tmp_path, case)


@pytest.mark.parametrize("saved,loaded", [(2, 2), (4, 4), (4, 2)])
def test_sharded(saved, loaded, tmp_path):
    """What torch.distributed.checkpoint saved is loaded by as many processes, or by others."""
    processes(saved, tmp_path, save)
    processes(loaded, tmp_path, load)
