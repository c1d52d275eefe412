"""Log-mel and MFCC features of sound in integers, bit for bit what the generated C computes.

The definition is that of MLPerf Tiny's keyword spotting (TensorFlow's `signal`): frames of `window`
samples every `hop`, a periodic Hann window, the magnitudes of a Fourier transform, triangular mel
channels (2595 log10(1 + f / 700) Hz), log(mel + 1e-6), an orthogonal DCT-II without the first
coefficient's factor. docs/integer-spec.md, "Features", says how in integers. MLPerf's reference
divides each clip by its largest sample first, which a stream cannot know: `gain` stands for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from secateur.errors import DataError

_FLOOR = 1e-6  #: is added to a mel channel
_ONE = 32767  #: the most of tables of int16
_WHOLE = 2**31 - 1  #: 1 in tables of int32
_PIECES = 128  #: of the logarithm's table


@dataclass(frozen=True)
class Mfcc:
    """Features of 16-bit samples. Raises DataError for what is no such definition.

    rate, low, high in Hz; window, hop in samples; channels: mel channels; coefficients: of the
    DCT, 0 for the log-mel channels themselves; gain: what samples are multiplied by (a sample of
    32768 is 1.0).
    """

    rate: int = 16000
    window: int = 480
    hop: int = 320
    channels: int = 40
    low: float = 20.0
    high: float = 4000.0
    coefficients: int = 10
    gain: float = 1.0

    def __post_init__(self) -> None:
        if not 16 <= self.window <= 1024 or not 1 <= self.hop <= self.window:
            raise DataError(
                f"features of {self.window} samples every {self.hop}; give a window of 16 to 1024 "
                "samples and a hop of at most that"
            )
        if not 0 <= self.low < self.high <= self.rate / 2:
            raise DataError(
                f"mel channels from {self.low} to {self.high} Hz at {self.rate} samples a second; "
                "their upper end is at most half the rate"
            )
        if not 2 <= self.channels <= 128 or not 0 <= self.coefficients <= self.channels:
            raise DataError(
                f"{self.coefficients} coefficients of {self.channels} mel channels; give 2 to 128 "
                "channels and at most as many coefficients"
            )
        if not 2.0**-8 <= self.gain <= 2.0**8:
            raise DataError(f"a gain of {self.gain}; give one between 1/256 and 256")

    @property
    def outputs(self) -> int:
        """Features of a frame."""
        return self.coefficients or self.channels

    @cached_property
    def size(self) -> int:
        """Points of the Fourier transform: the power of two that holds a window."""
        return 1 << (self.window - 1).bit_length()

    @cached_property
    def hann(self) -> np.ndarray:
        """float64 [window], periodic."""
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)

    @cached_property
    def mel(self) -> np.ndarray:
        """Weights float64 [bins, channels] of the magnitudes; the constant one has none."""

        def mels(f: np.ndarray) -> np.ndarray:
            return np.asarray(1127.0 * np.log1p(f / 700.0))

        bins = mels(np.arange(self.size // 2 + 1) * self.rate / self.size)[1:, None]
        ends = mels(np.array([self.low, self.high]))
        edges = np.linspace(ends[0], ends[1], self.channels + 2)
        low, centre, high = edges[:-2], edges[1:-1], edges[2:]
        up, down = (bins - low) / (centre - low), (high - bins) / (high - centre)
        return np.pad(np.maximum(0.0, np.minimum(up, down)), ((1, 0), (0, 0)))

    @cached_property
    def dct(self) -> np.ndarray:
        """float64 [outputs, channels]; the unit matrix without coefficients."""
        if not self.coefficients:
            return np.eye(self.channels)
        k, n = np.arange(self.coefficients)[:, None], np.arange(self.channels)
        turns = np.cos(np.pi * k * (2 * n + 1) / (2 * self.channels))
        return 2 * turns / np.sqrt(2 * self.channels)

    def frames(self, samples: np.ndarray) -> np.ndarray:
        """Windows int16 [frames, window] of samples int16 [n], the first one whole."""
        if samples.dtype != np.int16 or samples.ndim != 1:
            raise DataError(f"samples of {samples.dtype} {samples.shape}; give int16 [n]")
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.window)
        return windows[:: self.hop]

    def real(self, samples: np.ndarray) -> np.ndarray:
        """Features float64 [frames, outputs] by the definition."""
        x = self.frames(samples) * (self.gain / 32768.0)
        magnitude = np.abs(np.fft.rfft(x * self.hann, self.size))
        return np.log(magnitude @ self.mel + _FLOOR) @ self.dct.T


@dataclass(frozen=True)
class QMfcc:
    """Features as codes int8 = round(feature / scale) + zero_point: tables and their use."""

    definition: Mfcc
    scale: float
    zero_point: int  #: of int8 codes

    @cached_property
    def hann(self) -> np.ndarray:
        """int32 [window / 2 + 1]: the rest is the same backwards."""
        half = self.definition.hann[: self.definition.window // 2 + 1]
        return np.rint(_WHOLE * half).astype(np.int32)

    @cached_property
    def turns(self) -> np.ndarray:
        """cos, -sin of 2 pi k / size for k < size / 2: int32 [size / 2, 2]."""
        angle = 2 * np.pi * np.arange(self.definition.size // 2) / self.definition.size
        return np.rint(_WHOLE * np.stack([np.cos(angle), -np.sin(angle)], axis=1)).astype(np.int32)

    @cached_property
    def order(self) -> np.ndarray:
        """Bit-reversed places of the complex transform's inputs: int64 [size / 2]."""
        n = self.definition.size // 2
        bits, i = n.bit_length() - 1, np.arange(n)
        return np.asarray(sum(((i >> b) & 1) << (bits - 1 - b) for b in range(bits)))

    @cached_property
    def mel(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First bin and number of bins of each channel, and their weights one after the other,
        int32 in units of 2^-15."""
        whole = np.rint(2.0**15 * self.definition.mel).astype(np.int64)
        first, count, weights = [], [], []
        for column in whole.T:
            there = np.flatnonzero(column)
            begin, end = (there[0], there[-1] + 1) if there.size else (1, 1)
            first.append(begin)
            count.append(end - begin)
            weights += column[begin:end].tolist()
        return np.array(first), np.array(count), np.array(weights, np.int64)

    @cached_property
    def bins(self) -> tuple[int, int]:
        """Those whose magnitudes are needed: from, to."""
        first, count, _ = self.mel
        used = count > 0
        if not used.any():
            return 1, 1
        return int(first[used].min()), int((first + count)[used].max())

    @property
    def unit(self) -> float:
        """A mel channel's sum of 1, in reals."""
        d = self.definition
        return d.gain * (d.size // 2) / (2.0**30 * 2.0**15)

    @cached_property
    def floor(self) -> int:
        """What is added to a mel channel's sum."""
        return max(1, round(_FLOOR / self.unit))

    @cached_property
    def log(self) -> np.ndarray:
        """log2(1 + i / 128) in units of 2^-16: int64 [129]."""
        return np.rint(2.0**16 * np.log2(1 + np.arange(_PIECES + 1) / _PIECES)).astype(np.int64)

    @property
    def constant(self) -> int:
        """log2 of `unit` in units of 2^-16."""
        return round(2.0**16 * np.log2(self.unit))

    @cached_property
    def out(self) -> tuple[np.ndarray, int]:
        """(factors int16 [outputs, channels] or, of log-mel channels, [outputs, 1], shift) from
        logarithms to codes."""
        d = self.definition
        factor = (d.dct if d.coefficients else np.ones((d.channels, 1))) * (
            np.log(2.0) / (2.0**16 * self.scale)
        )
        shift = int(np.floor(np.log2(_ONE / np.abs(factor).max())))
        return np.rint(factor * 2.0**shift).astype(np.int64), shift

    @property
    def offset(self) -> int:
        """What is added before the shift: zero point and a half."""
        return (2 * self.zero_point + 1) << (self.out[1] - 1)

    def codes(self, samples: np.ndarray) -> np.ndarray:
        """int8 [frames, outputs] of samples int16 [n]."""
        frames = self.definition.frames(samples).astype(np.int64)
        re, im = self._spectrum(frames)
        magnitude = _magnitude(re, im)
        first, count, weights = self.mel
        ends = np.cumsum(count)
        mel = np.stack(
            [
                magnitude[:, a : a + n] @ weights[e - n : e]
                for a, n, e in zip(first - self.bins[0], count, ends, strict=True)
            ],
            axis=1,
        )
        logs = self._log2(mel + self.floor) + self.constant
        factors, shift = self.out
        total = logs @ factors.T if self.definition.coefficients else logs * factors[:, 0]
        return np.clip((total + self.offset) >> shift, -128, 127).astype(np.int8)

    def _spectrum(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of windows int64 [n, window]: the bins `bins`, over size / 2, real and imaginary."""
        d, n = self.definition, self.definition.size // 2
        at = np.arange(d.window)
        window = self.hann.astype(np.int64)[np.minimum(at, d.window - at)]
        x = np.pad((frames * window) >> 16, ((0, 0), (0, d.size - d.window)))
        re, im = x[:, 0::2][:, self.order], x[:, 1::2][:, self.order]
        cos, sin = self.turns.astype(np.int64).T
        half = 1
        while half < n:
            at = np.arange(half) * (n // half)
            a = (np.arange(n // (2 * half))[:, None] * 2 * half + np.arange(half)).reshape(-1)
            b = a + half
            c, s = np.tile(cos[at], n // (2 * half)), np.tile(sin[at], n // (2 * half))
            tr = ((re[:, b] * c) >> 32) - ((im[:, b] * s) >> 32)
            ti = ((re[:, b] * s) >> 32) + ((im[:, b] * c) >> 32)
            ar, ai = re[:, a] >> 1, im[:, a] >> 1
            re[:, a], im[:, a], re[:, b], im[:, b] = ar + tr, ai + ti, ar - tr, ai - ti
            half *= 2
        k = np.arange(*self.bins)
        other = (n - k) % n
        k = k % n  # the last bin is made of the first
        sign = np.where(np.arange(*self.bins) < n, 1, -1)
        er, ei = (re[:, k] >> 1) + (re[:, other] >> 1), (im[:, k] >> 1) - (im[:, other] >> 1)
        odd_r, odd_i = (im[:, k] >> 1) + (im[:, other] >> 1), (re[:, other] >> 1) - (re[:, k] >> 1)
        c, s = cos[k] * sign, sin[k] * sign
        yr = er + 2 * (((odd_r * c) >> 32) - ((odd_i * s) >> 32))
        yi = ei + 2 * (((odd_r * s) >> 32) + ((odd_i * c) >> 32))
        return yr, yi

    def _log2(self, v: np.ndarray) -> np.ndarray:
        """log2 in units of 2^-16 of int64 v > 0."""
        n = np.frexp(v.astype(np.float64))[1].astype(np.int64) - 1
        n -= v < (np.int64(1) << n)  # rounded up to a power of two
        mantissa = np.where(n >= 23, v >> np.maximum(n - 23, 0), v << np.maximum(23 - n, 0))
        i, r = (mantissa >> 16) - _PIECES, mantissa & 65535
        t = self.log
        return (n << 16) + t[i] + (((t[i + 1] - t[i]) * r) >> 16)


def _magnitude(re: np.ndarray, im: np.ndarray) -> np.ndarray:
    """Magnitudes, of the sum of squares' upper 31 or 32 bits the root: int64."""
    v = re * re + im * im
    bits = np.frexp(v.astype(np.float64))[1].astype(np.int64)
    bits -= (v > 0) & (v < (np.int64(1) << np.maximum(bits - 1, 0)))
    shift = np.maximum(bits - 31, 0) & ~np.int64(1)
    small = v >> shift
    root = np.floor(np.sqrt(small.astype(np.float64))).astype(np.int64)  # exact: below 2^53
    return root << (shift >> 1)
