"""The choice between a plain form of a function and one that is tuned to a CPU.

The two forms become one primitive, which is lowered to the form that the platform wants. A conditional
(`lax.platform_dependent`) would choose as late, but the tuned forms bring reverse passes of their own
(`jax.custom_vjp`), which rules out forward mode on every platform; and they loop over tiles of a batch, which XLA
can't partition. The primitive

- has the value of the tuned form on a CPU, and of the plain one elsewhere;
- has the derivative of the plain form in forward mode;
- has the reverse pass of the tuned form on a CPU. Elsewhere the reverse pass is that of the plain form, which is
  computed again for it;
- is lowered to the plain form where XLA partitions the program over several devices.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

SWITCH = "JAXCAPS_CPU_KERNELS"

# From flat arrays to flat arrays.
Flat = Callable[..., Sequence[Any]]


def tuned_forms_fit(*sizes: Any) -> bool:
    """Whether tuned forms may be used: they are not switched off, and all these sizes are numbers, none symbolic."""
    return os.environ.get(SWITCH, "1") != "0" and all(isinstance(size, int) for size in sizes)


def choose(tuned: Callable[..., Any], plain: Callable[..., Any], *arguments: Any) -> Any:
    """The tuned form on a CPU, the plain one elsewhere.

    Args:
        tuned, plain: two forms of one function, whose results have the same structure, shapes and dtypes. The tuned
            form needs to support `jax.vjp` only.
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
    consts = [
        each for jaxpr in (tuned_jaxpr, plain_jaxpr) for each in jaxpr.consts if isinstance(each, jax.core.Tracer)
    ]
    traced = list({id(each): each for each in consts}.values())
    places = {id(each): place for place, each in enumerate(traced)}

    def explicit(jaxpr: ClosedJaxpr) -> Flat:
        def form(*flat: Any) -> Sequence[Any]:
            consts = [flat[places[id(each)]] if id(each) in places else each for each in jaxpr.consts]
            return jaxpr_as_fun(ClosedJaxpr(jaxpr.jaxpr, consts))(*flat[len(traced) :])

        return form

    value = _Value(explicit(tuned_jaxpr), explicit(plain_jaxpr))
    found = _bind(value, plain_jaxpr.out_avals, *_varying_alike([*traced, *flat]))
    return jax.tree.unflatten(jax.tree.structure(results), found)


def _varying_alike(arrays: list[Array]) -> list[Array]:
    """The arrays, each of a type that varies over all that the others vary over inside `jax.shard_map`.

    Weights, which all devices share, meet a device's own examples there. JAX makes the operands of its own primitives
    alike, but not those of others.
    """
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return arrays
    varying = arrays[0].ravel()[0]
    for each in arrays[1:]:
        varying = jnp.where(True, varying, each.ravel()[0].astype(varying.dtype))
    return [jnp.where(True, each, varying.astype(each.dtype)) for each in arrays]


