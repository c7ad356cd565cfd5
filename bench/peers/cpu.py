#!/usr/bin/env python3
"""The optimizers of PyTorch, DeepSpeed, bitsandbytes and optax on the CPU, for bench/cpu to time in turns with fusestep's.

It reads a request a line on standard input, JSON, and answers each with a line of JSON:

  {"what": "about"}                                           -> {"torch": …, "cpu_capability": …, "deepspeed": …}
  {"what": "make", "peer": p, "optimizer": o, "shapes": […]}  -> {"id": …}, or {"error": …} where there is no such thing
  {"what": "run", "id": i, "threads": t, "steps": n}          -> {"seconds": s} for the n steps together
  {"what": "drop", "id": i}                                   -> {}

Peers: "fused", torch.optim's fused=True; "fused-kernel", the call beneath it without Python's share of a step;
"foreach", torch.optim's foreach=True; "for-loop", torch.optim's
foreach=False, a call for each tensor and operation; "foreach-1.13", AdamW as the calls of torch._foreach_*
that torch 1.13 made; "deepspeed", the kernel of DeepSpeed's CPUAdam (--deepspeed folder), which this script compiles from the
csrc folder of DeepSpeed's source package with the flags that DeepSpeed's own builder uses; "bitsandbytes", its LAMB and LARS; "optax", jitted, of
which threads are as many as the processors that it may run on. The last two are there where this Python has them.

Parameters, gradients and state are float32, with ordinary numbers. Torch is asked for huge pages, as fusestep's device asks
for them. How idle threads wait is OMP_WAIT_POLICY's, which bench/cpu sets: it starts this script once for each policy.
"""
import argparse
import json
import os
import sys
import time

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import torch  # noqa: E402  (after its environment)

TORCH = {
    "sgd": lambda p, **how: torch.optim.SGD(p, lr=1e-3, **how),
    "sgd-momentum": lambda p, **how: torch.optim.SGD(p, lr=1e-3, momentum=0.9, **how),
    "adam": lambda p, **how: torch.optim.Adam(p, lr=1e-3, **how),
    "adamw": lambda p, **how: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.01, **how),
    "adagrad": lambda p, **how: torch.optim.Adagrad(p, lr=1e-2, **how),
}


class FusedKernel:
    """torch._fused_adamw_ itself."""

    def __init__(self, params):
        self.args = [[p.data for p in params], [p.grad for p in params]]
        self.args += [[torch.zeros_like(p) for p in self.args[0]] for _ in range(2)]
        self.args += [[], [torch.zeros(()) for _ in params]]

    def step(self):
        torch._foreach_add_(self.args[5], 1)
        torch._fused_adamw_(
            *self.args, lr=1e-3, beta1=0.9, beta2=0.999, weight_decay=0.01, eps=1e-8, amsgrad=False, maximize=False
        )


class Foreach113:
    """AdamW's step as torch 1.13 spelled it, a pass over memory for each call."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        self.params, self.grads = [p.data for p in params], [p.grad for p in params]
        self.m = [torch.zeros_like(p) for p in self.params]
        self.v = [torch.zeros_like(p) for p in self.params]
        self.lr, self.betas, self.eps, self.weight_decay, self.t = lr, betas, eps, weight_decay, 0

    def step(self):
        b1, b2 = self.betas
        self.t += 1
        n = len(self.params)
        torch._foreach_mul_(self.params, 1 - self.lr * self.weight_decay)
        torch._foreach_mul_(self.m, b1)
        torch._foreach_add_(self.m, self.grads, alpha=1 - b1)
        torch._foreach_mul_(self.v, b2)
        torch._foreach_addcmul_(self.v, self.grads, self.grads, 1 - b2)
        denom = torch._foreach_sqrt(self.v)
        torch._foreach_div_(denom, [(1 - b2**self.t) ** 0.5] * n)
        denom = torch._foreach_add(denom, self.eps)
        torch._foreach_addcdiv_(self.params, self.m, denom, [-self.lr / (1 - b1**self.t)] * n)


class DeepSpeed:
    """CPUAdam's loop over parameters, around the compiled kernel."""

    module = None
    made = 0

    def __init__(self, params):
        self.id, DeepSpeed.made = DeepSpeed.made, DeepSpeed.made + 1
        self.module.create_adam(self.id, 1e-3, 0.9, 0.999, 1e-8, 0.01, True, False)
        self.tensors = [(p.data, p.grad, torch.zeros_like(p.data), torch.zeros_like(p.data)) for p in params]
        self.t = 0

    def step(self):
        self.t += 1
        for p, g, m, v in self.tensors:
            self.module.adam_update(self.id, self.t, 1e-3, 0.9, 0.999, 1e-8, 0.01, True, p, g, m, v)

    @classmethod
    def build(cls, folder):
        from torch.utils import cpp_extension

        csrc = os.path.join(folder, "csrc")
        with open("/proc/cpuinfo") as f:
            width = "-D__AVX512__" if "avx512" in f.read() else "-D__AVX256__"
        cls.module = cpp_extension.load(
            "fusestep_peer_cpu_adam",
            [os.path.join(csrc, "adam", name) for name in ("cpu_adam.cpp", "cpu_adam_impl.cpp")],
            extra_include_paths=[os.path.join(csrc, "includes")],
            extra_cflags=["-O3", "-g", "-Wno-reorder", "-march=native", "-fopenmp", width],
            with_cuda=False,
        )


