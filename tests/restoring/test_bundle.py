"""A bundle gives back what was packed, and nothing is read of one that was changed or made by others."""

import hashlib
import io
import json
import zipfile

import pytest

from jaxcaps.errors import UserError
from jaxcaps.restoring.bundle import pack, unpack

MEMBERS = {"config.yaml": b"seed: 0\n", "figures/curves.png": bytes(range(40)), "empty.csv": b""}


@pytest.fixture
def file(tmp_path):
    pack(MEMBERS, tmp_path / "mine.jaxcaps", "0.1.0")
    return tmp_path / "mine.jaxcaps"


def test_a_bundle_gives_back_its_members_under_its_name(file, tmp_path):
    folder = unpack(file)
    assert folder.name == "mine"
    assert {name: (folder / name).read_bytes() for name in MEMBERS} == MEMBERS
    assert unpack(file) == folder
    pack(MEMBERS, tmp_path / "again.jaxcaps", "0.1.0")
    assert (tmp_path / "again.jaxcaps").read_bytes() == file.read_bytes()


def test_a_bundle_called_dots_is_unpacked_below_its_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for name in ("...jaxcaps", "..jaxcaps"):
        pack(MEMBERS, tmp_path / name, "0.1.0")
        folder = unpack(tmp_path / name)
        assert folder.name == "run"
        assert folder.parent.parent == tmp_path / "temporary"
    assert not list((tmp_path / "temporary").glob("*.yaml"))


@pytest.mark.parametrize("name", ["metrics-test (1).json", "figures", "../x", ".hidden"])
def test_a_name_that_cannot_be_read_is_not_written(tmp_path, name):
    with pytest.raises(UserError, match="cannot be in a bundle; rename it") as error:
        pack(MEMBERS | {name: b""}, tmp_path / "x.jaxcaps", "0.1.0")
    assert repr(name) in str(error.value)
    assert not list(tmp_path.iterdir())


def test_every_changed_byte_is_noticed(file):
    content = file.read_bytes()
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)
        with pytest.raises(UserError, match=r"mine\.jaxcaps is (damaged|not a bundle)"):
            unpack(file)
    changed = content.replace(b"seed: 0", b"seed: 1")
    file.write_bytes(changed)
    with pytest.raises(UserError, match=r"mine\.jaxcaps is damaged: config\.yaml has changed; copy or export it again"):
        unpack(file)
    for cut in (content[:-100], content[:10], b""):
        file.write_bytes(cut)
        with pytest.raises(UserError, match="not a bundle of jaxcaps, or its end is missing"):
            unpack(file)


def forged(file, members, *, manifest=None, compression=zipfile.ZIP_STORED, change=lambda content: content):
    """Writes an archive whose checksum fits, with members that `pack` would not write."""
    listed = {name: {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()} for name, body in members}
    manifest = {"format": 1, "version": "9.0", "members": listed} | (manifest or {})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, body in (("manifest.json", json.dumps(manifest)), *members):
            archive.writestr(name, body)
        archive.comment = b"jaxcaps sha256 " + bytes(64)
    body = change(buffer.getvalue()[:-64])
    file.write_bytes(body + hashlib.sha256(body).hexdigest().encode())


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "options", "words"),
    [
        ([], {"manifest": {"format": 2}}, r"has format 2, written by jaxcaps 9\.0, and this version reads format 1"),
        ([("../out.txt", b"x")], {}, r"'\.\./out\.txt' is not a name of a run's file"),
        ([("/out.txt", b"x")], {}, "'/out.txt' is not a name of a run's file"),
        ([("figures/../../x", b"x")], {}, "is not a name of a run's file"),
        ([("figures", b"x")], {}, "'figures' is not a name of a run's file"),
        ([("a.txt", b"x" * 100)], {"compression": zipfile.ZIP_DEFLATED}, "is compressed or encrypted"),
        ([("a.txt", b"x"), ("a.txt", b"x")], {}, "two members of one name"),
        ([("a.txt", b"x")], {"manifest": {"members": {}}}, r"a\.txt is in its manifest or its archive"),
        ([("a.txt", b"x")], {"manifest": {"members": {"a.txt": {"size": 2, "sha256": ""}}}}, "does not fit"),
        ([("a.txt", b"x")], {"manifest": {"members": {"a.txt": {"size": 1, "sha256": ""}}}}, "does not fit"),
        ([], {"manifest": {"members": 3}}, "is not a bundle that jaxcaps wrote"),
    ],
)  # fmt: skip
def test_what_jaxcaps_did_not_write_is_refused(tmp_path, members, options, words):
    forged(tmp_path / "x.jaxcaps", members, **options)
    with pytest.raises(UserError, match=words):
        unpack(tmp_path / "x.jaxcaps")
    assert {path.name for path in tmp_path.rglob("*")} == {"x.jaxcaps"}


def test_members_that_claim_to_be_larger_than_the_file_are_not_read(tmp_path):
    def larger(content):
        # The sizes of the second entry of the table of contents: 20 and 24 bytes after its beginning.
        place = content.rindex(b"PK\x01\x02")
        return content[: place + 20] + 2 * (2**30).to_bytes(4, "little") + content[place + 28 :]

    forged(tmp_path / "x.jaxcaps", [("a.txt", b"x")], change=larger)
    with pytest.raises(UserError, match="claim to be larger than the file"):
        unpack(tmp_path / "x.jaxcaps")
