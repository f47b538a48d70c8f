"""Speed and memory of capsule layers: `python -m benchmarks.capsules` (needs `pip install torch==2.13.0`).

Compares forward and backward passes with the published implementations of `benchmarks.published`, in JAX and PyTorch,
on the CPU. All contenders of a case take turns in one process; times are medians. Temporary memory is what XLA
allocates beyond arguments and results, and for PyTorch the growth of a new process's peak resident memory. Writes
`benchmarks/results/capsules.json` and prints Markdown tables.
"""

import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.published import (
    jax_broadcast_form,
    jax_einsum_form,
    jax_em_form,
    torch_broadcast_form,
    torch_einsum_form,
    torch_em_form,
)
from jaxcaps.functional import EM, ROUTINGS, Dynamic, RoutingShape, conv_caps, dense_caps, routing_parameters

ROUNDS = 9
RESULTS = Path(__file__).parent / "results" / "capsules.json"


class Case(NamedTuple):
    """One layer, and the contenders: functions of the arrays.

    Attributes:
        title: what is computed, forward and backward.
        arrays: weights, poses, and what else the forms take.
        jax_forms, torch_forms: by name; jaxcaps' own is "jaxcaps".
    """

    title: str
    arrays: list[np.ndarray]
    jax_forms: dict[str, Callable[..., Any]]
    torch_forms: dict[str, Callable[..., Any]]


# Starts so many forward and backward passes, and waits for them.
Contender = Callable[[int], None]


def torch_contender(form: Callable[..., Any], arrays: list[np.ndarray], device: str = "cpu") -> Contender:
    """Forward and backward passes of the sum of all results."""
    import torch

    tensors = [torch.tensor(array, requires_grad=True, device=device) for array in arrays]

    def passes(count: int) -> None:
        for _ in range(count):
            for tensor in tensors:
                tensor.grad = None
            results = form(*tensors)
            sum(each.sum() for each in (results if isinstance(results, tuple) else (results,))).backward()
        if device != "cpu":
            torch.cuda.synchronize()

    return passes


def peak_megabytes() -> float:
    """Peak resident memory of this process alone (with `getrusage`, children inherit their parent's peak)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def torch_megabytes(form: Callable[..., Any], arrays: list[np.ndarray]) -> float:
    """Growth of this process's peak memory, gradients included, after one example has loaded everything."""
    torch_contender(form, [array[:1] if i and array.ndim > 2 else array for i, array in enumerate(arrays)])(1)
    before = peak_megabytes()
    torch_contender(form, arrays)(1)
    return peak_megabytes() - before


def jax_contender(form: Callable[..., Any], arrays: list[np.ndarray]) -> tuple[Contender, float]:
    """Compiled forward and backward passes of the sum of all results, and their temporary memory in megabytes."""

    def loss(*arrays: Any) -> Any:
        return sum(jnp.sum(each) for each in jax.tree.leaves(form(*arrays)))

    on_device = [jnp.asarray(array) for array in arrays]
    step = jax.jit(jax.grad(loss, argnums=tuple(range(len(arrays))))).lower(*on_device).compile()

    def passes(count: int) -> None:
        for _ in range(count):
            gradients = step(*on_device)
        jax.block_until_ready(gradients)

    return passes, step.memory_analysis().temp_size_in_bytes / 1e6


