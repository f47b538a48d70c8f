"""Strict transfer of an encoder from one run to another: every parameter is accounted for."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxcaps.errors import UserError
from jaxcaps.training.state import Parameters

ENCODER = "encoder/"


class Transfer(NamedTuple):
    """Attributes:
    parameters: the new network's parameters, with those of the encoder replaced.
    account: one line per parameter: `+` restored, `-` newly initialised, `.` in the earlier run but not used.
    """

    parameters: Parameters
    account: list[str]


def transfer(
    restored: Parameters, new: Parameters, *, known: Collection[str], transfers: Mapping[str, str], origin: Path
) -> Transfer:
    """Copies the restored encoder, and other modules to transfer, into a new network.

    Args:
        restored: parameters of the earlier run by path.
        new: parameters of the new network.
        known: modules of the earlier network other than its encoder.
        transfers: maps modules of the earlier network to those of the new network that they initialise.
        origin: folder or file of the earlier run, for errors.

    Raises:
        UserError: a name, shape or dtype differs, or a restored parameter is unknown. The message lists them all.
    """
    homes = {ENCODER: ENCODER} | {f"{source}/": f"{target}/" for source, target in transfers.items()}
    sources = {
        target + path.removeprefix(source): path
        for source, target in homes.items()
        for path in restored
        if path.startswith(source)
    }
    wanted = {path for path in new if path.startswith(tuple(homes.values()))}
    unknown = [path for path in restored if path.partition("/")[0] not in {"encoder", *known}]
    problems = [f"  only in {origin}: {_described(restored, sources[path])}" for path in sorted(set(sources) - wanted)]
    problems += [f"  only in the new network: {_described(new, path)}" for path in sorted(wanted - set(sources))]
    problems += [f"  unknown in {origin}: {_described(restored, path)}" for path in unknown]
    problems += [
        f"  differs: {_described(restored, sources[path])} in {origin}, {_described(new, path)} in the new network"
        for path in sorted(wanted & set(sources))
        if _kind(restored[sources[path]]) != _kind(new[path])
    ]
    if problems:
        other = any(source != target for source, target in transfers.items())
        hint = "; --transfer-latent needs as many --ssl-capsules as classes" if other else ""
        raise UserError(
            f"--restore={origin}: its encoder has another architecture{hint}. Drop --preset and the flags of the "
            "network to use the restored architecture.\n" + "\n".join(problems)
        )
    used = set(sources.values())
    account = [f"+ {_described(restored, source)}" + (f" -> {path}" if source != path else "")
               for path, source in sorted(sources.items())]  # fmt: skip
    account += [f"- {_described(new, path)}" for path in sorted(set(new) - wanted)]
    account += [f". {_described(restored, path)}" for path in sorted(set(restored) - used)]
    return Transfer(new | {path: restored[source] for path, source in sources.items()}, account)


def _kind(value: object) -> tuple[tuple[int, ...], str]:
    return tuple(value.shape), str(value.dtype)  # type: ignore[attr-defined]


def _described(parameters: Parameters, path: str) -> str:
    shape, dtype = _kind(parameters[path])
    return f"{path} {dtype}{list(shape)}"
