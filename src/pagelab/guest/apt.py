# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages through apt, with the machine's own mirror and keyring but a state directory of our own.

apt checks the signatures.  The host's lists, status and sources are read, never written; every suite has its own
directory, so that a package always comes from the suite it was asked from.  Works without root.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pagelab.cache import appears_whole, cache_directory
from pagelab.errors import MissingTool

_SOURCES = Path("/etc/apt")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_CODENAMES = frozenset({"buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid"})
_ALIASES = frozenset({"oldoldstable", "oldstable", "stable", "testing", "unstable"})
_FIELD = re.compile(r"(?m)^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)")
_TIMEOUT = 600


@dataclass(frozen=True, slots=True)
class Mirror:
    """Base addresses of the archive and of its security updates ("" if the host has none), and the keyring."""

    archive: str
    security: str
    keyring: str


@dataclass(frozen=True, slots=True)
class Tree:
    """Packages unpacked into ``root``; ``versions`` maps each package to its version."""

    root: Path
    versions: dict[str, str]


@functools.cache
def host_mirror(sources: Path = _SOURCES) -> Mirror:
    """The Debian mirror that this machine's apt is set up with.

    :raises MissingTool: none of the sources under ``sources`` is Debian's main archive.
    """
    archive = security = keyring = ""
    for uri, suites, components, signed_by in _source_entries(sources):
        if "main" not in components:
            continue
        for suite in suites:
            if suite.endswith(("-security", "/updates")):
                security = security or uri
            elif suite in _CODENAMES | _ALIASES and not archive:
                archive, keyring = uri, signed_by
    if not archive:
        message = f"no Debian archive among the apt sources in {sources}"
        raise MissingTool(message, "add the main component of a Debian mirror to the machine's apt sources")
    return Mirror(archive, security, keyring or _KEYRING)


def _source_entries(sources: Path) -> list[tuple[str, list[str], list[str], str]]:
    """(address, suites, components, keyring) of each ``deb`` source, in the order apt reads them."""
    entries: list[tuple[str, list[str], list[str], str]] = []
    listed = sorted(sources.glob("sources.list.d/*.list")) + sorted(sources.glob("sources.list.d/*.sources"))
    for path in [sources / "sources.list", *listed]:
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            continue
        if path.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
                fields = {match[1].lower(): match[2].split() for match in _FIELD.finditer(stanza)}
                if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"]) != ["no"]:
                    suites, components = fields.get("suites", []), fields.get("components", [])
                    key = _key(fields.get("signed-by", [""])[0])
                    entries.extend((uri, suites, components, key) for uri in fields.get("uris", []))
        else:
            for line in text.splitlines():
                match = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line)
                if match:
                    signed = re.search(r"signed-by=(\S+)", match[1] or "")
                    key = _key(signed[1]) if signed else ""
                    entries.append((match[2], [match[3]], match[4].split(), key))
    return entries


def _key(signed_by: str) -> str:
    return signed_by if signed_by.startswith("/") else ""


