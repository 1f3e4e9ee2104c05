"""Where weights come from: named artefacts, the places they are looked for, and how they get here.

`artefacts.toml` is the table; this module only knows how to read it. A weights file is looked for in the
store (`VTG_HOME/weights`, else the user's cache folder) and then where other programs leave it: the Hugging
Face cache, torch's hub folder, CLIP's own. Nothing is fetched when `VTG_OFFLINE` or `HF_HUB_OFFLINE` is set.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from extractors.errors import UsageError, WeightsInvalid, WeightsMissing
from extractors.files.atomic import atomic_write
from extractors.files.toml import packaged_table
from extractors.files.user_folders import vtg_home
from extractors.weights.download import DownloadError, Progress, fetch_first
from extractors.weights.download import reachable as _url_reachable
from extractors.weights.open_clip_table import PREFIX, open_clip_model

_COPY_BYTES = 1 << 20
_SIZE_TOLERANCE = 2.0  # an approximate size is there to catch error pages and cut-off copies, no more


@dataclass(frozen=True)
class Artefact:
    """One weights file this project knows by name; a row of `artefacts.toml`.

    Attributes:
        name: what `vtg weights` calls it.
        kind: `encoder`, frozen, makes features; `model`, a trained FlashVTG; `speech`, transcribes speech.
        file: name of the file in the store.
        licence: of the weights.
        note: what it is, in a sentence.
        urls: direct links, tried in order, mirrors named by the environment included.
        page: a page that only a person can download from.
        hf_repo: repository on the Hugging Face hub.
        hf_revision: branch or commit of it to download from.
        hf_also: further files of that repository that hold the same weights.
        also_at: places where other programs leave it.
        companions: files kept beside it.
        companions_sha256: hashes of the companions, where they are published beside it: such companions are downloaded
            with it, and it cannot be used without them.
        equivalent: names of artefacts with the same weights in another form.
        size_bytes: size of the file, None if unknown.
        size_exact: whether the size is known to the byte.
        sha256: hash of the file, or the first digits of it; empty if its publisher gives none.
        also_sha256: hashes of the files of `hf_also`, which may be added in its place.
    """

    name: str
    kind: Literal["encoder", "model", "speech"]
    file: str
    licence: str
    note: str
    urls: tuple[str, ...] = ()
    page: str = ""
    hf_repo: str = ""
    hf_revision: str = "main"
    hf_also: tuple[str, ...] = ()
    also_at: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
    companions_sha256: tuple[str, ...] = ()
    equivalent: tuple[str, ...] = ()
    size_bytes: int | None = None
    size_exact: bool = False
    sha256: str = ""
    also_sha256: tuple[str, ...] = ()

    @property
    def size_text(self) -> str:
        """Its size for a person: `605 MB`, or `size unknown`."""
        return "size unknown" if self.size_bytes is None else _megabytes(self.size_bytes)

    @property
    def needed_companions(self) -> tuple[Artefact, ...]:
        """The companions that it cannot be used without, each as an artefact; none if they have no hashes."""
        hashes = self.companions_sha256
        named = zip(self.companions, hashes, strict=True) if hashes else ()
        return tuple(
            replace(
                self,
                file=file,
                urls=tuple(f"{url.rpartition('/')[0]}/{file}" for url in self.urls),
                companions=(),
                companions_sha256=(),
                size_bytes=None,
                sha256=digest,
                also_sha256=(),
            )
            for file, digest in named
        )

    @property
    def source(self) -> str:
        """The address a person would open: the page, or the first direct link; empty if there is none."""
        return self.page or next(iter(self.urls), "")


def artefacts() -> tuple[Artefact, ...]:
    """Every named artefact, in the order of the table; links follow `HF_ENDPOINT` as it is now."""
    table = packaged_table(__package__, "artefacts.toml")
    return tuple(_artefact(row, _hugging_face()) for row in table["artefact"])


def _hugging_face() -> str:
    """The address of the hub."""
    default: str = packaged_table(__package__, "artefacts.toml")["hosts"]["hugging_face"]
    return (os.environ.get("HF_ENDPOINT") or default).rstrip("/")


def _open_clip_artefact(name: str) -> Artefact:
    model = open_clip_model(name)
    first, *others = model.files or (f"{model.model}.safetensors",)
    row: dict[str, Any] = {
        "name": name,
        "kind": "encoder",
        "file": first,
        "licence": "of its publisher",
        "note": f"{model.model} of open_clip.",
    }
    if model.hf_repo:
        more = [f"{_hugging_face()}/{model.hf_repo}/resolve/main/{file}" for file in others]
        row |= {"hf_repo": model.hf_repo, "hf_also": others, "urls": [*more, *model.mirrors]}
    return _artefact(row, _hugging_face())


def artefact(name: str) -> Artefact:
    """The artefact of that name: one of the table, or weights in open_clip's tables.

    Raises:
        UsageError: if there is none; the message lists the names, or those that come close.
    """
    if name.startswith(PREFIX):
        return _open_clip_artefact(name)
    known = {item.name: item for item in artefacts()}
    if name not in known:
        raise UsageError(f"no weights are named '{name}'; known are {', '.join(known)}")
    return known[name]


def with_equivalents(name: str | Artefact) -> tuple[Artefact, ...]:
    """An artefact, then those that hold the same weights in another form; errors as for `artefact`."""
    item = artefact(name) if isinstance(name, str) else name
    return (item, *(artefact(other) for other in item.equivalent))


def weights_dir() -> Path:
    """Folder of the store: `VTG_HOME/weights`, else `vtg/weights` in the user's cache folder."""
    return vtg_home() / "weights"