class _Choice:
    """What the primitive is bound with. `tuned` and `plain` compute the same."""

    tuned: Flat
    plain: Flat

    def jvp(self, avals: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        raise NotImplementedError

    def mapped(self, axes: Sequence[int | None]) -> "_Choice":
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class _Value(_Choice):
    """The function itself."""

    tuned: Flat
    plain: Flat

    def jvp(self, avals: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        moving = [type(each) is not ad.Zero for each in tangents]

        def of_moving(form: Flat, primals: Sequence[Any]) -> Flat:
            """As a function of the arrays that move."""

            def function(*moved: Any) -> Sequence[Any]:
                given = iter(moved)
                return list(
                    form(*(next(given) if moves else each for moves, each in zip(moving, primals, strict=True)))
                )

            return function

        linearised: dict[str, Any] = {}

        def forward(*primals: Any) -> list[Any]:
            """The results, and what the reverse pass needs beside the arguments."""
            results, linear = jax.linearize(of_moving(self.tuned, primals), *_only(moving, primals))
            leaves, linearised["tree"] = jax.tree.flatten(linear)
            linearised["given"] = [next((i for i, each in enumerate(primals) if each is leaf), None) for leaf in leaves]
            return [*results, *(leaf for leaf, i in zip(leaves, linearised["given"], strict=True) if i is None)]

        jaxpr = jax.make_jaxpr(forward)(*primals)
        kept = jaxpr.out_avals[len(avals) :]

        def tangent(*arrays: Any) -> Sequence[Any]:
            primals, given = arrays[: len(primals_)], arrays[len(primals_) + len(kept) :]
            at = _only(moving, primals)
            moved = [jnp.zeros_like(x) if each is None else each for x, each in zip(at, given, strict=True)]
            return jax.jvp(of_moving(self.plain, primals), at, moved)[1]

        def tuned_reverse(*arrays: Any) -> Sequence[Any]:
            primals, rest = arrays[: len(primals_)], iter(arrays[len(primals_) :])
            leaves = [next(rest) if i is None else primals[i] for i in linearised["given"]]
            linear = jax.tree.unflatten(linearised["tree"], leaves)
            cotangents = list(rest)
            present = [each is not None for each in cotangents]
            # Of the results that have a cotangent alone: what is not looked at is not computed.
            transposed = jax.linear_transpose(lambda *moved: _only(present, linear(*moved)), *_only(moving, primals))
            found: Sequence[Any] = transposed(_only(present, cotangents))
            return found

        def plain_reverse(*arrays: Any) -> Sequence[Any]:
            primals, cotangents = arrays[: len(primals_)], arrays[len(primals_) + len(kept) :]
            present = [each is not None for each in cotangents]
            function = of_moving(self.plain, primals)
            pulled = jax.vjp(lambda *moved: _only(present, function(*moved)), *_only(moving, primals))[1]
            return pulled(_only(present, cotangents))

        primals_ = primals
        tangent_avals = [each.to_tangent_aval() for each in avals]

        def plain_forward(*arrays: Any) -> Sequence[Any]:
            return [*self.plain(*arrays), *(jnp.zeros(each.shape, each.dtype) for each in kept)]

        with_kept = _Forward(jaxpr_as_fun(jaxpr), plain_forward, len(avals))
        found = _bind(with_kept, jaxpr.out_avals, *primals)
        linear = _Linear(len(primals), len(kept), tangent, tangent, tuned_reverse, plain_reverse)
        moved = _bind(linear, tangent_avals, *primals, *found[len(avals) :], *_only(moving, tangents))
        return found[: len(avals)], moved

    def mapped(self, axes: Sequence[int | None]) -> "_Value":
        return _Value(jax.vmap(self.tuned, axes), jax.vmap(self.plain, axes))


@dataclass(frozen=True, eq=False)
class _Forward(_Choice):
    """The function's results, so many, and what the reverse pass of its tuned form keeps (the plain form: zeros)."""

    tuned: Flat
    plain: Flat
    results: int

    def jvp(self, avals: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        found = _bind(self, avals, *primals)
        given = list(primals), _instantiated(tangents)
        moved = jax.jvp(lambda *arrays: list(self.plain(*arrays))[: self.results], *given)[1]
        # What is kept stands for the arguments, by which `_Linear` is differentiated.
        return found, [*moved, *(ad.Zero(each.to_tangent_aval()) for each in avals[self.results :])]

    def mapped(self, axes: Sequence[int | None]) -> "_Forward":
        return _Forward(jax.vmap(self.tuned, axes), jax.vmap(self.plain, axes), self.results)


@dataclass(frozen=True, eq=False)
class _Linear(_Choice):
    """A function that is linear in its last arguments, and its transpose.

    Attributes:
        primals, kept: how many arguments it is not linear in: the function's own, and what the reverse pass keeps.
        tuned, plain: its two forms.
        tuned_transpose, plain_transpose: those of its transpose, which take None for a cotangent that is 0.
    """

    primals: int
    kept: int
    tuned: Flat
    plain: Flat
    tuned_transpose: Flat
    plain_transpose: Flat

    def jvp(self, avals: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        found = _bind(self, avals, *primals)
        fixed = self.primals + self.kept
        moved = [ad.Zero(each.to_tangent_aval()) for each in avals]
        if any(type(each) is not ad.Zero for each in tangents[fixed:]):
            moved = _bind(self, avals, *primals[:fixed], *_instantiated(tangents[fixed:]))
        if any(type(each) is not ad.Zero for each in tangents[: self.primals]):

            def at(*arrays: Any) -> list[Any]:
                return list(self.plain(*arrays, *primals[self.primals :]))

            curved = jax.jvp(at, list(primals[: self.primals]), _instantiated(tangents[: self.primals]))[1]
            moved = [ad.add_tangents(*both) for both in zip(moved, curved, strict=True)]
        return found, moved

    def transpose(self, cotangents: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        fixed = self.primals + self.kept
        present = [type(each) is not ad.Zero for each in cotangents]

        def spread(transpose: Flat) -> Flat:
            def function(*arrays: Any) -> Sequence[Any]:
                given = iter(arrays[fixed:])
                return transpose(*arrays[:fixed], *(next(given) if there else None for there in present))

            return function

        back = _Linear(
            self.primals,
            self.kept,
            spread(self.tuned_transpose),
            spread(self.plain_transpose),
            lambda *arrays: _only(present, self.tuned(*arrays)),
            lambda *arrays: _only(present, self.plain(*arrays)),
        )
        avals = [each.aval.to_ct_aval() for each in arguments[fixed:]]
        return [None] * fixed + _bind(back, avals, *arguments[:fixed], *_only(present, cotangents))

    def mapped(self, axes: Sequence[int | None]) -> "_Linear":
        fixed = axes[: self.primals + self.kept]

        def over(function: Flat) -> Flat:
            def mapped(*arrays: Any) -> Any:
                linear = (None if each is None else 0 for each in arrays[len(fixed) :])
                return jax.vmap(function, (*fixed, *linear))(*arrays)

            return mapped

        forms = (self.tuned, self.plain, self.tuned_transpose, self.plain_transpose)
        return _Linear(self.primals, self.kept, *map(over, forms))


def _only(wanted: Sequence[bool], values: Sequence[Any]) -> list[Any]:
    return [each for want, each in zip(wanted, values, strict=True) if want]


def _instantiated(tangents: Sequence[Any]) -> list[Any]:
    return [ad.instantiate_zeros(each) for each in tangents]


_choice_p = Primitive("jaxcaps_choice")
_choice_p.multiple_results = True


def _bind(choice: _Choice, avals: Sequence[Any], *arrays: Any) -> list[Any]:
    return list(_choice_p.bind(*arrays, choice=choice, avals=tuple(avals)))


def _abstract(*_: Any, choice: _Choice, avals: Any) -> Any:
    return avals


def _compute(*arrays: Any, choice: _Choice, avals: Any) -> Any:
    one_device = all(len(each.devices()) == 1 for each in arrays if isinstance(each, jax.Array))
    return list((choice.tuned if one_device else choice.plain)(*arrays))


_choice_p.def_abstract_eval(_abstract)
_choice_p.def_impl(_compute)


def _differentiate(primals: Any, tangents: Any, *, choice: _Choice, avals: Any) -> Any:
    return choice.jvp(avals, primals, tangents)


def _transpose(cotangents: Any, *arguments: Any, choice: _Linear, avals: Any) -> Any:
    return choice.transpose(cotangents, arguments)


def _map(arrays: Any, axes: Any, *, choice: _Choice, avals: Any) -> Any:
    if isinstance(choice, _Linear):
        # Cotangents of what is mapped are mapped, and so have to be what they are cotangents of.
        (size,) = {each.shape[axis] for each, axis in zip(arrays, axes, strict=True) if axis is not None}
        fixed = choice.primals + choice.kept
        linear = [batching.bdim_at_front(*each, size) for each in zip(arrays[fixed:], axes[fixed:], strict=True)]
        arrays, axes = [*arrays[:fixed], *linear], [*axes[:fixed], *(0 for _ in linear)]
    mapped = choice.mapped(tuple(axes))
    avals = jax.make_jaxpr(mapped.plain)(*arrays).out_avals
    return _bind(mapped, avals, *arrays), [0] * len(avals)


def _lower_for_cpu(ctx: mlir.LoweringRuleContext, *arrays: Any, choice: _Choice, avals: Any) -> Any:
    context = ctx.module_context.axis_context
    if isinstance(context, mlir.ShardingContext):
        partitioned = context.num_devices > 1
    else:
        partitioned = any(context.mesh.shape[name] > 1 for name in set(context.mesh.axis_names) - context.manual_axes)
    return mlir.lower_fun(choice.plain if partitioned else choice.tuned)(ctx, *arrays)


def _lower(ctx: mlir.LoweringRuleContext, *arrays: Any, choice: _Choice, avals: Any) -> Any:
    return mlir.lower_fun(choice.plain)(ctx, *arrays)


ad.primitive_jvps[_choice_p] = _differentiate
ad.primitive_transposes[_choice_p] = _transpose
batching.primitive_batchers[_choice_p] = _map
mlir.register_lowering(_choice_p, _lower)
mlir.register_lowering(_choice_p, _lower_for_cpu, platform="cpu")
