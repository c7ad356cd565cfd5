"""Steps that are captured in a CUDA graph of torch's: each replay is a step, with the bits of one on the CPU."""

import warnings

import emulated
import pytest
import torch
from emulated import put
from test_cuda import SHAPES, Side, bits, gradients, here, pair, same

import fusestep.torch

CASES = [
    ("AdamW", {}),
    ("AdamW", {"dtype": torch.complex64}),
    ("Adam", {"amsgrad": True, "dtype": torch.float64}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "lr": 0.1, "groups": False}),
    ("SGD", {"dtype": torch.bfloat16, "momentum": 0.9, "stochastic_rounding": True}),
    ("Lion", {"dtype": torch.bfloat16, "master": torch.float32, "ema_decay": 0.9}),
    ("LAMB", {"dtype": torch.float16}),
    ("RMSprop", {"centered": True, "momentum": 0.9}),
    ("Adafactor", {"dtype": torch.bfloat16, "master": torch.int16}),
    ("AdEMAMix", {"alpha_warmup": 7}),
]


class Training:
    """The same training on the CPU, step by step, and on a GPU, where some steps are replays."""

    def __init__(self, name, kwargs, max_norm=None, scaled=False, lr_on_gpu=False):
        self.cpu, self.gpu = pair(name, **kwargs)
        self.sides = (self.cpu, self.gpu)
        for group in self.gpu.optimizer.param_groups:
            group["capturable"] = True
        for side in self.sides:
            side.optimizer.max_norm = max_norm
        self.scaled, self.graphs, self.static = scaled, [], []
        self.rates = []
        if lr_on_gpu:
            for group in self.gpu.optimizer.param_groups:
                group["lr"] = put(torch.tensor(group["lr"], dtype=torch.float64), "cuda:0")
        self.lr_on_gpu = lr_on_gpu

    def feed(self, into=None):
        """Gives both gradients, at other addresses of the GPU each time, or into those of a graph; and what a GradScaler gives."""
        now = gradients(self.cpu)
        now[-2] = None  # which is never there
        self.cpu.feed(now)
        if into is None:
            self.gpu.feed(now)
        else:
            for g, x in zip(into, now):
                if g is not None:
                    emulated._write(g, x)
        if self.scaled:
            for x, what in ((torch.tensor(float(torch.randint(1, 5, ()))), "grad_scale"), (torch.tensor(float(torch.rand(()) < 0.3)), "found_inf")):
                setattr(self.cpu.optimizer, what, x)
                if hasattr(self.gpu.optimizer, what):  # it stays where it is, as that of torch
                    emulated._write(getattr(self.gpu.optimizer, what), x)
                else:
                    setattr(self.gpu.optimizer, what, put(x, "cuda:0"))

    def rate(self, factor):
        for side in self.sides:
            for group in side.optimizer.param_groups:
                if isinstance(group["lr"], torch.Tensor):
                    emulated._write(group["lr"], torch.tensor(self.cpu.optimizer.param_groups[0]["lr"], dtype=torch.float64))
                else:
                    group["lr"] *= factor

    def step(self):
        self.feed()
        self.rate(1.1)
        for side in self.sides:
            side.optimizer.step()

    def capture(self):
        self.feed()
        self.static.append([p.grad for p in self.gpu.params])
        self.rates.append([group["lr"] for group in self.cpu.optimizer.param_groups])
        with emulated.Graph() as graph:
            self.gpu.optimizer.step()
        self.graphs.append(graph)

    def replay(self, i):
        self.rate(0.9)
        self.feed(self.static[i])
        self.graphs[i].replay()
        now = [group["lr"] for group in self.cpu.optimizer.param_groups]
        for group, lr in zip(self.cpu.optimizer.param_groups, now if self.lr_on_gpu else self.rates[i]):
            group["lr"] = lr
        self.cpu.optimizer.step()
        for group, lr in zip(self.cpu.optimizer.param_groups, now):
            group["lr"] = lr

    def same(self):
        norms = [side.optimizer.grad_norm for side in self.sides]
        assert norms[0] == norms[1] or self.scaled and norms[0] == 0  # on the CPU a step that is skipped has none
        same(*self.sides)
        for x, y in zip(self.cpu.optimizer.eval_params(), self.gpu.optimizer.eval_params()):
            assert bits(x) == bits(y)