def stored_path(item: Artefact) -> Path:
    """Where an artefact lies in the store, whether or not it is there."""
    return weights_dir().joinpath(*re.split("[:/]", item.name), item.file)


def is_offline() -> bool:
    """Whether the environment forbids connections (`VTG_OFFLINE` or `HF_HUB_OFFLINE`)."""
    return any(
        os.environ.get(name, "").strip().lower() in {"1", "true", "yes", "on"}
        for name in ("VTG_OFFLINE", "HF_HUB_OFFLINE")
    )


def locate(name: str | Artefact) -> Path | None:
    """Find an artefact on this machine without opening a connection.

    Args:
        name: an artefact or its name.

    Returns:
        The file, or None. It is not read: an encoder says what is wrong with it.

    Raises:
        UsageError: if the name is unknown.
    """
    item = artefact(name) if isinstance(name, str) else name
    return next((path for path in _places(item) if _is_whole(item, path)), None)


def find(name: str | Artefact) -> Path | None:
    """Find an artefact, or the same weights in another form, on this machine: what `resolve` would load.

    Args:
        name: an artefact or its name.

    Returns:
        The file, or None if `resolve` would have to download.

    Raises:
        UsageError: if the name is unknown.
    """
    return next((path for path in map(locate, with_equivalents(name)) if path is not None), None)


def require(name: str | Artefact) -> Path:
    """Find an artefact on this machine as `find` does.

    Raises:
        UsageError: if the name is unknown.
        WeightsMissing: if it is not here; the message says how to get it.
    """
    item = artefact(name) if isinstance(name, str) else name
    found = find(item)
    if found is None:
        hint = f"; to download it: `vtg weights pull {item.name}`" if item.urls else ""
        raise WeightsMissing(_how_to_get(item, f"is not on this machine{hint}"))
    return found


def reachable(item: Artefact, timeout: float = 2.0) -> bool:
    """Whether a host of the artefact takes connections right now.

    Args:
        item: the artefact.
        timeout: seconds each host is given, name resolution included.
    """
    return any(_url_reachable(url, timeout) for url in item.urls)


