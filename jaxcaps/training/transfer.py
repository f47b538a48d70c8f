"""The encoder of one run as the start of another, strictly: nothing is taken or left without saying so."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxcaps.errors import UserError
from jaxcaps.training.state import Parameters

ENCODER = "encoder/"


class Transfer(NamedTuple):
    """Attributes:
    parameters: the new network's, those of the encoder replaced.
    account: a line a parameter: `+` taken, `-` left as initialised, `.` restored but not used.
    """

    parameters: Parameters
    account: list[str]


def transfer(
    restored: Parameters, new: Parameters, *, known: Collection[str], hands_on: Mapping[str, str], origin: Path
) -> Transfer:
    """Puts the restored encoder, and modules that are handed on, into a new network.

    Args:
        restored: parameters by path, of the earlier run.
        new: parameters of the new network.
        known: the modules that the earlier network has beside its encoder.
        hands_on: which of them become which modules of the new network.
        origin: where they come from, for errors.

    Raises:
        UserError: a name, a shape or a dtype differs, or something restored is unknown; all of it is listed.
    """
    homes = {ENCODER: ENCODER} | {f"{source}/": f"{target}/" for source, target in hands_on.items()}
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
        hint = "; --transfer-latent needs as many --ssl-capsules as classes" if hands_on else ""
        raise UserError(
            f"--restore={origin}: its encoder is of another architecture{hint}. Drop --preset and the flags of the "
            "network to take the architecture from there.\n" + "\n".join(problems)
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
