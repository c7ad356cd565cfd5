"""Tests of fusestep_checkpoint.py, with torch: `make test-interop-torch PYTHON=...`."""

import copy
import json
import pathlib
import sys
import tempfile
import types
import unittest
import unittest.mock

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "testdata"))

import make  # first: it chooses torch's kernels

import numpy as np
import torch

import fusestep_checkpoint as convert

O = torch.optim
SHAPES = {"embed.weight": (5, 3), "b": (4,), "scale": (), "none": (0, 2), "conv.weight": (1, 2, 3), "frozen for now": (2,)}

# Every optimizer that both have, with options that change its state or how it is called.
CASES = {
    "Adafactor": (O.Adafactor, {}),
    "Adafactor, options": (O.Adafactor, {"beta2_decay": -0.5, "eps": (1e-15, 0.01), "d": 2.0, "weight_decay": 0.1, "maximize": True, "foreach": True}),
    "Adadelta": (O.Adadelta, {"lr": 0.5, "rho": 0.8, "eps": 1e-5, "weight_decay": 0.1, "maximize": True}),
    "Adadelta, defaults": (O.Adadelta, {}),
    "Adagrad": (O.Adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.25, "eps": 1e-8}),
    "Adagrad, fused": (O.Adagrad, {"fused": True}),
    "Adam": (O.Adam, {}),
    "Adam, options": (O.Adam, {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "amsgrad": True, "maximize": True, "foreach": True}),
    "Adam, fused": (O.Adam, {"fused": True}),
    "Adam, decoupled": (O.Adam, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    "Adam, flags": (O.Adam, {"differentiable": True, "capturable": True}),
    "Adam, lr a tensor": (O.Adam, {"lr": torch.tensor(1e-3), "foreach": False}),
    "AdamW": (O.AdamW, {}),
    "AdamW, amsgrad": (O.AdamW, {"amsgrad": True, "lr": 1, "weight_decay": 0}),
    "Adamax": (O.Adamax, {"weight_decay": 0.01, "foreach": False}),
    "ASGD": (O.ASGD, {"t0": 1, "alpha": 0.5, "lambd": 0.1, "weight_decay": 0.1}),
    "ASGD, defaults": (O.ASGD, {}),
    "NAdam": (O.NAdam, {"momentum_decay": 0.1}),
    "NAdam, decoupled": (O.NAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1, "maximize": True}),
    "RAdam": (O.RAdam, {"betas": (0.5, 0.9)}),
    "RAdam, decoupled": (O.RAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    "RMSprop": (O.RMSprop, {}),
    "RMSprop, momentum": (O.RMSprop, {"momentum": 0.9}),
    "RMSprop, centered": (O.RMSprop, {"centered": True}),
    "RMSprop, both": (O.RMSprop, {"centered": True, "momentum": 0.5, "alpha": 0.9, "maximize": True}),
    "Rprop": (O.Rprop, {"etas": (0.4, 1.5), "step_sizes": (1e-5, 1)}),
    "SGD": (O.SGD, {}),
    "SGD, momentum": (O.SGD, {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    "SGD, nesterov": (O.SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}),
    "SGD, fused": (O.SGD, {"momentum": 0.9, "fused": True}),
}
STEPS = 3


def trained(optimizer, options, dtype=torch.float32, named=False, groups=1):
    """An optimizer after some steps, in which one parameter had no gradient, and its model's values."""
    torch.manual_seed(1)
    params = {name: torch.nn.Parameter(torch.randn(shape).to(dtype)) for name, shape in SHAPES.items()}
    items = list(params.items()) if named else list(params.values())
    later = {key: x for key, x in options.items() if key in ("differentiable", "capturable")}  # no step of theirs runs here
    options = {key: x for key, x in options.items() if key not in later}
    opt = optimizer([{"params": items[i::groups], "lr": 0.01 * (i + 1)} for i in range(groups)] if groups > 1 else items, **options)
    for _ in range(STEPS):
        for name, p in params.items():
            if name != "frozen for now" and (optimizer is not O.Adafactor or p.numel() > 0):  # of which it divides by 0
                p.grad = torch.randn(p.shape).to(dtype)
        opt.step()
    for group in opt.param_groups:
        group |= later
    return opt, {name: p.detach() for name, p in params.items()}


def through_file(file):
    with tempfile.TemporaryDirectory() as d:
        path = pathlib.Path(d) / "x.safetensors"
        convert.write(path, file)
        return convert.read(path)


def step_of(optimizer):
    return {"step": STEPS} if optimizer is O.SGD else {}


class Equal(unittest.TestCase):
    def same(self, a, b, what="", exact=True):
        """Equal in every type and bit, or with exact false in numbers."""
        if torch.is_tensor(a) and torch.is_tensor(b):
            self.assertEqual((a.dtype, a.shape), (b.dtype, b.shape), what)
            self.assertTrue(torch.equal(a, b), what)
        elif isinstance(a, dict) and isinstance(b, dict):
            self.assertEqual(set(a), set(b), what)
            for key in a:
                self.same(a[key], b[key], f"{what}.{key}", exact)
        elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            self.assertEqual(len(a), len(b), what)
            for i, (x, y) in enumerate(zip(a, b)):
                self.same(x, y, f"{what}[{i}]", exact)
        else:
            self.assertEqual(a, b, what)
        if exact:
            self.assertIs(type(a), type(b), what)


class RoundTrip(Equal):
    def test_torch_fusestep_torch(self):
        """All tensors are torch.equal, all hyperparameters, flags and names what they were, and torch takes them."""
        for name, (optimizer, options) in CASES.items():
            for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
                if dtype == torch.float16 and options.get("fused"):
                    continue
                for shape in ({}, {"named": True}, {"groups": 2}):
                    with self.subTest(name, dtype=dtype, **shape):
                        opt, model = trained(optimizer, options, dtype, **shape)
                        was = copy.deepcopy(opt.state_dict())
                        groups = shape.get("groups", 1)
                        names = [n for i in range(groups) for n in list(SHAPES)[i::groups]]
                        file = convert.to_fusestep(opt.state_dict(), model, names, **step_of(optimizer))
                        back = convert.to_torch(through_file(file))
                        self.same(back["optimizer"], was)
                        self.same(back["model"], model, exact=False)
                        opt.load_state_dict(back["optimizer"])

    def test_as_if_fusestep_had_saved(self):
        """Without what is kept for the way back, torch's numbers are the same; flags are torch's defaults."""
        for name, (optimizer, options) in CASES.items():
            with self.subTest(name):
                opt, model = trained(optimizer, options)
                if torch.is_tensor(opt.param_groups[0]["lr"]):
                    opt.param_groups[0]["lr"] = float(opt.param_groups[0]["lr"])
                if name == "Adafactor":
                    opt.param_groups[0]["eps"] = (torch.finfo(torch.float32).eps, 1e-3)
                was = copy.deepcopy(opt.state_dict())
                file = through_file(convert.to_fusestep(was, model, **step_of(optimizer)))
                file.torch = None
                for group in file.state["groups"]:
                    for t in group["tensors"]:
                        t["shape"] = [model[t["name"]].numel()]
                file.tensors = {key: t.reshape(-1) for key, t in file.tensors.items()}
                back = convert.to_torch(file, like=model)
                flags = {key: x for key, x in convert.FLAGS.items()}
                self.same(back["optimizer"]["param_groups"], [flags | {k: x for k, x in g.items() if k not in flags} for g in was["param_groups"]], exact=False)
                self.same(back["optimizer"]["state"], was["state"], exact=False)
                self.same(back["model"], model, exact=False)
                opt.load_state_dict(back["optimizer"])

    def test_default_dtype_float64(self):
        torch.set_default_dtype(torch.float64)
        self.addCleanup(torch.set_default_dtype, torch.float32)
        opt, model = trained(O.NAdam, {})
        file = convert.to_fusestep(opt.state_dict(), model)
        self.same(convert.to_torch(through_file(file))["optimizer"], opt.state_dict())

    def test_old_versions(self):
        """A state_dict of before maximize, flags and steps that are tensors."""
        opt, model = trained(O.Adam, {"weight_decay": 0.5})
        old = opt.state_dict()
        old["param_groups"][0] = {k: old["param_groups"][0][k] for k in ("lr", "betas", "eps", "weight_decay", "amsgrad", "params")}
        for state in old["state"].values():
            state["step"] = int(state["step"])
        with self.assertRaisesRegex(convert.ConversionError, "Adam or AdamW: say --optimizer"):
            convert.to_fusestep(old, model)
        file = convert.to_fusestep(old, model, optimizer="AdamW")
        self.assertEqual(file.state["groups"][0]["algorithm"], "AdamW")
        self.same(convert.to_torch(through_file(file))["optimizer"], old)

    def test_scaler(self):
        opt, model = trained(O.Adam, {})
        scaler = {"scale": 1024.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 7}
        self.assertEqual(set(scaler), set(torch.amp.GradScaler("cpu").state_dict()))
        file = through_file(convert.to_fusestep({"optimizer": opt.state_dict(), "model": model, "scaler": scaler}))
        self.same(convert.to_torch(file)["scaler"], scaler)
        saved = file.state.pop("grad_scaler_state")
        options = {key: saved[key] for key in ("growth_factor", "backoff_factor", "growth_interval")}
        file.state["around"] = {"grad_scaler": options | {"init_scale": 65536, "hysteresis": 1, "min_scale": 0}, "grad_scaler_state": saved}
        self.same(convert.to_torch(file)["scaler"], scaler)
        file.state["around"]["grad_scaler"]["hysteresis"] = 2
        with self.assertRaisesRegex(convert.ConversionError, "--drop hysteresis"):
            convert.to_torch(file)


class TransformerEngine(Equal):
    """Of dicts that are made as Transformer Engine's source makes them: it needs a GPU, and was not run."""

    def refuses(self, text, change=lambda saved: None, error=convert.ConversionError, remainders=True, optimizer="AdamW", **how):
        saved = make.engine(make.STOP, remainders)
        change(saved)
        with self.assertRaisesRegex(error, text):
            convert.to_fusestep(saved, optimizer=optimizer, **{"library": convert.TRANSFORMER_ENGINE} | how)

    def test_masters(self):
        for slot, remainders in (("remainder", True), ("master", False)):
            saved = make.engine(make.STOP, remainders)
            state = saved["optimizer"]["state"][0]
            file = through_file(convert.to_fusestep(saved, optimizer="AdamW", library=convert.TRANSFORMER_ENGINE))
            self.same(file.tensors, {"w.param": saved["model"]["w"], f"w.{slot}": state["master_param"]} | {f"w.{k}": state[k] for k in convert.MOMENTS})
            self.same(file.tensors, convert.read(HERE / "testdata" / "transformer-engine" / f"{slot}.safetensors").tensors)
            group = file.state["groups"][0]
            self.assertEqual((group["algorithm"], group["tensors"][0]["counters"], file.state["steps"]), ("AdamW", {"step": make.STOP}, make.STOP))
            self.assertEqual({k: x for k, x in group["hyperparameters"].items() if x},
                             {"lr": 3e-4, "betas[0]": 0.9, "betas[1]": 0.95, "eps": 1e-6, "weight_decay": 0.1})  # fmt: skip
            with self.assertRaisesRegex(convert.ConversionError, f"tensor w has {slot}, .*--drop"):
                convert.to_torch(file, like=saved["model"])
            opt = O.AdamW([torch.nn.Parameter(saved["model"]["w"])])
            opt.load_state_dict(convert.to_torch(file, like=saved["model"], drop=[slot, "precision"])["optimizer"])
            self.same(opt.state_dict()["state"][0]["exp_avg"], state["exp_avg"].bfloat16())

    def test_options(self):
        """A capturable one keeps tensors."""
        saved = make.engine(make.STOP, True)
        state, groups = saved["optimizer"]["state"], saved["optimizer"]["param_groups"]
        groups[0] |= {"lr": torch.tensor(0.5), "step": torch.tensor([7], dtype=torch.int32), "bias_correction": False}
        state[0]["exp_avg"] = state[0]["exp_avg"].bfloat16()  # as FusedAdam holds it, without a scale
        file = convert.to_fusestep(saved, optimizer="Adam", library=convert.TRANSFORMER_ENGINE)
        group = file.state["groups"][0]
        got = [group["algorithm"], group["hyperparameters"]["lr"], group["hyperparameters"]["no_bias_correction"], group["tensors"][0]["counters"]["step"]]
        self.assertEqual(got, ["Adam", 0.5, 1.0, 7.0])
        self.assertEqual(file.tensors["w.exp_avg"].dtype, torch.bfloat16)

    def test_new_groups(self):
        """One that has taken no step has neither state nor a count, and gets what FusedAdam would make before its next step."""
        for remainders in (True, False):
            for dtype in (torch.float32, torch.bfloat16, torch.float16):
                saved = make.engine(make.STOP, remainders)
                groups = saved["optimizer"]["param_groups"]
                groups.append({key: x for key, x in groups[0].items() if key != "step"} | {"params": [1]})
                saved["model"]["later"] = value = torch.tensor([1.25, -3.0]).to(dtype)
                file = through_file(convert.to_fusestep(saved, names=["w", "later"], optimizer="AdamW", library=convert.TRANSFORMER_ENGINE))
                want = {"later.param": value, "later.exp_avg": torch.zeros(2), "later.exp_avg_sq": torch.zeros(2)}
                if remainders and dtype == torch.bfloat16:
                    want["later.remainder"] = torch.zeros(2, dtype=torch.int16)
                elif dtype != torch.float32:
                    want["later.master"] = value.float()
                self.same({key: t for key, t in file.tensors.items() if key.startswith("later.")}, want)
                self.assertEqual([g["tensors"][0]["counters"]["step"] for g in file.state["groups"]], [make.STOP, 0])

    def test_command(self):
        saved = make.engine(make.STOP, True)
        with tempfile.TemporaryDirectory() as d:
            torch.save(saved, f"{d}/x.pt")
            convert.main(["to-fusestep", f"{d}/x.pt", f"{d}/x.safetensors", "--library", "transformer-engine", "--optimizer", "AdamW"])
            want = HERE / "testdata" / "transformer-engine" / "remainder.safetensors"
            self.assertEqual(pathlib.Path(d, "x.safetensors").read_bytes(), want.read_bytes())

    def test_float32(self):
        """FusedAdam makes a master beside float32 too, and never reads or writes it."""

        def wide(saved):
            saved["model"]["w"] = saved["model"]["w"].float()

        self.refuses("parameter w: master_param is beside torch.float32.*--drop master_param", wide, remainders=False)
        saved = make.engine(make.STOP, False)
        wide(saved)
        file = convert.to_fusestep(saved, optimizer="AdamW", library=convert.TRANSFORMER_ENGINE, drop=["master_param"])
        self.assertEqual(set(file.tensors), {"w.param", "w.exp_avg", "w.exp_avg_sq"})

    def test_half(self):
        saved = make.engine(make.STOP, False)
        saved["model"]["w"] = saved["model"]["w"].half()
        file = through_file(convert.to_fusestep(saved, optimizer="AdamW", library=convert.TRANSFORMER_ENGINE, drop=["master_param"]))
        self.same(file.tensors["w.master"], saved["optimizer"]["state"][0]["master_param"])

    def test_refused(self):
        def state(key, to):
            return lambda saved: saved["optimizer"]["state"][0].update({key: to(saved["optimizer"]["state"][0]["exp_avg"])})

        def group(key):
            return lambda saved: saved["optimizer"]["param_groups"][0].pop(key)

        self.refuses("adam_w_mode: say --optimizer AdamW", optimizer=None)
        self.refuses("adam_w_mode: say --optimizer AdamW", optimizer="RAdam")
        self.refuses("parameter w: master_param is a Tensor of torch.int16", library=None, error=NotImplementedError)
        self.refuses("group 0 has bias_correction.*--library", remainders=False, library=None)
        self.refuses("group 0 has no bias_correction", group("bias_correction"))
        self.refuses("parameter w has state, and group 0 has no step", group("step"))
        self.refuses("parameter w has no state, and group 0 has a step", lambda saved: saved["optimizer"]["state"].clear())
        for key in ("exp_avg", "exp_avg_sq", "master_param"):
            self.refuses(f"parameter w: {key} is a Tensor of torch.uint8", state(key, lambda x: x.to(torch.uint8)), NotImplementedError)
            self.refuses(f"parameter w: {key} is of torch.float16, and its scale", state(key, lambda x: x.half()), NotImplementedError)
        self.refuses("parameter w: exp_avg is a Tensor of torch.int16", state("exp_avg", lambda x: x.to(torch.int16)), NotImplementedError)
        for dtype in (torch.float16, torch.float32):
            self.refuses(r"int16.*remainders are beside bfloat16", lambda saved, d=dtype: saved["model"].update(w=saved["model"]["w"].to(d)), NotImplementedError)
        self.refuses("parameter w: master_param is .3.*shape .16", state("master_param", lambda x: x[:3]))
        self.refuses("parameter w: master_param is of torch.float64", state("master_param", lambda x: x.double()))
        self.refuses("parameter w: master_param is on meta", state("master_param", lambda x: x.to("meta")))
        self.refuses("parameter w: error is no state of AdamW", state("error", lambda x: x))


class Moves(unittest.TestCase):
    def setUp(self):
        torch.set_default_dtype(torch.float64)  # as for the goldens: ASGD and NAdam round what they keep to it
        self.addCleanup(torch.set_default_dtype, torch.float32)

    def test_fusestep_torch(self):
        """A training of fusestep's that goes on in torch in mid-run comes where it comes in fusestep, within the goldens' bounds."""
        golden = {make.tensor_name(case): case for of in make.cases().values() for case in of}
        files = sorted((HERE / "testdata" / "to-torch").glob(f"*-{make.STOP}.safetensors"))
        self.assertEqual(len(files), len(make.CLASSES))
        for path in files:
            optimizer, last = path.stem.partition("-")[0], make.STEPS
            file, end = convert.read(path), convert.read(path.with_name(f"{optimizer}-{last}.safetensors"))
            names = [t["name"] for group in file.state["groups"] for t in group["tensors"]]
            saved = convert.to_torch(file, like={name: torch.empty(make.shape(golden[name])) for name in names}, lr="initial")
            params = {name: torch.nn.Parameter(saved["model"][name].clone()) for name in names}
            opt = make.CLASSES[optimizer]([{"params": [p]} for p in params.values()], lr=9)
            opt.load_state_dict(saved["optimizer"])
            for step in range(make.STOP + 1, last + 1):
                for group in opt.param_groups:
                    group["lr"] = group["initial_lr"] * make.LR_FACTOR[step - 1]
                make.step(opt, params, step, golden)
            for name, p in params.items():
                case, now = golden[name], {"param": p.detach(), **opt.state.get(p, {})}
                bounds = {"param": case["param_bound"][str(last)], **case["state_bound"].get(str(last), {})}
                self.assertEqual({f"{name}.{slot}" for slot in bounds}, {key for key in end.tensors if key.startswith(f"{name}.")})
                for slot, bound in bounds.items():
                    with self.subTest(name, slot=slot):
                        if slot not in convert.LINES:
                            self.assertEqual(now[slot].shape, make.shape(case))
                        apart = (now[slot].double().reshape(-1) - end.tensors[f"{name}.{slot}"].double().reshape(-1)).abs()
                        self.assertTrue((apart <= torch.tensor(bound, dtype=torch.float64)).all(), f"{apart} of {bound}")


class Refused(Equal):
    def refuses(self, text, saved, model=None, error=convert.ConversionError, **how):
        with self.assertRaisesRegex(error, text):
            convert.to_fusestep(saved, model, **how)

    def test_optimizers_that_fusestep_lacks(self):
        def params():
            return [torch.nn.Parameter(torch.ones(2, 2))]

        for opt in (O.SparseAdam(params()), O.LBFGS(params()), O.Muon(params())):
            self.refuses(f"torch.optim.{type(opt).__name__}", opt.state_dict(), {"w": torch.ones(2, 2)}, NotImplementedError)

    def test_every_optimizer_of_torch_is_converted_or_refused(self):
        have = {name for name, x in vars(O).items() if isinstance(x, type) and issubclass(x, O.Optimizer)} - {"Optimizer"}
        self.assertEqual(have, set(convert.OPTIMIZERS) | set(convert.FOREIGN))

    def test_optimizers_of_other_libraries(self):
        """They have the options that an old RAdam of torch's has: Transformer Engine's and apex' Adam, an old one of Hugging Face's."""
        opt, model = trained(O.RAdam, {})
        saved = opt.state_dict()
        saved["param_groups"][0] = {key: saved["param_groups"][0][key] for key in ("lr", "betas", "eps", "weight_decay", "params")}
        self.refuses("has no maximize, decoupled_weight_decay: .*another library's: say --optimizer, RAdam if it is that", saved, model)
        self.refuses("not of Adam", saved, model, NotImplementedError, optimizer="Adam")
        convert.to_fusestep(saved, model, optimizer="RAdam")
        saved["param_groups"][0]["bias_correction"] = True
        self.refuses("bias_correction", saved, model, optimizer="RAdam")

    def test_matrices(self):
        """Of Adafactor's."""
        opt, model = trained(O.Adafactor, {})
        saved = opt.state_dict()
        file = convert.to_fusestep(saved, model)
        self.assertEqual(file.state["groups"][0]["hyperparameters"], {"lr": 0.01, "beta2_decay": -0.8, "eps[0]": 2.0**-23, "eps[1]": 1e-3, "d": 1.0,
                                                                      "weight_decay": 0.0, "maximize": 0.0, "beta1": 0.0})  # fmt: skip
        shapes = {key.removeprefix("conv.weight."): list(t.shape) for key, t in file.tensors.items() if key.startswith("conv.weight.")}
        self.assertEqual(shapes, {"param": [1, 2, 3], "row_var": [2], "col_var": [3]})
        self.refuses("group 0: eps.0. is None.* of torch.bfloat16, torch.float32", saved, model | {"b": model["b"].bfloat16()})
        w = torch.randn(2, 5, 3, 4, requires_grad=True)  # ten matrices
        opt = O.Adafactor([("w", w)])
        w.grad = torch.randn_like(w)
        opt.step()
        file = convert.to_fusestep(opt.state_dict(), {"w": w.detach()})
        self.assertEqual({key: list(t.shape) for key, t in file.tensors.items()}, {"w.param": [2, 5, 3, 4], "w.row_var": [30], "w.col_var": [40]})
        self.same(convert.to_torch(through_file(file))["optimizer"], opt.state_dict())
        file.torch = None
        self.same(convert.to_torch(file, like={"w": w.detach()})["optimizer"]["state"], opt.state_dict()["state"])
        for dtype, widened in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):  # as fusestep has them, whatever torch's are
            opt, model = trained(O.Adafactor, {}, dtype)
            self.assertEqual(convert.to_fusestep(opt.state_dict(), model).tensors["embed.weight.col_var"].dtype, widened)
        opt, model = trained(O.Adafactor, {}, torch.bfloat16)
        state = opt.state_dict()["state"][0]
        state["row_var"] = state["row_var"].float() / 3  # as fusestep.torch has it
        file = convert.to_fusestep(opt.state_dict(), model)
        self.same(convert.to_torch(through_file(file))["optimizer"], opt.state_dict())
        file.torch = None
        with self.assertRaisesRegex(convert.ConversionError, "tensor embed.weight: row_var is torch.float32.*--drop precision"):
            convert.to_torch(file, like=model)
        opt, model = trained(O.Adafactor, {})
        file = convert.to_fusestep(opt.state_dict(), model)
        file.torch = None
        with self.assertRaisesRegex(convert.ConversionError, "tensor conv.weight: row_var has 2 elements, and the value the shape .3, 1, 2.: torch has other rows"):
            convert.to_torch(file, like=model | {"conv.weight": torch.empty(3, 1, 2)})

    def test_steps_of_sgd(self):
        opt, model = trained(O.SGD, {"momentum": 0.9})
        self.refuses("--step", opt.state_dict(), model)

    def test_schedulers(self):
        opt, model = trained(O.Adam, {"lr": 0.5})
        scheduler = O.lr_scheduler.ExponentialLR(opt, 0.5)
        opt.step()
        scheduler.step()
        saved = {"optimizer": opt.state_dict(), "model": model, "lr_scheduler": scheduler.state_dict()}
        self.refuses("--drop lr_scheduler", saved)
        self.refuses("--lr current", saved, drop=["lr_scheduler"])
        for lr, want in (("current", 0.25), ("initial", 0.5)):
            file = convert.to_fusestep(saved, lr=lr, drop=["lr_scheduler"])
            self.assertEqual(file.state["groups"][0]["hyperparameters"]["lr"], want)
            self.same(convert.to_torch(through_file(file))["optimizer"], opt.state_dict())

    def test_what_is_not_the_optimizers(self):
        opt, model = trained(O.Adam, {})
        self.refuses("--drop epoch", {"optimizer": opt.state_dict(), "model": model, "epoch": 3})
        self.refuses("say --names", opt.state_dict(), model | {"running_mean": torch.ones(1)})
        self.refuses("--drop untrained", opt.state_dict(), model | {"running_mean": torch.ones(1)}, names=list(SHAPES))
        opt.param_groups[0]["cautious"] = True
        self.refuses("group 0: no optimizer .* has the options cautious: say --keep", opt.state_dict(), model)
        self.same(convert.to_torch(convert.to_fusestep(opt.state_dict(), model, keep=["cautious"]))["optimizer"], opt.state_dict())

    def test_names(self):
        opt, model = trained(O.Adam, {}, groups=2)
        self.refuses("2 groups.*say --names", opt.state_dict(), model)
        self.refuses("exp_avg has the shape", opt.state_dict(), model, names=list(SHAPES))
        opt, model = trained(O.Adam, {}, named=True)
        self.refuses("the state_dict has the parameters", opt.state_dict(), model, names=list(reversed(SHAPES)))
        self.refuses("no tensor 'b'", opt.state_dict(), {k: x for k, x in model.items() if k != "b"})

    def test_tensors(self):
        """The error names the tensor."""
        for text, error, change in (
            ("parameter b: exp_avg is a Tensor of torch.uint8", NotImplementedError, lambda x: x.to(torch.uint8)),
            ("parameter b: exp_avg is a Tensor of torch.int16", NotImplementedError, lambda x: x.to(torch.int16)),
            ("parameter b: exp_avg is on meta", convert.ConversionError, lambda x: x.to("meta")),
            ("parameter b: exp_avg is of torch.float32, torch.sparse_coo", convert.ConversionError, lambda x: x.to_sparse()),
            ("parameter b: exp_avg is of torch.complex64", convert.ConversionError, lambda x: x.to(torch.complex64)),
            ("parameter b: exp_avg is of torch.float8_e5m2", convert.ConversionError, lambda x: x.to(torch.float8_e5m2)),
            ("parameter b has", convert.ConversionError, lambda x: None),
        ):
            with self.subTest(text):
                opt, model = trained(O.Adam, {})
                saved = opt.state_dict()
                saved["state"][1]["exp_avg"] = change(saved["state"][1]["exp_avg"])
                self.refuses(text, saved, model, error)
        opt, model = trained(O.Adam, {})
        saved = opt.state_dict()
        saved["state"][1]["state1"] = torch.ones(4)
        self.refuses("parameter b: state1 is no state of Adam", saved, model)

    def test_state_that_is_not_used(self):
        opt, model = trained(O.Adam, {"amsgrad": True})
        opt.param_groups[0]["amsgrad"] = False
        self.refuses("max_exp_avg_sq is not used.*--drop max_exp_avg_sq", opt.state_dict(), model)
        convert.to_fusestep(opt.state_dict(), model, drop=["max_exp_avg_sq"])

    def test_pickles_are_not_executed(self):
        class Evil:
            def __reduce__(self):
                return (exec, ("raise AssertionError('executed')",))

        with tempfile.TemporaryDirectory() as d:
            path = pathlib.Path(d) / "x.pt"
            torch.save({"state": Evil()}, path)
            with self.assertRaisesRegex(convert.ConversionError, "not executed"):
                convert.load(path)
            for bad in (b"PK\3\4 no zip", b"", b"\x80\2."):
                path.write_bytes(bad)
                with self.assertRaises(convert.FileError):
                    convert.load(path)

    def test_tensors_of_other_libraries(self):
        """What a subclass of theirs is pickled as."""
        for name, tensor in (("torchao", "OptimState8bit"), ("transformer_engine", "Float8Tensor")):
            module = types.ModuleType(name)
            setattr(module, tensor, type(tensor, (), {"__module__": name}))
            with unittest.mock.patch.dict(sys.modules, {name: module}), tempfile.TemporaryDirectory() as d:
                torch.save({"state": {0: {"exp_avg": getattr(module, tensor)()}}}, f"{d}/x.pt")
                with self.assertRaisesRegex(NotImplementedError, name):
                    convert.load(f"{d}/x.pt")

    def test_what_is_of_another_form(self):
        opt, model = trained(O.Adam, {})
        for change in (lambda d: d.pop("params"), lambda d: d.update(betas=0.9), lambda d: d.update(lr=float("nan")), lambda d: d.update(eps="1")):
            saved = copy.deepcopy(opt.state_dict())
            change(saved["param_groups"][0])
            self.refuses("group 0|not as it should be", saved, model)
        file = convert.to_fusestep(opt.state_dict(), model)
        for change in (lambda f: f.state.pop("groups"), lambda f: f.torch.update(groups=3), lambda f: f.torch["states"].popitem(),
                       lambda f: f.torch["states"]["b"]["scalars"]["step"].update(dtype="load")):  # fmt: skip
            broken = copy.deepcopy(file)
            change(broken)
            with self.assertRaisesRegex(convert.FileError, "not as it should be"):
                convert.to_torch(broken)

    def test_what_torch_lacks(self):
        """Of a checkpoint that fusestep has saved."""

        def refuses(text, change, algorithm="Adam", hyper=None, **how):
            opt, model = trained(getattr(O, algorithm), {})
            file = convert.to_fusestep(opt.state_dict(), model, **step_of(type(opt)))
            file.torch = None
            group = file.state["groups"][0]
            group["hyperparameters"] |= hyper or {}
            change(file, group)
            with self.assertRaisesRegex(convert.ConversionError, text):
                convert.to_torch(file, like=model, **how)
            return file, model

        def put(key, x, where="group"):
            return lambda file, group: (group if where == "group" else file.state).__setitem__(key, x)

        refuses("Adam has no eps_hat", lambda *_: None, hyper={"eps_hat": 1.0})
        refuses("group 0 is of Lion", put("algorithm", "Lion"))
        refuses("l1 is 0.5 around Adam", put("setting", {"l1": 0.5}))
        refuses("decoupled_decay is 0.5 around Adam", put("setting", {"decoupled_decay": 0.5}))
        refuses("--lr current", put("schedule", {"type": "cosine", "steps": 9}))
        refuses("betas.0. has the schedule", put("schedules", {"betas[0]": {"type": "cosine"}}))
        refuses("--drop clip_norm", put("around", {"clip_norm": 1.0}, "state"))
        refuses("--drop skip", put("around", {"skip": {"non_finite": True}}, "state"))
        refuses("tensor b has ema.*--drop", lambda file, _: file.tensors.__setitem__("b.ema", file.tensors["b.param"]))
        refuses("no value of b", lambda file, _: file.tensors.pop("b.param"))
        refuses("say --drop precision", lambda file, _: file.tensors.__setitem__("b.param", file.tensors["b.param"].to(torch.bfloat16)))
        refuses("accumulated gradients", lambda _, group: group["tensors"][0].__setitem__("summed", True))
        refuses("the names there are", lambda *_: None, names=["b"])
        refuses("6 tensors and 7 names", lambda *_: None, names=[*SHAPES, "b"])
        file, model = refuses("--lr current", put("schedule", {"type": "cosine", "steps": 9}))
        file.state["groups"][0]["last_lr"] = 0.125
        for lr, want in (("current", 0.125), ("initial", 1e-3)):
            group = convert.to_torch(file, like=model, lr=lr)["optimizer"]["param_groups"][0]
            self.assertEqual((group["lr"], group["initial_lr"]), (want, 1e-3))


