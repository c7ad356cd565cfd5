"""Optimizers for PyTorch, each step of which is one pass over the memory.

    from fusestep.torch import AdamW   # in place of torch.optim
"""

from .._library import RuleError
from ._classes import *  # noqa: F403
from ._classes import __all__ as _classes
from ._optimizer import Optimizer
from ._rule import Rule

__all__ = [*_classes, "Optimizer", "Rule", "RuleError"]
