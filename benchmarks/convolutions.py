"""Gradients of the networks' convolutions: `python -m benchmarks.convolutions`.

For each convolution, measures the milliseconds (best of three) of the forward pass, of the input and weight gradients
of `jaxcaps.functional.convolution` and `transposed_convolution`, and of XLA's own gradients of the same map. The latter
run in a separate process with a time limit of LIMIT seconds. Prints a Markdown table.
"""

import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
from jax import Array, lax

from jaxcaps.functional import convolution, transposed_convolution

LIMIT = 20


class Case(NamedTuple):
    name: str
    batch: int
    side: int
    features: int
    width: int
    kernel: int
    stride: int
    pad: int = 0
    target: int | None = None  # output side of a transposed convolution


CASES = (
    Case("paper224 stem 1", 2, 224, 3, 64, 9, 1),
    Case("paper224 stem 2", 2, 216, 64, 128, 7, 1, 1),
    Case("paper224 stem 3, branch 3", 2, 212, 128, 44, 9, 2, 4),
    Case("paper224 stem 4", 2, 106, 128, 128, 5, 1),
    Case("paper224 stem 5", 2, 102, 128, 256, 3, 2),
    Case("paper224 primary capsules", 2, 50, 256, 256, 5, 2, 1),
    Case("paper224 decoder 24 -> 50", 2, 24, 256, 256, 5, 2, target=50),
    Case("paper224 decoder 50 -> 102", 2, 50, 256, 128, 3, 2, target=102),
    Case("paper224 decoder 102 -> 212", 2, 102, 128, 128, 9, 2, target=212),
    Case("paper224 decoder 212 -> 216", 2, 212, 128, 64, 7, 1, target=216),
    Case("paper224 decoder 216 -> 224", 2, 216, 64, 3, 9, 1, target=224),
    Case("small64 decoder 8 -> 16", 128, 8, 128, 160, 4, 2, target=16),
    Case("Sabour's primary capsules", 64, 20, 256, 256, 9, 2),
)


def ours(case: Case, x: Array, kernel: Array) -> Array:
    if case.target is not None:
        return transposed_convolution(x, kernel, stride=case.stride, target=case.target)
    return convolution(x, kernel, (case.stride,) * 2, ((case.pad, case.pad),) * 2)


def xlas(case: Case, x: Array, kernel: Array) -> Array:
    strides, layout = (case.stride,) * 2, ("NHWC", "HWIO", "NHWC")
    if case.target is not None:
        total = case.target - (case.side - 1) * case.stride + case.kernel - 2
        pads = ((total // 2, total - total // 2),) * 2
        return lax.conv_transpose(x, kernel, strides, pads, dimension_numbers=layout)
    return lax.conv_general_dilated(x, kernel, strides, ((case.pad, case.pad),) * 2, dimension_numbers=layout)


def milliseconds(function: Callable[..., Array], *arguments: Array) -> float:
    compiled = jax.jit(function).lower(*arguments).compile()
    times = []
    for _ in range(3):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - began)
    return 1e3 * min(times)


def measure(map_of_case: Callable[..., Array], case: Case, what: str) -> float:
    x = jax.random.normal(jax.random.key(0), (case.batch, case.side, case.side, case.features))
    kernel = jax.random.normal(jax.random.key(1), (case.kernel, case.kernel, case.features, case.width))
    function = partial(map_of_case, case)
    if what == "forward":
        return milliseconds(function, x, kernel)
    cotangent = jax.jit(function)(x, kernel)
    if what == "input":
        return milliseconds(
            lambda x, kernel, ct: jax.vjp(lambda x: function(x, kernel), x)[1](ct)[0], x, kernel, cotangent
        )
    return milliseconds(lambda x, kernel, ct: jax.vjp(lambda k: function(x, k), kernel)[1](ct)[0], x, kernel, cotangent)


def measure_apart(case: Case, what: str) -> str:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply_async(measure, (xlas, case, what))
        try:
            return f"{result.get(LIMIT):.0f}"
        except multiprocessing.TimeoutError:
            return f"not done in {LIMIT} s"


def main() -> None:
    print("| convolution | batch | forward | input gradient | XLA's | weight gradient | XLA's |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        forward, inputs, weights = (measure(ours, case, what) for what in ("forward", "input", "weight"))
        their_inputs, their_weights = (measure_apart(case, what) for what in ("input", "weight"))
        cells = (f"{forward:.0f}", f"{inputs:.0f}", their_inputs, f"{weights:.0f}", their_weights)
        print(f"| {case.name} | {case.batch} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
