"""Convert training between torch.optim's state_dict and fusestep's checkpoints.

    fusestep_checkpoint.py to-fusestep STATE.pt OUT.safetensors [--model MODEL.pt] [--names NAMES.json] ...
    fusestep_checkpoint.py to-torch IN.safetensors OUT.pt [--like MODEL.pt] [--names NAMES.json] ...

README.md says what is converted and what is not. Nothing is left out silently: what has no place on the other side is a
ConversionError, and goes only where it is named in --drop. Pickles are read with weights_only=True, so none is executed.
"""

import argparse
import contextlib
import json
import math
import os
import pickle
import struct
import sys
from dataclasses import dataclass, field

import numpy as np
import torch


class ConversionError(Exception):
    """What cannot be converted. The message names the group or tensor, and what to do."""


class NotYetError(ConversionError, NotImplementedError):
    """An optimizer that fusestep lacks, or state that is stored as neither side's conversion knows."""


class FileError(ConversionError):
    """A file that is damaged, or of another kind."""


@contextlib.contextmanager
def well_formed(what):
    """Within it, an error of a kind that only data of another form can cause is a FileError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as e:
        if isinstance(e, ConversionError):
            raise
        raise FileError(f"{what} is not as it should be: {type(e).__name__}: {e}") from e


# --- What each optimizer has ----------------------------------------------------------------------------------------

TRUTHS = ("amsgrad", "centered", "decoupled_weight_decay", "maximize", "nesterov")
FLAGS = {"foreach": None, "fused": None, "capturable": False, "differentiable": False}  # how torch computes a step, not what
SCHEDULED = {"initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"}  # what torch's schedulers write into a group


# Slots of tensors of several axes, and of others, in place of a hyperparameter.
MATRIX, VECTOR = object(), object()


@dataclass(frozen=True)
class Optimizer:
    hyper: str  # hyperparameters that torch has in every version
    slots: dict  # slots, and the hyperparameter without which one is not there, or MATRIX or VECTOR
    lacks: str = ""  # hyperparameters of fusestep's that torch lacks: it does what 0 does
    later: str = "maximize"  # hyperparameters that old versions of torch lack: they do what 0 does
    counters: tuple = ()  # numbers of each tensor that both keep beside step
    initial: dict = field(default_factory=dict)  # slots that start at a hyperparameter, not at 0
    eager: bool = False  # torch makes state before the first step
    pairs: tuple = ("betas", "etas", "step_sizes")  # hyperparameters of two numbers: betas[0], betas[1]
    decoupled: bool = False  # weight_decay always is

    def options(self):
        """Torch's hyperparameters."""
        return [*self.hyper.split(), *self.later.split()]

    def used(self, hyper, axes):
        """The slots that a tensor of so many axes has with these hyperparameters."""
        there = {None: True, MATRIX: axes > 1, VECTOR: axes <= 1}
        return [slot for slot, option in self.slots.items() if (there[option] if option in there else hyper[option] != 0)]


MOMENTS, DECOUPLED = {"exp_avg": None, "exp_avg_sq": None}, "maximize decoupled_weight_decay"
ADAM = Optimizer(
    "lr betas eps weight_decay amsgrad", MOMENTS | {"max_exp_avg_sq": "amsgrad"},
    "l1 eps_hat eps_root corrected_max no_bias_correction norm_coefficient_post", DECOUPLED)  # fmt: skip
OPTIMIZERS = {
    "Adafactor": Optimizer(
        "lr beta2_decay eps d weight_decay", {"variance": VECTOR, "row_var": MATRIX, "col_var": MATRIX},
        "beta1 eps_square no_relative_step no_scale_parameter", pairs=("eps",), decoupled=True),
    "Adadelta": Optimizer("lr rho eps weight_decay", {"square_avg": None, "acc_delta": None}, "decoupled"),
    "Adagrad": Optimizer(
        "lr lr_decay weight_decay initial_accumulator_value eps", {"sum": None}, "decoupled eps_root",
        initial={"sum": "initial_accumulator_value"}, eager=True),
    "Adam": ADAM,
    "AdamW": ADAM,  # and torch's Adam where decoupled_weight_decay is on
    "Adamax": Optimizer("lr betas eps weight_decay", {"exp_avg": None, "exp_inf": None}, "decoupled eps_outside"),
    "ASGD": Optimizer("lr lambd alpha t0 weight_decay", {"ax": None}, counters=("eta", "mu")),
    "NAdam": Optimizer("lr betas eps weight_decay momentum_decay", MOMENTS, later=DECOUPLED, counters=("mu_product",)),
    "RAdam": Optimizer("lr betas eps weight_decay", MOMENTS, "corrected_eps", DECOUPLED),
    "RMSprop": Optimizer(
        "lr momentum alpha eps centered weight_decay", {"square_avg": None, "grad_avg": "centered", "momentum_buffer": "momentum"},
        "decoupled eps_root lr_in_momentum initial_scale"),
    "Rprop": Optimizer("lr etas step_sizes", {"prev": None, "step_size": None}, initial={"step_size": "lr"}),
    "SGD": Optimizer("lr momentum dampening weight_decay nesterov", {"momentum_buffer": "momentum"}, "decoupled l1 lr_in_momentum"),
}  # fmt: skip
# Torch's optimizers that are not converted, by the options that no other has.
FOREIGN = {"LBFGS": {"history_size"}, "Muon": {"ns_coefficients"}, "SparseAdam": {"lr", "betas", "eps", "maximize"}}
ANY = {option for o in OPTIMIZERS.values() for option in o.options()}
ANY_SLOT = {slot for o in OPTIMIZERS.values() for slot in o.slots}


