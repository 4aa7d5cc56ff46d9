"""The model cache on disk: verified, atomic, bounded, apart by tenant."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpupool_agent.models import MAX_UPLOADS, ModelCache
from gpupool_wire.errors import LimitExceeded, RemoteProtocolError

MODEL = os.urandom(1000)
NAME = hashlib.sha256(MODEL).hexdigest()
MakeCache = Callable[..., ModelCache]


@pytest.fixture
def make_cache(tmp_path: Path) -> Iterator[MakeCache]:
    made: list[ModelCache] = []

    def make(tenant: str = "acme", limit_bytes: int = 10_000) -> ModelCache:
        made.append(ModelCache(tmp_path, tenant, limit_bytes))
        return made[-1]

    yield make
    for cache in made:
        cache.close()
    assert not list(tmp_path.rglob("*.part"))


def store(cache: ModelCache, model: bytes) -> str:
    name = hashlib.sha256(model).hexdigest()
    cache.begin(name, len(model))
    assert cache.put(name, 0, model)
    return name


def only_file(folder: Path) -> Path:
    (path,) = folder.rglob("*.onnx")
    return path


def test_a_model_is_stored_in_parts_and_loaded(make_cache: MakeCache) -> None:
    cache = make_cache()
    assert cache.load(NAME) is None
    assert cache.begin(NAME, 1000) == 0
    assert not cache.put(NAME, 0, MODEL[:400])
    assert cache.load(NAME) is None
    assert cache.begin(NAME, 1000) == 400
    assert cache.put(NAME, 400, memoryview(MODEL)[400:])
    assert cache.load(NAME) == MODEL


def test_a_part_that_is_there_already_is_accepted(make_cache: MakeCache) -> None:
    """Two clients of a slice upload the same model at the same time, and help each other."""
    cache = make_cache()
    cache.begin(NAME, 1000)
    cache.put(NAME, 0, MODEL[:600])
    assert not cache.put(NAME, 0, MODEL[:300])
    assert not cache.put(NAME, 300, MODEL[300:700])
    assert cache.put(NAME, 700, MODEL[700:])
    assert cache.put(NAME, 700, MODEL[700:])
    assert cache.load(NAME) == MODEL


@pytest.mark.parametrize(("offset", "part"), [(1, b"x"), (0, b""), (0, b"x" * 1001), (999, b"xx")])
def test_parts_that_do_not_fit_are_refused(make_cache: MakeCache, offset: int, part: bytes) -> None:
    cache = make_cache()
    cache.begin(NAME, 1000)
    with pytest.raises(RemoteProtocolError):
        cache.put(NAME, offset, part)
    assert cache.put(NAME, 0, MODEL)


def test_a_part_nobody_announced_is_refused(make_cache: MakeCache) -> None:
    with pytest.raises(RemoteProtocolError, match="open the model first"):
        make_cache().put(NAME, 0, MODEL)


def test_bytes_that_hash_to_something_else_are_thrown_away(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    cache.begin(NAME, 1000)
    with pytest.raises(RemoteProtocolError, match="hash"):
        cache.put(NAME, 0, bytes(1000))
    assert list(tmp_path.rglob("*.*")) == []
    assert store(cache, MODEL) == NAME


def test_a_damaged_file_is_not_loaded(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    store(cache, MODEL)
    only_file(tmp_path).write_bytes(MODEL[:-1])
    assert cache.load(NAME) is None
    assert cache.begin(NAME, 1000) == 0
    assert cache.put(NAME, 0, MODEL)


def test_another_tenant_does_not_see_it(make_cache: MakeCache) -> None:
    store(make_cache("acme"), MODEL)
    assert make_cache("rival").load(NAME) is None
    assert make_cache("acme").load(NAME) == MODEL


def test_a_tenants_name_never_leaves_the_folder(make_cache: MakeCache, tmp_path: Path) -> None:
    store(make_cache("../../../tmp/evil"), MODEL)
    assert only_file(tmp_path).parent.parent == tmp_path


def test_files_are_the_agents_alone(make_cache: MakeCache, tmp_path: Path) -> None:
    store(make_cache(), MODEL)
    assert only_file(tmp_path).parent.stat().st_mode & 0o077 == 0


def test_the_least_recently_used_models_make_room(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache(limit_bytes=3000)
    models = [bytes([number]) * 1000 for number in range(3)]
    names = [store(cache, model) for model in models]
    for age, name in enumerate(names):
        path = next(tmp_path.rglob(f"{name}.onnx"))
        os.utime(path, (1000 - age, 1000 - age))
    assert cache.load(names[2]) is not None  # used now, though stored long ago
    store(make_cache("other", 3000), MODEL)
    assert [cache.load(name) is not None for name in names] == [True, False, True]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.onnx")) <= 3000


def test_a_model_larger_than_the_cache_is_refused(make_cache: MakeCache) -> None:
    with pytest.raises(LimitExceeded, match="cache"):
        make_cache(limit_bytes=999).begin(NAME, 1000)


def test_uploads_under_way_are_limited(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    names = [hashlib.sha256(bytes([number])).hexdigest() for number in range(MAX_UPLOADS + 1)]
    for name in names:
        cache.begin(name, 10)
    assert len(list(tmp_path.rglob("*.part"))) == MAX_UPLOADS
    with pytest.raises(RemoteProtocolError):
        cache.put(names[0], 0, b"x")


def test_what_a_dead_worker_left_is_removed_in_time(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache(limit_bytes=1500)
    store(cache, b"small")
    left = only_file(tmp_path).with_suffix(".999.part")
    left.write_bytes(bytes(1000))
    os.utime(left, (1000, 1000))
    store(cache, MODEL)
    assert not left.exists()


def test_a_model_of_no_bytes_is_never_missing(make_cache: MakeCache) -> None:
    assert make_cache().load(hashlib.sha256(b"").hexdigest()) == b""
