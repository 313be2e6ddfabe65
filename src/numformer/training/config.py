"""The knobs of training; the command line takes its options from these classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict, get_args

from numformer._names import takes_synonyms
from numformer._notices import amount
from numformer.errors import InputError
from numformer.optim import SGD, Adam, AdamW, GroupSettings, Optimizer, ParameterGroup, ScheduleConfig
from numformer.optim.groups import Parameters, as_groups
from numformer.optim.optimizer import check_range
from numformer.optim.schedules import Schedule
from numformer.training.workers import num_cores

OPTIMIZERS = Literal["adamw", "adam", "sgd"]
DEFAULT_BATCH_SIZE = 32
Precision: TypeAlias = Literal["float32", "float16-storage", "bfloat16"]
PRECISIONS = {"numpy": ("float32", "float16-storage"), "jax": ("float32", "bfloat16")}  # of each backend
Backend: TypeAlias = Literal["numpy", "jax"]


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class OptimConfig(ScheduleConfig):
    """The update rule and its learning rate."""

    optimizer: OPTIMIZERS = "adamw"
    """Which rule makes an update of a gradient."""
    lr: float = 1e-3
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay rates of Adam's averages of the gradient and of its square."""
    eps: float = 1e-8
    """Added to the root of Adam's average square."""
    weight_decay: float = 0.1
    """Decay of matrices; norms and biases never decay."""
    momentum: float = 0.9
    """Momentum of sgd."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient; a longer one is scaled down (0: off)."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each layer to the one below it, for fine-tuning; not beside groups."""
    groups: tuple[ParameterGroup, ...] = ()
    """Parameters with settings of their own, by the first pattern that fits their names; in a file [[optim.groups]]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "groups", as_groups(self.groups))  # they may be dicts
        if self.layer_decay != 1.0 and self.groups:
            raise InputError("layer_decay makes groups of its own: leave one of layer_decay and groups out")
        if self.optimizer not in get_args(OPTIMIZERS):
            raise InputError(f"unknown optimizer {self.optimizer!r}: choose {', '.join(get_args(OPTIMIZERS))}")

    def build(self, parameters: Parameters) -> Optimizer:
        """Return the optimizer of these settings for some parameters, or for dicts of them as `parameter_groups` makes.

        Raises InputError for a value out of range.
        """
        check_range("clip_norm", self.clip_norm, low=0.0)
        if self.optimizer == "sgd":
            return SGD(parameters, self.lr, self.momentum, self.weight_decay)
        adam = {"adamw": AdamW, "adam": Adam}[self.optimizer]
        return adam(parameters, self.lr, self.betas, self.eps, self.weight_decay)


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and on what to train."""

    steps: int = 2000
    """Number of updates."""
    batch_size: int | None = None
    """Most sequences in one update; 32 when neither this nor batch_tokens is given."""
    batch_tokens: int | None = None
    """Most tokens in one update, padding included; sequences of similar lengths are put together."""
    accumulation: int = 1
    """Pieces that each shard works through one after the other: same update (but for dropout's draws), less memory."""
    label_smoothing: float = 0.0
    """Probability that the training target spreads over all tokens."""
    eval_every: int = 250
    """Steps between evaluations on held-out text; each also writes a checkpoint."""
    eval_examples: int = 2000
    """Held-out examples (windows, of a text) to evaluate on, spread evenly when there are more."""
    patience: int = 0
    """Stop after this many evaluations in a row without a new best (0: never)."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    seed: int = 0
    """Decides the initial weights, the order of the data and dropout."""
    shards: int = 0
    """Parts that each batch is cut into, one core each; the result depends on it (0: one per core of the machine)."""
    threads: int = 0
    """Cores to run the shards on; the result does not depend on it (0: all)."""
    recompute: bool = False
    """Keep only each layer's input and compute the rest again for the backward pass: less memory, more time."""
    precision: Precision = "float32"
    """float16-storage (numpy) keeps in float16 what the backward pass needs; bfloat16 (jax) is for a GPU or TPU."""
    backend: Backend = "numpy"
    """What computes the steps; jax (pip install 'numformer[jax]') compiles them, and uses a GPU or TPU where it finds one."""
    mesh: str = ""
    """How the backend jax spreads over several devices: axes data, fsdp and model with their sizes, as data=4,model=2."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "batch_tokens", "accumulation", "eval_every", "eval_examples", "log_every"):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), at_least=1)
        for name in ("steps", "patience", "seed", "shards", "threads"):
            _check(name, getattr(self, name), at_least=0)
        if not 0.0 <= self.label_smoothing < 1.0:
            raise InputError(f"label_smoothing must be at least 0 and below 1, got {self.label_smoothing}")
        if self.backend not in PRECISIONS:
            raise InputError(f"unknown backend {self.backend!r}: choose {' or '.join(PRECISIONS)}")
        if self.precision not in get_args(Precision):
            raise InputError(f"unknown precision {self.precision!r}: choose {', '.join(get_args(Precision))}")
        if self.precision not in PRECISIONS[self.backend]:
            able = " or ".join(PRECISIONS[self.backend])
            raise InputError(
                f"the backend {self.backend} computes with precision {able}, got {self.precision}: "
                "choose float32 (--train.precision float32)"
            )
        if self.mesh and self.backend == "numpy":
            raise InputError(
                f"the mesh {self.mesh} is for the backend jax, got backend {self.backend}: take an empty mesh (--mesh '')"
            )
        most = self.max_sequences
        if most is not None and most < max(1, self.shards) * self.accumulation:
            raise InputError(
                f"batch_size={most} cannot be cut into {amount(max(1, self.shards), 'shards')} "
                f"of {amount(self.accumulation, 'pieces')}"
            )

    @property
    def max_sequences(self) -> int | None:
        """The most sequences in one update, None when only their tokens are bounded."""
        return DEFAULT_BATCH_SIZE if self.batch_size is None and self.batch_tokens is None else self.batch_size

    def num_sequences(self, length: int) -> int:
        """Return how many sequences of one length an update takes; raises InputError when not one fits."""
        if self.batch_tokens is not None and self.batch_tokens < length:
            raise InputError(f"batch_tokens={self.batch_tokens} is less than a sequence, of {length} tokens")
        by_tokens = None if self.batch_tokens is None else self.batch_tokens // length
        return min(bound for bound in (self.max_sequences, by_tokens) if bound is not None)

    @property
    def num_shards(self) -> int:
        """`shards`, or one per core as far as the batch can be cut."""
        most = self.max_sequences
        return self.shards or min(num_cores(), num_cores() if most is None else most // self.accumulation)


class TrainSettings(TypedDict, total=False):
    """The fields of TrainConfig as keywords; a type checker then knows which settings there are."""

    steps: int
    batch_size: int | None
    batch_tokens: int | None
    accumulation: int
    label_smoothing: float
    eval_every: int
    eval_examples: int
    patience: int
    log_every: int
    seed: int
    shards: int
    threads: int
    recompute: bool
    precision: Precision
    backend: Backend
    mesh: str


class OptimSettings(TypedDict, total=False):
    """The fields of OptimConfig as keywords."""

    optimizer: OPTIMIZERS
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    momentum: float
    clip_norm: float
    layer_decay: float
    groups: Sequence[ParameterGroup | GroupSettings]
    schedule: Schedule
    warmup_steps: int
    min_lr_ratio: float


class FitSettings(TrainSettings, OptimSettings, total=False):
    """Everything that `fit` takes as a keyword: `def fit(self, **settings: Unpack[FitSettings])`."""


def _check(name: str, value: int, at_least: int) -> None:
    if not isinstance(value, int):
        raise InputError(f"{name} must be a whole number, got {value!r}")
    if not at_least <= value < 1 << 53:
        expected = f"at least {at_least}" if value < at_least else "below 2**53"
        raise InputError(f"{name} must be {expected}, got {value}")