class Suite:
    """One suite of the mirror, with its updates and security updates, in a private apt state.

    What is in the cache can be had without apt and without a network; :meth:`update` comes before everything else.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = cache_directory("apt", name)

    def update(self) -> None:
        """Fetch the suite's package lists.

        :raises MissingTool: apt is not installed, the machine has no Debian mirror, it cannot be reached, or a
            signature is wrong.
        """
        for program, package in (("apt-get", "apt"), ("apt-cache", "apt"), ("dpkg-deb", "dpkg")):
            if shutil.which(program) is None:
                hint = f"fetch on a machine with Debian's package {package}, or copy its cache directory here"
                raise MissingTool(f"{program} is not installed", hint)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        (self.directory / "status").touch()
        (self.directory / "sources.list").write_text("".join(f"{line}\n" for line in self._sources()), "utf-8")
        self._run("apt-get", "-q", "--error-on=any", "update", doing=f"read the package lists of {self.name}")

    def _sources(self) -> list[str]:
        mirror = host_mirror()
        signed = f"[arch=amd64 signed-by={mirror.keyring}]"
        codename = self.name.removesuffix("-backports")
        rolling = codename in ("sid", "unstable")
        suites = [codename] if rolling else [codename, f"{codename}-updates"]
        if self.name != codename:
            suites.append(self.name)
        lines = [f"deb {signed} {mirror.archive} {suite} main" for suite in suites]
        if mirror.security and not rolling:
            lines.append(f"deb {signed} {mirror.security} {codename}-security main")
        return lines

    def depends(self, package: str) -> list[str]:
        """The packages that ``package`` depends on directly (first alternative of each), [] if there is none such."""
        out = self._run("apt-cache", "depends", "--important", package, doing=f"look up {package}", allow_failure=True)
        return re.findall(r"^\s+\|?Depends: ([^<\s]+)$", out, re.MULTILINE)

    def candidate(self, package: str) -> str:
        """The version that would be installed, "" if the suite does not have the package."""
        out = self._run("apt-cache", "policy", package, doing=f"look up {package}", allow_failure=True)
        match = re.search(r"Candidate: (\S+)", out)
        return match[1] if match and match[1] != "(none)" else ""

    def tree(self, packages: Sequence[str], *, dependencies: bool = True) -> Tree:
        """The packages, by default with all that they depend on, downloaded and unpacked (cached by their names).

        :raises MissingTool: a package is unknown, cannot be fetched, or the disk is full.
        """
        cached = self.cached_tree(packages, dependencies=dependencies)
        if cached is not None:
            return cached
        self.update()
        final = self._tree_path(packages, dependencies)
        with appears_whole(final) as work:
            debs = self._download(packages, dependencies, work)
            versions: dict[str, str] = {}
            root = work / "root"
            root.mkdir()
            for deb in debs:
                name, version = self._unpack(deb, root)
                versions[name] = version
                deb.unlink()
            (work / "debs").rmdir()
            lines = [f'"{name}" = "{version}"\n' for name, version in sorted(versions.items())]
            (work / "packages.toml").write_text("".join(lines), "utf-8")
        return Tree(final / "root", versions)

    def cached_tree(self, packages: Sequence[str], *, dependencies: bool = True) -> Tree | None:
        """What an earlier :meth:`tree` left, without asking the network; ``None`` if nothing."""
        path = self._tree_path(packages, dependencies)
        try:
            versions = tomllib.loads((path / "packages.toml").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if not (path / "root").is_dir():
            return None
        return Tree(path / "root", {str(k): str(v) for k, v in versions.items()})

    def _tree_path(self, packages: Sequence[str], dependencies: bool) -> Path:
        words = " ".join([self.name, str(dependencies), *sorted(packages)])
        digest = hashlib.sha256(words.encode()).hexdigest()[:16]
        return cache_directory("trees") / f"{self.name}-{sorted(packages)[0]}-{digest}"

    def _download(self, packages: Sequence[str], dependencies: bool, work: Path) -> list[Path]:
        target = work / "debs"
        target.mkdir()
        names = list(packages)
        if dependencies:
            # An empty status file makes everything "not installed": the plan is the whole closure.
            simulate = ("apt-get", "-q", "-s", "--no-install-recommends", "install")
            plan = self._run(*simulate, *packages, doing=f"find {' '.join(packages)}")
            names = re.findall(r"^Inst (\S+) ", plan, re.MULTILINE)
        self._run("apt-get", "-q", "download", *names, doing=f"download {' '.join(packages)}", cwd=target)
        return sorted(target.glob("*.deb"))

    def _unpack(self, deb: Path, root: Path) -> tuple[str, str]:
        fields = self._run("dpkg-deb", "-f", str(deb), "Package", "Version", doing=f"read {deb.name}", plain=True)
        found = dict(re.findall(r"^(Package|Version): (\S+)$", fields, re.MULTILINE))
        self._run("dpkg-deb", "-x", str(deb), str(root), doing=f"unpack {deb.name}", plain=True)
        return found.get("Package", deb.stem), found.get("Version", "")

    def _run(
        self, *command: str, doing: str, cwd: Path | None = None, plain: bool = False, allow_failure: bool = False
    ) -> str:
        options = [] if plain else self._options()
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        try:
            done = subprocess.run(
                [command[0], *options, *command[1:]],
                cwd=cwd or self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise MissingTool(f"could not {doing}: no answer within {_TIMEOUT} s", "check the network") from error
        except OSError as error:
            raise MissingTool(f"could not {doing}: {error.strerror}", f"install {command[0]}") from error
        if done.returncode and not allow_failure:
            raise self._refused(doing, done.stderr)
        return done.stdout

    def _refused(self, doing: str, stderr: str) -> MissingTool:
        lines = stderr.strip().splitlines() or ["no reason given"]
        told = [line for line in lines if line.startswith(("E:", "dpkg-deb:"))]
        reason = (told or lines[-1:])[0].removeprefix("E:").strip().rstrip(".")
        if "No space left" in stderr or "enough free space" in stderr:
            hint = f"free some disk space under {self.directory.parent.parent}"
        elif "Unable to locate package" in stderr:
            hint = f"it has to be a package of Debian {self.name}, component main"
        else:
            hint = "check the network and the machine's apt sources"
        return MissingTool(f"could not {doing}: {reason}", hint)

    def _options(self) -> list[str]:
        settings = {
            "Dir::State": self.directory / "state",
            "Dir::State::lists": self.directory / "state/lists",
            "Dir::State::status": self.directory / "status",
            "Dir::Cache": self.directory / "cache",
            "Dir::Etc::sourcelist": self.directory / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Debug::NoLocking": "1",  # the directory is ours, and the lists are replaced atomically
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Sandbox::User": "",  # the user _apt cannot write to a person's cache
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            # A cached release file of a suite that has reached its end stays usable.
            "Acquire::Check-Valid-Until": "false",
        }
        if self.name.endswith("-backports"):
            settings["APT::Default-Release"] = self.name
        return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
