"""How probabilities become objects: every setting, checked, under our names (ilastik's in SPEC 4.1)."""

from dataclasses import dataclass, fields, replace
from math import isfinite
from numbers import Real
from typing import Any, Literal, Self, get_args

import numpy as np

from gpuseg.axes import SPACE
from gpuseg.backends.taps import radius
from gpuseg.errors import InputError, ShapeError

Method = Literal["simple", "hysteresis"]
GrowLimit = Literal["strict", "shell"]
FinalInput = Literal["sum", "channel"]
WINDOW = 2.0  # the smoothing ends at 2 sigma
LEAST_SIGMA = 0.1  # below, an axis is not smoothed
THRESHOLD, LOW, HIGH = 0.5, 0.5, 0.8


@dataclass(frozen=True, slots=True)
class Settings:
    """All that decides which pixels are an object; `Settings.of` fills in what is left open."""

    method: Method = "simple"
    channel: int = 0
    core_channel: int = 0
    threshold: float = THRESHOLD  # simple; with classes: what the winner needs
    low: float = LOW  # hysteresis
    high: float = HIGH
    sigma: tuple[float, float, float] = (1.0, 1.0, 1.0)  # along z, y, x
    min_size: int = 10
    max_size: int = 1_000_000
    keep_apart: bool = False
    grow_limit: GrowLimit = "strict"
    final_input: FinalInput = "sum"
    connectivity: int = 1
    split: float | None = None
    drop_border: bool = False
    classes: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        method: Method = "simple",
        channel: int | None = None,
        core_channel: int | None = None,
        threshold: float | None = None,
        low: float | None = None,
        high: float | None = None,
        sigma: Any = 1.0,
        min_size: int = 10,
        max_size: int = 1_000_000,
        keep_apart: bool = False,
        grow_limit: GrowLimit | None = None,
        final_input: FinalInput | None = None,
        connectivity: int = 1,
        split: float | None = None,
        drop_border: bool = False,
        classes: Any = (),
        compat: Literal["ilastik"] | None = None,
    ) -> Self:
        """Checked, as users give them: see `gpuseg.segment`. InputError says what does not go together."""
        _one_of("method", method, get_args(Method))
        _one_of("compat", compat, (None, "ilastik"))
        _one_of("grow_limit", grow_limit, (None, *get_args(GrowLimit)))
        _one_of("final_input", final_input, (None, *get_args(FinalInput)))
        _one_of("connectivity", connectivity, (1, 2, 3))
        classes = tuple(dict.fromkeys(whole("classes", c) for c in several("classes", classes)))
        if classes and channel is not None:
            raise InputError(
                f"channel {channel} changes nothing beside classes {', '.join(map(str, classes))}",
                hint="leave one out",
            )
        channel, hysteresis = 0 if channel is None else channel, method == "hysteresis"
        _unused(hysteresis, threshold=threshold)
        _unused(not hysteresis, low=low, high=high, core_channel=core_channel)
        exact = compat == "ilastik"
        made = cls(
            method=method,
            channel=whole("channel", channel),
            core_channel=whole("core_channel", channel if core_channel is None else core_channel),
            threshold=_unit("threshold", (0.0 if classes else THRESHOLD) if threshold is None else threshold),
            low=_unit("low", LOW if low is None else low),
            high=_unit("high", max(HIGH, low or 0.0) if high is None else high),
            sigma=_sigma(sigma),
            min_size=whole("min_size", min_size),
            max_size=whole("max_size", max_size),
            keep_apart=bool(keep_apart),
            grow_limit=grow_limit or ("shell" if exact else "strict"),
            final_input=final_input or "sum",
            connectivity=whole("connectivity", connectivity),
            split=None if split is None else number("split", split),
            drop_border=bool(drop_border),
            classes=classes,
        )
        made._check()
        if exact:
            _ilastik_has(made)
        return made

    def _check(self) -> None:
        """What does not go together."""
        hysteresis = self.method == "hysteresis"
        if hysteresis and self.low > self.high:
            raise InputError(
                f"the low threshold {self.low:g} is above the high one, {self.high:g}",
                hint="objects grow from where the probability is high to where it is low",
            )
        if self.max_size < self.min_size:
            raise InputError(
                f"max_size {self.max_size} is below min_size {self.min_size}: nothing would be left"
            )
        if self.keep_apart and not hysteresis:
            raise InputError(
                "keep_apart needs cores to grow from, method 'simple' has none", hint=_take("hysteresis")
            )
        if self.keep_apart and self.split is not None:
            raise InputError(
                "keep_apart and split both part objects that touch", hint="choose one of the two"
            )
        if self.split is not None and not (isfinite(self.split) and self.split > 0):
            raise InputError(f"split {self.split:g}: a number of pixels above 0 is needed, for example 1")
        if self.classes and hysteresis:
            raise InputError(
                "classes go by the winner of each pixel, hysteresis by two thresholds",
                hint=f"{_take('simple')}, or segment each class by itself",
            )

    def arguments(self) -> dict[str, Any]:
        """What `Settings.of` makes the same settings of, as JSON has it."""
        made = {f.name: getattr(self, f.name) for f in fields(self)} | {"sigma": list(self.sigma[::-1])}
        idle = ("threshold",) if self.method == "hysteresis" else ("low", "high", "core_channel")
        idle = (*idle, "channel") if self.classes else idle
        return {k: list(v) if isinstance(v, tuple) else v for k, v in made.items() if k not in idle}

    @property
    def whole(self) -> bool:
        """Whether an object must be seen whole to know where it ends."""
        return self.keep_apart or self.split is not None

    def without_border(self) -> Self:
        """For a part of an image, whose border is not that of the image."""
        return replace(self, drop_border=False)

    @property
    def limits(self) -> tuple[np.float32, np.float32]:
        """Least final and core values, as float32, which is what they are compared with."""
        if self.method == "hysteresis":
            return np.float32(self.low), np.float32(self.high)
        return np.float32(self.threshold), np.float32(self.threshold)

    def channels(self, count: int, guessed: str = "") -> list[int]:
        """Channels to read of `count`: all for classes, else the final one, and the core's if another.

        guessed: the axes, where nobody named them.
        """
        asked = [*self.classes] or [self.channel, self.core_channel]
        one = "take channel 0"
        if guessed:
            one = f"axes {guessed} were guessed; name them if c is one, for example axes='yxc' (--axes yxc)"
        for channel in asked:
            if channel >= count:
                raise InputError(
                    f"channel {channel} of an image with {count} channel{'s' * (count > 1)}",
                    hint=f"channels are numbered from 0: 0 to {count - 1}" if count > 1 else one,
                )
        if self.classes and count < 2:
            raise InputError("classes of an image with 1 channel: none can win over another", hint=one)
        if self.classes:
            return list(range(count))
        return list(dict.fromkeys(asked if self.method == "hysteresis" else asked[:1]))

    def smoothing(self, shape: tuple[int, ...]) -> dict[int, float]:
        """Sigma of every axis (z, y, x) that is smoothed; axes of size 1 are not (SPEC 4.2)."""
        used = {i: s for i, s in enumerate(self.sigma) if shape[i] > 1}
        tiny = [i for i, s in used.items() if s < LEAST_SIGMA]
        if len(tiny) == len(used):
            return {}
        if tiny:
            other = next(i for i in used if i not in tiny)
            raise InputError(
                f"sigma {used[tiny[0]]:g} along {SPACE[tiny[0]]} and {used[other]:g} along {SPACE[other]}: "
                "all axes are smoothed or none",
                hint=f"{LEAST_SIGMA:g} is the least sigma that smooths",
            )
        for i, s in used.items():
            if s > shape[i] / 3:
                raise ShapeError(
                    f"sigma {s:g} along {SPACE[i]} is above a third of the image's {shape[i]} pixels there",
                    hint=f"at most {shape[i] / 3:.3g}; 0 does not smooth",
                )
        return used

    def halo(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Pixels along z, y, x that one smoothed pixel looks to each side."""
        used = self.smoothing(shape)
        return tuple(radius(used[i], WINDOW) if i in used else 0 for i in range(3))


def _one_of(name: str, value: Any, known: tuple[Any, ...]) -> None:
    if value not in known:
        names = ", ".join(str(k) for k in known if k is not None)
        raise InputError(f"{name} {value!r}", hint=f"one of {names}" if "," in names else f"only {names}")


def _unused(idle: bool, **given: Any) -> None:
    for name, value in given.items():
        if idle and value is not None:
            method, other = ("simple", "hysteresis") if name != "threshold" else ("hysteresis", "simple")
            raise InputError(f"{name} {value} changes nothing with method {method!r}", hint=_take(other))


def _take(method: str) -> str:
    """A hint for Python and for the command line."""
    return f"take the method {method} (--method {method})"


def whole(name: str, value: Any, least: int = 0) -> int:
    """As an int, if it is a whole number from `least`; InputError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} {value!r}: a whole number from {least} is needed")
    return int(value)