def pull(
    name: str | Artefact,
    *,
    progress: Progress | None = None,
    offline: bool = False,
) -> Path:
    """Download an artefact into the store; one that is there already is left alone.

    An interrupted download resumes, and the file gets its name only when its size and hash
    hold. Processes that want the same file wait for the one that began.

    Args:
        name: an artefact or its name.
        progress: called with (bytes here, bytes in all or None).
        offline: open no connection.

    Returns:
        The file in the store.

    Raises:
        UsageError: if the name is unknown.
        WeightsMissing: if it cannot be fetched; the message says how to bring it by hand.
        WeightsInvalid: if what came is not what was asked for.
    """
    item = artefact(name) if isinstance(name, str) else name
    target = stored_path(item)
    if _is_whole(item, target):
        return target
    if not item.urls:
        raise WeightsMissing(_how_to_get(item, "can only be downloaded in a browser"))
    if offline or is_offline():
        raise WeightsMissing(_how_to_get(item, "is not on this machine, and connections are switched off"))

    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            for file in (*item.needed_companions, item):
                _fetch(file, target.with_name(file.file), progress)
    except DownloadError as error:
        raise WeightsMissing(_how_to_get(item, f"could not be downloaded: {error}")) from error
    except OSError as error:
        raise WeightsMissing(_how_to_get(item, f"cannot be written to {target.parent} ({error})")) from error
    return target


def add(name: str | Artefact, file: str | Path) -> Path:
    """Copy a user's file into the store, under an artefact's name.

    Args:
        name: an artefact or its name.
        file: the file, or the folder it lies in under its published name. Its companions are taken along.

    Returns:
        The file in the store.

    Raises:
        UsageError: if the name is unknown.
        WeightsMissing: if there is no such file.
        WeightsInvalid: if its size or hash is not the artefact's.
    """
    item = artefact(name) if isinstance(name, str) else name
    source = Path(file)
    if source.is_dir():
        source = source / item.file
    if not source.is_file():
        raise WeightsMissing(f"{source}: no such file")
    _check_file(item, source)
    for companion in item.needed_companions:
        beside = source.with_name(companion.file)
        if not beside.is_file():
            raise WeightsMissing(f"{beside}: no such file; {item.name} needs it beside {item.file}")
        _check_file(companion, beside)

    target = stored_path(item)
    companions = [source.with_name(companion) for companion in item.companions]
    for origin in [path for path in companions if path.is_file()] + [source]:
        _copy(origin, target if origin == source else target.with_name(origin.name))
    return target


