"""What is searched: settings of a network, by the role of its layers.

Settings are one flat mapping of plain values, so that any storage holds them and a person reads
them: `{"keep": 0.6, "slim": "l1", "pointwise.method": "ternary", "pointwise.zeros": 0.7, ...}`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secateur.errors import DataError

if TYPE_CHECKING:
    import optuna

Value = str | float | int
Settings = dict[str, Value]

#: What layers may be: the first with a kernel, then by kind.
ROLES = ("first", "depthwise", "pointwise", "conv", "dense")
#: Weight methods; every one but "int8" gives a layer few levels. See `training.WEIGHTS`.
METHODS = ("int8", "ternary", "cluster", "power_of_two", "uniform")
SLIM = ("l1", "fpgm", "slimming", "nisp", "thinet")


@dataclass(frozen=True)
class Space:
    """Choices for every setting. Of numbers: (least, most, step).

    roles: of the layers that are there; each gets `NAME.method` of `methods` and `NAME.zeros`.
    starts: names of the networks to start from, the first the model itself.
    keep: share of the multiply-accumulates that is left by the filter criteria `slim`.
    distil: share of the labels that is the float network's answer.
    activation_bits: 8, or fewer for stand-alone ReLUs.
    optimize: what the planner minimises.
    """

    roles: tuple[str, ...]
    starts: tuple[str, ...] = ("model",)
    methods: tuple[str, ...] = METHODS
    zeros: tuple[float, float, float] = (0.0, 0.9, 0.1)
    slim: tuple[str, ...] = ("l1",)
    keep: tuple[float, float, float] = (0.3, 1.0, 0.1)
    distil: tuple[float, ...] = (0.0, 0.5)
    activation_bits: tuple[int, ...] = (8,)
    optimize: tuple[str, ...] = ("balanced", "flash", "latency")

    def __post_init__(self) -> None:
        for what, given, known in (
            ("roles", self.roles, ROLES), ("methods", self.methods, METHODS),
            ("slim", self.slim, SLIM),
        ):  # fmt: skip
            for name in given:
                if name not in known:
                    raise DataError(
                        f"space: {what} has {name!r}, which is none of {', '.join(known)}"
                    )
            if not given:
                raise DataError(f"space: {what} is empty; give at least one of {', '.join(known)}")
        for what, (low, high, step) in (("zeros", self.zeros), ("keep", self.keep)):
            if not (0 <= low <= high <= 1 and step > 0):
                raise DataError(
                    f"space: {what}={(low, high, step)} is no (least, most, step) in 0..1"
                )

    @property
    def choices(self) -> dict[str, list[Value]]:
        """Every setting with its values, in a fixed order."""
        out: dict[str, list[Value]] = {
            "start": list(self.starts),
            "keep": list(_values(self.keep)),
            "slim": list(self.slim),
        }
        for role in self.roles:
            out[f"{role}.method"] = list(self.methods)
            out[f"{role}.zeros"] = list(_values(self.zeros))
        out["distil"] = list(self.distil)
        out["activation_bits"] = list(self.activation_bits)
        out["optimize"] = list(self.optimize)
        return out

    def suggest(self, trial: optuna.Trial) -> Settings:
        """Settings as the sampler wants them."""
        out: Settings = {}
        for name, values in self.choices.items():
            if len(values) == 1:
                out[name] = values[0]
            elif all(isinstance(v, float) for v in values):
                # an index: the sampler knows its order, and 0.30000000000000004 stays away
                out[name] = values[trial.suggest_int(name, 0, len(values) - 1)]
            else:
                chosen = trial.suggest_categorical(name, values)
                assert chosen is not None
                out[name] = chosen
        return out

    def parameters(self, settings: Mapping[str, Value]) -> dict[str, Any]:
        """Settings as `Study.enqueue_trial` takes them; what is not given stays open.

        Raises DataError for a setting or value that is not in the space.
        """
        out: dict[str, Any] = {}
        choices = self.choices
        for name, value in settings.items():
            if name not in choices:
                raise DataError(f"space has no setting {name!r}: {', '.join(choices)}")
            if value not in choices[name]:
                said = ", ".join(map(str, choices[name]))
                raise DataError(f"space: {name}={value!r} is none of {said}")
            if len(choices[name]) > 1:
                ordered = all(isinstance(v, float) for v in choices[name])
                out[name] = choices[name].index(value) if ordered else value
        return out

    def plain(self) -> Settings:
        """The network as it is, at 8 bits: the gentlest values of the space."""
        c = self.choices
        return {
            name: values[-1] if name == "keep" else values[0] for name, values in c.items()
        }  # fmt: skip

    def least(self) -> Settings:
        """The settings that should take the fewest bytes."""
        out = self.plain()
        few = next((m for m in ("ternary", *METHODS[::-1]) if m in self.methods), self.methods[0])
        out["keep"] = self.choices["keep"][0]
        for role in self.roles:
            out[f"{role}.method"] = few
            out[f"{role}.zeros"] = self.choices[f"{role}.zeros"][-1]
        if "flash" in self.optimize:
            out["optimize"] = "flash"
        return out

    def grid(self, over: Mapping[str, Sequence[Value]]) -> list[Settings]:
        """Every combination of the settings `over` (name -> values), all others gentlest."""
        base, out = self.plain(), []
        for values in itertools.product(*over.values()):
            out.append({**base, **dict(zip(over, values, strict=True))})
        for settings in out:
            self.parameters(settings)
        return out


def _values(span: tuple[float, float, float]) -> list[float]:
    low, high, step = span
    count = int((high - low) / step + 1e-6)
    return [round(low + i * step, 6) for i in range(count + 1)]


def roles_of(model: Any) -> dict[str, list[str]]:
    """Names of the layers with kernels, by role, in the model's order."""
    import keras

    deep = (keras.layers.DepthwiseConv2D, keras.layers.DepthwiseConv1D)
    conv = (keras.layers.Conv2D, keras.layers.Conv1D)
    found: list[tuple[str, str]] = []
    for layer in model.layers:
        if isinstance(layer, deep):
            found.append((layer.name, "depthwise"))
        elif isinstance(layer, conv):
            pointwise = set(layer.kernel_size) == {1}
            found.append((layer.name, "pointwise" if pointwise else "conv"))
        elif isinstance(layer, keras.layers.Dense):
            found.append((layer.name, "dense"))
    out: dict[str, list[str]] = {}
    for i, (name, role) in enumerate(found):
        out.setdefault("first" if i == 0 and len(found) > 1 else role, []).append(name)
    return out


def default_space(model: Any, starts: Sequence[str] = ()) -> Space:
    """The space of a Keras model: all methods for each role of its layers.

    Batch norms add network slimming's criterion, stand-alone ReLUs 4-bit activations. Raises
    DataError for a model without kernels.
    """
    import keras

    roles = roles_of(model)
    if not roles:
        raise DataError(f"model '{model.name}' has no convolution or dense layer to compress")
    slim = ["l1", "fpgm"]
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers):
        slim.append("slimming")
    return Space(
        tuple(role for role in ROLES if role in roles),
        ("model", *starts),
        slim=tuple(slim),
    )