def recognise(group, states, asked, keep, what):
    """The optimizer that a group of a state_dict is of: torch writes no name."""
    keys = set(group) - {"params", "param_names", *SCHEDULED}
    for name, has in FOREIGN.items():
        if has == keys or len(has) == 1 and has <= keys:
            raise NotYetError(f"{what} is of torch.optim.{name}, which is not converted")
    if "bias_correction" in keys - set(keep):
        raise ConversionError(f"{what} has bias_correction, which torch's optimizers have not: say --library transformer-engine if it is of its FusedAdam")
    if unknown := keys - ANY - set(FLAGS) - set(keep):
        raise ConversionError(
            f"{what}: no optimizer that torch.optim and fusestep have has the options {', '.join(sorted(unknown))}: say --keep with each that does "
            "not change what a step computes")
    slots = {key for state in states for key, x in state.items() if x is not None} & ANY_SLOT
    fit = [name for name, o in OPTIMIZERS.items() if set(o.hyper.split()) <= keys and keys & ANY <= set(o.options()) and slots <= set(o.slots)]
    if "decoupled_weight_decay" in group and "Adam" in fit:
        fit = ["AdamW" if group["decoupled_weight_decay"] else "Adam"]
    fit = [name for name in fit if asked in (None, name)]
    if len(fit) == 1:
        if asked is None and (missing := [option for option in OPTIMIZERS[fit[0]].options() if option not in group]):
            raise ConversionError(f"{what} has no {', '.join(missing)}: it is of an old torch, or another library's: say --optimizer, {fit[0]} if it is that")
        return fit[0]
    if fit:
        raise ConversionError(f"{what} may be of {' or '.join(fit)}: say --optimizer")
    of = asked or f"an optimizer that fusestep has, of {', '.join(OPTIMIZERS)}"
    raise NotYetError(f"{what} is not of {of}: it has the options {', '.join(sorted(keys))} and the state {', '.join(sorted(slots))}")


# --- What is kept for the way back ----------------------------------------------------------------------------------


def encode(x, what):
    """A Python object as JSON that decode makes the same object of: a tuple stays one, a tensor of one number keeps its type."""
    if x is None or isinstance(x, (bool, int, str)):
        return x
    if isinstance(x, float):
        return x if math.isfinite(x) else {"float": repr(x)}
    if isinstance(x, list):
        return [encode(y, what) for y in x]
    if isinstance(x, tuple):
        return {"tuple": [encode(y, what) for y in x]}
    if type(x) is torch.Tensor and x.numel() == 1 and x.layout == torch.strided:
        on_cpu(x, what)
        return {"tensor": encode(x.item(), what), "dtype": str(x.dtype).removeprefix("torch."), "shape": list(x.shape)}
    raise ConversionError(f"{what} is a {type(x).__name__}, which is neither a number, nor text, nor a tuple or list of those")


def decode(x):
    if isinstance(x, list):
        return [decode(y) for y in x]
    if not isinstance(x, dict):
        return x
    if "float" in x:
        return float(x["float"])
    if "tuple" in x:
        return tuple(decode(y) for y in x["tuple"])
    return torch.tensor(decode(x["tensor"]), dtype=getattr(torch, x["dtype"])).reshape(x["shape"])


def number(x, what):
    """A hyperparameter or counter as a float."""
    if not (isinstance(x, (bool, int, float)) or torch.is_tensor(x) and x.numel() == 1) or not math.isfinite(x):
        raise ConversionError(f"{what} is {x!r}: it should be a finite number")
    return float(x)


def on_cpu(t, what):
    if t.device.type != "cpu":
        raise ConversionError(f"{what} is on {t.device}: move it to the CPU first")


def refuse_quantised(t, what):
    if type(t) not in (torch.Tensor, torch.nn.Parameter) or t.dtype in (torch.uint8, torch.int8, torch.int16) or t.is_quantized:
        raise NotYetError(
            f"{what} is a {type(t).__name__} of {t.dtype}: quantised state is not converted yet; remainders are beside bfloat16, with "
            "--library transformer-engine")


def dense(t, what):
    """A tensor's numbers, in order, or an error that names the tensor."""
    if not torch.is_tensor(t):
        raise ConversionError(f"{what} is a {type(t).__name__}: it should be a tensor")
    refuse_quantised(t, what)
    on_cpu(t, what)
    if t.layout != torch.strided or t.dtype not in FORMATS:
        raise ConversionError(f"{what} is of {t.dtype}, {t.layout}: dense tensors of {', '.join(map(str, FORMATS))} are converted")
    return t.detach().resolve_neg().contiguous()


# --- The file -------------------------------------------------------------------------------------------------------

FORMATS = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
ALL_FORMATS = FORMATS | {torch.int16: "I16", torch.int8: "I8"}  # with remainders
STORED = {name: dtype for dtype, name in ALL_FORMATS.items()}
FORMAT, NO_CRC = "fusestep-1", "00000000"
HEADER_START = b'{"__metadata__":{"crc32c":"'
MOST_HEADER = 100 << 20


