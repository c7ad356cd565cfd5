# Made from optim/cases.go by make generate: do not edit.
"""The optimizers, one class for each algorithm."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ._optimizer import Optimizer

__all__ = [
    "SGD",
    "ASGD",
    "SGDW",
    "Adam",
    "AdamW",
    "Lion",
    "LAMB",
    "LARS",
    "NovoGrad",
    "Adafactor",
    "CAME",
    "AdamMini",
    "StableAdamW",
    "CautiousAdamW",
    "CautiousLion",
    "SignSGD",
    "Signum",
    "RMSprop",
    "Adagrad",
    "Adamax",
    "NAdam",
    "RAdam",
    "AdaBelief",
    "AdEMAMix",
    "ADOPT",
    "Prodigy",
    "Adan",
    "Yogi",
    "Adadelta",
    "Rprop",
    "FTRL",
    "ProximalSGD",
    "ProximalAdagrad",
    "Sophia",
    "ScheduleFreeSGD",
    "ScheduleFreeAdamW",
]


class SGD(Optimizer):
    """SGD is stochastic gradient descent as torch.optim.SGD has it; over the whole batch it is
    gradient descent. Its state is momentum_buffer, with a momentum other than 0.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        momentum: at least 0
        dampening: the share of a gradient that the momentum does not take; the first gradient
            enters whole
        weight_decay: L2 penalty: weight_decay·p is added to the gradient; with decoupled p is
            multiplied by 1 - lr·weight_decay
        nesterov: needs momentum above 0 and no dampening
        maximize: steps uphill
        foreach: accepted, as torch's; each step is fused whatever it says
        differentiable: must be False
        fused: accepted, as torch's; each step is fused whatever it says
        l1: L1 penalty: l1·sign(p) is added to the gradient, 0 where p is 0
        decoupled: decays as AdamW does: p is multiplied by 1 - lr·weight_decay, and nothing is
            added to the gradient
        lr_in_momentum: lets the momentum accumulate steps, gradients times learning rates, as
            Keras and scikit-learn do (Sutskever et al. 2013), not gradients: after a change of the
            learning rate the old steps keep their length.
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "SGD"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        momentum: float | Tensor = 0.0,
        dampening: float | Tensor = 0.0,
        weight_decay: float | Tensor = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        l1: float | Tensor = 0.0,
        decoupled: bool = False,
        lr_in_momentum: bool = False,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
                "l1": l1,
                "decoupled": decoupled,
                "lr_in_momentum": lr_in_momentum,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class ASGD(Optimizer):
    """ASGD is averaged stochastic gradient descent as torch.optim.ASGD has it (Polyak & Juditsky
    1992). Its state is ax, the average of the parameter's values, which is what training is for:
    evaluate the model on it. Until t0 steps are taken it is the parameter.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        lambd: at least 0: a step multiplies p by 1 - lambd·eta, eta being its learning rate
        alpha: at least 0 and below 16: eta falls as lr/(1 + lambd·lr·t)^alpha, t being the
            steps taken
        t0: the steps after which averaging starts
        weight_decay: L2 penalty: weight_decay·p is added to the gradient
        foreach: accepted, as torch's; each step is fused whatever it says
        maximize: steps uphill
        differentiable: must be False
        capturable: must be False
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "ASGD"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        lambd: float | Tensor = 0.0001,
        alpha: float | Tensor = 0.75,
        t0: float | Tensor = 1e+06,
        weight_decay: float | Tensor = 0.0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        *,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class SGDW(Optimizer):
    """SGDW is SGD with momentum and decoupled weight decay (Loshchilov & Hutter 2019, algorithm 1).
    Its state is momentum_buffer, which holds steps, gradients times learning rates, where SGD's
    holds gradients.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        momentum: at least 0
        weight_decay: is decoupled, and AdamW's: each step multiplies p by 1 - lr·weight_decay.
            The paper's λ, which only the schedule multiplies, is weight_decay times the learning
            rate before the schedule.
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "SGDW"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        momentum: float | Tensor = 0.9,
        weight_decay: float | Tensor = 0.01,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Adam(Optimizer):
    """Adam is Adam as torch.optim.Adam has it (Kingma & Ba 2015). Its state is exp_avg and exp_avg_sq,
    with amsgrad also max_exp_avg_sq.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; added to the root
        weight_decay: L2 penalty: weight_decay·p is added to the gradient
        amsgrad: divides by the root of the largest second moment so far (Reddi et al. 2018)
        foreach: accepted, as torch's; each step is fused whatever it says
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        differentiable: must be False
        fused: accepted, as torch's; each step is fused whatever it says
        decoupled_weight_decay: decays as AdamW does: p is multiplied by 1 - lr·weight_decay,
            and nothing is added to the gradient
        l1: L1 penalty: l1·sign(p) is added to the gradient, 0 where p is 0
        eps_root: eps_root, at least 0, is added below the root, to exp_avg_sq after its bias
            correction: optax's eps_root.
        norm_coefficient_post: norm_coefficient_post, at least 0, is ONNX'
            norm_coefficient_post: after the step p is multiplied by 1 - it, whatever the learning
            rate.
        eps_hat: adds eps to the root before its bias correction, as Keras, TensorFlow,
            scikit-learn and ONNX do: the ε̂ of the paper's section 2.
        corrected_max: corrected_max, with amsgrad and without eps_hat, keeps the maximum of
            exp_avg_sq after its bias correction, as optax does.
        no_bias_correction: takes the moments as they are: apex' bias_correction=False.
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Adam"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        l1: float | Tensor = 0.0,
        eps_root: float | Tensor = 0.0,
        norm_coefficient_post: float | Tensor = 0.0,
        eps_hat: bool = False,
        corrected_max: bool = False,
        no_bias_correction: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "foreach": foreach,
                "maximize": maximize,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
                "l1": l1,
                "eps_root": eps_root,
                "norm_coefficient_post": norm_coefficient_post,
                "eps_hat": eps_hat,
                "corrected_max": corrected_max,
                "no_bias_correction": no_bias_correction,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class AdamW(Optimizer):
    """AdamW is Adam with decoupled weight decay as torch.optim.AdamW has it (Loshchilov & Hutter
    2019): each step first multiplies p by 1 - lr·weight_decay. The arguments and the state are
    Adam's.

    The factor is rounded to the type of p, here as in PyTorch, and to float32 for 16 bits. It is 1,
    and nothing decays, where lr·weight_decay is at most 2^-25 (3.0e-8) for float32 and 2^-54 for
    float64: with an lr of 1e-4 in float32, where weight_decay is below 3e-4. That holds for every
    algorithm with decoupled decay.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; added to the root
        weight_decay: L2 penalty: weight_decay·p is added to the gradient
        amsgrad: divides by the root of the largest second moment so far (Reddi et al. 2018)
        maximize: steps uphill
        foreach: accepted, as torch's; each step is fused whatever it says
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        differentiable: must be False
        fused: accepted, as torch's; each step is fused whatever it says
        l1: L1 penalty: l1·sign(p) is added to the gradient, 0 where p is 0
        eps_root: eps_root, at least 0, is added below the root, to exp_avg_sq after its bias
            correction: optax's eps_root.
        norm_coefficient_post: norm_coefficient_post, at least 0, is ONNX'
            norm_coefficient_post: after the step p is multiplied by 1 - it, whatever the learning
            rate.
        eps_hat: adds eps to the root before its bias correction, as Keras, TensorFlow,
            scikit-learn and ONNX do: the ε̂ of the paper's section 2.
        corrected_max: corrected_max, with amsgrad and without eps_hat, keeps the maximum of
            exp_avg_sq after its bias correction, as optax does.
        no_bias_correction: takes the moments as they are: apex' bias_correction=False.
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "AdamW"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        l1: float | Tensor = 0.0,
        eps_root: float | Tensor = 0.0,
        norm_coefficient_post: float | Tensor = 0.0,
        eps_hat: bool = False,
        corrected_max: bool = False,
        no_bias_correction: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "l1": l1,
                "eps_root": eps_root,
                "norm_coefficient_post": norm_coefficient_post,
                "eps_hat": eps_hat,
                "corrected_max": corrected_max,
                "no_bias_correction": no_bias_correction,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
                "decoupled_weight_decay": True,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Lion(Optimizer):
    """Lion moves each element by the learning rate against the sign of an interpolated momentum (Chen
    et al. 2023). PyTorch has none; this is the authors' code's order. Its state is exp_avg, half of
    Adam's. A learning rate of a third to a tenth of Adam's, with as much more decay, is what the
    paper recommends.

    Start from Lion: a value that does not is refused.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1: of the step, and of the momentum that is kept
        weight_decay: decoupled: each step first multiplies p by 1 - lr·weight_decay
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Lion"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.0001,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float | Tensor = 0.0,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class LAMB(Optimizer):
    """LAMB is LAMB as apex' FusedLAMB has it (You et al. 2020): Adam whose steps of a tensor are as
    long as the learning rate times the tensor's norm. PyTorch has none. Its state is exp_avg and
    exp_avg_sq.

    Apex clips the gradients' global norm to 1 by default. That is max_norm here, which has
    PyTorch's 1e-6 beside the norm.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; added to the root
        weight_decay: weight_decay·p is added to the step, whose norm is then taken; 0 turns the
            norms off, too, but with nvlamb
        maximize: steps uphill
        l2: adds weight_decay·p to the gradient instead: apex' adam_w_mode=False.
        nvlamb: takes norms without weight decay, too: apex' use_nvlamb. Optax and Keras do so.
        grad_sum: lets the whole gradient enter exp_avg, and not 1-β1 of it: apex'
            grad_averaging=False.
        no_bias_correction: takes the moments as they are: apex' bias_correction=False.
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "LAMB"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | Tensor = 1e-06,
        weight_decay: float | Tensor = 0.01,
        maximize: bool = False,
        l2: bool = False,
        nvlamb: bool = False,
        grad_sum: bool = False,
        no_bias_correction: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "l2": l2,
                "nvlamb": nvlamb,
                "grad_sum": grad_sum,
                "no_bias_correction": no_bias_correction,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class LARS(Optimizer):
    """LARS is SGD with momentum whose gradients are made as long as their tensor, times the trust
    coefficient (You, Gitman & Ginsburg 2017). PyTorch has none; this is the paper's ratio,
    trust_coefficient·‖p‖ / (‖g‖ + weight_decay·‖p‖ + eps), with PyTorch's momentum, as Lightning
    Bolts and apex have it. Where one of the norms is 0 the ratio is 1, and nothing decays. Its
    state is momentum_buffer.

    With clip it is apex' LARC of SGD.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        momentum: at least 0
        weight_decay: weight_decay·p is added to the gradient, before it is multiplied by the
            ratio
        trust_coefficient: at least 0
        eps: at least 0; added to the norms
        nesterov: needs momentum above 0
        maximize: steps uphill
        clip: divides the ratio by the learning rate, and makes it 1 where it is above: the
            ratio itself is then the learning rate, if it is less.
        lr_in_momentum: lets the momentum accumulate steps, gradients times learning rates, as
            the paper and optax do.
        sum_norm: takes the norm of g + weight_decay·p, and not the sum of norms, as optax does.
            Then it decays where the gradient is 0, too.
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "LARS"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.1,
        momentum: float | Tensor = 0.9,
        weight_decay: float | Tensor = 0.0,
        trust_coefficient: float | Tensor = 0.001,
        eps: float | Tensor = 1e-08,
        nesterov: bool = False,
        maximize: bool = False,
        clip: bool = False,
        lr_in_momentum: bool = False,
        sum_norm: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "trust_coefficient": trust_coefficient,
                "eps": eps,
                "nesterov": nesterov,
                "maximize": maximize,
                "clip": clip,
                "lr_in_momentum": lr_in_momentum,
                "sum_norm": sum_norm,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class NovoGrad(Optimizer):
    """NovoGrad is NovoGrad as apex' FusedNovoGrad has it (Ginsburg et al. 2019): Adam whose second
    moment is one number for each tensor, the average of the gradient's squared norm. It starts as
    the first one. PyTorch has none. Its state is exp_avg, and exp_avg_sq, a float64 for each
    tensor. Apex keeps its root.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; added to the root
        weight_decay: decoupled: p is multiplied by 1 - lr·weight_decay; with reg_inside_moment
            weight_decay·p enters exp_avg
        maximize: steps uphill
        reg_inside_moment: divides the gradient by the root of exp_avg_sq, and adds the weight
            decay, before both enter exp_avg, as the paper and optax do. Else exp_avg is of
            gradients, and is divided.
        grad_sum: lets the whole gradient enter exp_avg, and not 1-β1 of it, as the paper and
            optax do: apex' grad_averaging=False.
        init_zero: starts exp_avg_sq at 0: apex' init_zero.
        no_bias_correction: takes the moments as they are, as the paper and optax do: apex'
            bias_correction=False.
        capturable: must be False
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "NovoGrad"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        maximize: bool = False,
        reg_inside_moment: bool = False,
        grad_sum: bool = False,
        init_zero: bool = False,
        no_bias_correction: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "reg_inside_moment": reg_inside_moment,
                "grad_sum": grad_sum,
                "init_zero": init_zero,
                "no_bias_correction": no_bias_correction,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Adafactor(Optimizer):
    """Adafactor is Adafactor as torch.optim has it (Shazeer & Stern 2018). Of a tensor of two or more
    axes, or as rows says, its state is row_var and col_var, a number of each row and of each
    column; of any other variance. With beta1 it is exp_avg too. Of a tensor of more than two axes
    the last two are a matrix, of which there is one for each place on the others.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0; a step's rate is at most 1/√step, and is scaled by the root mean square
            of the tensor's values
        beta2_decay: at most 0, and above -16: a square has the share step^beta2_decay of an
            average
        eps: above 0, with eps_square 0: below a mean of squares, and its square below each; at
            least 0: below the values' root mean square; a first that is None is the epsilon of the
            parameter's type, with a master of float32; with eps_square it is 0
        d: above 0; the update is clipped to this root mean square
        weight_decay: decoupled: p is multiplied by 1 - lr·weight_decay
        foreach: accepted, as torch's; each step is fused whatever it says
        maximize: steps uphill
        beta1: at least 0 and below 1; not 0, updates are averaged, as the paper and the
            authors' code do, and PyTorch does not
        eps_square: at least 0; added to each square of a gradient, with an eps[0] of 0: Keras'
            epsilon_1, optax' eps, transformers' eps[0]
        no_relative_step: takes the learning rate as it is, above 1/√step too, as optax does:
            transformers' relative_step=False.
        no_scale_parameter: scales no step by the root mean square of the values: transformers'
            scale_parameter=False, optax' multiply_by_parameter_scale=False.
        rows: into how many rows a parameter is cut, of contiguous numbers each; 0 into none, as
            a vector; None: one of two or more axes into those that all axes but the last make, of a
            matrix for each place on the axes before the last two
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Adafactor"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        beta2_decay: float | Tensor = -0.8,
        eps: tuple[float | None, float] = (None, 0.001),
        d: float | Tensor = 1.0,
        weight_decay: float | Tensor = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        beta1: float | Tensor = 0.0,
        eps_square: float | Tensor = 0.0,
        no_relative_step: bool = False,
        no_scale_parameter: bool = False,
        rows: int | None = None,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "beta1": beta1,
                "eps_square": eps_square,
                "no_relative_step": no_relative_step,
                "no_scale_parameter": no_scale_parameter,
                "rows": rows,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class CAME(Optimizer):
    """CAME is CAME as its authors' code has it (Luo et al. 2023): Adafactor whose averaged update is
    divided by how far updates are from it. PyTorch has none. Its state is exp_avg and, of a tensor
    of two or more axes, or as rows says, exp_avg_sq_row, exp_avg_sq_col, exp_avg_res_row and
    exp_avg_res_col; of any other exp_avg_sq, and no residuals.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1: of the update, of squares, of residuals
        eps: above 0; added to squares of gradients, and of residuals
        clip_threshold: above 0; the update is clipped to this root mean square
        weight_decay: decoupled: p is multiplied by 1 - lr·weight_decay
        maximize: steps uphill
        rows: into how many rows a parameter is cut, of contiguous numbers each; 0 into none, as
            a vector; None: one of two or more axes into those that all axes but the last make, of a
            matrix for each place on the axes before the last two
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "CAME"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.0002,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        eps: tuple[float, float] = (1e-30, 1e-16),
        clip_threshold: float | Tensor = 1.0,
        weight_decay: float | Tensor = 0.0,
        maximize: bool = False,
        *,
        rows: int | None = None,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "clip_threshold": clip_threshold,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "rows": rows,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class AdamMini(Optimizer):
    """AdamMini is Adam-mini as its authors' code has it (Zhang et al. 2024): AdamW with one second
    moment for each block of a tensor. The blocks are the rows of a tensor of two or more axes, or
    as rows says. So of the authors' blocks the heads of a query or a key are as many rows, a tensor
    that is one block is 1 of them, and an embedding or an output layer, each of whose elements has
    its own second moment, has rows=0. PyTorch has none. Its state is exp_avg, and vmean, or
    exp_avg_sq of a tensor without rows.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; added to the root
        weight_decay: decoupled: p is multiplied by 1 - lr·weight_decay
        maximize: steps uphill
        rows: into how many rows a parameter is cut, of contiguous numbers each; 0 into none, as
            a vector; None: one of two or more axes into those that all axes but the last make, of a
            matrix for each place on the axes before the last two
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "AdamMini"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        maximize: bool = False,
        *,
        rows: int | None = None,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "rows": rows,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class StableAdamW(Optimizer):
    """StableAdamW is AdamW with Adafactor's update clipping, as its paper and optimi have it (Wortsman
    et al. 2023): in each step a tensor's learning rate is divided by the root of the mean of g² /
    max(exp_avg_sq, eps²), where that is above 1. PyTorch has none. Its state is exp_avg and
    exp_avg_sq. They have no bias, as the betas of the first steps are smaller, (β-β^t)/(1-β^t).

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; added to the root
        weight_decay: decoupled: each step first multiplies p by 1 - lr·weight_decay, with the
            tensor's lr
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "StableAdamW"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float | Tensor = 1e-06,
        weight_decay: float | Tensor = 0.01,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class CautiousAdamW(Optimizer):
    """CautiousAdamW is AdamW where an element moves only if exp_avg has the sign of its gradient
    (Liang et al. 2024), in the order of the authors' code. The steps of a tensor are divided by the
    share of its elements that move, or by 1e-3 if that is less. PyTorch has none. Its state is
    exp_avg and exp_avg_sq.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; added to the root
        weight_decay: decoupled: each step first multiplies p by 1 - lr·weight_decay, wherever
            it moves
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "CautiousAdamW"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | Tensor = 1e-06,
        weight_decay: float | Tensor = 0.0,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class CautiousLion(Optimizer):
    """CautiousLion is Lion where an element moves only if its step has the sign of its gradient (Liang
    et al. 2024). The steps of a tensor are divided by the share of its elements that move, or by
    1e-3 if that is less, as timm does and the authors' AdamW; their Lion divides by the number of
    those elements and one more. PyTorch has none. Its state is exp_avg.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1: of the step, and of the momentum that is kept
        weight_decay: decoupled: each step first multiplies p by 1 - lr·weight_decay, wherever
            it moves
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "CautiousLion"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.0001,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float | Tensor = 0.0,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class SignSGD(Optimizer):
    """SignSGD moves each element by the learning rate against the gradient's sign (Bernstein et al.
    2018, algorithm 1); PyTorch has none. It has no state.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        weight_decay: decoupled: each step first multiplies p by 1 - lr·weight_decay
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "SignSGD"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.0001,
        weight_decay: float | Tensor = 0.0,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Signum(Optimizer):
    """Signum moves each element by the learning rate against the sign of a moving average of its
    gradients (Bernstein et al. 2018, algorithm 2); PyTorch has none. Its state is exp_avg.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        beta: at least 0 and below 1: how slowly the average forgets
        weight_decay: decoupled: each step first multiplies p by 1 - lr·weight_decay
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Signum"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.0001,
        beta: float | Tensor = 0.9,
        weight_decay: float | Tensor = 0.0,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "beta": beta,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class RMSprop(Optimizer):
    """RMSprop is RMSprop as torch.optim.RMSprop has it (Tieleman & Hinton 2012). Its state is
    square_avg, with centered also grad_avg, with a momentum other than 0 momentum_buffer.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        alpha: at least 0: how slowly the mean square forgets
        eps: at least 0; added to the root
        weight_decay: L2 penalty: weight_decay·p is added to the gradient; with decoupled p is
            multiplied by 1 - lr·weight_decay
        momentum: at least 0
        centered: divides by the standard deviation instead of the root mean square (Graves
            2013)
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        foreach: accepted, as torch's; each step is fused whatever it says
        maximize: steps uphill
        differentiable: must be False
        eps_root: at least 0; added below the root: Keras' epsilon, and optax's eps with
            eps_in_sqrt, both with an eps of 0
        initial_scale: at least 0: what square_avg starts with, optax's initial_scale
        decoupled: decays as AdamW does: p is multiplied by 1 - lr·weight_decay, and nothing is
            added to the gradient
        lr_in_momentum: lets the momentum accumulate steps, gradients times learning rates, as
            Keras and optax do: after a change of the learning rate the old steps keep their length.
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "RMSprop"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        alpha: float | Tensor = 0.99,
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        momentum: float | Tensor = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        eps_root: float | Tensor = 0.0,
        initial_scale: float | Tensor = 0.0,
        decoupled: bool = False,
        lr_in_momentum: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "eps_root": eps_root,
                "initial_scale": initial_scale,
                "decoupled": decoupled,
                "lr_in_momentum": lr_in_momentum,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Adagrad(Optimizer):
    """Adagrad is Adagrad as torch.optim.Adagrad has it (Duchi, Hazan & Singer 2011). Its state is sum.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        lr_decay: at least 0: step t, from 0, uses lr/(1 + t·lr_decay)
        weight_decay: L2 penalty: weight_decay·p is added to the gradient; with decoupled p is
            multiplied by 1 - lr·weight_decay
        initial_accumulator_value: at least 0: what sum starts with, torch's
            initial_accumulator_value
        eps: at least 0; added to the root
        foreach: accepted, as torch's; each step is fused whatever it says
        maximize: steps uphill
        differentiable: must be False
        fused: accepted, as torch's; each step is fused whatever it says
        eps_root: at least 0; added below the root: Keras' epsilon and optax's eps, both with an
            eps of 0
        decoupled: decays as AdamW does: p is multiplied by 1 - lr·weight_decay, and nothing is
            added to the gradient
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Adagrad"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        lr_decay: float | Tensor = 0.0,
        weight_decay: float | Tensor = 0.0,
        initial_accumulator_value: float | Tensor = 0.0,
        eps: float | Tensor = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        eps_root: float | Tensor = 0.0,
        decoupled: bool = False,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
                "eps_root": eps_root,
                "decoupled": decoupled,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Adamax(Optimizer):
    """Adamax is Adamax as torch.optim.Adamax has it (Kingma & Ba 2015, algorithm 2). Its state is
    exp_avg and exp_inf.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; added to |g|
        weight_decay: L2 penalty: weight_decay·p is added to the gradient; with decoupled p is
            multiplied by 1 - lr·weight_decay
        foreach: accepted, as torch's; each step is fused whatever it says
        maximize: steps uphill
        differentiable: must be False
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        decoupled: decays as AdamW does: p is multiplied by 1 - lr·weight_decay, and nothing is
            added to the gradient
        eps_outside: is added to exp_inf where it divides, as Keras does, not to |g|
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Adamax"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        decoupled: bool = False,
        eps_outside: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
                "decoupled": decoupled,
                "eps_outside": eps_outside,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class NAdam(Optimizer):
    """NAdam is NAdam as torch.optim.NAdam has it (Dozat 2016). Its state is exp_avg and exp_avg_sq.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; added to the root
        weight_decay: L2 penalty: weight_decay·p is added to the gradient; with decoupled p is
            multiplied by 1 - lr·weight_decay
        momentum_decay: is at least 0: the momentum of step t, from 1, is betas[0]·(1 -
            0.96^(t·momentum_decay)/2). It is 1 in Keras; with one of 1e6 the momentum is betas[0]
            from the first step on, as in optax.
        decoupled_weight_decay: decays as AdamW does: p is multiplied by 1 - lr·weight_decay,
            and nothing is added to the gradient
        foreach: accepted, as torch's; each step is fused whatever it says
        maximize: steps uphill
        capturable: must be False
        differentiable: must be False
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "NAdam"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        momentum_decay: float | Tensor = 0.004,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "capturable": capturable,
                "differentiable": differentiable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class RAdam(Optimizer):
    """RAdam is RAdam as torch.optim.RAdam has it (Liu et al. 2020). Its state is exp_avg and
    exp_avg_sq.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; added to the root
        weight_decay: L2 penalty: weight_decay·p is added to the gradient; with decoupled p is
            multiplied by 1 - lr·weight_decay
        decoupled_weight_decay: decays as AdamW does: p is multiplied by 1 - lr·weight_decay,
            and nothing is added to the gradient
        foreach: accepted, as torch's; each step is fused whatever it says
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        differentiable: must be False
        corrected_eps: adds eps to the root after its bias correction, as optax.radam does, not
            before, as PyTorch does.
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "RAdam"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        corrected_eps: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "capturable": capturable,
                "differentiable": differentiable,
                "corrected_eps": corrected_eps,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class AdaBelief(Optimizer):
    """AdaBelief is AdaBelief as the authors' adabelief-pytorch has it with rectify=False (Zhuang et
    al. 2020); without decay it is also optax.adabelief with eps_root=eps. Its state is exp_avg and
    exp_avg_var, with amsgrad also max_exp_avg_var.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; added to exp_avg_var, and to its root
        weight_decay: L2 penalty: weight_decay·p is added to the gradient; with decoupled p is
            multiplied by 1 - lr·weight_decay
        decoupled: decays as AdamW does: p is multiplied by 1 - lr·weight_decay, and nothing is
            added to the gradient
        amsgrad: divides by the root of the largest second moment so far (Reddi et al. 2018)
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "AdaBelief"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | Tensor = 1e-16,
        weight_decay: float | Tensor = 0.0,
        decoupled: bool = True,
        amsgrad: bool = False,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "decoupled": decoupled,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class AdEMAMix(Optimizer):
    """AdEMAMix is AdEMAMix as its paper and the authors' code have it (Pagliardini et al. 2024);
    PyTorch has none. Its state is exp_avg_fast, exp_avg_slow and exp_avg_sq. The paper warms both
    up over all of a training's steps.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1: of the fast average, of the squares, of the slow
            average
        alpha: at least 0: the slow average's weight beside the fast one's
        alpha_warmup: the steps in which alpha rises from 0, linearly; 0 for none
        beta3_warmup: the steps in which betas[2] rises from betas[0], which is above 0 then,
            and at most betas[2]; 0 for none
        eps: at least 0; added to the root
        weight_decay: decoupled: each step first multiplies p by 1 - lr·weight_decay
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "AdEMAMix"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float | Tensor = 2.0,
        alpha_warmup: int = 0,
        beta3_warmup: int = 0,
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "alpha": alpha,
                "alpha_warmup": alpha_warmup,
                "beta3_warmup": beta3_warmup,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class ADOPT(Optimizer):
    """ADOPT is ADOPT as its authors' code has it (Taniguchi et al. 2024): Adam whose gradients are
    divided by the root of the squares before them, so that it converges with any beta2. PyTorch has
    none. Its state is exp_avg and exp_avg_sq. The first step fills exp_avg_sq and trains nothing.
    In step t+1 the quotient is clipped to ±t^¼.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1
        eps: at least 0; the least divisor
        weight_decay: L2 penalty: weight_decay·p is added to the gradient
        decoupled: p is multiplied by 1 - lr·weight_decay instead, in each step but the first
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "ADOPT"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.9999),
        eps: float | Tensor = 1e-06,
        weight_decay: float | Tensor = 0.0,
        decoupled: bool = False,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "decoupled": decoupled,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Prodigy(Optimizer):
    """Prodigy is Prodigy as the authors' package prodigyopt has it (Mishchenko & Defazio 2023): Adam
    that finds its learning rate by itself. PyTorch has none. The learning rate is multiplied by d,
    an estimate of the distance to the solution, so it stays 1, or is what a schedule makes of 1.
    Its state is exp_avg, exp_avg_sq, s, which is an average of gradients, and p0, the parameter
    before its first step. All tensors have d, d_max and d_numerator together: those of each tensor
    are the same three numbers. Before the first step they are 0, for d0, d0 and 0.

    So groups may differ in weight_decay and eps and in nothing else, all tensors have the same
    types of values, gradients and state, and with use_bias_correction they have taken the same
    steps: anything else is refused. A step with a learning rate of 0 moves nothing and estimates
    nothing. Where a process has shards of tensors, the numbers would be those of its shards.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0; it multiplies d
        betas: each at least 0 and below 1
        beta3: of s and d_numerator, at least 0 and below 1; None is the root of the second of
            betas
        eps: above 0; d·eps is added to the root
        weight_decay: p is multiplied by 1 - lr·d·weight_decay, or without decouple
            weight_decay·p is added to the gradient
        decouple: how weight_decay decays
        use_bias_correction: the learning rate is multiplied by Adam's corrections
        safeguard_warmup: s is made without the learning rate, for schedules that begin with a
            small one
        d0: above 0: what d begins with
        d_coef: above 0; it multiplies what d is estimated to be
        growth_rate: at least 1: a step multiplies d by so much at most
        maximize: steps uphill
        capturable: must be False
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Prodigy"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        beta3: float | Tensor | None = None,
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        decouple: bool = True,
        use_bias_correction: bool = False,
        safeguard_warmup: bool = False,
        d0: float | Tensor = 1e-06,
        d_coef: float | Tensor = 1.0,
        growth_rate: float | Tensor = float("inf"),
        *,
        maximize: bool = False,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "beta3": beta3,
                "eps": eps,
                "weight_decay": weight_decay,
                "decouple": decouple,
                "use_bias_correction": use_bias_correction,
                "safeguard_warmup": safeguard_warmup,
                "d0": d0,
                "d_coef": d_coef,
                "growth_rate": growth_rate,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Adan(Optimizer):
    """Adan is Adan as the authors' code has it (Xie et al. 2022); PyTorch has none. Its state is
    exp_avg, exp_avg_diff, exp_avg_sq and neg_pre_grad, the last gradient's negative. The paper's
    betas are 1 - these. Optax.adan is another algorithm: it gives the differences a weight of 1 -
    betas[1] where paper and authors give them betas[1].

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: each at least 0 and below 1: of the gradients, of their differences, and of the
            squares
        eps: at least 0; added to the root
        weight_decay: proximal: p is divided by 1 + lr·weight_decay after the step; with no_prox
            as AdamW's
        no_prox: p is multiplied by 1 - lr·weight_decay before the step instead
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Adan"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        no_prox: bool = False,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "no_prox": no_prox,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Yogi(Optimizer):
    """Yogi is Yogi as optax.yogi has it (Zaheer et al. 2018); PyTorch has none. Its state is exp_avg
    and exp_avg_sq.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0; the paper recommends more than Adam's
        betas: each at least 0 and below 1
        eps: at least 0; added to the root
        initial_accumulator_value: at least 0: what both moments start with, optax's
            initial_accumulator_value
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Yogi"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | Tensor = 0.001,
        initial_accumulator_value: float | Tensor = 1e-06,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "initial_accumulator_value": initial_accumulator_value,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Adadelta(Optimizer):
    """Adadelta is Adadelta as torch.optim.Adadelta has it (Zeiler 2012). Its state is square_avg and
    acc_delta.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0; 1 is the paper's algorithm, which has none
        rho: 0 to 1: how slowly the averages forget
        eps: at least 0; added below the roots
        weight_decay: L2 penalty: weight_decay·p is added to the gradient; with decoupled p is
            multiplied by 1 - lr·weight_decay
        foreach: accepted, as torch's; each step is fused whatever it says
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        maximize: steps uphill
        differentiable: must be False
        decoupled: decays as AdamW does: p is multiplied by 1 - lr·weight_decay, and nothing is
            added to the gradient
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Adadelta"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float | Tensor = 0.9,
        eps: float | Tensor = 1e-06,
        weight_decay: float | Tensor = 0.0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        decoupled: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "capturable": capturable,
                "maximize": maximize,
                "differentiable": differentiable,
                "decoupled": decoupled,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Rprop(Optimizer):
    """Rprop is Rprop as torch.optim.Rprop has it (Riedmiller & Braun 1993), for whole batches: it
    looks at the gradient's sign alone. Its state is prev, the last gradient, and step_size.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0: a tensor's step sizes start with it, times the schedule's factor, in its
            first step. Later it has no effect
        etas: 0 < etas[0] < 1 < etas[1]: multiply the step size where the sign changed, and
            where it did not
        step_sizes: the least and the largest step size
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        foreach: accepted, as torch's; each step is fused whatever it says
        maximize: steps uphill
        differentiable: must be False
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Rprop"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-06, 50.0),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class FTRL(Optimizer):
    """FTRL is FTRL-Proximal (McMahan et al. 2013, algorithm 1) as keras.optimizers.Ftrl has it, with
    the paper's rate, which falls with the root of the sum of squared gradients (learning_rate_power
    -0.5). Its state is accumulator and linear.

    The two of them make the parameter anew at each step: with L1 it is exactly 0 where linear is
    within ±l1, and what it was before the first step is forgotten. Linear adds up gradients in
    units of the learning rate: one that changes rescales what was learned. A step of learning rate
    0 changes nothing.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0; the paper's α
        initial_accumulator_value: at least 0: what accumulator starts with, Keras'
            initial_accumulator_value
        l1: at least 0: λ1, Keras' l1_regularization_strength
        l2: at least 0: half of the paper's λ2, Keras' l2_regularization_strength
        l2_shrinkage: at least 0: 2·l2_shrinkage·p is added to the gradient, but not to its
            square
        beta: at least 0: the paper's β, added to the root
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "FTRL"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        initial_accumulator_value: float | Tensor = 0.1,
        l1: float | Tensor = 0.0,
        l2: float | Tensor = 0.0,
        l2_shrinkage: float | Tensor = 0.0,
        beta: float | Tensor = 0.0,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "initial_accumulator_value": initial_accumulator_value,
                "l1": l1,
                "l2": l2,
                "l2_shrinkage": l2_shrinkage,
                "beta": beta,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class ProximalSGD(Optimizer):
    """ProximalSGD is stochastic gradient descent with penalties that are not differentiated but solved
    for (Duchi & Singer 2009), as TensorFlow's ProximalGradientDescent has it: the gradient's step,
    then weights within ±lr·l1 of 0 become exactly 0 and all others come nearer to it by as much,
    and are divided by 1 + lr·l2. It has no state.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        l1: at least 0: of the penalty l1·|p|
        l2: at least 0: of the penalty l2·p²/2
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "ProximalSGD"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        l1: float | Tensor = 0.0,
        l2: float | Tensor = 0.0,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "l1": l1,
                "l2": l2,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class ProximalAdagrad(Optimizer):
    """ProximalAdagrad is Adagrad with penalties that are not differentiated but solved for (Duchi,
    Hazan & Singer 2011), as TensorFlow's ProximalAdagrad has it: with rate = lr/√accumulator,
    weights that the gradient's step leaves within ±rate·l1 of 0 become exactly 0 and all others
    come nearer to it by as much, and are divided by 1 + rate·l2. Its state is accumulator.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        initial_accumulator_value: above 0: what accumulator starts with, TensorFlow's
            initial_accumulator_value
        l1: at least 0: of the penalty l1·|p|
        l2: at least 0: of the penalty l2·p²/2
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "ProximalAdagrad"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        initial_accumulator_value: float | Tensor = 0.1,
        l1: float | Tensor = 0.0,
        l2: float | Tensor = 0.0,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "initial_accumulator_value": initial_accumulator_value,
                "l1": l1,
                "l2": l2,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class Sophia(Optimizer):
    """Sophia divides a momentum by an estimate of the Hessian's diagonal, and clips the quotient (Liu
    et al. 2023, algorithm 3). Its state is exp_avg, and hessian, which a step only reads: what
    estimates the diagonal, every k steps, writes it to state[p]["hessian"]. Until then, and where
    it is not positive, the divisor is eps, and a step is nearly always the clipped one.

    The estimates come from the model, not from this package, and so does what becomes of them. The
    paper averages them, hessian = β2·hessian + (1-β2)·estimate. That is a step down half the square
    of their difference, so an optimizer of its own makes it, on any device: SGD with an lr of 1 -
    β2, a weight_decay of 1 and maximize, with hessian as its parameter and the estimate as its
    grad.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        beta1: of the momentum: at least 0 and below 1
        gamma: at least 0; multiplies hessian
        eps: above 0: the least divisor
        clip_threshold: at least 0: the most that a quotient may be, either way; 0 clips nothing
        weight_decay: decoupled: each step first multiplies p by 1 - lr·weight_decay
        bias_correction: divides the momentum by 1 - beta1^t, as optax does and the paper does
            not
        maximize: steps uphill
        capturable: steps may be captured in a CUDA graph of torch's, whose replays then are
            steps
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "Sophia"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.0001,
        beta1: float | Tensor = 0.965,
        gamma: float | Tensor = 0.01,
        eps: float | Tensor = 1e-08,
        clip_threshold: float | Tensor = 1.0,
        weight_decay: float | Tensor = 0.0001,
        bias_correction: bool = True,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "beta1": beta1,
                "gamma": gamma,
                "eps": eps,
                "clip_threshold": clip_threshold,
                "weight_decay": weight_decay,
                "bias_correction": bias_correction,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class ScheduleFreeSGD(Optimizer):
    """ScheduleFreeSGD is SGD that averages where it was in place of having momentum, and so needs no
    schedule but a warm-up (Defazio et al. 2024), as the authors' schedulefree.SGDScheduleFree has
    it. Its state is z, where the steps are taken, and which begins where the parameter is before
    the first step.

    The parameter is where gradients are to be taken, between z and the average. What is to be
    evaluated, and given out, is the average: eval_parameters.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        momentum: above 0 and below 1: how near the parameter is to the average
        weight_decay: L2 penalty: weight_decay·p is added to the gradient
        warmup_steps: at least 0: step t, from 1, of them has the learning rate
            lr·t/warmup_steps
        r: above -16 and below 16: step t weighs t^r in the average, times
        weight_lr_power: at least 0 and below 16: the largest learning rate so far, to this
            power
        maximize: steps uphill
        capturable: must be False
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "ScheduleFreeSGD"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        momentum: float | Tensor = 0.9,
        weight_decay: float | Tensor = 0.0,
        warmup_steps: int = 0,
        r: float | Tensor = 0.0,
        weight_lr_power: float | Tensor = 2.0,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "warmup_steps": warmup_steps,
                "r": r,
                "weight_lr_power": weight_lr_power,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )


class ScheduleFreeAdamW(Optimizer):
    """ScheduleFreeAdamW is AdamW that averages where it was in place of the first moment, and so needs
    no schedule but a warm-up (Defazio et al. 2024), as the authors' schedulefree.AdamWScheduleFree
    has it. Its state is exp_avg_sq, and z as ScheduleFreeSGD's; what that says of the average holds
    here.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        lr: at least 0
        betas: above 0 and below 1: how near the parameter is to the average; at least 0 and
            below 1
        eps: at least 0; added to the corrected root
        weight_decay: decoupled, but at the parameter: weight_decay·p is added to the gradient
            divided by the root
        warmup_steps: at least 0: step t, from 1, of them has the learning rate
            lr·t/warmup_steps
        r: above -16 and below 16: step t weighs t^r in the average, times
        weight_lr_power: at least 0 and below 16: the largest learning rate so far, to this
            power
        maximize: steps uphill
        capturable: must be False
        max_norm: clips the norm of all gradients together in the step's own pass, as
            clip_grad_norm_(params, max_norm) before it
        max_tensor_norm: clips the norm of each gradient by itself in the step's own pass, after
            max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter
        adaptive_clip: clips the norm of the gradient of each unit, which a place on the first
            axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as
            timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes
            with rows of their own take those for units
        adaptive_eps: the least norm that a unit counts with in adaptive_clip
        ema_decay: keeps an exponential moving average of the values as state "ema", as
            AveragedModel with get_ema_avg_fn(ema_decay)
        state_dtype: the type of state, or of each by its name; None is the parameter's, as in
            torch
        master: what is kept beside parameters of 16 bits: torch.float32, state "master";
            torch.int16 or torch.int8, state "remainder"
        stochastic_rounding: rounds values and state of 16 bits up or down by chance
        seed: of stochastic_rounding
    """

    _algorithm = "ScheduleFreeAdamW"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.0025,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        warmup_steps: int = 0,
        r: float | Tensor = 0.0,
        weight_lr_power: float | Tensor = 2.0,
        maximize: bool = False,
        *,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "warmup_steps": warmup_steps,
                "r": r,
                "weight_lr_power": weight_lr_power,
                "maximize": maximize,
                "capturable": capturable,
                "ema_decay": ema_decay,
                "state_dtype": state_dtype,
                "master": master,
                "stochastic_rounding": stochastic_rounding,
                "seed": seed,
            },
            max_norm,
            max_tensor_norm,
            adaptive_clip,
            adaptive_eps,
        )
