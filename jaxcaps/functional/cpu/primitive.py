"""A primitive of JAX that is lowered to one of two forms of a function.

`lax.platform_dependent` chooses as late. But it traces both forms for every platform, and the forms that are tuned to a
CPU have reverse passes of their own (`jax.custom_vjp`), which rules out forward mode; and they loop over tiles of a
batch, which XLA can't partition. This primitive

- has the value of the tuned form on a CPU, and of the plain form elsewhere;
- has the derivative of the plain form in forward mode;
- has the reverse pass of the tuned form on a CPU. Elsewhere it has that of the plain form, which is computed again
  for it;
- is lowered to the plain form where XLA partitions the program over several devices.

All its derivatives can be differentiated again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

Arrays = Sequence[Any]
Avals = Sequence[Any]
Axes = Sequence[int | None]
# From flat arrays to flat arrays.
Flat = Callable[..., Arrays]


class Choice:
    """The two forms that the primitive chooses from. Both compute the same function."""

    tuned: Flat
    plain: Flat

    def jvp(self, avals: Avals, primals: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        raise NotImplementedError

    def mapped(self, axes: Axes) -> "Choice":
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Value(Choice):
    """The function itself."""

    tuned: Flat
    plain: Flat

    def jvp(self, avals: Avals, primals: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        moving = [type(each) is not ad.Zero for each in tangents]
        derivative = _Derivative.of(self, moving, primals, len(avals))
        found = bind(derivative.forward, derivative.avals, *primals)
        results, kept = found[: len(avals)], found[len(avals) :]
        tangent_avals = [each.to_tangent_aval() for each in avals]
        return results, bind(derivative.linear, tangent_avals, *primals, *kept, *_only(moving, tangents))

    def mapped(self, axes: Axes) -> "Value":
        return Value(jax.vmap(self.tuned, axes), jax.vmap(self.plain, axes))


@dataclass(frozen=True, eq=False)
class _Derivative:
    """The derivative of a function by those of its arguments that move.

    Attributes:
        function: the function.
        moving: of each argument, whether it moves.
        tuned_forward: gives the results, and what the reverse pass of the tuned form keeps beside the arguments.
        avals: types of what `tuned_forward` gives.
        results: how many results there are.
        tree, given: structure of the linear function that `jax.linearize` returns, and of each of its leaves the
            argument that it is, or None if it is kept.
    """

    function: Value
    moving: Sequence[bool]
    tuned_forward: Flat
    avals: Avals
    results: int
    tree: Any
    given: Sequence[int | None]

    @classmethod
    def of(cls, function: Value, moving: Sequence[bool], primals: Arrays, results: int) -> "_Derivative":
        tree, given = None, []

        def forward(*primals: Any) -> Arrays:
            nonlocal tree, given
            found, linear = jax.linearize(_of_moving(function.tuned, moving, primals), *_only(moving, primals))
            # The linear function is a pytree, whose leaves are what it keeps.
            leaves, tree = jax.tree.flatten(linear)
            given = [next((i for i, each in enumerate(primals) if each is leaf), None) for leaf in leaves]
            return [*found, *(leaf for leaf, i in zip(leaves, given, strict=True) if i is None)]

        jaxpr = jax.make_jaxpr(forward)(*primals)
        return cls(function, moving, jaxpr_as_fun(jaxpr), jaxpr.out_avals, results, tree, given)

    @property
    def forward(self) -> "_Forward":
        return _Forward(self.tuned_forward, self._plain_forward, self.results)

    @property
    def linear(self) -> "_Linear":
        kept = len(self.avals) - self.results
        forms = (self._tangent, self._tangent, self._tuned_reverse, self._plain_reverse)
        return _Linear(len(self.moving), kept, *forms)

    def _plain_forward(self, *primals: Any) -> Arrays:
        kept = (jnp.zeros(each.shape, each.dtype) for each in self.avals[self.results :])
        return [*self.function.plain(*primals), *kept]

    def _split(self, arrays: Arrays) -> tuple[Arrays, Arrays, Arrays]:
        """Splits operands into arguments, residuals, and tangents or cotangents."""
        primals = len(self.moving)
        fixed = primals + len(self.avals) - self.results
        return arrays[:primals], arrays[primals:fixed], arrays[fixed:]

    def _tangent(self, *arrays: Any) -> Arrays:
        primals, _, tangents = self._split(arrays)
        at = _only(self.moving, primals)
        moved = [jnp.zeros_like(x) if each is None else each for x, each in zip(at, tangents, strict=True)]
        found: Arrays = jax.jvp(_of_moving(self.function.plain, self.moving, primals), at, moved)[1]
        return found

    def _tuned_reverse(self, *arrays: Any) -> Arrays:
        primals, kept, cotangents = self._split(arrays)
        rest = iter(kept)
        linear = jax.tree.unflatten(self.tree, [next(rest) if i is None else primals[i] for i in self.given])
        present = [each is not None for each in cotangents]
        # Only of the results that have a cotangent: what nobody looks at costs nothing.
        transposed = jax.linear_transpose(lambda *moved: _only(present, linear(*moved)), *_only(self.moving, primals))
        found: Arrays = transposed(_only(present, cotangents))
        return found

    def _plain_reverse(self, *arrays: Any) -> Arrays:
        primals, _, cotangents = self._split(arrays)
        present = [each is not None for each in cotangents]
        function = _of_moving(self.function.plain, self.moving, primals)
        _, pullback = jax.vjp(lambda *moved: _only(present, function(*moved)), *_only(self.moving, primals))
        found: Arrays = pullback(_only(present, cotangents))
        return found


def _of_moving(form: Flat, moving: Sequence[bool], primals: Arrays) -> Flat:
    """Returns a form as a function of the arguments that it is differentiated by."""

    def function(*moved: Any) -> Arrays:
        given = iter(moved)
        return list(form(*(next(given) if moves else each for moves, each in zip(moving, primals, strict=True))))

    return function


@dataclass(frozen=True, eq=False)
class _Forward(Choice):
    """Returns the results of the function, and the residuals of the reverse pass of its tuned form (zeros for the plain
    form)."""

    tuned: Flat
    plain: Flat
    results: int

    def jvp(self, avals: Avals, primals: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        found = bind(self, avals, *primals)
        given = list(primals), _instantiated(tangents)
        moved = jax.jvp(lambda *arrays: list(self.plain(*arrays))[: self.results], *given)[1]
        # What is kept stands for the arguments, by which `_Linear` is differentiated.
        return found, [*moved, *(ad.Zero(each.to_tangent_aval()) for each in avals[self.results :])]

    def mapped(self, axes: Axes) -> "_Forward":
        return _Forward(jax.vmap(self.tuned, axes), jax.vmap(self.plain, axes), self.results)


@dataclass(frozen=True, eq=False)
class _Linear(Choice):
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

    def jvp(self, avals: Avals, primals: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        found = bind(self, avals, *primals)
        fixed = self.primals + self.kept
        moved = [ad.Zero(each.to_tangent_aval()) for each in avals]
        if any(type(each) is not ad.Zero for each in tangents[fixed:]):
            moved = bind(self, avals, *primals[:fixed], *_instantiated(tangents[fixed:]))
        if any(type(each) is not ad.Zero for each in tangents[: self.primals]):

            def at(*arrays: Any) -> list[Any]:
                return list(self.plain(*arrays, *primals[self.primals :]))

            curved = jax.jvp(at, list(primals[: self.primals]), _instantiated(tangents[: self.primals]))[1]
            moved = [ad.add_tangents(*both) for both in zip(moved, curved, strict=True)]
        return found, moved

    def transpose(self, cotangents: Arrays, arguments: Arrays) -> list[Any]:
        fixed = self.primals + self.kept
        present = [type(each) is not ad.Zero for each in cotangents]

        def spread(transpose: Flat) -> Flat:
            def function(*arrays: Any) -> Arrays:
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
        return [None] * fixed + bind(back, avals, *arguments[:fixed], *_only(present, cotangents))

    def mapped(self, axes: Axes) -> "_Linear":
        fixed = axes[: self.primals + self.kept]

        def over(function: Flat) -> Flat:
            def mapped(*arrays: Any) -> Any:
                linear = (None if each is None else 0 for each in arrays[len(fixed) :])
                return jax.vmap(function, (*fixed, *linear))(*arrays)

            return mapped

        forms = (self.tuned, self.plain, self.tuned_transpose, self.plain_transpose)
        return _Linear(self.primals, self.kept, *map(over, forms))


def _only(wanted: Sequence[bool], values: Arrays) -> list[Any]:
    return [each for want, each in zip(wanted, values, strict=True) if want]


def _instantiated(tangents: Arrays) -> list[Any]:
    return [ad.instantiate_zeros(each) for each in tangents]


_choice_p = Primitive("jaxcaps_choice")
_choice_p.multiple_results = True


def bind(choice: Choice, avals: Avals, *arrays: Any) -> list[Any]:
    """Applies the primitive. The results have these types."""
    return list(_choice_p.bind(*arrays, choice=choice, avals=tuple(avals)))


def _abstract(*_: Any, choice: Choice, avals: Avals) -> Any:
    return avals


def _compute(*arrays: Any, choice: Choice, avals: Avals) -> Any:
    arrays = tuple(map(jnp.asarray, arrays))
    devices = {device for each in arrays for device in each.devices()}
    on_one_cpu = len(devices) == 1 and {device.platform for device in devices} == {"cpu"}
    return list((choice.tuned if on_one_cpu else choice.plain)(*arrays))


_choice_p.def_abstract_eval(_abstract)
_choice_p.def_impl(_compute)


def _differentiate(primals: Any, tangents: Any, *, choice: Choice, avals: Avals) -> Any:
    return choice.jvp(avals, primals, tangents)


def _transpose(cotangents: Any, *arguments: Any, choice: _Linear, avals: Avals) -> Any:
    return choice.transpose(cotangents, arguments)


def _map(arrays: Any, axes: Any, *, choice: Choice, avals: Avals) -> Any:
    if isinstance(choice, _Linear):
        # Cotangents of what is mapped are mapped, and so have to be what they are cotangents of.
        (size,) = {each.shape[axis] for each, axis in zip(arrays, axes, strict=True) if axis is not None}
        fixed = choice.primals + choice.kept
        linear = [batching.bdim_at_front(*each, size) for each in zip(arrays[fixed:], axes[fixed:], strict=True)]
        arrays, axes = [*arrays[:fixed], *linear], [*axes[:fixed], *(0 for _ in linear)]
    mapped = choice.mapped(tuple(axes))
    avals = jax.make_jaxpr(mapped.plain)(*arrays).out_avals
    return bind(mapped, avals, *arrays), [0] * len(avals)


def _lower_for_cpu(ctx: mlir.LoweringRuleContext, *arrays: Any, choice: Choice, avals: Avals) -> Any:
    context = ctx.module_context.axis_context
    if isinstance(context, mlir.ShardingContext):
        partitioned = context.num_devices > 1
    else:
        partitioned = any(context.mesh.shape[name] > 1 for name in set(context.mesh.axis_names) - context.manual_axes)
    return mlir.lower_fun(choice.plain if partitioned else choice.tuned)(ctx, *arrays)


def _lower(ctx: mlir.LoweringRuleContext, *arrays: Any, choice: Choice, avals: Avals) -> Any:
    return mlir.lower_fun(choice.plain)(ctx, *arrays)


ad.primitive_jvps[_choice_p] = _differentiate
ad.primitive_transposes[_choice_p] = _transpose
batching.primitive_batchers[_choice_p] = _map
mlir.register_lowering(_choice_p, _lower)
mlir.register_lowering(_choice_p, _lower_for_cpu, platform="cpu")
