#!/usr/bin/env python3
"""Times PyTorch's optimizer steps, and apex's where it is installed, in turns with gpubench's on the same shapes.

For each case, a model's shapes and an optimizer, every round times each implementation once, one after the other, so that
what else the machine does, its temperature and its clocks meet all alike; the figures are medians over the rounds.
Torch is timed with CUDA events around a batch of steps after some that are not counted, as gpubench times itself.
Rates count the bytes that a step must move, gpubench's bytes_per_param, for everybody: what an implementation moves
besides is its loss.

AdamW is timed on the first model in every form of --forms, a line of gpubench's flags each; then all optimizers are on all models, in
float32. Torch holds state as parameters are: it stands beside forms of one type, and beside a loss scale with its GradScaler.

Gpubench's first step of a case is verified, bit for bit, against the rule's evaluator. A bit that differs, or any other failure of its,
makes the exit status 1.

The JSON is written after every case, so that it is whole whenever the program is stopped.
"""
import argparse
import json
import math
import statistics
import subprocess
import sys
import time

import torch

try:
    import apex.optimizers as apex
except Exception:  # apex fails in many ways where its extensions do not fit torch
    apex = None

MODELS = ["gpt2", "small-10000", "resnet50", "llama-3.2-1b", "gpt2-xl", "bert-base", "vit-b16"]

# Per optimizer of gpubench: how torch calls it, and how apex does if it can.
OPTIMIZERS = {
    "adamw": (
        lambda p, **how: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.01, **how),
        lambda p: apex.FusedAdam(p, lr=1e-3, weight_decay=0.01, adam_w_mode=True),
    ),
    "sgd": (
        lambda p, **how: torch.optim.SGD(p, lr=1e-3, **how),
        lambda p: apex.FusedSGD(p, lr=1e-3),
    ),
    "sgd-momentum": (
        lambda p, **how: torch.optim.SGD(p, lr=1e-3, momentum=0.9, **how),
        lambda p: apex.FusedSGD(p, lr=1e-3, momentum=0.9),
    ),
    "adamw-amsgrad": (
        lambda p, **how: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.01, amsgrad=True, **how),
        None,
    ),
}


PLAIN = "-dtype f32"  # the form of all optimizers

# The type of all that torch holds, for the forms that it has.
TORCH_FORMS = {
    "-dtype f32": torch.float32,
    "-dtype bf16 -state bf16": torch.bfloat16,
    "-dtype f32 -clip 1 -scale 65536": torch.float32,
}


class Scaled:
    """Steps behind torch's GradScaler and clip_grad_norm_, as torch's documentation has them. The scale is 1, as gradients are unscaled
    in place and stay for all steps."""

    def __init__(self, opt, params):
        self.opt, self.params = opt, params
        device = params[0].device
        self.scaler = torch.amp.GradScaler(device.type, init_scale=1.0, growth_interval=1 << 30)
        self.scaler.scale(torch.ones((), device=device))  # which brings the scale to the device

    def step(self):
        self.scaler.unscale_(self.opt)
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.scaler.step(self.opt)
        self.scaler.update()


def seconds(text):
    """Reads a duration as gpubench's -time has it, in ms or s."""
    return float(text[:-2]) / 1e3 if text.endswith("ms") else float(text.removesuffix("s"))


def time_steps(opt, n, device):
    """Seconds for a step, of n; on the CPU, which is for rehearsals, by the clock."""
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(n):
            opt.step()
        return (time.perf_counter() - began) / n
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(n):
        opt.step()
    end.record()
    torch.cuda.synchronize(device)
    return start.elapsed_time(end) / 1e3 / n


def measure_torch(make, params, form, args):
    """Seconds for a step of a fresh optimizer, whose state is given back: there is not room for everybody's."""
    opt = make(params)
    if "-scale" in form:
        opt = Scaled(opt, params)
    try:
        time_steps(opt, 3, args.device)  # makes the state, and compiles what is compiled
        once = time_steps(opt, 3, args.device)
        return time_steps(opt, max(3, min(1000, math.ceil(seconds(args.time) / max(once, 1e-7)))), args.device)
    finally:
        del opt
        if args.device.type == "cuda":
            torch.cuda.empty_cache()


def measure_gpubench(case, optimizer, form, args, verify):
    """gpubench's result, in a process of its own."""
    command = [args.gpubench, "-device", args.gpubench_device, "-optimizer", optimizer, *case, *form.split(), "-time", args.time, "-format", "json"]
    command += ["-verify"] if verify else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"gpubench: exit status {done.returncode}")
    return json.loads(done.stdout)["results"][0]


def tensors(shapes, dtype, device):
    """Parameters of the shapes, with gradients."""
    out = [torch.nn.Parameter(torch.randn(s, dtype=dtype, device=device)) for s in shapes]
    for p in out:
        p.grad = torch.randn_like(p) * 0.01
    return out


