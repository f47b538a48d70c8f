"""The commit that a line of the ledger names."""

import subprocess

import pytest

from jaxcaps.training import ledger


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit that contains a file of the package."""

    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "theirs.txt").write_text("a")
    git("add", "theirs.txt")
    git("commit", "-qm", "theirs")
    (tmp_path / "ledger.py").write_text("")
    return tmp_path, git


def test_an_installed_copy_inside_a_users_repository_has_no_commit(repository, monkeypatch):
    folder, _ = repository
    monkeypatch.setattr(ledger, "__file__", str(folder / "ledger.py"))
    assert ledger._commit() == "unknown"


def test_a_checkout_has_its_commit_and_a_plus_if_a_file_differs(repository, monkeypatch):
    folder, git = repository
    git("add", "ledger.py")
    git("commit", "-qm", "ours")
    monkeypatch.setattr(ledger, "__file__", str(folder / "ledger.py"))
    assert ledger._commit() == git("rev-parse", "--short=12", "HEAD")
    (folder / "ledger.py").write_text("changed")
    assert ledger._commit() == git("rev-parse", "--short=12", "HEAD") + "+"
