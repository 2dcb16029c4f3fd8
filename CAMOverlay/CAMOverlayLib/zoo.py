"""The MONAI Model Zoo: what there is, and one bundle of it on disk. A program of its own: no wait blocks Slicer.

    python -m CAMOverlayLib.zoo list                      # {"bundles": [["spleen_ct_segmentation", "0.6.0"], …]}
    python -m CAMOverlayLib.zoo download NAME FOLDER      # {"fraction": 0.3} … {"folder": "FOLDER/NAME"}

Each line is a JSON object; what went wrong is ``{"error": "a sentence"}``. It needs nothing but the standard library.

The zoo's list names for each version an archive (NVIDIA's servers) or, for newer ones, a repository on Hugging Face.
``monai.bundle.download`` fetches both as well, but it needs ``huggingface_hub`` for the second; it does not report its
progress, go on after a broken connection, compare checksums, or bound what an archive unpacks to.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import stat
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from .contract.errors import sentence
from .contract.whole_files import move_all

LIST_URL = os.environ.get(
    "CAMOVERLAY_ZOO", "https://raw.githubusercontent.com/Project-MONAI/model-zoo/dev/models/model_info.json"
)
HUGGING_FACE = os.environ.get("CAMOVERLAY_HUGGING_FACE", "https://huggingface.co")
TIMEOUT = 20
ATTEMPTS = 5
"""How often in a row a connection may break without a byte in between."""
MOST_BYTES = 32 << 30
"""Of one bundle, on disk; the largest in the zoo has some 2 GB."""
MOST_FILES = 20_000
ALWAYS_FINE, MOST_RATIO = 256 << 20, 20
"""What an archive may always unpack to, and how many times its own size beyond that: weights hardly compress."""
SCRATCH = ".CAMOverlay-zoo-"
STALE = 3600.0
"""Seconds after which a download that nothing was written to is one that was killed."""
MARKER = ".CAMOverlay-zoo.json"
"""In the root of a bundle that was downloaded here: its version and its files."""

Report = Callable[[float], None]


class ZooError(Exception):
    """Why there is no list or no bundle, in a sentence for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message))


class Entry(NamedTuple):
    """The newest version of a bundle: where it is, and the archive's SHA-1 (empty where the list tells none)."""

    version: str
    source: str
    checksum: str


class Download(NamedTuple):
    """A bundle on disk that was downloaded here, with what was in it: path in the bundle → size in bytes."""

    name: str
    version: str
    folder: Path
    files: dict[str, int]


# The list -----------------------------------------------


def newest(listed: Any) -> dict[str, Entry]:
    """Name → the newest version of every bundle in the zoo's list; entries that make no sense are left out.

    Raises:
        ZooError: it is no list of bundles at all.
    """
    if not isinstance(listed, dict):
        raise ZooError(f"The list of the Model Zoo is a {type(listed).__name__}, an object is needed. Try again later.")
    found: dict[str, Entry] = {}
    for key, entry in listed.items():
        match = re.fullmatch(r"([A-Za-z0-9][\w\-]*)_v(\d{1,6}(?:\.\d{1,6}){0,5})", key, re.ASCII)
        if match is None or not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
            continue
        name, version = match.groups()
        if name not in found or order(version) > order(found[name].version):
            checksum = entry.get("checksum")
            found[name] = Entry(version, entry["source"], checksum.lower() if isinstance(checksum, str) else "")
    return dict(sorted(found.items()))


def order(version: str) -> tuple[int, ...]:
    """By which versions are compared; what is no version comes first."""
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d{1,6}(\.\d{1,6})*", version) else ()


def read_list() -> dict[str, Entry]:
    """
    Raises:
        ZooError: it cannot be had.
    """
    return newest(_json(LIST_URL, "The list of the Model Zoo"))


# What is on disk -----------------------------------------------


