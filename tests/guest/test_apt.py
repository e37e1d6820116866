# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from pagelab.errors import MissingTool
from pagelab.guest import apt

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
# another
Components: main contrib
Signed-By: /keys/debian.gpg

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://off.example/debian
Suites: sid
Components: main
Enabled: no
"""


def sources(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        place = tmp_path if name == "list" else tmp_path / "sources.list.d"
        (place / ("sources.list" if name == "list" else name.replace("_", "."))).write_text(text, "utf-8")
    return tmp_path


def test_mirror_is_read_from_deb822_sources(tmp_path: Path) -> None:
    found = apt.host_mirror(sources(tmp_path, debian_sources=DEB822))
    expected = ("http://mirror.example/debian", "http://security.example/debian-security", "/keys/debian.gpg")
    assert (found.archive, found.security, found.keyring) == expected


def test_mirror_is_read_from_one_line_sources(tmp_path: Path) -> None:
    lines = (
        "# deb http://comment.example/debian bookworm main\n"
        "deb-src http://source.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://other.example/repo stable tools\n"
        "deb [ signed-by=/keys/d.gpg ] http://mirror.example/debian/ trixie main non-free # words\n"
    )
    found = apt.host_mirror(sources(tmp_path, list=lines))
    assert (found.archive, found.security, found.keyring) == ("http://mirror.example/debian/", "", "/keys/d.gpg")


def test_no_debian_archive_is_told(tmp_path: Path) -> None:
    ubuntu = "deb http://mirror.example/ubuntu noble main\n"
    with pytest.raises(MissingTool, match="no Debian archive"):
        apt.host_mirror(sources(tmp_path, list=ubuntu))


def test_missing_apt_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match="apt-get is not installed"):
        apt.Suite("bookworm").update()


def test_refusals_are_told_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    suite = apt.Suite("bookworm")
    unknown = suite._refused("find x", "W: noise\nE: Unable to locate package x\n")
    assert unknown.message == "could not find x: Unable to locate package x"
    assert "Debian bookworm" in unknown.hint
    full = suite._refused("download x", "E: You don't have enough free space in /c/.\n")
    assert "disk space" in full.hint
    assert suite._refused("read", "").message == "could not read: no reason given"


def test_private_state_is_all_that_apt_writes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = dict(word.split("=", 1) for word in apt.Suite("bookworm")._options()[1::2])
    for key in ("Dir::State", "Dir::State::lists", "Dir::State::status", "Dir::Cache", "Dir::Etc::sourcelist"):
        assert options[key].startswith(str(tmp_path / "pagelab"))
    assert options["Dir::Etc::sourceparts"] == "/dev/null"


def test_tree_that_lost_its_files_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    suite = apt.Suite("bookworm")
    path = suite._tree_path(["a"], True)
    (path / "root").mkdir(parents=True)
    (path / "packages.toml").write_text('"a" = "1:2-3"\n', "utf-8")
    tree = suite.cached_tree(["a"])
    assert tree is not None
    assert tree.versions == {"a": "1:2-3"}
    (path / "root").rmdir()
    assert suite.cached_tree(["a"]) is None
    assert suite.cached_tree(["a", "b"]) is None