class Files(Equal):
    def test_damage_is_found(self):
        """Every byte of a file matters, but for padding and the digits of what is not read."""
        opt, model = trained(O.SGD, {"momentum": 0.9})
        file = convert.to_fusestep(opt.state_dict(), model, step=STEPS)
        with tempfile.TemporaryDirectory() as d:
            path = pathlib.Path(d) / "x.safetensors"
            convert.write(path, file)
            self.assertEqual([p.name for p in pathlib.Path(d).iterdir()], ["x.safetensors"])
            good = path.read_bytes()
            rng = np.random.default_rng(1)
            for at in [*range(16), *rng.integers(0, len(good), 300), len(good) - 1]:
                path.write_bytes(good[:at] + bytes([good[at] ^ (1 << rng.integers(0, 8))]) + good[at + 1 :])
                with self.subTest(at=at), self.assertRaises(convert.FileError):
                    convert.read(path)
            for bad in (b"", good[:7], good[:100], good[:-1], good + b"\0", b"\xff" * 8 + good[8:]):
                path.write_bytes(bad)
                with self.assertRaises(convert.FileError):
                    convert.read(path)

    def test_headers_that_lie(self):
        """Without checksums, too."""
        state = json.dumps({"steps": 0, "groups": []})

        def header(tensors, **metadata):
            return {"__metadata__": {"format": "fusestep-1", "checksums": "none", "fusestep": state} | metadata} | tensors

        def entry(low, high, shape=(2,), dtype="F32"):
            return {"dtype": dtype, "shape": list(shape), "data_offsets": [low, high]}

        with tempfile.TemporaryDirectory() as d:
            path = pathlib.Path(d) / "x.safetensors"

            def put(h, data=bytes(16)):
                text = (h if isinstance(h, str) else json.dumps(h)).encode()
                path.write_bytes(len(text).to_bytes(8, "little") + text + data)

            put(header({"a": entry(0, 8), "b": entry(8, 16)}))
            self.assertEqual(set(convert.read(path).tensors), {"a", "b"})
            for what, h in {
                "overlap": header({"a": entry(0, 8), "b": entry(4, 12)}),
                "hole": header({"a": entry(0, 8), "b": entry(12, 20)}),
                "short": header({"a": entry(0, 8)}),
                "long": header({"a": entry(0, 8), "b": entry(8, 40, (8,))}),
                "size": header({"a": entry(0, 8, (3,)), "b": entry(8, 16)}),
                "huge": header({"a": entry(0, 8, (1 << 39, 1 << 39)), "b": entry(8, 16)}),
                "negative": header({"a": entry(-8, 0), "b": entry(0, 16, (4,))}),
                "a bool": header({"a": entry(False, 8), "b": entry(8, 16)}),
                "type": header({"a": entry(0, 16, (2,), "C64")}),
                "no entry": header({"a": 3}),
                "format": header({"a": entry(0, 16, (4,))}, format="pt"),
                "no JSON": "{",
                "no object": "[]",
                "NaN": '{"__metadata__": NaN}',
                "deep": "[" * 100000,
                "twice": '{"a": {"dtype": "F32", "dtype": "F32"}}',
            }.items():
                put(h)
                with self.subTest(what), self.assertRaises(convert.FileError):
                    convert.read(path)

    def test_crc32c(self):
        for data, want in ((b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)):
            self.assertEqual(convert.crc32c(data), want)
        data = np.random.default_rng(1).integers(0, 256, 10007, dtype=np.uint8).tobytes()
        for piece in (1, 2, 3, 255, 256, 1000, 10006, 10007):
            self.assertEqual(convert.crc32c(data, piece), convert.crc32c(data))

    def test_command(self):
        opt, model = trained(O.NAdam, {}, groups=2)
        with tempfile.TemporaryDirectory() as d:
            state, values, names, file, out = (f"{d}/{name}" for name in ("state.pt", "model.pt", "names.json", "x.safetensors", "out.pt"))
            torch.save(opt.state_dict(), state)
            torch.save(model, values)
            pathlib.Path(names).write_text(json.dumps(list(SHAPES)[::2] + list(SHAPES)[1::2]))
            convert.main(["to-fusestep", state, file, "--model", values, "--names", names])
            convert.main(["to-torch", file, out])
            self.same(torch.load(out, weights_only=True)["optimizer"], opt.state_dict())
            with self.assertRaises(SystemExit) as e:
                convert.main(["to-fusestep", state, file, "--model", values])
            self.assertIn("say --names", str(e.exception))
            saved = HERE / "testdata" / "to-torch" / f"nadam-{make.STOP}.safetensors"
            names = [t["name"] for group in convert.read(saved).state["groups"] for t in group["tensors"]]
            torch.save({name: torch.empty(4, 6) for name in reversed(names)}, values)
            convert.main(["to-torch", str(saved), out, "--like", values, "--lr", "current"])
            self.assertEqual(torch.load(out, weights_only=True)["optimizer"]["state"][3]["exp_avg"].shape, (4, 6))
            with self.assertRaises(SystemExit) as e:
                convert.main(["to-torch", str(saved), out, "--lr", "current"])
            self.assertIn("say --like", str(e.exception))
            self.assertEqual({p.name for p in pathlib.Path(d).iterdir()}, {"state.pt", "model.pt", "names.json", "x.safetensors", "out.pt"})


if __name__ == "__main__":
    unittest.main()
