from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from extractors.encoders.registry import features
from extractors.errors import UsageError, WeightsInvalid, WeightsMissing
from extractors.weights import download, store
from extractors.weights.store import Artefact
from tests.local_server import answering_gets

CONTENT = os.urandom(3_000_000)


@dataclass
class Shop:
    """A file server that misbehaves as it is told, and remembers what it was asked for."""

    content: bytes = CONTENT
    etag: str = '"1"'
    ranges: bool = True
    status: int = 200
    failures: int = 0  # answers with 503 before all goes well
    cuts: int = 0  # transfers broken in the middle
    content_type: str = "application/octet-stream"
    delay_s: float = 0.0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append((request.path, dict(request.headers)))
        time.sleep(self.delay_s)
        if self.failures:
            self.failures -= 1
            request.send_error(503)
            return
        if self.status != 200:
            request.send_error(self.status)
            return
        first = self._first_byte(request)
        if first is not None and first >= len(self.content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(self.content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = self.content[first or 0 :]
        request.send_response(200 if first is None else 206)
        request.send_header("Content-Type", self.content_type)
        request.send_header("Content-Length", str(len(body)))
        if self.etag:
            request.send_header("ETag", self.etag)
        if first is not None:
            request.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        request.end_headers()
        if self.cuts:
            self.cuts -= 1
            request.wfile.write(body[: len(body) // 2])
            request.close_connection = True
        else:
            request.wfile.write(body)

    def _first_byte(self, request: BaseHTTPRequestHandler) -> int | None:
        asked = request.headers.get("Range", "")
        condition = request.headers.get("If-Range", self.etag)
        if not self.ranges or not asked.startswith("bytes=") or condition != self.etag:
            return None
        return int(asked.removeprefix("bytes=").partition("-")[0])

    def asked_from(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    with answering_gets(shop.serve) as shop.url:
        yield shop


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty machine: nothing in any cache, nothing of its proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("HF_", "HUGGINGFACE_", "TORCH_HOME", "VTG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("VTG_HOME", str(tmp_path / "vtg"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(download, "BACKOFF_S", 0.001)
    return tmp_path


@pytest.fixture
def item(shop: Shop) -> Artefact:
    return Artefact(
        name="net",
        kind="encoder",
        file="net.bin",
        licence="MIT",
        note="A net.",
        urls=(f"{shop.url}/files/net.bin",),
        size_bytes=len(CONTENT),
        size_exact=True,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def unpinned(item: Artefact) -> Artefact:
    return replace(item, size_bytes=None, size_exact=False, sha256="")


def part_of(item: Artefact) -> Path:
    target = store.stored_path(item)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(target.name + ".part")


# The table.


def test_the_table_is_consistent() -> None:
    items = store.artefacts()
    names = [item.name for item in items]
    assert len(set(names)) == len(names)
    for item in items:
        assert bool(item.urls) != bool(item.page), item.name
        assert item.licence, item.name
        assert set(item.equivalent) <= set(names)
        assert len(item.sha256) in {0, 8, 64}
        assert all(len(digest) == 64 for digest in (*item.also_sha256, *item.companions_sha256))
        assert len(item.needed_companions) in {0, len(item.companions)}
        assert all(url.startswith("https://") for url in (*item.urls, item.page) if url)
    assert {feature.weights for feature in features()} - {""} <= {item.name for item in items}
    assert sum(item.kind == "model" for item in items) == 6


def test_openai_address_holds_the_hash() -> None:
    item = store.artefact("clip-vit-b-32-openai")
    assert item.sha256 in item.urls[0]


def test_torchvision_name_holds_the_hash() -> None:
    item = store.artefact("vgg16")
    assert item.file == f"vgg16-{item.sha256}.pth"
    assert item.urls[0].endswith(f"/{item.file}")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="slowfast-r50-8x8"):
        store.artefact("resnet")


def test_a_link_names_the_revision() -> None:
    item = store.artefact("clip-vit-b-32-transformers")
    assert item.urls[0].endswith(
        f"/openai/clip-vit-base-patch32/resolve/{item.hf_revision}/model.safetensors"
    )
    assert re.fullmatch("[0-9a-f]{40}", item.hf_revision)
    assert len(item.hf_also) == len(item.also_sha256)


def test_hugging_face_links_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    (url,) = store.artefact("clip-vit-b-32").urls
    assert url.startswith("https://mirror.example/timm/vit_base_patch32_clip_224.openai/resolve/main/")


# Looking.


def test_nothing_is_found_on_an_empty_machine() -> None:
    assert [store.locate(item) for item in store.artefacts()] == [None] * len(store.artefacts())


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("clip-vit-b-32", "vtg/weights/clip-vit-b-32/open_clip_model.safetensors"),
        ("clip-vit-b-32-openai", ".cache/clip/ViT-B-32.pt"),
        ("slowfast-r50-8x8", "cache/torch/hub/checkpoints/SLOWFAST_8x8_R50.pkl"),
        ("vgg16", "cache/torch/hub/checkpoints/vgg16-397923af.pth"),
        ("glove-6b-300d", "vtg/weights/glove-6b-300d/glove.6B.zip"),
        ("flashvtg-tacos", "vtg/weights/flashvtg-tacos/model_best.ckpt"),
    ],
)
def test_files_of_other_programs_are_found(name: str, place: str, home: Path) -> None:
    path = home / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert store.locate(name) == path


def test_torch_home_is_honoured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(home / "th"))
    path = home / "th" / "hub" / "checkpoints" / "SLOWFAST_8x8_R50.pyth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert store.locate("slowfast-r50-8x8-pytorchvideo") == path


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", None])
@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_hugging_face_cache(
    variable: str | None, file: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = {
        "HF_HUB_CACHE": home / "hub",
        "HF_HOME": home / "hf" / "hub",
        None: home / "cache/huggingface/hub",
    }
    if variable:
        monkeypatch.setenv(variable, str(home / ("hub" if variable == "HF_HUB_CACHE" else "hf")))
    repo = "timm/vit_base_patch32_clip_224.openai"
    folder = cache[variable] / "models--timm--vit_base_patch32_clip_224.openai"
    for revision in ("aaaa", "bbbb"):
        (folder / "snapshots" / revision).mkdir(parents=True)
        (folder / "snapshots" / revision / file).write_bytes(b"x")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("bbbb")
    program = (
        "import sys; from huggingface_hub import try_to_load_from_cache;"
        "print(try_to_load_from_cache(sys.argv[1], sys.argv[2]))"
    )
    theirs = subprocess.run(
        [sys.executable, "-c", program, repo, file], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert str(store.locate("clip-vit-b-32")) == theirs


# Pulling.


def test_pull_is_complete(item: Artefact, shop: Shop) -> None:
    seen: list[tuple[int, int | None]] = []
    path = store.pull(item, progress=lambda done, total: seen.append((done, total)))
    assert path == store.stored_path(item)
    assert path.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {entry.name for entry in path.parent.iterdir()} <= {"net.bin", "net.bin.lock"}
    store.pull(item)
    assert len(shop.requests) == 1


def test_broken_download_resumes(item: Artefact, shop: Shop) -> None:
    shop.cuts = 3
    assert store.pull(item).read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in shop.asked_from() if asked]
    assert len(starts) == 3
    assert 0 < starts[0] < starts[1] < starts[2]


def test_killed_download_resumes(item: Artefact, shop: Shop) -> None:
    part_of(item).write_bytes(CONTENT[:1_000_000])
    assert store.pull(item).read_bytes() == CONTENT
    assert shop.asked_from() == ["bytes=1000000-"]


def test_complete_part_is_only_renamed(item: Artefact, shop: Shop) -> None:
    part_of(item).write_bytes(CONTENT)
    assert store.pull(item).read_bytes() == CONTENT
    assert shop.asked_from() == [f"bytes={len(CONTENT)}-"]


def test_unverified_part_is_not_resumed(item: Artefact, shop: Shop) -> None:
    part_of(item).write_bytes(bytes(1_000_000))
    assert store.pull(unpinned(item)).read_bytes() == CONTENT
    assert shop.asked_from() == [None]


def test_changed_file_restarts(item: Artefact, shop: Shop) -> None:
    item = unpinned(item)

    def interrupt(done: int, _total: int | None) -> None:
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull(item, progress=interrupt)
    assert part_of(item).stat().st_size > 1_000_000
    shop.content, shop.etag = os.urandom(2_000_000), '"2"'
    assert store.pull(item).read_bytes() == shop.content
    assert shop.asked_from()[1] is not None


def test_unpinned_download_resumes(item: Artefact, shop: Shop) -> None:
    shop.cuts = 1
    assert store.pull(unpinned(item)).read_bytes() == CONTENT
    assert [asked is None for asked in shop.asked_from()] == [True, False]
    assert shop.requests[1][1]["If-Range"] == shop.etag


def test_overlong_part_restarts(item: Artefact, shop: Shop) -> None:
    part_of(item).write_bytes(CONTENT + b"more")
    assert store.pull(item).read_bytes() == CONTENT


def test_server_without_ranges(item: Artefact, shop: Shop) -> None:
    shop.ranges, shop.cuts = False, 2
    assert store.pull(item).read_bytes() == CONTENT
    assert len(shop.requests) == 3


def test_giving_up_on_a_broken_server(item: Artefact, shop: Shop) -> None:
    shop.ranges, shop.cuts = False, 1000
    with pytest.raises(WeightsMissing, match="the connection ended after 1500000 of 3000000 bytes"):
        store.pull(item)
    assert len(shop.requests) == 2 + download.RETRIES


def test_a_busy_server_is_asked_again(item: Artefact, shop: Shop) -> None:
    shop.failures = 2
    assert store.pull(item).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404])
def test_refusal_is_final(status: int, item: Artefact, shop: Shop) -> None:
    shop.status = status
    with pytest.raises(WeightsMissing) as caught:
        store.pull(item)
    message = str(caught.value)
    assert len(shop.requests) == 1
    for part in (str(status), "net.bin", "3 MB", item.urls[0], "vtg weights add net FILE"):
        assert part in message
    assert str(store.stored_path(item)) in message
    assert "\n" not in message


def test_the_next_link_is_tried(item: Artefact, shop: Shop) -> None:
    item = replace(item, urls=("http://127.0.0.1:9/net.bin", *item.urls))
    assert store.pull(item).read_bytes() == CONTENT
    assert len(shop.requests) == 1


def test_a_web_page_is_not_taken_for_weights(item: Artefact, shop: Shop) -> None:
    shop.content_type = "text/html; charset=utf-8"
    with pytest.raises(WeightsMissing, match="a web page instead of the file"):
        store.pull(unpinned(item))


@pytest.mark.parametrize("wrong", ["hash", "size", "approximate size"])
def test_wrong_file_is_refused(wrong: str, item: Artefact, shop: Shop) -> None:
    if wrong == "hash":
        shop.content = bytes(len(CONTENT))
    elif wrong == "size":
        shop.content = CONTENT[:-1]
    else:
        item = replace(item, size_exact=False, sha256="", size_bytes=len(CONTENT) * 3)
    with pytest.raises(WeightsInvalid, match=r"net\.bin"):
        store.pull(item)
    assert store.locate(item) is None
    assert not part_of(item).exists()


def test_hash_prefix(item: Artefact, shop: Shop) -> None:
    digits = item.sha256[:8]
    assert store.pull(replace(item, sha256=digits)).read_bytes() == CONTENT
    other = replace(item, name="other", sha256=f"{int(digits, 16) ^ 1:08x}")
    with pytest.raises(WeightsInvalid, match=rf"net\.bin, whose SHA-256 is {other.sha256}\.\.\."):
        store.pull(other)
    assert store.locate(other) is None


@pytest.mark.parametrize("variable", ["VTG_OFFLINE", "HF_HUB_OFFLINE", None])
def test_offline_opens_no_connection(
    variable: str | None, item: Artefact, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    for fetch in (store.pull, store.resolve):
        with pytest.raises(WeightsMissing, match="connections are switched off"):
            fetch(item, offline=variable is None)
    assert shop.requests == []


def test_require(item: Artefact, shop: Shop, home: Path) -> None:
    with pytest.raises(
        WeightsMissing, match=r"is not on this machine; to download it: `vtg weights pull"
    ) as said:
        store.require(item)
    assert "switched off" not in str(said.value)
    assert shop.requests == []
    path = store.pull(item)
    assert store.require(item) == path


def test_manual_download_is_explained() -> None:
    item = store.artefact("flashvtg-tacos")
    with pytest.raises(WeightsMissing) as caught:
        store.pull(item)
    for part in (item.page, "model_best.ckpt", "opt.json", "vtg weights add flashvtg-tacos FILE"):
        assert part in str(caught.value)


def test_concurrent_pulls_download_once(item: Artefact, shop: Shop) -> None:
    shop.delay_s = 0.5
    program = textwrap.dedent("""
        import sys
        from extractors.weights import store as weights
        from extractors.weights.store import Artefact
        item = Artefact("net", "encoder", "net.bin", "MIT", "", urls=(sys.argv[1],))
        print(weights.pull(item))
    """)
    runs = [
        subprocess.Popen([sys.executable, "-c", program, item.urls[0]], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = {run.communicate(timeout=60)[0].strip() for run in runs}
    assert answers == {str(store.stored_path(item))}
    assert store.stored_path(item).read_bytes() == CONTENT
    assert len(shop.requests) == 1


def test_unwritable_store_is_named(item: Artefact, home: Path) -> None:
    (home / "vtg").write_text("a file where the folder should be")
    with pytest.raises(WeightsMissing, match="cannot be written"):
        store.pull(item)


def test_a_proxy_of_the_environment_is_used(
    item: Artefact, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", shop.url)
    item = replace(item, urls=("http://weights.invalid/net.bin",))
    assert store.reachable(item)
    assert store.resolve(item).read_bytes() == CONTENT
    assert shop.requests[0][0] == "http://weights.invalid/net.bin"


# Weights of several files.


@pytest.fixture
def folder_item(item: Artefact) -> Artefact:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return replace(item, companions=("config.json", "words.txt"), companions_sha256=(digest, digest))


def test_companions_are_pulled_first(folder_item: Artefact, shop: Shop) -> None:
    path = store.pull(folder_item)
    assert [path for path, _ in shop.requests] == [
        "/files/config.json",
        "/files/words.txt",
        "/files/net.bin",
    ]
    assert {entry.name for entry in path.parent.iterdir()} >= {"config.json", "words.txt", "net.bin"}
    assert not list(path.parent.glob("*.part*"))
    assert store.locate(folder_item) == path
    # Without a companion the weights are of no use; only what is missing is downloaded.
    path.with_name("words.txt").unlink()
    assert store.locate(folder_item) is None
    shop.requests.clear()
    assert store.pull(folder_item) == path
    assert [path for path, _ in shop.requests] == ["/files/words.txt"]


def test_a_wrong_companion_is_refused(folder_item: Artefact) -> None:
    wrong = replace(folder_item, companions_sha256=(folder_item.companions_sha256[0], 64 * "0"))
    with pytest.raises(WeightsInvalid, match=r"words\.txt"):
        store.pull(wrong)
    assert store.locate(wrong) is None


def test_companions_are_added_along(folder_item: Artefact, home: Path) -> None:
    brought = home / "brought"
    brought.mkdir()
    for name in ("net.bin", "config.json"):
        (brought / name).write_bytes(CONTENT)
    with pytest.raises(WeightsMissing, match=r"words\.txt: no such file; net needs it beside net\.bin"):
        store.add(folder_item, brought)
    (brought / "words.txt").write_bytes(CONTENT[1:])
    with pytest.raises(WeightsInvalid, match=r"words\.txt"):
        store.add(folder_item, brought)
    (brought / "words.txt").write_bytes(CONTENT)
    assert store.add(folder_item, brought) == store.locate(folder_item)


def test_whisper_of_the_hub_is_found_whole(home: Path) -> None:
    item = store.artefact("whisper-tiny")
    snapshot = (
        home / "cache/huggingface/hub/models--Systran--faster-whisper-tiny/snapshots" / item.hf_revision
    )
    snapshot.mkdir(parents=True)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (snapshot / name).touch()
    assert store.locate(item) is None
    (snapshot / "vocabulary.txt").touch()
    assert store.locate(item) == snapshot / "model.bin"


# Adding and resolving.


def test_added_file_is_found(item: Artefact, home: Path) -> None:
    brought = home / "download (1).bin"
    brought.write_bytes(CONTENT)
    assert store.add(item, brought) == store.stored_path(item) == store.locate(item)
    assert store.resolve(item, offline=True).read_bytes() == CONTENT
    assert brought.exists()
    assert store.add(item, store.stored_path(item)) == store.stored_path(item)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-1], "2999999 bytes, while net has 3000000"),
        (bytes(len(CONTENT)), "SHA-256"),
        (b"\n<!DOCTYPE html><html>", "this is a web page"),
    ],
)
def test_another_file_is_not_added(content: bytes, message: str, item: Artefact, home: Path) -> None:
    (home / "wrong.bin").write_bytes(content)
    with pytest.raises(WeightsInvalid, match=message):
        store.add(item, home / "wrong.bin")
    assert store.locate(item) is None


def test_a_checkpoint_brings_its_options_along(home: Path) -> None:
    folder = home / "QVHL"
    folder.mkdir()
    (folder / "model_best.ckpt").write_bytes(b"weights")
    (folder / "opt.json").write_text("{}")
    (folder / "train.log").write_text("")
    path = store.add("flashvtg-qvhighlights", folder)
    assert {entry.name for entry in path.parent.iterdir()} == {"model_best.ckpt", "opt.json"}


def test_adding_what_is_not_there_names_it(home: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"nowhere\.pt"):
        store.add("clip-vit-b-32", home / "nowhere.pt")


def test_a_path_given_comes_before_everything(item: Artefact, shop: Shop, home: Path) -> None:
    store.pull(item)
    (home / "mine.bin").write_bytes(b"x")
    assert store.resolve(item, path=home / "mine.bin") == home / "mine.bin"
    with pytest.raises(WeightsMissing, match=r"gone\.bin"):
        store.resolve(item, path=home / "gone.bin")


def test_equivalent_weights_save_a_download(home: Path) -> None:
    path = home / ".cache" / "clip" / "ViT-B-32.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert store.locate("clip-vit-b-32") is None
    assert store.find("clip-vit-b-32") == store.resolve("clip-vit-b-32", offline=True) == path


def test_other_forms_on_the_hub(item: Artefact, home: Path) -> None:
    also = hashlib.sha256(b"the other form").hexdigest()
    item = replace(item, hf_also=("net.old",), also_sha256=(also,), size_bytes=None, size_exact=False)
    for name, content in (("net.old", b"the other form"), ("net.bin", CONTENT)):
        (home / name).write_bytes(content)
        assert store.add(item, home / name).read_bytes() == content
    (home / "net.new").write_bytes(b"a third form")
    with pytest.raises(WeightsInvalid, match=r"net\.new: not the published net\.bin"):
        store.add(item, home / "net.new")


def test_other_training_run_is_not_equivalent(home: Path) -> None:
    path = home / "cache" / "torch" / "hub" / "checkpoints" / "SLOWFAST_8x8_R50.pyth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert store.find("slowfast-r50-8x8") is None
    with pytest.raises(WeightsMissing, match="slowfast-r50-8x8"):
        store.resolve("slowfast-r50-8x8", offline=True)


def test_resolve_pulls_what_is_missing(item: Artefact) -> None:
    assert store.resolve(item).read_bytes() == CONTENT


@pytest.mark.parametrize("host", ["127.0.0.1:9", "weights.invalid"])
def test_unreachable_host_fails_fast(host: str, item: Artefact) -> None:
    item = replace(item, urls=(f"http://{host}/net.bin",))
    start = time.monotonic()
    with pytest.raises(WeightsMissing, match="its host cannot be reached"):
        store.resolve(item)
    assert time.monotonic() - start < 4


def test_a_listening_host_is_reachable(item: Artefact) -> None:
    assert store.reachable(item)


def test_the_module_starts_without_heavy_libraries() -> None:
    program = (
        "import sys, extractors.weights.store as w; w.artefacts(); w.locate('clip-vit-b-32');"
        "heavy = {'torch', 'huggingface_hub', 'numpy', 'open_clip'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
