"""Speed and memory of capsule layers: `python -m benchmarks.capsules` (needs `pip install torch==2.13.0`).

Compares forward and backward passes with implementations from published code, written out below in PyTorch and JAX:
votes by einsum ("einsum"), votes by broadcasting the weights over the batch ("broadcast"), and for EM the unfolded
convolution. All contenders of a case take turns in one process; times are medians. Temporary memory is what XLA
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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcaps.functional import (
    EM,
    ROUTINGS,
    Dynamic,
    RoutingShape,
    conv_caps,
    dense_caps,
    routing_parameters,
    squash,
)

ROUNDS = 9
RESULTS = Path(__file__).parent / "results" / "capsules.json"


# Published implementations, in JAX.


def jax_einsum_form(weights, poses):
    votes = jnp.einsum("ijdk,bik->bijd", weights, poses)
    logits = jnp.zeros(votes.shape[:3])
    for iteration in range(3):
        couplings = jax.nn.softmax(logits, axis=2)
        out = squash(jnp.einsum("bij,bijd->bjd", couplings, votes))
        if iteration < 2:
            logits = logits + jnp.einsum("bijd,bjd->bij", votes, out)
    return out


def jax_broadcast_form(weights, poses):
    votes = jnp.matmul(weights[None], poses[:, :, None, :, None])[..., 0]
    logits = jnp.zeros((*votes.shape[:3], 1))
    for iteration in range(3):
        couplings = jax.nn.softmax(logits, axis=2)
        out = squash(jnp.sum(couplings * votes, axis=1, keepdims=True))
        if iteration < 2:
            logits = logits + jnp.sum(votes * out, axis=-1, keepdims=True)
    return out[:, 0]


def jax_em_form(weights, poses, activations, beta_a, beta_u, stride):
    """Votes of all examples at once, couplings normalised within a position."""
    kernel, _, in_types, out_types, side, _ = weights.shape
    batch, height, width = poses.shape[:3]
    rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    patches = jnp.stack(
        [
            poses[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
            for i in range(kernel)
            for j in range(kernel)
        ],
        axis=3,
    ).reshape(batch, rows, columns, kernel * kernel * in_types, side, side)
    active = jnp.stack(
        [
            activations[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
            for i in range(kernel)
            for j in range(kernel)
        ],
        axis=3,
    ).reshape(batch, rows, columns, -1, 1, 1)
    flat = weights.reshape(-1, out_types, side, side)
    votes = jnp.matmul(patches[:, :, :, :, None], flat[None, None, None])
    votes = votes.reshape(batch, rows, columns, -1, out_types, side * side)
    couplings = jnp.full((*votes.shape[:-1], 1), 1 / out_types)
    for iteration in range(3):
        shares = couplings * active
        mass = jnp.sum(shares, axis=3, keepdims=True)
        mean = jnp.sum(shares * votes, axis=3, keepdims=True) / mass
        variance = jnp.sum(shares * (votes - mean) ** 2, axis=3, keepdims=True) / mass + 1e-4
        cost = (beta_u[:, None] + 0.5 * jnp.log(variance)) * mass
        out = jax.nn.sigmoid(0.01 * (1 - 0.95 ** (iteration + 1)) * (beta_a - jnp.sum(cost, axis=-1)))
        if iteration < 2:
            density = -0.5 * jnp.sum((votes - mean) ** 2 / variance + jnp.log(2 * np.pi * variance), axis=-1)
            couplings = jax.nn.softmax(jnp.log(out) + density, axis=4)[..., None]
    return mean[:, :, :, 0], out[:, :, :, 0]


# The same in PyTorch.


def torch_squash(s):
    squared = (s * s).sum(-1, keepdim=True)
    return s * squared.sqrt() / (1 + squared)


def torch_einsum_form(weights, poses):
    import torch

    votes = torch.einsum("ijdk,bik->bijd", weights, poses)
    logits = torch.zeros(votes.shape[:3])
    for iteration in range(3):
        couplings = logits.softmax(2)
        out = torch_squash(torch.einsum("bij,bijd->bjd", couplings, votes))
        if iteration < 2:
            logits = logits + torch.einsum("bijd,bjd->bij", votes, out)
    return out


def torch_broadcast_form(weights, poses):
    import torch

    votes = torch.matmul(weights[None], poses[:, :, None, :, None]).squeeze(-1)
    logits = torch.zeros(*votes.shape[:3], 1)
    for iteration in range(3):
        couplings = logits.softmax(2)
        out = torch_squash((couplings * votes).sum(1, keepdim=True))
        if iteration < 2:
            logits = logits + (votes * out).sum(-1, keepdim=True)
    return out[:, 0]


def torch_em_form(weights, poses, activations, beta_a, beta_u, stride):
    import torch

    kernel, _, _, out_types, side, _ = weights.shape
    batch = poses.shape[0]
    patches = poses.unfold(1, kernel, stride).unfold(2, kernel, stride)  # [b, r, c, in, dim, k, k]
    rows, columns = patches.shape[1:3]
    patches = patches.permute(0, 1, 2, 5, 6, 3, 4).reshape(batch, rows, columns, -1, 1, side, side)
    active = activations.unfold(1, kernel, stride).unfold(2, kernel, stride)
    active = active.permute(0, 1, 2, 4, 5, 3).reshape(batch, rows, columns, -1, 1, 1)
    votes = torch.matmul(patches, weights.reshape(-1, out_types, side, side))
    votes = votes.reshape(batch, rows, columns, -1, out_types, side * side)
    couplings = torch.full((*votes.shape[:-1], 1), 1 / out_types)
    for iteration in range(3):
        shares = couplings * active
        mass = shares.sum(3, keepdim=True)
        mean = (shares * votes).sum(3, keepdim=True) / mass
        variance = (shares * (votes - mean) ** 2).sum(3, keepdim=True) / mass + 1e-4
        cost = (beta_u[:, None] + 0.5 * variance.log()) * mass
        out = torch.sigmoid(0.01 * (1 - 0.95 ** (iteration + 1)) * (beta_a - cost.sum(-1)))
        if iteration < 2:
            density = -0.5 * ((votes - mean) ** 2 / variance + (2 * np.pi * variance).log()).sum(-1)
            couplings = (out.log() + density).softmax(4)[..., None]
    return mean[:, :, :, 0], out[:, :, :, 0]


# Measuring.


def torch_step(form: Callable[..., Any], arrays: list[np.ndarray], **settings: Any) -> Callable[[], None]:
    """A forward and backward pass of the sum of all results."""
    import torch

    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]

    def step() -> None:
        for tensor in tensors:
            tensor.grad = None
        results = form(*tensors, **settings)
        sum(each.sum() for each in (results if isinstance(results, tuple) else (results,))).backward()

    return step


def peak_megabytes() -> float:
    """Peak resident memory of this process alone (with `getrusage`, children inherit their parent's peak)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def torch_megabytes(form: Callable[..., Any], arrays: list[np.ndarray], settings: dict[str, Any]) -> float:
    """Growth of this process's peak memory, gradients included, after one example has loaded everything."""
    torch_step(form, [array[:1] if i and array.ndim > 2 else array for i, array in enumerate(arrays)], **settings)()
    before = peak_megabytes()
    torch_step(form, arrays, **settings)()
    return peak_megabytes() - before


def jax_step(form: Callable[..., Any], arrays: list[np.ndarray], **settings: Any) -> tuple[Callable[[], None], float]:
    """A compiled forward and backward pass, and its temporary memory in megabytes."""

    def loss(*arrays: Any) -> Any:
        return sum(jnp.sum(each) for each in jax.tree.leaves(form(*arrays, **settings)))

    on_device = [jnp.asarray(array) for array in arrays]
    step = jax.jit(jax.grad(loss, argnums=tuple(range(len(arrays))))).lower(*on_device).compile()
    return lambda: jax.block_until_ready(step(*on_device)), step.memory_analysis().temp_size_in_bytes / 1e6


def medians(contenders: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Milliseconds of each contender. They take turns."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for step in contenders.values():
        step()
    for _ in range(ROUNDS):
        for name, step in contenders.items():
            began = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - began))
    return {name: statistics.median(each) for name, each in times.items()}