def downloaded(parent: Path) -> dict[str, Download]:
    """The bundles in a folder that were downloaded here, by name; the user's own are not among them."""
    found = {}
    try:
        folders = [p for p, _ in zip(parent.iterdir(), range(5000)) if p.is_dir() and not p.is_symlink()]
    except OSError:
        return {}
    for folder in folders:
        if (record := record_of(folder)) is not None:
            found[record.name] = record
    return dict(sorted(found.items()))


def record_of(folder: Path) -> Download | None:
    """What was downloaded into a folder; None where it was not downloaded here."""
    path = folder / MARKER
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or path.lstat().st_size > 8 << 20:
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        files = {str(name): int(size) for name, size in values["files"].items() if _safe(str(name)) is not None}
        return Download(str(values["name"]), str(values["version"]), folder, files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def remove(folder: Path) -> list[str]:
    """Delete what was downloaded into a folder, and nothing else.

    Returns:
        Names of the files that stay because they were not part of the download; the folder then stays, too.

    Raises:
        ZooError: it was not downloaded here, or a file cannot be deleted.
    """
    record = record_of(folder)
    if record is None:
        raise ZooError(
            f"'{folder}' was not downloaded from the Model Zoo here, so it is not removed. Delete it yourself."
        )
    try:
        for name in record.files:
            path = folder / name
            if not any(p.is_symlink() for p in path.parents if p.is_relative_to(folder)) and (
                path.is_file() or path.is_symlink()
            ):
                path.unlink()
        for cache in list(folder.rglob("__pycache__")):
            if not cache.is_symlink():
                shutil.rmtree(cache)
        for path in sorted((p for p in folder.rglob("*") if p.is_dir() and not p.is_symlink()), reverse=True):
            if not any(path.iterdir()):
                path.rmdir()
        rest = sorted(
            p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() and p.name != MARKER
        )
        (folder / MARKER).unlink()
        if not rest:
            folder.rmdir()
    except OSError as error:
        raise ZooError(f"'{folder}' cannot be removed completely: {_reason(error)}") from error
    return rest


def sweep(parent: Path, token: str = "") -> None:
    """Delete what killed downloads left: the one of this token, and all that nothing was written to for long."""
    try:
        folders = [p for p in parent.glob(SCRATCH + "*") if p.is_dir() and not p.is_symlink()]
    except OSError:
        return
    for folder in folders:
        try:
            last = max(p.lstat().st_mtime for p in (folder, *folder.rglob("*")))
        except OSError:
            last = 0.0
        if (token and folder.name.startswith(f"{SCRATCH}{token}-")) or time.time() - last > STALE:
            shutil.rmtree(folder, ignore_errors=True)


# Downloading -----------------------------------------------


def download(name: str, parent: Path, report: Report = lambda fraction: None, token: str = "") -> Path:
    """Put the newest version of a bundle into ``parent / name``, complete or not at all.

    An older version that was downloaded here is replaced; a folder of the user's is not.

    Args:
        token: part of the name of the folder in which it is collected, for the one who may kill this process.

    Raises:
        ZooError: no such bundle, no network, another content than announced, too large, or no space.
    """
    bundles = read_list()
    if name not in bundles:
        raise ZooError(f"The Model Zoo has no bundle '{name}'.")
    entry, target = bundles[name], parent / name
    _require_free(target, entry)
    sweep(parent)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{token or os.getpid()}-", dir=parent) as folder:
            scratch = Path(folder)
            if (found := _repository(entry.source)) is not None:
                root = _from_hugging_face(name, *found, scratch, report)
            else:
                root = _from_archive(name, entry, scratch, report)
            if not (root / "configs").is_dir():
                raise ZooError(f"The download of '{name}' contains no bundle.")
            _mark(root, name, entry.version)
            move_all([(root, target)])
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError) as error:
        raise ZooError(f"'{name}' cannot be downloaded: {_reason(error)}") from error
    return target