def measure(name, case, shapes, optimizer, form, args):
    """One case: all implementations, in rounds."""
    result = {"model": name, "optimizer": optimizer, "form": form, "params": sum(math.prod(s) for s in shapes), "tensors": len(shapes), "implementations": {}}
    ours, theirs = OPTIMIZERS[optimizer]
    makers, dtype = {}, TORCH_FORMS.get(form)
    if dtype:
        makers = {"torch fused": lambda p: ours(p, fused=True), "torch foreach": lambda p: ours(p, foreach=True)}
    if apex and theirs and form == PLAIN:
        makers["apex"] = theirs
    times = {"fusestep": []} | {m: [] for m in makers}
    errors = {}
    params = tensors(shapes, dtype, args.device) if dtype else []
    for _ in range(args.rounds):
        for who, sample in times.items():
            if who in errors:
                continue
            try:
                if who == "fusestep":
                    got = measure_gpubench(case, optimizer, form, args, not sample)
                    if not sample:
                        result["gpubench"] = got
                    result["bytes_per_param"], result["copy_gb_per_s"] = got["bytes_per_param"], got["copy_gb_per_s"]
                    result["ceiling_gb_per_s"] = got["ceiling_gb_per_s"]
                    sample.append(got["seconds_per_step"])
                else:
                    sample.append(measure_torch(makers[who], params, form, args))
            except Exception as e:  # an implementation that lacks something must not keep the others from being measured
                errors[who] = str(e).splitlines()[0] if str(e) else type(e).__name__
    for who, sample in times.items():
        if who in errors:
            result["implementations"][who] = {"error": errors[who]}
            continue
        median = statistics.median(sample)
        entry = {"seconds_per_step": median, "samples": sample}
        if "bytes_per_param" in result:
            entry["gb_per_s"] = result["params"] * result["bytes_per_param"] / median / 1e9
        if times["fusestep"] and "fusestep" not in errors:
            entry["times_fusestep"] = median / statistics.median(times["fusestep"])
        result["implementations"][who] = entry
    return result


def show(result):
    """A line for each implementation; what is over 1 in the last column took longer than fusestep."""
    for who, r in result["implementations"].items():
        head = f"{result['model']:14} {result['optimizer']:14} {result['form']:50} {who:14}"
        if "error" in r:
            print(f"{head} {r['error']}", flush=True)
            continue
        print(f"{head} {r['seconds_per_step'] * 1e3:10.4f} {r.get('gb_per_s', math.nan):9.1f} {result.get('ceiling_gb_per_s', math.nan):9.1f}"
              f" {r.get('times_fusestep', math.nan):8.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpubench", default="./gpubench-cuda")
    parser.add_argument("--gpubench-device", default="cuda")
    parser.add_argument("--device", default="cuda", type=torch.device, help="torch's")
    parser.add_argument("--models", default=",".join(MODELS), help="names of gpubench's models, the most wanted first")
    parser.add_argument("--flat", type=int, help="instead of models, one tensor of so many elements")
    parser.add_argument("--forms", help="a file of AdamW's forms")
    parser.add_argument("--time", default="200ms", help="for each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no case after so many")
    parser.add_argument("--out", default="peers.json")
    args = parser.parse_args()

    if args.device.index is not None:
        torch.cuda.set_device(args.device)  # events are recorded on the current device's stream
    if args.flat:
        cases = [(str(args.flat), ["-n", str(args.flat)], [[args.flat]])]
    else:
        listed = json.loads(subprocess.run([args.gpubench, "-list", "-format", "json"], capture_output=True, text=True, check=True).stdout)
        shapes = {m["name"]: m["shapes"] for m in listed["models"]}
        cases = [(m, ["-model", m], shapes[m]) for m in args.models.split(",")]
    report = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "apex": apex is not None,
        "device": torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else "cpu, a rehearsal",
        "rounds": args.rounds,
        "results": [],
        "left_out": [],
    }
    print(f"torch {report['torch']}, apex {'yes' if apex else 'no'}, on {report['device']}; medians of {args.rounds} rounds")
    print(f"{'model':14} {'optimizer':14} {'form':50} {'':14} {'ms/step':>10} {'GB/s':>9} {'ceiling':>9} {'× ours':>8}")
    began = time.monotonic()
    forms = open(args.forms, encoding="utf-8").read().splitlines() if args.forms else []
    todo = [("adamw", form, cases[0]) for form in forms]
    for optimizer in OPTIMIZERS:
        todo += [(optimizer, PLAIN, case) for case in cases if (optimizer, PLAIN, case) not in todo]
    for optimizer, form, (name, case, shape) in todo:
        if time.monotonic() - began > args.seconds:
            report["left_out"].append(f"{optimizer} {form} on {name}")
        else:
            try:
                report["results"].append(measure(name, case, shape, optimizer, form, args))
                show(report["results"][-1])
            except torch.cuda.OutOfMemoryError:
                report["left_out"].append(f"{optimizer} {form} on {name}: does not fit")
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump(report, f, indent=1)
    if report["left_out"]:
        print("left out:", "; ".join(report["left_out"]))
    if not any("samples" in i for r in report["results"] for i in r["implementations"].values()):
        sys.exit("nothing was measured")
    wrong = [r["implementations"]["fusestep"]["error"] for r in report["results"] if "error" in r["implementations"]["fusestep"]]
    wrong = [e for e in wrong if " of memory: " not in e]
    if wrong:
        sys.exit(f"ERROR: gpubench failed: {wrong[0]}")


if __name__ == "__main__":
    main()
