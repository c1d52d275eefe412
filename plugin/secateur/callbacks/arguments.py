"""Arguments of the wrong type, said in one sentence before anything uses them."""

from __future__ import annotations

import functools
import inspect
import math
import re
import reprlib
import types
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from secateur.errors import ModelError

F = TypeVar("F", bound=Callable[..., Any])

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}


def checked(function: F, who: str) -> F:
    """`function` with its arguments held against its type hints; ModelError names what is off.

    Only what a user may well mistake is looked at: numbers, text, flags, patterns of layers,
    and tuples and mappings of these. Everything else passes.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        check(function, who, signature.bind(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def check(function: Callable[..., Any], who: str, arguments: Mapping[str, Any]) -> None:
    """ModelError if one of the `arguments` does not fit its type hint in `function`."""
    hints = _hints(function)
    for name, value in arguments.items():
        if name in hints and not _fits(value, hints[name]):
            raise ModelError(
                f"{who}: {name}={reprlib.repr(value)} is not {_words(hints[name])}{_advice(value)}"
            )


def _advice(value: Any) -> str:
    """For a share that was written as percent."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value) if isinstance(value, str) else None
    return f"; give {float(found[1]) / 100:g}" if found else ""


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(function)


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    return any(_fits_one(value, option) for option in _options(hint))


def _fits_one(value: Any, option: Any) -> bool:
    origin = get_origin(option)
    if option is types.NoneType:
        return value is None
    if option is bool:
        return isinstance(value, bool)
    if option is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if option is float:
        real = isinstance(value, Real) and not isinstance(value, bool)
        return real and math.isfinite(float(value))
    if option is str or option is type:
        return isinstance(value, option)
    if origin is tuple:
        wanted = get_args(option)
        if not all(w in _WORDS for w in wanted):  # arrays have checks of their own
            return True
        same = isinstance(value, tuple | list) and len(value) == len(wanted)
        return same and all(_fits(v, w) for v, w in zip(value, wanted, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        kinds = get_args(option)
        return isinstance(value, Mapping) and all(
            _fits(k, kinds[0]) and _fits(v, kinds[1]) for k, v in value.items()
        )
    if origin is not None and issubclass(origin, Sequence):
        (kind,) = get_args(option)
        if isinstance(value, str | type):  # one pattern stands for a list of one
            return _fits(value, kind)
        return hasattr(value, "__iter__") and all(_fits(v, kind) for v in value)
    return True


def _words(hint: Any) -> str:
    parts = []
    for option in _options(hint):
        origin = get_origin(option)
        if option is types.NoneType:
            parts.append("None")
        elif option is type:
            parts.append("a class")
        elif origin is tuple:
            parts.append(f"({', '.join(_words(x) for x in get_args(option))})")
        elif origin is not None and issubclass(origin, Mapping):
            key, value = get_args(option)
            parts.append(f"a mapping from {_words(key)} to {_words(value)}")
        elif origin is not None and issubclass(origin, Sequence):
            parts.append(f"a list, each {_words(get_args(option)[0])}")
        else:
            parts.append(_WORDS.get(option, getattr(option, "__name__", str(option))))
    return " or ".join(parts)
