"""The choice between a plain form of a function and one that is tuned to a CPU."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array

from jaxcaps.functional.cpu.primitive import Flat, Value, bind

SWITCH = "JAXCAPS_CPU_KERNELS"


def tuned_forms_fit(*sizes: Any) -> bool:
    """Whether tuned forms may be used: they are not switched off, and none of these sizes is symbolic."""
    return os.environ.get(SWITCH, "1") != "0" and all(isinstance(size, int) for size in sizes)


def choose(tuned: Callable[..., Any], plain: Callable[..., Any], *arguments: Any) -> Any:
    """Computes the tuned form on a CPU and the plain form elsewhere.

    `jaxcaps.functional.cpu.primitive` describes its derivatives.

    Args:
        tuned, plain: two forms of one function, whose results have the same structure, shapes and dtypes. The tuned
            form has to support reverse mode only.
        arguments: floating-point arrays, or pytrees of them.
    """
    flat, tree = jax.tree.flatten(arguments)
    flat = _varying_alike(flat)
    arguments = jax.tree.unflatten(tree, flat)
    # The plain form first: it checks its arguments.
    (plain_jaxpr, results), (tuned_jaxpr, _) = (
        jax.make_jaxpr(form, return_shape=True)(*arguments) for form in (plain, tuned)
    )
    # Forms may close over traced arrays, such as the parameters of a user's routing: they become arguments too.
    consts = {id(each): each for jaxpr in (tuned_jaxpr, plain_jaxpr) for each in jaxpr.consts}
    traced = [each for each in consts.values() if isinstance(each, jax.core.Tracer)]
    places = {id(each): place for place, each in enumerate(traced)}

    def explicit(jaxpr: ClosedJaxpr) -> Flat:
        def form(*flat: Any) -> Sequence[Any]:
            consts = [flat[places[id(each)]] if id(each) in places else each for each in jaxpr.consts]
            return jaxpr_as_fun(ClosedJaxpr(jaxpr.jaxpr, consts))(*flat[len(traced) :])

        return form

    value = Value(explicit(tuned_jaxpr), explicit(plain_jaxpr))
    found = bind(value, plain_jaxpr.out_avals, *_varying_alike([*traced, *flat]))
    return jax.tree.unflatten(jax.tree.structure(results), found)


def _varying_alike(arrays: list[Array]) -> list[Array]:
    """Returns the arrays with types that vary over the same mesh axes inside `jax.shard_map`.

    Weights are shared by all devices there, and examples are not. JAX converts the operands of its own primitives, but
    not those of others.
    """
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return arrays
    varying = arrays[0].ravel()[0]
    for each in arrays[1:]:
        varying = jnp.where(True, varying, each.ravel()[0].astype(varying.dtype))
    return [jnp.where(True, each, varying.astype(each.dtype)) for each in arrays]