def medians(contenders: dict[str, Contender], count: int = 1) -> dict[str, float]:
    """Milliseconds of a pass of each contender. They take turns, with so many passes each."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for passes in contenders.values():
        passes(1)
    for _ in range(ROUNDS):
        for name, passes in contenders.items():
            began = time.perf_counter()
            passes(count)
            times[name].append(1e3 * (time.perf_counter() - began) / count)
    return {name: statistics.median(each) for name, each in times.items()}


def compare(case: Case) -> dict[str, Any]:
    contenders: dict[str, Contender] = {}
    megabytes: dict[str, float] = {}
    for name, form in case.jax_forms.items():
        contenders[name], megabytes[name] = jax_contender(form, case.arrays)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name, form in case.torch_forms.items():
            contenders[name] = torch_contender(form, case.arrays)
            megabytes[name] = pool.apply(torch_megabytes, (form, case.arrays))
    milliseconds = medians(contenders)
    ours = "jaxcaps"
    print(f"\n{case.title}:\n\n| form | ms | times ours | temporary MB | times ours |\n|---|---|---|---|---|")
    for name in contenders:
        print(
            f"| {name} | {milliseconds[name]:.1f} | {milliseconds[name] / milliseconds[ours]:.1f} "
            f"| {megabytes[name]:.1f} | {megabytes[name] / megabytes[ours]:.1f} |",
            flush=True,
        )
    return {"milliseconds": milliseconds, "temporary_megabytes": megabytes}


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(sum(shape)).standard_normal(shape)).astype(np.float32)


def dense_arrays(batch: int, in_capsules: int, out_capsules: int) -> list[np.ndarray]:
    scale = out_capsules / (in_capsules * 16) ** 0.5
    return [normal(in_capsules, out_capsules, 16, 8, scale=scale), normal(batch, in_capsules, 8, scale=8**-0.5)]


def dense(batch: int, in_capsules: int = 1152, out_capsules: int = 10) -> Case:
    return Case(
        f"Dynamic routing, {in_capsules:,}x8 -> {out_capsules}x16, 3 iterations, batch {batch}, forward and backward",
        dense_arrays(batch, in_capsules, out_capsules),
        {
            "jaxcaps": lambda weights, poses: dense_caps(Dynamic(), weights, {}, poses).poses,
            "JAX einsum": jax_einsum_form,
            "JAX broadcast": jax_broadcast_form,
        },
        {"PyTorch einsum": torch_einsum_form, "PyTorch broadcast": torch_broadcast_form},
    )


def three_products(weights, poses, tile):
    """The product for the votes and its two backward products, tile by tile, with the votes as their cotangents."""

    def step(by_weights, poses):
        votes = lax.optimization_barrier(jnp.einsum("ijdk,bik->bijd", weights, poses))
        by_weights = by_weights + jnp.einsum("bik,bijd->ijdk", poses, votes)
        return by_weights, jnp.einsum("ijdk,bijd->bik", weights, votes)

    return lax.scan(step, jnp.zeros_like(weights), poses.reshape(-1, tile, *poses.shape[1:]))


def large() -> dict[str, Any]:
    weights, poses = (jnp.asarray(each) for each in dense_arrays(32, 18432, 3))
    ours, megabytes = jax_contender(lambda w, x: dense_caps(Dynamic(), w, {}, x).poses, [weights, poses])
    contenders = {"jaxcaps": ours}
    for tile in (4, 32):
        products = jax.jit(partial(three_products, tile=tile)).lower(weights, poses).compile()
        contenders[f"three products, tile {tile}"] = lambda _, products=products: jax.block_until_ready(
            products(weights, poses)
        )
    milliseconds = medians(contenders)
    print("\nDynamic routing, 18,432x8 -> 3x16, 3 iterations, batch 32, forward and backward:\n")
    print("| form | ms | temporary MB |\n|---|---|---|")
    for name, each in milliseconds.items():
        print(f"| {name} | {each:.1f} | {f'{megabytes:.1f}' if name == 'jaxcaps' else ''} |")
    return {"milliseconds": milliseconds, "temporary_megabytes": {"jaxcaps": megabytes}}


def em(batch: int = 32) -> Case:
    arrays = [
        normal(3, 3, 8, 16, 4, 4, scale=0.5),
        normal(batch, 14, 14, 8, 16),
        1 / (1 + np.exp(-normal(batch, 14, 14, 8))),
        np.zeros(16, np.float32),
        np.zeros(16, np.float32),
    ]

    def ours(weights, poses, activations, beta_a, beta_u):
        parameters = {"beta_a": beta_a, "beta_u": beta_u}
        return conv_caps(EM(), weights, parameters, poses, activations, stride=2, transform="matrix")[:2]

    return Case(
        f"EM, 14x14x8 -> 6x6x16 types, kernel 3, stride 2, 4x4 poses, 3 iterations, batch {batch}, forward and "
        "backward",
        arrays,
        # The reference implementations also store poses as matrix elements in the last axis.
        {"jaxcaps": ours, "JAX unfolded": partial(jax_em_form, stride=2)},
        {"PyTorch unfolded": partial(torch_em_form, stride=2)},
    )


def others() -> dict[str, Any]:
    """Temporary memory of every routing in a dense layer at two batch sizes, and of its plain form over the batch."""
    print("\nTemporary MB of 512x8 -> 10x16, forward and backward, without the gradient of the weights (2.6 MB):\n")
    print(
        "| routing | batch 32 | batch 128 | plain, batch 128 | ms, batch 128 | ms, plain |\n|---|---|---|---|---|---|"
    )
    found = {}
    shape = RoutingShape(512, 10, 8, 16)
    for name, description in ROUTINGS.items():
        routing = description()
        specs = routing_parameters(routing, shape)
        parameters = {
            key: jnp.full(spec.shape, spec.initial)
            if not callable(spec.initial)
            else spec.initial(jax.random.key(0), spec.shape)
            for key, spec in specs.items()
        }
        needs_activations = "in_activations" in routing.needs

        def ours(weights, poses, routing=routing, parameters=parameters, active=needs_activations):
            activations = jnp.full(poses.shape[:2], 0.5) if active else None
            return dense_caps(routing, weights, parameters, poses, activations).poses

        def plain(weights, poses, routing=routing, parameters=parameters, active=needs_activations):
            def one(poses):
                further = {"in_poses": poses} if "in_poses" in routing.needs else {}
                activations = jnp.full(poses.shape[0], 0.5) if active else None
                votes = jnp.einsum("ijdk,ik->ijd", weights, poses)
                return routing(votes, activations, **further, **parameters).poses

            return jax.vmap(one)(poses)

        arrays = {batch: dense_arrays(batch, 512, 10) for batch in (32, 128)}
        steps = {
            "ours": jax_contender(ours, arrays[128]),
            "small": jax_contender(ours, arrays[32]),
            "plain": jax_contender(plain, arrays[128]),
        }
        times = medians({"ours": steps["ours"][0], "plain": steps["plain"][0]})
        megabytes = {key: step[1] for key, step in steps.items()}
        found[name] = {"temporary_megabytes": megabytes, "milliseconds": times}
        print(
            f"| {name} | {megabytes['small']:.1f} | {megabytes['ours']:.1f} | {megabytes['plain']:.1f} "
            f"| {times['ours']:.1f} | {times['plain']:.1f} |",
            flush=True,
        )
    return found


def matrix_rate() -> float:
    """Speed of a large float32 matrix product, in 10^9 operations per second."""
    x = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul)
    (milliseconds,) = medians({"product": lambda _: jax.block_until_ready(product(x, x))}).values()
    return 2 * 2048**3 / milliseconds / 1e6


def main() -> None:
    rate = matrix_rate()
    print(f"Matrix rate: {rate:.0f} GFLOP/s")
    results: dict[str, Any] = {"matrix_gflops": rate}
    for batch in (32, 128):
        results[f"dense_{batch}"] = found = compare(dense(batch))
        # A routing without overhead costs three products of the size of the votes: the votes and their two cotangents.
        operations = 3 * 2 * batch * 1152 * 10 * 16 * 8
        limit = operations / rate / 1e6
        share = limit / found["milliseconds"]["jaxcaps"]
        print(f"\nThe three products of the votes at the matrix rate: {limit:.1f} ms, {share:.0%} of ours.")
        found["share_of_limit"] = share
    results["large"] = large()
    results["em"] = compare(em())
    results["others"] = others()
    results["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, {jax.default_backend()}"
    results["jax"], results["date"] = jax.__version__, time.strftime("%Y-%m-%d")
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