def _require_free(target: Path, entry: Entry) -> None:
    """
    Raises:
        ZooError: something is there that was not downloaded here, is as new, or was changed since.
    """
    if not os.path.lexists(target):
        return
    record = None if target.is_symlink() or not target.is_dir() else record_of(target)
    if record is None:
        raise ZooError(f"'{target}' exists already. Choose another folder, or take the bundle that is there.")
    if order(record.version) >= order(entry.version):
        raise ZooError(
            f"'{target}' exists already, in the newest version {record.version}. Take the bundle that is there."
        )
    own = {name for name, size in _sizes(target).items() if record.files.get(name) != size}
    if own:
        raise ZooError(
            f"'{target}' holds version {record.version} with files of yours ({', '.join(sorted(own)[:3])}). Move "
            "them, or choose "
            f"another folder for version {entry.version}."
        )


def _mark(root: Path, name: str, version: str) -> None:
    (root / MARKER).unlink(missing_ok=True)
    values = {"name": name, "version": version, "files": _sizes(root)}
    (root / MARKER).write_text(json.dumps(values, indent=1), encoding="utf-8")


def _sizes(root: Path) -> dict[str, int]:
    files = (
        p for p in sorted(root.rglob("*")) if not p.is_dir() and "__pycache__" not in p.parts and p != root / MARKER
    )
    return {p.relative_to(root).as_posix(): p.lstat().st_size for p in files}


# An archive


def _from_archive(name: str, entry: Entry, scratch: Path, report: Report) -> Path:
    """The bundle's root among what the archive unpacks to."""
    archive = scratch / "bundle.zip"
    digest = hashlib.sha1()  # noqa: S324
    _fetch(entry.source, archive, lambda done, total: report(0.95 * done / total if total else 0.0))
    with archive.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if entry.checksum and digest.hexdigest() != entry.checksum:
        raise ZooError(f"The download of '{name}' is not what the Model Zoo announced. Try again.")
    if not entry.checksum:
        say(warning=f"The Model Zoo tells no checksum of '{name}': it is taken as it came.")
    unpacked = scratch / "unpacked"
    unpack(archive, unpacked, lambda share: report(0.95 + 0.05 * share))
    archive.unlink()
    configs = sorted(unpacked.glob("**/configs"), key=lambda path: len(path.parts))
    if not configs:
        raise ZooError(f"The download of '{name}' contains no bundle.")
    return configs[0].parent


def unpack(archive: Path, folder: Path, report: Report = lambda fraction: None) -> None:
    """Unpack a zip file, of which nothing ends outside of the folder and the sum of sizes is bounded.

    Raises:
        ZooError: encrypted, too large, or a name that leads out of the folder.
        zipfile.BadZipFile, zlib.error, NotImplementedError, OSError: damaged, or not to be written.
    """
    folder.mkdir()
    most = min(MOST_BYTES, max(ALWAYS_FINE, MOST_RATIO * archive.stat().st_size))
    with zipfile.ZipFile(archive) as zipped:
        members = zipped.infolist()
        total = sum(member.file_size for member in members)
        if len(members) > MOST_FILES or total > most:
            raise ZooError(
                f"The archive of {_size(archive.stat().st_size)} would unpack to {len(members):,} files of "
                f"{_size(total)}; that is "
                "no bundle, and nothing was unpacked."
            )
        _require_space(folder, total)
        done = 0
        for member in members:
            if not member.filename:
                raise zipfile.BadZipFile("a file in it has no name")
            if member.is_dir() or stat.S_ISLNK(member.external_attr >> 16):
                continue
            if member.flag_bits & 1:
                raise ZooError(f"The archive is encrypted ('{member.filename}'); bundles of the Model Zoo are not.")
            path = _safe(member.filename)
            if path is None:
                raise ZooError(
                    f"The archive names a file outside of itself ('{member.filename[:80]}'); nothing was unpacked."
                )
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with zipped.open(member) as source, target.open("wb") as file:
                while block := source.read(1 << 20):
                    done += len(block)
                    if done > most:
                        raise ZooError(
                            "The archive holds more than it says; that is no bundle, and it was not unpacked."
                        )
                    file.write(block)
                    report(done / max(1, total))


