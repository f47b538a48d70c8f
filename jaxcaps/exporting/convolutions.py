"""Rewrites a program so that jax2onnx can convert it.

ONNX has no convolutions with dilated inputs or negative padding. jax2onnx pads no batch of symbolic size, and converts
no loops of jax 0.11; those of routings are short.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Literal

# Primitives that compute a program of their own, by the name of the parameter that holds it.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


def evaluate(program: ClosedJaxpr, *arguments: Array) -> list[Array]:
    """Evaluates a program with its convolutions and pads rewritten, its calls inlined and its loops unrolled.

    Args:
        program: from `jax.make_jaxpr`. Its convolutions take pictures, [batch, height, width, channels].
        arguments: of the program, flat.

    Returns:
        The results of the program, flat.
    """
    values: dict[Any, Any] = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    values |= zip(program.jaxpr.invars, arguments, strict=True)

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in program.jaxpr.eqns:
        inputs, name = [read(variable) for variable in equation.invars], equation.primitive.name
        if name in _CALLS:
            results = evaluate(equation.params[_CALLS[name]], *inputs)
        elif name == "conv_general_dilated":
            results = [_convolve(*inputs, **equation.params)]
        elif name == "pad":
            results = [_pad(*inputs, **equation.params)]
        elif name == "scan":
            results = _scan(*inputs, **equation.params)
        else:
            found = equation.primitive.bind(*inputs, **equation.primitive.get_bind_params(equation.params))
            results = list(found) if equation.primitive.multiple_results else [found]
        values |= zip(equation.outvars, results, strict=True)
    return [read(variable) for variable in program.jaxpr.outvars]


def _convolve(
    inputs: Array, kernel: Array, *, padding: Sequence[tuple[int, int]], lhs_dilation: Sequence[int], **settings: Any
) -> Array:
    inputs = _with_zeros_between(inputs, lhs_dilation)
    (top, bottom), (left, right) = (tuple(max(-each, 0) for each in pair) for pair in padding)
    inputs = inputs[:, top : inputs.shape[1] - bottom, left : inputs.shape[2] - right]
    y: Array = lax.conv_general_dilated_p.bind(
        inputs,
        kernel,
        padding=tuple((max(before, 0), max(after, 0)) for before, after in padding),
        lhs_dilation=(1, 1),
        **settings,
    )
    return y


def _pad(inputs: Array, value: Array, *, padding_config: Sequence[tuple[int, int, int]]) -> Array:
    if any(min(edges) < 0 or edges[2] > 0 for edges in padding_config):
        y: Array = lax.pad_p.bind(inputs, value, padding_config=padding_config)
        return y
    for axis, (before, after, _) in enumerate(padding_config):
        shape = inputs.shape
        edges = (jnp.broadcast_to(value, (*shape[:axis], width, *shape[axis + 1 :])) for width in (before, after))
        first, last = ([edge] if edge.shape[axis] else [] for edge in edges)
        inputs = jnp.concatenate([*first, inputs, *last], axis)
    return inputs


def _scan(*inputs: Array, jaxpr: ClosedJaxpr, length: int, reverse: bool, **settings: Any) -> list[Array]:
    """The steps of a loop, one after the other."""
    # jax 0.10 has numbers where jax 0.11 has trees.
    trees = settings["ft_in"].unpack() if "ft_in" in settings else ()
    sizes = [len(list(tree)) for tree in trees] or [settings["num_consts"], settings["num_carry"]]
    first = sizes[0] + sizes[1]
    consts, carry, rows = inputs[: sizes[0]], inputs[sizes[0] : first], inputs[first:]
    made: list[Sequence[Array]] = []
    for step in reversed(range(length)) if reverse else range(length):
        found = evaluate(jaxpr, *consts, *carry, *(each[step] for each in rows))
        carry = tuple(found[: sizes[1]])
        made.append(found[sizes[1] :])
    ordered = made[::-1] if reverse else made
    return [*carry, *(jnp.stack(each) for each in zip(*ordered, strict=True))]


def _with_zeros_between(inputs: Array, distances: Sequence[int]) -> Array:
    """Puts zeros between the rows and the columns: these come to lie at these distances."""
    if math.prod(distances) == 1:
        return inputs
    (rows, columns), (height, width) = distances, inputs.shape[1:3]
    spread = jnp.pad(
        inputs[:, :, None, :, None],
        ((0, 0), (0, 0), (0, rows - 1), (0, 0), (0, columns - 1), (0, 0)),
    )
    spread = lax.reshape(spread, (inputs.shape[0], height * rows, width * columns, inputs.shape[3]))
    return spread[:, : (height - 1) * rows + 1, : (width - 1) * columns + 1]