def number(name: str, value: Any) -> float:
    """As a float, if it is a number; InputError."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{name} {value!r}: a number is needed")
    return float(value)


def several(name: str, value: Any) -> list[Any]:
    """What a list or an array of numbers holds; InputError for one number and for text."""
    if isinstance(value, str) or not np.iterable(value):
        raise InputError(f"{name} {value!r}: several numbers are needed", hint="for example (0, 1)")
    return list(value)


def _unit(name: str, value: Any) -> float:
    if not 0 <= (given := number(name, value)) <= 1:
        raise InputError(
            f"{name} {given:g} is outside of 0 to 1",
            hint="thresholds are probabilities, whatever range the image stores them in",
        )
    return given


def _sigma(value: Any) -> tuple[float, float, float]:
    """Along z, y, x, of one number or of those along x, y(, z)."""
    given = [number("sigma", v) for v in (several("sigma", value) if np.iterable(value) else [value])]
    if len(given) not in (1, 2, 3) or not all(isfinite(s) and s >= 0 for s in given):
        raise InputError(f"sigma {value!r}: one number from 0 is needed, or one each along x, y and z")
    x, y, z = given * 3 if len(given) == 1 else (*given, 0.0)[:3] if len(given) == 2 else given
    return z, y, x


def _ilastik_has(s: Settings) -> None:
    """InputError for what ilastik cannot do."""
    beyond = {
        f"connectivity {s.connectivity}": s.connectivity != 1,
        "split": s.split is not None,
        "drop_border": s.drop_border,
        "classes": bool(s.classes),
        "final_input 'channel'": s.final_input != "sum",
        "grow_limit 'strict'": s.grow_limit != "shell",
    }
    for what, asked in beyond.items():
        if asked:
            raise InputError(f"{what} with compat ilastik, which has no such thing", hint="leave one out")


def space(name: str, given: Any, least: int) -> tuple[int, ...] | None:
    """Pixels along z, y, x of one number for all, of two or three; None of None. InputError below `least`."""
    if given is None:
        return None
    numbers = [whole(name, n, least) for n in (several(name, given) if np.iterable(given) else [given])]
    numbers *= 3 if len(numbers) == 1 else 1
    if len(numbers) not in (2, 3):
        raise InputError(f"{name} {given!r}: one number of pixels is needed, or one each along z, y, x")
    return tuple([least] * (3 - len(numbers)) + numbers)