def resolve(
    name: str | Artefact,
    *,
    path: str | Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The file to load for an artefact: the path given, else one on this machine, else a download.

    A file of an equivalent artefact on this machine is preferred to a download.

    Args:
        name: an artefact or its name.
        path: a file to use in its place; never looked for elsewhere.
        offline: open no connection.
        progress: of the download, called with (bytes here, bytes in all or None).

    Raises:
        UsageError: if the name is unknown.
        WeightsMissing: if there is nothing to load; the message says what to do.
        WeightsInvalid: if a download is not what was asked for.
    """
    item = artefact(name) if isinstance(name, str) else name
    if path is not None:
        if not Path(path).is_file():
            raise WeightsMissing(f"{path}: no such file, given as the weights of {item.name}")
        return Path(path)
    found = find(item)
    if found is not None:
        return found
    if item.urls and not offline and not is_offline() and not reachable(item):
        raise WeightsMissing(_how_to_get(item, "is not on this machine, and its host cannot be reached"))
    return pull(item, progress=progress, offline=offline)


def _artefact(row: dict[str, Any], hugging_face: str) -> Artefact:
    names = {field.name for field in fields(Artefact)}
    unknown = set(row) - names
    if unknown:
        raise ValueError(f"artefacts.toml: unknown fields {sorted(unknown)}")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
    }
    if "hf_repo" in values:
        revision = values.get("hf_revision", "main")
        link = f"{hugging_face}/{values['hf_repo']}/resolve/{revision}/{values['file']}"
        values["urls"] = (link, *values.get("urls", ()))
    return Artefact(**values)


def _places(item: Artefact) -> Iterator[Path]:
    """Every path an artefact may lie at, the store first."""
    yield stored_path(item)
    if item.hf_repo:
        yield from _hugging_face_places(item)
    elif item.urls:
        yield _torch_home() / "hub" / "checkpoints" / item.urls[0].rsplit("/", 1)[-1]
    yield from (Path(place).expanduser() for place in item.also_at)


def _hugging_face_places(item: Artefact) -> Iterator[Path]:
    """Paths in the hub's cache, by its documented layout: importing its library for this costs 0.15 s."""
    repository = _hugging_face_cache() / f"models--{item.hf_repo.replace('/', '--')}"
    main = repository / "refs" / "main"
    snapshots = sorted(repository.glob("snapshots/*"))
    if main.is_file():
        snapshots.insert(0, repository / "snapshots" / main.read_text("utf-8").strip())
    for file in (item.file, *item.hf_also):
        for snapshot in snapshots:
            yield snapshot / file


def _hugging_face_cache() -> Path:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    home = os.environ.get("HF_HOME")
    return (Path(home).expanduser() if home else _user_cache() / "huggingface") / "hub"


def _torch_home() -> Path:
    home = os.environ.get("TORCH_HOME")
    return Path(home).expanduser() if home else _user_cache() / "torch"


def _user_cache() -> Path:
    """The cache folder as torch and the hub see it: the same on every system, unlike the platform's own."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def _is_whole(item: Artefact, path: Path) -> bool:
    """Whether a file is there, with the companions that it needs."""
    return path.is_file() and all(path.with_name(one.file).is_file() for one in item.needed_companions)


def _fetch(item: Artefact, target: Path, progress: Progress | None) -> None:
    if target.is_file():
        return
    part = target.with_name(target.name + ".part")
    fetch_first(item.urls, part, progress=progress, can_verify=bool(item.sha256))
    _accept(item, part, target)


def _accept(item: Artefact, part: Path, target: Path) -> None:
    """Give a finished download its name; remove a wrong one, so that no later download resumes it."""
    try:
        _check_file(item, part)
    except WeightsInvalid:
        part.unlink()
        raise
    part.replace(target)


def _check_file(item: Artefact, path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        raise WeightsInvalid(
            f"{path}: this is a web page, not {item.file}; save the file that the page offers"
        )
    expected = item.size_bytes
    if expected is not None:
        factor = 1.0 if item.size_exact else _SIZE_TOLERANCE
        if not expected / factor <= size <= expected * factor:
            about = "" if item.size_exact else "about "
            raise WeightsInvalid(
                f"{path}: {size} bytes, while {item.name} has {about}{expected}: cut off, or another file"
            )
    if item.sha256 and not sha256(path).startswith((item.sha256, *item.also_sha256)):
        raise WeightsInvalid(
            f"{path}: not the published {item.file}, whose SHA-256 is {item.sha256[:12]}...; download it again"
        )


def sha256(path: Path) -> str:
    """SHA-256 of a whole file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_COPY_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _copy(source: Path, target: Path) -> None:
    if target.exists() and source.samefile(target):
        return
    with source.open("rb") as origin, atomic_write(target) as file:
        while block := origin.read(_COPY_BYTES):
            file.write(block)


def _how_to_get(item: Artefact, problem: str) -> str:
    if not item.source:  # only a file of the user's own will do
        own = f"give its file with --weights {item.name}=FILE"
        tags = open_clip_model(item.name).tags if item.name.startswith(PREFIX) else ()
        published = f", or name published weights: {', '.join(f'{item.name}/{tag}' for tag in tags[:4])}"
        return f"{item.name}: {own}" + (published if tags else "")
    where = f"open {item.page}" if item.page else f"download {item.source}"
    beside = f" (with {' and '.join(item.companions)})" if item.companions else ""
    # A model is stored in another form than it is published in.
    place = f", which puts it at {stored_path(item)}" if item.kind != "model" else ""
    return (
        f"{item.name}: {item.file} ({item.size_text}) {problem}. To bring it by hand, {where} elsewhere"
        f"{beside} and run `vtg weights add {item.name} FILE`{place}"
    )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"