@pytest.mark.parametrize("how", ["", "max_norm", "scaled", "lr_on_gpu"])
@pytest.mark.parametrize("name,kwargs", CASES, ids=lambda x: x if isinstance(x, str) else " ".join(map(str, x.values())))
def test_bits(name, kwargs, how):
    """Warm-up, a capture, replays, steps between them, and another capture."""
    x = Training(name, kwargs, max_norm=2.0 if how else None, scaled=how == "scaled", lr_on_gpu=how == "lr_on_gpu")
    for _ in range(2):
        x.step()
    x.capture()
    for _ in range(2):
        x.replay(0)
    x.same()
    x.step()
    x.capture()
    emulated.current[0] = emulated.make_stream(0)
    emulated.synchronize(0, 0)
    x.replay(1)
    x.replay(0)
    x.step()
    x.replay(1)
    x.same()
    assert all(s["step"].device.type == "cuda" for s in x.gpu.optimizer.state.values() if "step" in s)


def test_capture_takes_no_step():
    x = Training("AdamW", {})
    x.step()
    before = [bits(p) for p in x.gpu.params]
    x.capture()
    assert before == [bits(p) for p in x.gpu.params]
    x.same()


def test_loads_into_torch():
    """The state after replays is that of torch's optimizer of as many steps."""
    x = Training("AdamW", {"groups": False})
    x.step()
    x.capture()
    for _ in range(3):
        x.replay(0)
    other = torch.optim.AdamW([p.detach() for p in x.gpu.params], capturable=True)
    other.load_state_dict(x.gpu.optimizer.state_dict())
    assert {float(here(s["step"])) for s in other.state.values()} == {4.0}


def test_waits_for_nothing(alone):
    """A replay is enqueued, and so is a step behind it, but where the learning rate is on the GPU."""
    x = Training("AdamW", {"groups": False, "shapes": [(3000,)] * 2}, max_norm=1.0)
    for _ in range(2):
        x.step()
    x.capture()
    for _ in range(2):
        x.replay(0)
        x.step()
    launch = x.graphs[0]._stages[0]
    launch()
    assert emulated.busy()


def capture(optimizer):
    with emulated.Graph() as graph:
        optimizer.step()
    return graph


def test_refuses():
    """What cannot be captured says why, and changes nothing."""
    for name in ("NAdam", "ASGD", "NovoGrad", "Prodigy", "ScheduleFreeSGD", "ScheduleFreeAdamW"):
        with pytest.raises(ValueError, match=f"capturable must be False: replays .* to {name}'s state"):
            getattr(fusestep.torch, name)([torch.zeros(1)], capturable=True)
    p = torch.zeros(3, requires_grad=True)
    p.grad = torch.ones(3)
    with pytest.raises(TypeError, match="parameter 0.0 is on cpu, and capturable is True"):
        fusestep.torch.Lion([p], capturable=True).step()

    x = Training("AdamW", {})
    x.feed()
    before = [bits(p) for p in x.gpu.params]
    with pytest.raises(RuntimeError, match="take one like it before the capture"):
        capture(x.gpu.optimizer)
    assert before == [bits(p) for p in x.gpu.params]
    x.step()

    def fails(match):
        before = [bits(p) for p in x.gpu.params]
        with pytest.raises(RuntimeError, match=match):
            capture(x.gpu.optimizer)
        assert before == [bits(p) for p in x.gpu.params]

    x.gpu.params[0].grad = None
    fails("take one like it .* no step like it has been taken")
    x.feed()
    x.gpu.optimizer.param_groups[0]["amsgrad"] = True
    fails("take one like it before the capture")
    x.gpu.optimizer.param_groups[0]["amsgrad"] = False
    x.gpu.optimizer.param_groups[0]["capturable"] = False
    fails("take one like it before the capture")
    x.step()
    fails("is being captured in a CUDA graph, and capturable is False")
    x.step()
    x.same()