# A repository on Hugging Face


def _repository(source: str) -> tuple[str, str] | None:
    """``owner/name`` and revision, where an address is a page of such a repository."""
    host = re.escape(HUGGING_FACE.rstrip("/"))
    match = re.fullmatch(
        rf"(?:https://huggingface\.co|{host})/([\w.\-]+/[\w.\-]+?)(?:/(?:tree|resolve)/([\w.\-]+))?/?", source
    )
    return (match[1], match[2] or "main") if match else None


def _from_hugging_face(name: str, repository: str, revision: str, scratch: Path, report: Report) -> Path:
    """The files of a revision one after the other, each compared with its checksum."""
    base, root = HUGGING_FACE.rstrip("/"), scratch / name
    listed = _json(f"{base}/api/models/{repository}/tree/{revision}?recursive=true", f"The list of files of '{name}'")
    files = list(_listed_files(name, listed))
    total = sum(size for _, size, _, _ in files)
    if total > MOST_BYTES or len(files) > MOST_FILES:
        raise ZooError(
            f"'{name}' has {len(files):,} files of {_size(total)}; that is no bundle, and nothing was downloaded."
        )
    root.mkdir()
    _require_space(root, total)
    before = 0
    for path, size, kind, checksum in files:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        address = f"{base}/{repository}/resolve/{revision}/{urllib.parse.quote(path.as_posix())}"
        start = before
        _fetch(address, target, lambda done, _, start=start: report((start + done) / max(1, total)), most=size)
        digest = (
            hashlib.sha256() if kind == "sha256" else hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        )
        with target.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if target.stat().st_size != size or digest.hexdigest() != checksum:
            raise ZooError(f"The download of '{name}' is not what was announced ('{path}'). Try again.")
        before += size
    return root


def _listed_files(name: str, listed: Any) -> Iterator[tuple[PurePosixPath, int, str, str]]:
    """Path, size, kind of checksum and checksum of each file: of the content, or as git has it for small files."""
    if not isinstance(listed, list):
        raise ZooError(
            f"The list of files of '{name}' is a {type(listed).__name__}, a list is needed. Try again later."
        )
    for entry in listed:
        if not isinstance(entry, dict) or entry.get("type") == "directory":
            continue
        path, size, large = _safe(str(entry.get("path", ""))), entry.get("size"), entry.get("lfs")
        if path is None or not isinstance(size, int) or size < 0:
            raise ZooError(
                f"The list of files of '{name}' names a file that cannot be one ('{str(entry.get('path'))[:80]}')."
            )
        checksum = large.get("oid") if isinstance(large, dict) else entry.get("oid")
        if not isinstance(checksum, str) or not checksum:
            raise ZooError(f"'{path}' of '{name}' comes without a checksum, so it cannot be checked. Try again later.")
        yield path, size, "sha256" if isinstance(large, dict) else "git", checksum.removeprefix("sha256:").lower()


def _safe(name: str) -> PurePosixPath | None:
    """A relative path with ``/`` that stays in its folder on every system; None where it does not."""
    parts = name.split("/")
    odd = any(
        part in ("", ".", "..") or part.endswith((" ", ".")) or set(part) & set('<>:"|?*\\') or not part.isprintable()
        for part in parts
    )
    return None if odd or len(name) > 400 else PurePosixPath(name)


# The network -----------------------------------------------


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to where we would have gone by ourselves: never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not _allowed(newurl):
            raise OSError(f"the server sends us to '{newurl[:200]}', which is no https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(address: str, start: int = 0) -> Any:
    if not _allowed(address):
        raise OSError(f"'{address[:200]}' is no https address")
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310
    return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)