def shifted(crc):
    """What a zero bit makes of CRC-32Cs (Castagnoli)."""
    return np.where(crc & 1, (crc >> 1) ^ np.uint32(0x82F63B78), crc >> 1)


TWO_BYTES = np.arange(1 << 16, dtype=np.uint32)  # what 16 zero bits make of a CRC's low half
for _ in range(16):
    TWO_BYTES = shifted(TWO_BYTES)


def zeros_appended(crc, count):
    """What count zero bytes make of CRCs: a product of matrices over bits, of which column i is what becomes of bit i."""
    bits = np.arange(32, dtype=np.uint32)

    def times(columns, x):
        return np.bitwise_xor.reduce(np.where((x[:, None] >> bits) & 1, columns, np.uint32(0)), axis=1)

    power, count = shifted(np.uint32(1) << bits), 8 * count
    while count:
        if count & 1:
            crc = times(power, crc)
        power, count = times(power, power), count >> 1
    return crc


def crc32c(data, piece=1 << 24):
    """CRC-32C of bytes, in lanes: each has the CRC of its own bytes, and pairs of them are joined until one is left."""
    data, crc = np.frombuffer(data, np.uint8), np.array([0xFFFFFFFF], np.uint32)
    for start in range(0, len(data), piece):
        part = data[start : start + piece]
        crc = zeros_appended(crc, len(part))
        lanes = 1 << (len(part).bit_length() // 2)
        length = -(-len(part) // (2 * lanes)) * 2  # zeros before a CRC that starts at 0 change nothing
        padded = np.concatenate([np.zeros(lanes * length - len(part), np.uint8), part])
        lane = np.zeros(lanes, np.uint32)
        for row in padded.view("<u2").reshape(lanes, length // 2).T.copy():
            lane = TWO_BYTES[(lane ^ row) & 0xFFFF] ^ (lane >> 16)
        while len(lane) > 1:
            lane, length = zeros_appended(lane[::2], length) ^ lane[1::2], 2 * length
        crc ^= lane
    return int(crc[0]) ^ 0xFFFFFFFF


@dataclass
class File:
    """A checkpoint: fusestep's state dict, the tensors `<tensor>.<slot>`, and what of torch's state is kept for the way back."""

    state: dict
    tensors: dict
    torch: dict | None = None


def bytes_of(t):
    """A contiguous tensor's memory."""
    return t.reshape(-1).view(torch.uint8).numpy()


@contextlib.contextmanager
def replaced(path):
    """A file that takes the path's place when all is written."""
    beside = f"{path}.{os.getpid()}"
    try:
        with open(beside, "xb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(beside)
        raise


def write(path, file):
    """Writes a checkpoint."""
    pieces, entries, at = {}, {}, 0
    for name, t in sorted(file.tensors.items(), key=lambda item: -item[1].itemsize):  # so each begins at a whole element
        pieces[name] = bytes_of(t)
        entries[name] = {"dtype": ALL_FORMATS[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + len(pieces[name])]}
        at += len(pieces[name])
    sums = {name: f"{crc32c(data):08x}" for name, data in pieces.items()}
    metadata = {"crc32c": NO_CRC, "format": FORMAT, "checksums": json.dumps(sums), "fusestep": json.dumps(file.state, allow_nan=False)}
    if file.torch is not None:
        metadata["torch"] = json.dumps(file.torch, allow_nan=False)
    text = json.dumps({"__metadata__": metadata} | entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    header = header.replace(NO_CRC.encode(), f"{crc32c(header):08x}".encode(), 1)
    with replaced(path) as f:
        f.write(header)
        for data in pieces.values():
            f.write(data)


def parse(text, what):
    def once(pairs):
        out = dict(pairs)
        if len(out) < len(pairs):
            raise ValueError("a name stands twice in an object")
        return out

    def refuse(name):
        raise ValueError(f"{name} is not JSON")

    try:
        out = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as e:
        raise FileError(f"{what} is not the JSON of a checkpoint: {e}") from e
    if not isinstance(out, dict):
        raise FileError(f"{what} is not the JSON of a checkpoint: it is no object")
    return out


def read(path):
    """Reads a checkpoint, which is not trusted: whatever is wrong with it is a FileError."""
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        start = f.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(MOST_HEADER, size - 8):
            raise FileError(f"{path} is no safetensors file: its header's length is wrong")
        text = f.read(length)
        entries = parse(text, f"{path}: the header")
        metadata = entries.pop("__metadata__", {})
        if not isinstance(metadata, dict) or metadata.get("format") != FORMAT or not {"checksums", "fusestep"} <= set(metadata):
            raise FileError(f"{path} is no checkpoint of fusestep's: its metadata has no format {FORMAT!r}")
        sums = metadata["checksums"] if metadata["checksums"] == "none" else parse(metadata["checksums"], f"{path}: the checksums")
        if sums != "none":
            own, rest = text[len(HEADER_START) :][:8], text[len(HEADER_START) + 8 :]
            if text[: len(HEADER_START)] != HEADER_START or own != f"{crc32c(start + HEADER_START + NO_CRC.encode() + rest):08x}".encode():
                raise FileError(f"{path}: the header is damaged: its checksum is not that of its bytes")
            if set(sums) != set(entries):
                raise FileError(f"{path}: the checksums are not those of the tensors")
        state = parse(metadata["fusestep"], f"{path}: the state dict")
        tensors, at = {}, 8 + length
        for name, entry in sorted(entries.items(), key=lambda item: offsets(item[1], path)):
            dtype, shape, (low, high) = entry.get("dtype"), entry.get("shape"), offsets(entry, path)
            if dtype not in STORED or not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
                raise FileError(f"{path}: tensor {name} has the type {dtype!r} and the shape {shape!r}")
            want = math.prod(shape) * STORED[dtype].itemsize
            if (8 + length + low, high - low) != (at, want) or at + want > size:
                raise FileError(f"{path}: tensor {name}: {want} bytes should stand at byte {at}, which is not what the header or file has")
            tensors[name], at = torch.empty(shape, dtype=STORED[dtype]), at + want
            data = bytes_of(tensors[name])
            if f.readinto(data) != want or sums != "none" and sums[name] != f"{crc32c(data):08x}":
                raise FileError(f"{path}: tensor {name} is damaged: its checksum is not that of its bytes")
        if at != size:
            raise FileError(f"{path} has {size - at} bytes behind the last tensor")
    kept = parse(metadata["torch"], f"{path}: what is kept of torch's state") if "torch" in metadata else None
    return File(state, tensors, kept)


def offsets(entry, path):
    at = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(at, list) or len(at) != 2 or not all(type(n) is int and n >= 0 for n in at):
        raise FileError(f"{path}: a tensor's data_offsets are {at!r}")
    return at


# --- Torch to fusestep ----------------------------------------------------------------------------------------------

# What a training's state_dicts are called in the dict that is saved.
PARTS = {
    **dict.fromkeys(("optimizer", "optimizer_state_dict"), "optimizer"),
    **dict.fromkeys(("model", "model_state_dict", "state_dict"), "model"),
    **dict.fromkeys(("scaler", "scaler_state_dict"), "scaler"),
}


def load(path):
    """What a .pt file holds. No pickle is executed, and tensors of other devices are read into the CPU's memory."""
    try:
        out = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        kind = NotYetError if any(name in str(e) for name in ("torchao", "bitsandbytes", "transformer_engine")) else ConversionError
        raise kind(f"{path} holds more than tensors, numbers and text, which is not executed: {e}") from e
    except OSError:
        raise
    except Exception as e:
        raise FileError(f"{path} is no file of torch.save's: {e}") from e
    if not isinstance(out, dict):
        raise ConversionError(f"{path} holds a {type(out).__name__}, and should hold a dict")
    return out


def parts_of(saved, drop):
    """The state_dicts in what was saved: an optimizer's alone, or a dict of several."""
    if {"state", "param_groups"} <= set(saved):
        return {"optimizer": saved}
    out = {}
    for key in set(saved) - set(drop):
        part = PARTS.get(key)
        if part is None or part in out:
            raise ConversionError(f"{key!r} beside the optimizer's state is not converted: say --drop {key}")
        out[part] = saved[key]
    if "optimizer" not in out:
        raise ConversionError(f"there is no optimizer's state_dict in it, only {', '.join(map(repr, saved))}")
    return out


def to_fusestep(saved, model=None, names=None, optimizer=None, step=None, lr=None, keep=(), drop=(), library=None):
    """A checkpoint of an optimizer's state_dict, or of a dict that has it as "optimizer" and others beside it. README.md says what
    the arguments, which are the command's options, mean."""
    with well_formed("the state_dict"):
        return torch_to_fusestep(parts_of(saved, drop), model, names, optimizer, step, lr, keep, drop, library)


def torch_to_fusestep(parts, model, names, optimizer, step, lr, keep, drop, library):
    groups, states = parts["optimizer"]["param_groups"], parts["optimizer"]["state"]
    if ("model" in parts) == (model is not None):
        raise ConversionError("the model's state_dict should be beside the optimizer's, or said with --model: one of the two")
    model = parts.get("model", model)
    named = named_parameters(groups, states, model, names, drop)
    saved, masters = groups, {}
    if library == TRANSFORMER_ENGINE:
        groups, states, masters = of_transformer_engine(groups, states, model, named, optimizer, drop)
    for number, state in states.items():
        for key, x in state.items():
            if torch.is_tensor(x):
                refuse_quantised(x, f"parameter {named[number]}: {key}")
    file = File({"steps": 0, "skipped_steps": 0, "groups": []}, {}, {"groups": [], "states": {}})
    for index, group in enumerate(groups):
        what, of = f"group {index}", {named[number]: states.get(number, {}) for number in group["params"]}
        algorithm = recognise(group, of.values(), optimizer, keep, what)
        values = {name: dense(model[name], f"model tensor {name}") for name in of}
        hyper = hyperparameters(group, algorithm, lr, what, {value.dtype for value in values.values()})
        if library == TRANSFORMER_ENGINE:
            hyper["no_bias_correction"] = float(not saved[index]["bias_correction"])
        tensors = []
        for name, state in of.items():
            tensors.append(add_tensor(file, name, state, values[name], algorithm, hyper, step, drop))
        file.torch["groups"].append({key: encode(x, f"{what}: {key}") for key, x in group.items()})
        file.state["groups"].append({"index": index, "algorithm": algorithm, "hyperparameters": hyper, "tensors": tensors})
    taken = max((t["counters"]["step"] for group in file.state["groups"] for t in group["tensors"]), default=0)
    if step is not None and step < taken:
        raise ConversionError(f"a parameter has taken {taken:.0f} steps, and --step is {step}")
    file.state["steps"] = int(taken) if step is None else step
    file.tensors |= masters
    if library == TRANSFORMER_ENGINE:
        file.torch = None  # what it kept is of no dict that torch has saved
    if parts.get("scaler"):  # one that is not enabled has an empty one
        file.state["grad_scaler_state"] = scaler_state(parts["scaler"])
    return file


TRANSFORMER_ENGINE = "transformer-engine"


def of_transformer_engine(groups, states, model, named, optimizer, drop):
    """The groups and states of a FusedAdam's state_dict as torch's Adam has them, and the masters by their name in the file. It counts steps by
    group, has neither amsgrad nor maximize, and widens what it holds in 8 or 16 bits to float32, but for remainders."""
    if optimizer not in ("Adam", "AdamW"):
        raise ConversionError("FusedAdam's state_dict does not say its adam_w_mode: say --optimizer AdamW, or --optimizer Adam where that is False")
    out, own, masters, new = [], {}, {}, {}
    for index, group in enumerate(groups):
        if "bias_correction" not in group:
            raise ConversionError(f"group {index} has no bias_correction: it is not of Transformer Engine's FusedAdam")
        out.append({key: x for key, x in group.items() if key not in ("bias_correction", "step")} | {"amsgrad": False, "maximize": False})
        for number in group["params"]:
            what, value, state = f"parameter {named[number]}", model[named[number]], dict(states.get(number, {}))
            if bool(state) != ("step" in group):
                raise ConversionError(f"{what} has {'' if state else 'no '}state, and group {index} has {'a' if 'step' in group else 'no'} step")
            for key, x in state.items():
                remainder = key == "master_param" and torch.is_tensor(x) and x.dtype == torch.int16 and value.dtype == torch.bfloat16
                if torch.is_tensor(x) and not remainder:
                    refuse_quantised(x, f"{what}: {key}")
                    if x.dtype == torch.float16:
                        raise NotYetError(f"{what}: {key} is of torch.float16, and its scale is not there: FusedAdam's state_dict() has float32")
            if (master := state.pop("master_param", None)) is not None:
                slot, t = master_of(master, value, what)
                if slot is not None:
                    masters[f"{named[number]}.{slot}"] = t
                elif "master_param" not in drop:
                    raise ConversionError(f"{what}: master_param is beside {value.dtype}, where FusedAdam does not read it: say --drop master_param")
            if state:
                own[number] = state | {"step": group["step"]}
            else:
                own[number] = {"step": 0} | {slot: torch.zeros_like(value, dtype=torch.float32) for slot in MOMENTS}
                new[named[number]] = value
    kinds = {key.rpartition(".")[2] for key in masters}
    for name, value in new.items():  # FusedAdam makes them at its next step, all of the kind that it was made for
        if "remainder" in kinds and value.dtype == torch.bfloat16:
            masters[f"{name}.remainder"] = torch.zeros_like(value, dtype=torch.int16)
        elif kinds and value.dtype in (torch.bfloat16, torch.float16):
            masters[f"{name}.master"] = value.detach().float()
    return out, own, masters


def master_of(t, value, what):
    """The slot of what FusedAdam keeps beside a value, and it; no slot where the value is its own master."""
    if not torch.is_tensor(t) or t.shape != value.shape:
        raise ConversionError(f"{what}: master_param is {list(t.shape) if torch.is_tensor(t) else t!r}, and the value has the shape {list(value.shape)}")
    if value.dtype not in (torch.bfloat16, torch.float16):
        return None, None
    if t.dtype == torch.int16:
        on_cpu(t, f"{what}: master_param")
        return "remainder", t.detach().contiguous()
    t = dense(t, f"{what}: master_param")
    if t.dtype != torch.float32:
        raise ConversionError(f"{what}: master_param is of {t.dtype}, and should be of torch.float32 or torch.int16")
    return "master", t


def named_parameters(groups, states, model, names, drop):
    """The name of each parameter by its number in a state_dict: what the groups say, else the list, else the order of the model."""
    numbers = [i for group in groups for i in group["params"]]
    if len(set(numbers)) < len(numbers) or not set(states) <= set(numbers):
        raise ConversionError("the state_dict's groups and state do not number the same parameters")
    if all("param_names" in group for group in groups):
        own = [name for group in groups for name in group["param_names"]]
        if names is not None and names != own:
            raise ConversionError(f"the state_dict has the parameters {own}, and --names has {names}")
        names = own
    elif names is None and len(groups) > 1:
        raise ConversionError(f"the optimizer has {len(groups)} groups, and numbers in the groups' order: say --names, a list in that order")
    elif names is None and len(model) != len(numbers):
        raise ConversionError(f"the model has {len(model)} tensors and the optimizer {len(numbers)} parameters: say --names")
    names = list(model) if names is None else names
    if len(set(names)) != len(names) or len(names) != len(numbers):
        raise ConversionError(f"the optimizer has {len(numbers)} parameters, and the names are {len(set(names))} of {len(names)}")
    for name in names:
        if name not in model:
            raise ConversionError(f"the model has no tensor {name!r}, only {', '.join(map(repr, model))}")
    left = [name for name in model if name not in set(names)]
    if left and "untrained" not in drop:
        raise ConversionError(f"the optimizer does not train {', '.join(map(repr, left))} of the model: say --drop untrained")
    return dict(zip(numbers, names))


def hyperparameters(group, algorithm, lr, what, dtypes):
    """A group's, of which these are the parameters' types, as fusestep has them."""
    o, out = OPTIMIZERS[algorithm], {}
    if "initial_lr" in group and lr is None:
        raise ConversionError(
            f"{what}: a scheduler, which is not converted, made an lr of {group['lr']} of {group['initial_lr']}: say --lr current, which stays, or "
            "--lr initial, for a schedule of fusestep's, which multiplies it")
    values = dict.fromkeys(o.later.split(), False) | {key: group[key] for key in o.options() if key in group}
    if lr == "initial":
        values["lr"] = group.get("initial_lr", group["lr"])
    if algorithm in ("Adam", "AdamW"):
        del values["decoupled_weight_decay"]  # says which of the two
    if algorithm == "Adafactor" and values["eps"][0] is None:  # the epsilon of the parameters' type
        if len(dtypes) > 1:
            raise ConversionError(f"{what}: eps[0] is None, the epsilon of the parameters' type, and they are of {', '.join(sorted(map(str, dtypes)))}")
        values["eps"] = [torch.finfo(dtype).eps for dtype in dtypes or {torch.float32}] + list(values["eps"][1:])
    for key, x in values.items():
        for name, y in [(f"{key}[{i}]", y) for i, y in enumerate(x)] if key in o.pairs else [(key, x)]:
            out[name] = number(y, f"{what}: {name}")
    return out | dict.fromkeys(o.lacks.split(), 0.0)


def add_tensor(file, name, state, value, algorithm, hyper, step, drop):
    """Puts a parameter's value and state into a file, and returns what the state dict says of it."""
    o, scalars, counters = OPTIMIZERS[algorithm], {}, {"step": 0.0}
    used, types = o.used(hyper, value.ndim), {}
    file.tensors[f"{name}.param"] = value
    for key, x in state.items():
        what = f"parameter {name}: {key}"
        if key in o.slots and x is not None:
            if key not in used and key not in drop:
                raise ConversionError(f"{what} is not used by {algorithm} with these options: say --drop {key}")
        elif key in ("step", *o.counters):
            scalars[key], counters[key] = encode(x, what), number(x, what)
        elif x is not None:
            raise ConversionError(f"{what} is no state of {algorithm}")
        else:
            scalars[key] = None
    slots = [slot for slot in used if state.get(slot) is not None]
    if algorithm == "SGD":
        if step is None or slots and step < 1:
            raise ConversionError(f"parameter {name}: SGD counts no steps: say --step, how many were taken")
        counters["step"] = float(step) if slots or hyper["momentum"] == 0 else 0.0
    elif state and (slots != used or not {"step", *o.counters} <= set(state)):
        raise ConversionError(f"parameter {name} has {', '.join(state)}, and should have {', '.join(['step', *o.counters, *used])}")
    if not (counters["step"] >= 0 and counters["step"].is_integer()):
        raise ConversionError(f"parameter {name}: step is {counters['step']}")
    for slot in used:
        shape = shape_of(slot, value)
        if slot in slots:
            t = dense(state[slot], f"parameter {name}: {slot}")
            if list(t.shape) != shape:
                raise ConversionError(f"parameter {name}: {slot} has the shape {list(t.shape)}, and the value {list(value.shape)}")
        else:
            t = torch.full(shape, hyper[o.initial[slot]] if slot in o.initial else 0.0, dtype=value.dtype)
        if slot in LINES:  # fusestep has one axis of these, no numbers of a tensor without elements, and no 16 bits
            types[slot] = str(t.dtype).removeprefix("torch.")
            t = t.reshape(-1)[: value.numel()].to(torch.promote_types(t.dtype, torch.float32))
        file.tensors[f"{name}.{slot}"] = t
    file.torch["states"][name] = {"scalars": scalars, "slots": slots} | ({"types": types} if types else {})
    return {"name": name, "shape": list(value.shape), "counters": counters}


# Slots of rows and of columns, by the axis of which torch's have one element.
LINES = {"row_var": -1, "col_var": -2}


def shape_of(slot, value):
    """The shape of a parameter's state in torch."""
    shape = list(value.shape)
    if slot in LINES:
        shape[LINES[slot]] = 1
    return shape


def lined(slot, t, value):
    """State of a parameter in torch's shape, which of rows and columns has more axes."""
    shape = shape_of(slot, value)
    return torch.zeros(shape, dtype=t.dtype) if value.numel() == 0 else t.reshape(shape)


def scaler_state(scaler):
    """A GradScaler's state_dict as fusestep has it. A hysteresis_tracker of 1 is torch's rule: the scale falls with the next overflow."""
    counts, numbers = ("growth_interval", "_growth_tracker"), ("scale", "growth_factor", "backoff_factor")
    if set(scaler) != {*counts, *numbers}:
        raise ConversionError(f"the scaler's state_dict has {', '.join(scaler)}, and should have {', '.join([*counts, *numbers])}")
    state = {key: number(x, f"scaler: {key}") for key, x in scaler.items()}
    return {key: int(x) if key in counts else x for key, x in state.items()} | {"hysteresis_tracker": 1}


# --- Fusestep to torch ----------------------------------------------------------------------------------------------


def to_torch(file, like=None, names=None, lr=None, drop=()):
    """{"optimizer": a state_dict, "model": values by name}, and "scaler" where there is one. What came from torch is what it was. README.md
    says what the arguments, which are the command's options, mean."""
    with well_formed("the checkpoint"):
        return fusestep_to_torch(file, like, names, lr, drop)


def fusestep_to_torch(file, like, names, lr, drop):
    if lost := [f"{text}: say --drop {key}" for key, text in losses(file.state) if key not in drop]:
        raise ConversionError("\n".join(lost))
    groups, of = file.state["groups"], {}
    for key, t in file.tensors.items():
        name, _, slot = key.rpartition(".")
        of.setdefault(name, {})[slot] = t
    if missing := [t["name"] for group in groups for t in group["tensors"] if "param" not in of.get(t["name"], {})]:
        raise FileError(f"the file has no value of {', '.join(missing)}")
    states, out = {}, {"model": {}}
    if scaler := ((file.state.get("around") or {}) | file.state).get("grad_scaler_state"):
        out["scaler"] = {key: x for key, x in scaler.items() if key != "hysteresis_tracker"}
    if file.torch is not None:
        old = [{key: decode(x) for key, x in group.items()} for group in file.torch["groups"]]
        for number, t in zip((i for group in old for i in group["params"]), (t for group in groups for t in group["tensors"])):
            own, kept = of[t["name"]], file.torch["states"][t["name"]]
            out["model"][t["name"]] = own["param"]
            states[number] = {key: decode(x) for key, x in kept["scalars"].items()}
            types = kept.get("types", {})
            for slot in kept["slots"]:
                states[number][slot] = own[slot]
                if slot in types:
                    states[number][slot] = lined(slot, own[slot], own["param"]).to(getattr(torch, types[slot]))
    else:
        old, number = [], 0
        for group, order in zip(groups, list(ordered(groups, like, names))):
            hyper, tensors = torch_hyperparameters(group, lr), {t["name"]: t for t in group["tensors"]}
            old.append(hyper | FLAGS | {"params": list(range(number, number + len(order)))})
            for name in order:
                own = {slot: x if slot in LINES else x.reshape(like[name].shape) for slot, x in of[name].items()}
                out["model"][name] = own.pop("param")
                states[number] = torch_state(tensors[name], out["model"][name], own, group["algorithm"], hyper, drop)
                number += 1
    return out | {"optimizer": {"state": {number: state for number, state in states.items() if state}, "param_groups": old}}


def losses(state):
    """What a state dict has that torch's have no place for: the key that --drop takes, and a text."""
    a = state.get("around") or {}
    for key, off in (("clip_norm", 0), ("clip_tensor_norm", 0), ("clip_value", 0), ("zero_grad", False), ("accumulate", False), ("schedule_counts", "all")):
        if a.get(key, off) != off:
            yield key, f"{key} is {a[key]}, which no state_dict has"
    if any((a.get("skip") or {}).values()):
        yield "skip", f"steps are skipped by {a['skip']}, which no state_dict has"
    scaler = a.get("grad_scaler") or {}
    if scaler.get("hysteresis", 1) != 1 or scaler.get("min_scale", 0) != 0:
        yield "hysteresis", "the scaler has a hysteresis or a min_scale, which torch's has not"
    for group in state["groups"]:
        for name, schedule in (group.get("schedules") or {}).items():
            yield "schedules", f"group {group['index']}: {name} has the schedule {schedule}, which no state_dict has"


def ordered(groups, like, names):
    """The names of each group's tensors, in the order in which torch numbers them."""
    if like is None:
        raise ConversionError("the file has neither shapes nor torch's order of parameters: say --like, a .pt with the model's state_dict")
    own, at = [{t["name"]: math.prod(t["shape"]) for t in group["tensors"]} for group in groups], 0
    for name, n in (item for group in own for item in group.items()):
        if name not in like or like[name].numel() != n:
            raise ConversionError(f"tensor {name} has {n} elements, and in the model {like[name].numel() if name in like else 'there is none'}")
    if names is None:
        names = [name for group in own for name in like if name in group]
    for index, group in enumerate(own):
        order, at = names[at : at + len(group)], at + len(group)
        if set(order) != set(group):
            raise ConversionError(f"group {index} has the tensors {', '.join(group)}, and the names there are {', '.join(order)}")
        yield order
    if at != len(names):
        raise ConversionError(f"there are {at} tensors and {len(names)} names")


def torch_hyperparameters(group, lr):
    """A group's, as torch has them, if a step is what they alone make of it."""
    what, algorithm = f"group {group['index']}", group["algorithm"]
    if algorithm not in OPTIMIZERS:
        raise NotYetError(f"{what} is of {algorithm}, which is not converted, only {', '.join(OPTIMIZERS)}")
    o, own, out = OPTIMIZERS[algorithm], {key: float(x) for key, x in group["hyperparameters"].items()}, {}
    for key in o.options():
        pair = [own.pop(name, None) for name in ((f"{key}[0]", f"{key}[1]") if key in o.pairs else (key,))]
        out[key] = algorithm == "AdamW" if o is ADAM and key == "decoupled_weight_decay" else tuple(pair) if key in o.pairs else pair[0]
        if None in pair and o is not ADAM:
            raise FileError(f"{what} has no {key}")
    if on := [key for key, x in own.items() if x != 0]:
        raise ConversionError(f"{what}: torch's {algorithm} has no {', '.join(on)}")
    setting, decay = group.get("setting") or {}, out.get("weight_decay", 0)
    around = {"l1": 0, "ema": False, "weight_decay": decay, "decoupled_decay": 0}
    if out.get("decoupled_weight_decay") or o.decoupled:
        around |= {"weight_decay": 0, "decoupled_decay": decay}
    for key, x in around.items():
        if setting.get(key, x) != x:
            raise ConversionError(f"{what}: {key} is {setting[key]} around {algorithm}, which torch has not")
    if (group.get("schedule") or {}).get("type", "none") != "none":
        if lr is None:
            raise ConversionError(f"{what} has the schedule {group['schedule']}, which is not converted: say --lr current, the last step's, or --lr initial")
        out["initial_lr"] = out["lr"]
        out["lr"] = group["last_lr"] if lr == "current" else out["lr"]
    return out | {key: bool(out[key]) for key in TRUTHS if key in out}


def torch_state(tensor, value, own, algorithm, hyper, drop):
    """A parameter's state as torch has it, which is empty before the first step of most."""
    o, name, counters = OPTIMIZERS[algorithm], tensor["name"], tensor["counters"]
    used = o.used(hyper, value.ndim)
    if tensor.get("summed"):
        raise ConversionError(f"tensor {name} has accumulated gradients that no step has taken")
    if lost := set(own) - set(used) - set(drop):
        raise ConversionError(f"tensor {name} has {', '.join(sorted(lost))}, which torch's {algorithm} has not: say --drop with each")
    if missing := set(used) - set(own):
        raise FileError(f"the file has no {', '.join(sorted(missing))} of tensor {name}")
    if counters["step"] == 0 and not o.eager:
        return {}
    if counters["step"] > 1 << 24:
        raise ConversionError(f"tensor {name} has taken {counters['step']} steps, and torch's float32 counts to 2^24")
    number = torch.float64 if value.dtype == torch.float64 else torch.float32
    state = {} if algorithm == "SGD" else {"step": torch.tensor(counters["step"], dtype=torch.float32)}
    state |= {key: torch.tensor(counters[key], dtype=number) for key in o.counters}
    for slot in used:
        if own[slot].dtype != value.dtype and "precision" not in drop:
            raise ConversionError(
                f"tensor {name}: {slot} is {own[slot].dtype}, which torch's load_state_dict rounds to the value's {value.dtype}: say --drop precision")
        if slot in LINES and own[slot].numel() != math.prod(shape_of(slot, value)) and value.numel() > 0:
            raise ConversionError(f"tensor {name}: {slot} has {own[slot].numel()} elements, and the value the shape {list(value.shape)}: torch has other rows")
        state[slot] = lined(slot, own[slot].to(value.dtype), value)
    return state


# --- The command ----------------------------------------------------------------------------------------------------


def names_in(path):
    with open(path, encoding="utf-8") as f, well_formed(path):
        names = json.load(f)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConversionError(f"{path} should hold a list of names")
    return names


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    there = commands.add_parser("to-fusestep", help="a .pt of torch.save's to a checkpoint of fusestep's")
    there.add_argument("--model", help="a .pt with the model's state_dict, where the first has none")
    there.add_argument("--optimizer", choices=OPTIMIZERS, help="which it is, where the state_dict fits several")
    there.add_argument("--library", choices=[TRANSFORMER_ENGINE], help="whose it is, if not torch's: Transformer Engine's FusedAdam")
    there.add_argument("--step", type=int, help="steps that were taken; SGD counts none")
    there.add_argument("--keep", action="append", default=[], help="an option of the user's own in the groups, kept for the way back")
    back = commands.add_parser("to-torch", help="a checkpoint of fusestep's to a .pt")
    back.add_argument("--like", help="a .pt with the state_dict of the model: shapes, and the order of parameters")
    for command in (there, back):
        command.add_argument("input")
        command.add_argument("output")
        command.add_argument("--names", help="a JSON list of the parameters' names, in the order of the optimizer's groups")
        command.add_argument("--lr", choices=("current", "initial"), help="which learning rate to write where a schedule changes it")
        command.add_argument("--drop", action="append", default=[], help="something to leave out, by the name in the error")
    a = parser.parse_args(arguments)
    try:
        names = names_in(a.names) if a.names else None
        if a.command == "to-fusestep":
            model = load(a.model) if a.model else None
            write(a.output, to_fusestep(load(a.input), model, names, a.optimizer, a.step, a.lr, a.keep, a.drop, a.library))
        else:
            out = to_torch(read(a.input), load(a.like) if a.like else None, names, a.lr, a.drop)
            with replaced(a.output) as f:
                torch.save(out, f)
    except (ConversionError, OSError) as e:
        sys.exit(f"fusestep_checkpoint: {e}")


if __name__ == "__main__":
    main()
