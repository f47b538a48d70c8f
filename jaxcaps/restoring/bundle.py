"""A finished run as one file: a ZIP archive with the files of its folder and a manifest.

Members are stored without compression, under plain names, with fixed times, so that equal runs give equal bytes. The
comment of the archive is the SHA-256 of all bytes before it, so that no changed byte goes unnoticed.
"""

import atexit
import hashlib
import io
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from data_prep.atomic import replacing
from jaxcaps.errors import UserError

SUFFIX = ".jaxcaps"
MANIFEST = "manifest.json"
FORMAT = 1
_COMMENT = b"jaxcaps sha256 "
# "figures" itself is the name of a folder.
_NAME = re.compile(r"(?!figures$)(figures/)?[A-Za-z0-9_][A-Za-z0-9._-]*")
_AGAIN = "copy or export it again"


def pack(members: Mapping[str, bytes], file: Path, version: str) -> None:
    """Writes a bundle.

    Args:
        members: contents by name.
        file: the file to write.
        version: of the library, for messages.

    Raises:
        UserError: a name is not one that `unpack` takes.
    """
    odd = [name for name in members if not _NAME.fullmatch(name)]
    if odd:
        raise UserError(
            f"{odd[0]!r} cannot be in a bundle; rename it to letters of ASCII, digits, '.', '_' and '-', or remove it"
        )
    listed = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in members.items()
    }
    manifest = json.dumps({"format": FORMAT, "version": version, "members": listed}, indent=2) + "\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {MANIFEST: manifest.encode(), **members}.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content)
        # The comment counts itself, so its length has to be known before the bytes are hashed.
        archive.comment = _COMMENT + bytes(64)
    body = buffer.getvalue()[:-64]
    with replacing(file) as partial:
        partial.write_bytes(body + hashlib.sha256(body).hexdigest().encode())


def unpack(file: Path) -> Path:
    """Unpacks a bundle to a temporary folder, which lasts as long as the process and has the name of the bundle.

    Raises:
        UserError: the file is not a bundle, has another format, or is damaged.
    """
    status = file.stat()
    return _unpacked(file.absolute(), status.st_size, status.st_mtime_ns)


@cache
def _unpacked(file: Path, size: int, changed: int) -> Path:
    content = file.read_bytes()
    if not content[:-64].endswith(_COMMENT):
        raise UserError(f"{file} is not a bundle of jaxcaps, or its end is missing or damaged; {_AGAIN}")
    if hashlib.sha256(content[:-64]).hexdigest().encode() != content[-64:]:
        raise UserError(f"{file} is damaged: {_damaged_part(content)} has changed; {_AGAIN}")
    try:
        members = _members(content, file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is not a bundle that jaxcaps wrote: {error}; {_AGAIN}") from None
    temporary = Path(tempfile.mkdtemp(prefix="jaxcaps-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    # The stem of "...jaxcaps" is the folder above.
    folder = temporary / ("run" if file.stem in (".", "..") else file.stem)
    (folder / "figures").mkdir(parents=True)
    for name, part in members.items():
        (folder / name).write_bytes(part)
    return folder


def _members(content: bytes, file: Path) -> dict[str, bytes]:
    """The members of a bundle. It may come from anywhere, so nothing is read whose name or size is not as it should be.

    Raises:
        UserError: the bundle has another format.
        ValueError: it is not as `pack` writes it.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) != len(archive.infolist()):
            raise ValueError("it has two members of one name")
        for name, entry in entries.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name of a run's file")
            plain = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
            if not plain or entry.file_size != entry.compress_size:
                raise ValueError(f"{name} is compressed or encrypted")
        if sum(entry.file_size for entry in entries.values()) > len(content):
            raise ValueError("its members claim to be larger than the file")
        manifest = json.loads(archive.read(MANIFEST))
        if manifest["format"] != FORMAT:
            raise UserError(
                f"{file} has format {manifest['format']}, written by jaxcaps {manifest['version']}, and this version "
                f"reads format {FORMAT}; export it again with this version"
            )
        listed = manifest["members"]
        if odd := sorted(entries.keys() ^ {MANIFEST, *listed}):
            raise ValueError(f"{odd[0]} is in its manifest or its archive, and not in the other")
        members = {}
        for name, about in listed.items():
            if about["size"] == entries[name].file_size:
                members[name] = archive.read(name)
            if hashlib.sha256(members.get(name, b"")).hexdigest() != about["sha256"]:
                raise ValueError(f"{name} does not fit the manifest")
        return members


def _damaged_part(content: bytes) -> str:
    """The member in which a byte has changed, as far as that can be told."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.testzip() or "what lies between its members"
    # A damaged archive fails in many ways.
    except Exception:
        return "its table of contents"