def test_lr_on_gpu():
    p = put(torch.zeros(3), "cuda:0").requires_grad_()
    lr = put(torch.tensor(0.1), "cuda:0")
    with pytest.raises(ValueError, match="lr is a tensor on cuda:0, for which each step would have to wait: it must be a number or on the CPU, or capturable True"):
        fusestep.torch.SGD([p], lr=lr)
    with pytest.raises(ValueError, match=r"betas is a tensor on cuda:0, for which each step would have to wait: it must be a number or on the CPU$"):
        fusestep.torch.Adam([p], lr=lr, betas=(lr, lr), capturable=True)
    optimizer = fusestep.torch.SGD([p], lr=lr, capturable=True)
    p.grad = put(torch.ones(3), "cuda:0")
    optimizer.step()
    graph = capture(optimizer)
    for rate in (0.5, 0.25):
        lr.fill_(rate)
        graph.replay()
    lr.fill_(0.0)
    graph.replay()
    optimizer.step()
    assert here(p.detach()).tolist() == torch.zeros(3).sub(torch.tensor(0.1)).sub(0.5).sub(0.25).tolist()


def test_tensors_stay_together():
    """Beside a captured step none may leave some of its parameters out, until the state is loaded anew: then replays are over, and a warning says so."""
    x = Training("AdamW", {})
    x.step()
    x.capture()
    x.replay(0)
    x.feed()
    x.gpu.params[0].grad = x.cpu.params[0].grad = None
    before = [bits(p) for p in x.gpu.params]
    with pytest.raises(RuntimeError, match=r"captured in a CUDA graph, whose replays step all its parameters together.*load_state_dict"):
        x.gpu.optimizer.step()
    assert before == [bits(p) for p in x.gpu.params]
    with pytest.warns(UserWarning, match="were captured in CUDA graphs, whose replays go on with what was before AdamW's parameters, options or state changed"):
        x.gpu.optimizer.load_state_dict(x.gpu.optimizer.state_dict())
    x.gpu.optimizer.step()
    x.cpu.optimizer.step()
    x.same()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x.step()
        x.capture()
        x.replay(1)
    x.same()


def test_options_that_change():
    """So it is where an option turns something on: the graph of before leaves the rest alone."""
    x = Training("SGD", {"lr": 0.1, "groups": False})
    x.step()
    x.capture()
    for side in x.sides:
        side.optimizer.param_groups[0]["momentum"] = 0.5
    x.feed()
    x.cpu.optimizer.step()
    with pytest.warns(UserWarning, match="capture again"):
        x.gpu.optimizer.step()
    x.capture()
    x.replay(1)
    x.same()
    x.graphs[0].replay()


def test_hyperparameters_are_of_the_capture():
    """Hyperparameters that change between replays are those of the next step, and of none of the replays: a graph has its own."""
    x = Training("AdamW", {"shapes": SHAPES[:4]})
    x.step()
    x.capture()
    x.rate(3.0)
    x.replay(0)
    x.step()
    x.same()


@pytest.mark.parametrize("scaled", [False, True])
def test_interrupted_step_is_counted(scaled, monkeypatch):
    """As on the CPU, where Python raises KeyboardInterrupt when the library's call has returned: the GPU knows which steps were skipped."""
    x = Training("AdamW", {}, scaled=scaled)
    for _ in range(2):
        x.step()
    engine, call = x.gpu.optimizer._engine, x.gpu.optimizer._engine._call

    def interrupted(*arguments):
        assert call(*arguments) == 0
        raise KeyboardInterrupt

    x.feed()
    x.cpu.optimizer.step()
    with monkeypatch.context() as m:
        m.setattr(engine, "_call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            x.gpu.optimizer.step()
    same(*x.sides)
    x.step()
    same(*x.sides)
    assert x.gpu.optimizer._engine is engine


def test_second_gpu():
    cpu, gpu = pair("AdamW", device="cuda:1", max_norm=1.0)
    for group in gpu.optimizer.param_groups:
        group["capturable"] = True
    now = gradients(cpu)
    for side in (cpu, gpu):
        side.feed(now)
        side.optimizer.step()
    with emulated.Graph(1) as graph:
        gpu.optimizer.step()
    for _ in range(2):
        cpu.optimizer.step()
        graph.replay()
    same(cpu, gpu)
    assert isinstance(gpu, Side)