def compare(
    title: str, arrays: list[np.ndarray], jax_forms: dict[str, Any], torch_forms: dict[str, Any], **settings: Any
) -> dict[str, Any]:
    contenders: dict[str, Callable[[], None]] = {}
    megabytes: dict[str, float] = {}
    for name, form in jax_forms.items():
        contenders[name], megabytes[name] = jax_step(form, arrays, **settings)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name, form in torch_forms.items():
            contenders[name] = torch_step(form, arrays, **settings)
            megabytes[name] = pool.apply(torch_megabytes, (form, arrays, settings))
    milliseconds = medians(contenders)
    ours = "jaxcaps"
    print(f"\n{title}\n\n| form | ms | times ours | temporary MB | times ours |\n|---|---|---|---|---|")
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


def dense(batch: int) -> dict[str, Any]:
    return compare(
        f"Dynamic routing, 1152x8 -> 10x16, 3 iterations, batch {batch}, forward and backward:",
        dense_arrays(batch, 1152, 10),
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
    ours, megabytes = jax_step(lambda w, x: dense_caps(Dynamic(), w, {}, x).poses, [weights, poses])
    contenders = {"jaxcaps": ours}
    for tile in (4, 32):
        products = jax.jit(partial(three_products, tile=tile)).lower(weights, poses).compile()
        contenders[f"three products, tile {tile}"] = lambda products=products: jax.block_until_ready(
            products(weights, poses)
        )
    milliseconds = medians(contenders)
    print("\nDynamic routing, 18,432x8 -> 3x16, 3 iterations, batch 32, forward and backward:\n")
    print("| form | ms | temporary MB |\n|---|---|---|")
    for name, each in milliseconds.items():
        print(f"| {name} | {each:.1f} | {f'{megabytes:.1f}' if name == 'jaxcaps' else ''} |")
    return {"milliseconds": milliseconds, "temporary_megabytes": {"jaxcaps": megabytes}}


def em() -> dict[str, Any]:
    batch = 32
    arrays = [
        normal(3, 3, 8, 16, 4, 4, scale=0.5),
        normal(batch, 14, 14, 8, 16),
        1 / (1 + np.exp(-normal(batch, 14, 14, 8))),
        np.zeros(16, np.float32),
        np.zeros(16, np.float32),
    ]

    def maps(form: Callable[..., Any]) -> Callable[..., Any]:
        """The reference implementations also store poses as matrix elements in the last axis."""

        def call(weights: Any, poses: Any, *others: Any) -> Any:
            return form(weights, poses, *others, stride=2)

        return call

    def ours(weights, poses, activations, beta_a, beta_u):
        parameters = {"beta_a": beta_a, "beta_u": beta_u}
        return conv_caps(EM(), weights, parameters, poses, activations, stride=2, transform="matrix")[:2]

    return compare(
        "EM, 14x14x8 -> 6x6x16 types, kernel 3, stride 2, 4x4 poses, 3 iterations, batch 32, forward and backward:",
        arrays,
        {"jaxcaps": ours, "JAX unfolded": maps(jax_em_form)},
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
            "ours": jax_step(ours, arrays[128]),
            "small": jax_step(ours, arrays[32]),
            "plain": jax_step(plain, arrays[128]),
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
    (milliseconds,) = medians({"product": lambda: jax.block_until_ready(product(x, x))}).values()
    return 2 * 2048**3 / milliseconds / 1e6


def main() -> None:
    rate = matrix_rate()
    print(f"Matrix rate: {rate:.0f} GFLOP/s")
    results: dict[str, Any] = {"matrix_gflops": rate}
    for batch in (32, 128):
        results[f"dense_{batch}"] = found = dense(batch)
        # A routing without overhead costs three products of the size of the votes: the votes and their two cotangents.
        operations = 3 * 2 * batch * 1152 * 10 * 16 * 8
        limit = operations / rate / 1e6
        share = limit / found["milliseconds"]["jaxcaps"]
        print(f"\nThe three products of the votes at the matrix rate: {limit:.1f} ms, {share:.0%} of ours.")
        found["share_of_limit"] = share
    results["large"] = large()
    results["em"] = em()
    results["others"] = others()
    results["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, {jax.default_backend()}"
    results["jax"], results["date"] = jax.__version__, time.strftime("%Y-%m-%d")
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
