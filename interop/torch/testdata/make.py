"""Write from-torch/*.safetensors, trainings of torch's that stopped after 12 of the 25 steps of optim/testdata/torch, and sixteen/ and
scaler/*.safetensors, some of its sixteen.json and scaler.json that stopped, and transformer-engine/*.safetensors, what Transformer Engine would save
of a case of optim/testdata/numpy/remainder.json, all of them converted.

    make fixtures-interop-torch PYTHON=venv/bin/python

Each file of from-torch is of one optimizer, and has a group for each of its golden cases that torch can run as it is. Torch's kernels and roots
are those of golden.py, and the versions too, so every run writes the same bytes.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parents[2] / "optim" / "testdata" / "torch"
REMAINDER = GOLDEN.parent / "numpy" / "remainder.json"
sys.path[:0] = [str(HERE.parent), str(GOLDEN), str(GOLDEN.parent / "numpy")]

import golden  # first: it chooses torch's kernels

import torch

import factored
import fusestep_checkpoint as convert
import more
from inputs import LR_FACTOR, STEPS, inputs

STOP = 12
INIT, GRADS = inputs()
SIXTEEN = {"sgd/momentum+wd", "adam/amsgrad+maximize+wd", "adamw/defaults", "adagrad/lr_decay+wd"}  # cases of sixteen.json
ENGINE = "adamw/language model"  # the case of remainder.json
SCALED = {"other factors": 9, "overflows": 10}  # cases of scaler.json, and the steps after which they stop
CLASSES = golden.CLASSES | more.CLASSES | {"asgd": torch.optim.ASGD, "adafactor": torch.optim.Adafactor}


def cases():
    """The golden cases by optimizer."""
    out = {}
    for name in ("optimizers.json", "more.json", "variants.json", "factored.json"):
        for case in json.loads((GOLDEN / name).read_text())["cases"]:
            if case["optimizer"] in CLASSES and not case["hyper"].get("l1"):
                out.setdefault(case["optimizer"], []).append(case)
    return out


def tensor_name(case):
    return f"{case['name']}/{case['dtype']}"


def options(case):
    """A golden case's hyperparameters, as torch's optimizers take them."""
    return {key: tuple(x) if isinstance(x, list) else x for key, x in case["hyper"].items() if key != "l1"}


def shape(case):
    """The shape of the case's tensor."""
    return tuple(case.get("shape", (2, 3, 4)))


def tensor(numbers, case):
    """Those of the inputs' numbers that the case has."""
    return torch.tensor(numbers, dtype=golden.DTYPES[case["dtype"]])[case.get("elements", slice(None))].reshape(shape(case))


def step(opt, params, t, cases):
    """Takes the goldens' step t, from 1 on, with its gradients, and the learning rate that the groups have. Cases are by the parameters' names."""
    for name, p in params.items():
        p.grad = tensor(GRADS[t - 1], cases[name])
    with more.CorrectSquareRoot(), factored.CorrectReciprocal():
        opt.step()


def optimizer(cases):
    """Torch's optimizer with a group for each case."""
    params = {tensor_name(c): torch.nn.Parameter(tensor(INIT, c)) for c in cases}
    groups = [{"params": [p], **options(c)} for p, c in zip(params.values(), cases)]
    opt = CLASSES[cases[0]["optimizer"]](groups, foreach=False)
    for p, c in zip(params.values(), cases):
        if "sum" in opt.state[p]:  # torch fills it with the constructor's value, whatever the group's is
            opt.state[p]["sum"].fill_(c["hyper"]["initial_accumulator_value"])
    return opt, params


def scaled(case, stop):
    """What torch saves of a case of scaler.json after so many steps."""
    param = torch.nn.Parameter(torch.tensor(case["param"][stop], dtype=torch.uint32).view(torch.float32))
    opt = torch.optim.SGD([param], foreach=False, fused=False, **case["sgd"])
    opt.state[param]["momentum_buffer"] = torch.tensor(case["momentum_buffer"][stop], dtype=torch.uint32).view(torch.float32)
    scaler = torch.amp.GradScaler("cpu", **case["scaler"])
    scaler.load_state_dict(scaler.state_dict() | {"scale": case["scale"][stop], "_growth_tracker": case["growth_tracker"][stop]})
    return {"optimizer": opt.state_dict(), "model": {"w": param}, "scaler": scaler.state_dict()}


def sixteen(case, stop):
    """What torch saves of a case of sixteen.json after so many steps."""
    held = {slot: torch.tensor(x[stop], dtype=torch.uint16).view(getattr(torch, case["dtype"])) for slot, x in case["held"].items()}
    param = torch.nn.Parameter(held.pop("param"))
    opt = CLASSES[case["algorithm"]]([param], fused=True, **case["hyper"])
    opt.state[param] = held if case["algorithm"] == "sgd" else held | {"step": torch.tensor(float(stop), dtype=torch.float32)}
    return {"optimizer": opt.state_dict(), "model": {"w": param}}


def engine(stop, remainders):
    """What Transformer Engine's FusedAdam with masters saves of ENGINE after so many steps, as its source makes it (fused_adam.py at d0067d0d), which
    was not run: the masters are remainders, or float32."""
    case = next(case for case in json.loads(REMAINDER.read_text())["cases"] if case["name"] == ENGINE)
    held = {slot: torch.tensor(x[stop]) for slot, x in case["held"].items()}
    low, moments = held["remainder"], {slot: held[slot].to(torch.uint32).view(torch.float32) for slot in ("exp_avg", "exp_avg_sq")}
    master = ((held["param"] << 16) + low).to(torch.uint32).view(torch.float32)
    value = held["param"].to(torch.uint16).view(torch.bfloat16) if remainders else master.to(torch.bfloat16)
    hyper = case["hyper"] | {"betas": tuple(case["hyper"]["betas"]), "bias_correction": True}
    state = moments | {"master_param": low.to(torch.int16) if remainders else master}
    return {"optimizer": {"state": {0: state}, "param_groups": [hyper | {"step": stop, "params": [0]}]}, "model": {"w": value}}


def main():
    more.check(__file__, {})
    for case in json.loads((GOLDEN / "sixteen.json").read_text())["cases"]:
        if case["name"] in SIXTEEN:
            convert.write(HERE / "sixteen" / f"{case['algorithm']}-{case['dtype']}.safetensors", convert.to_fusestep(sixteen(case, STOP), step=STOP))
    for case in json.loads((GOLDEN / "scaler.json").read_text())["cases"]:
        if case["name"] in SCALED:
            stop = SCALED[case["name"]]
            file = convert.to_fusestep(scaled(case, stop), step=stop - sum(case["found_inf"][:stop]))
            convert.write(HERE / "scaler" / f"{case['name'].replace(' ', '-')}.safetensors", file)
    for name, remainders in (("remainder", True), ("master", False)):
        file = convert.to_fusestep(engine(STOP, remainders), optimizer="AdamW", library=convert.TRANSFORMER_ENGINE)
        convert.write(HERE / "transformer-engine" / f"{name}.safetensors", file)
    for name, of in cases().items():
        opt, params = optimizer(of)
        scheduler = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: LR_FACTOR[step])
        for t in range(1, STOP + 1):
            step(opt, params, t, {tensor_name(c): c for c in of})
            scheduler.step()
        saved = {"optimizer": opt.state_dict(), "model": params, "lr_scheduler": scheduler.state_dict()}
        file = convert.to_fusestep(saved, names=list(params), step=STOP, lr="initial", drop=["lr_scheduler"])
        convert.write(HERE / "from-torch" / f"{name}.safetensors", file)


if __name__ == "__main__":
    main()