def _allowed(address: str) -> bool:
    """https; files and this machine only where the list comes from there, too, which the user must have set."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == "https":
        return True
    there = urllib.parse.urlsplit(LIST_URL)
    local = ("127.0.0.1", "localhost", "::1")
    own = there.scheme == "file" or (there.scheme == "http" and there.hostname in local)
    return own and (parts.scheme == "file" or (parts.scheme == "http" and parts.hostname in local))


def _json(address: str, what: str) -> Any:
    try:
        with _open(address) as answer:
            return json.loads(answer.read(16 << 20))
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise ZooError(f"{what} cannot be fetched: {_reason(error)} Bundles on disk work without it.") from error


def _fetch(address: str, path: Path, report: Callable[[int, int], None], most: int = MOST_BYTES) -> None:
    """Download into a file; where the connection breaks it goes on from there.

    Raises:
        OSError: it broke too often, or the server refuses.
        ZooError: it is larger than it may be, or than the disk has room.
    """
    done, total, failures = 0, 0, 0
    with path.open("wb") as file:
        while True:
            before = done
            try:
                with _open(address, done) as answer:
                    if done and getattr(answer, "status", 200) != 206:  # the server begins again
                        done = 0
                        file.seek(0)
                        file.truncate()
                    length = answer.headers.get("Content-Length") or ""
                    total = done + int(length) if length.isdecimal() else 0
                    if total > most:
                        raise ZooError(f"The download of {_size(total)} is larger than it may be ({_size(most)}).")
                    _require_space(path.parent, total - done)
                    while block := answer.read(1 << 18):
                        done += len(block)
                        if done > most:
                            raise ZooError(f"The download is larger than it may be ({_size(most)}).")
                        file.write(block)
                        report(done, total)
                if not total or done >= total:
                    return
                broken: Exception = OSError("the connection broke")
            except urllib.error.HTTPError:
                raise
            except (ConnectionError, TimeoutError, http.client.HTTPException, urllib.error.URLError) as error:
                if not done and not isinstance(error, (ConnectionError, TimeoutError, http.client.HTTPException)):
                    raise
                broken = error
            failures = 0 if done > before else failures + 1
            if failures >= ATTEMPTS:
                raise OSError(f"the connection broke {ATTEMPTS} times in a row after {_size(done)}") from broken
            time.sleep(min(0.2 * 2**failures, 5.0))


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ZooError(f"{_size(size)} are needed, and the disk has {_size(free)} left. Choose another folder.")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}."
    if isinstance(cause, ssl.SSLError):
        return "the server's certificate cannot be checked."
    if isinstance(error, urllib.error.URLError):
        return "there is no network connection, or a proxy is in the way (HTTPS_PROXY)."
    if isinstance(error, (zlib.error, EOFError)):
        return f"the archive is damaged ({error})."
    if isinstance(error, RecursionError):
        return "it is nested too deeply."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f' ({error.filename})' if error.filename else ''}."
    return f"{str(error).rstrip('.') or type(error).__name__}."


USAGE = "Usage: python -m CAMOverlayLib.zoo list | download NAME FOLDER [TOKEN]"


def say(**message: Any) -> None:
    """One line to the one who asked; where nobody listens any more there is nothing left to do but to clear away."""
    try:
        print(json.dumps(message), flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for the flush at the end
        sys.exit(1)


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["list"]:
            say(bundles=[[name, entry.version] for name, entry in read_list().items()])
        elif len(arguments) in (3, 4) and arguments[0] == "download":
            last = [-1.0]

            def report(fraction: float) -> None:
                if fraction - last[0] >= 0.01:
                    last[0] = fraction
                    say(fraction=round(min(1.0, fraction), 3))

            name, parent = arguments[1], Path(os.path.abspath(os.path.expanduser(arguments[2])))
            say(folder=str(download(name, parent, report, arguments[3] if len(arguments) > 3 else "")))
        else:
            say(error=USAGE)
            return 2
    except ZooError as error:
        say(error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