def bitsandbytes(optimizer, params):
    import bitsandbytes as bnb

    return {
        "lamb": lambda: bnb.optim.LAMB(params, lr=1e-3, weight_decay=0.01),
        "lars": lambda: bnb.optim.LARS(params, lr=1e-3, momentum=0.9),
    }[optimizer]()


class Optax:
    """A jitted step, whose arguments make room for what it returns."""

    made = {
        "lamb": lambda optax: optax.lamb(1e-3, weight_decay=0.01),
        "lars": lambda optax: optax.lars(1e-3, momentum=0.9),
        "novograd": lambda optax: optax.novograd(1e-3),
        "adafactor": lambda optax: optax.adafactor(1e-3),
    }

    def __init__(self, optimizer, params):
        import jax
        import optax

        self.wait = jax.block_until_ready
        transform = self.made[optimizer](optax)
        self.params = [jax.numpy.array(p.detach().numpy()) for p in params]
        self.grads = [jax.numpy.array(p.grad.numpy()) for p in params]
        self.state = transform.init(self.params)

        def step(params, state, grads):
            updates, state = transform.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        self.jitted = jax.jit(step, donate_argnums=(0, 1))

    def step(self):
        self.params, self.state = self.jitted(self.params, self.state, self.grads)

    def threads(self, n):
        processors = sorted(os.sched_getaffinity(os.getppid()))[:n]
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), processors)


def normal(shape, scale):
    """Random numbers, of which large tensors have the same again and again: to draw them takes long."""
    out = torch.empty(shape)
    flat, some = out.view(-1), torch.randn(min(out.numel(), 1 << 20)) * scale
    for part in flat.split(some.numel()):
        part.copy_(some[: part.numel()])
    return out


def make(peer, optimizer, shapes):
    torch.manual_seed(1)
    params = []
    for shape in shapes:
        p = torch.nn.Parameter(normal(shape, 2**-5))
        p.grad = normal(shape, 2**-7)
        params.append(p)
    if peer in ("fused", "foreach") and optimizer in TORCH:
        return TORCH[optimizer](params, **{peer: True})
    if peer == "for-loop" and optimizer in TORCH:
        return TORCH[optimizer](params, foreach=False)
    if peer == "fused-kernel" and optimizer == "adamw":
        return FusedKernel(params)
    if peer == "foreach-1.13" and optimizer == "adamw":
        return Foreach113(params)
    if peer == "deepspeed" and optimizer == "adamw" and DeepSpeed.module:
        return DeepSpeed(params)
    if peer == "bitsandbytes":
        return bitsandbytes(optimizer, params)
    if peer == "optax":
        return Optax(optimizer, params)
    raise LookupError(f"no {optimizer} of {peer} here")


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--deepspeed", help="the unpacked source package of DeepSpeed")
    flags = flags.parse_args()
    answers, sys.stdout = sys.stdout, sys.stderr  # compilers talk
    torch.set_grad_enabled(False)
    missing = "no source package was given"
    if flags.deepspeed:
        try:
            DeepSpeed.build(flags.deepspeed)
        except Exception as e:
            missing = f"it did not build: {e}"
    made = {}
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            if ask["what"] == "about":
                answer = {
                    "torch": torch.__version__,
                    "cpu_capability": torch.backends.cpu.get_cpu_capability(),
                    "deepspeed": "" if DeepSpeed.module else missing,
                }
            elif ask["what"] == "make":
                id = len(made)
                made[id] = make(ask["peer"], ask["optimizer"], ask["shapes"])
                made[id].step()
                answer = {"id": id}
            elif ask["what"] == "run":
                torch.set_num_threads(ask["threads"])
                opt = made[ask["id"]]
                if isinstance(opt, Optax):
                    opt.threads(ask["threads"])
                began = time.perf_counter()
                for _ in range(ask["steps"]):
                    opt.step()
                if isinstance(opt, Optax):
                    opt.wait((opt.params, opt.state))
                answer = {"seconds": time.perf_counter() - began}
            else:
                made[ask["id"]] = None
                answer = {}
        except Exception as e:
            answer = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
