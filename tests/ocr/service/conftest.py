"""One running instance for the tests of a module, with golden samples that are quickly read."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx
import msgspec
import numpy as np
import pytest
import uvicorn

from gpupool_ocr.local import LocalFactory
from gpupool_ocr.plans.reading import default_snapshot, write_snapshot
from gpupool_ocr.plans.spec import CasesSpec, GoldenSpec, PlanSpec, Snapshot
from gpupool_ocr.rollouts.desired import Desired, applied
from gpupool_ocr.rollouts.store import Entry, FolderStore
from gpupool_ocr.service.app import make_app
from gpupool_ocr.service.instance import open_instance
from gpupool_ocr.service.parts import Parts
from gpupool_ocr.service.settings import Settings

TEXT = "BANK427965"
TENANTS = ("shop", "other", "private", "clerk")


def drawn(text: str = TEXT, *, width: int = 420) -> bytes:
    """Return a picture of one line, as PNG, nearly square: the detector enlarges the shorter side."""
    image = np.full((400, width, 3), 255, np.uint8)
    cv2.putText(image, text, (20, 220), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (0, 0, 0), 3, cv2.LINE_AA)
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture(scope="module")
def page() -> bytes:
    return drawn()


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("golden")
    (folder / "one.png").write_bytes(drawn())
    (folder / "one.json").write_text(json.dumps({"lines": [TEXT]}))
    return msgspec.structs.replace(default_snapshot(), golden=GoldenSpec(samples=str(folder), min_recall=0.8))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the instance keeps its log and snapshots."""
    return tmp_path_factory.mktemp("ocr")


@pytest.fixture(scope="module")
def parts(snapshot: Snapshot, home: Path) -> Iterator[Parts]:
    store = FolderStore(home / "snapshots")
    number = store.add(Entry(yaml=write_snapshot(snapshot), note="", by="test", at=0.0))
    store.set_desired(applied(Desired(), number))
    settings = Settings(folder=home / "snapshots", log=home / "log", pages=2, max_pages=20)
    with open_instance(settings, LocalFactory()) as parts:
        yield parts


@contextmanager
def serving(parts: Parts) -> Iterator[str]:
    """Serve an instance; the address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(make_app(parts), log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def address(parts: Parts) -> Iterator[str]:
    with serving(parts) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def keeping_parts(snapshot: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """An instance with tenants whose plan doubts every line; plan `strict` doubts none, plan `off` keeps nothing."""
    home = tmp_path_factory.mktemp("keeping")
    doubts = msgspec.structs.replace(snapshot.plans["text"], cases=CasesSpec(below=1.0))
    plans = {"text": doubts, "off": PlanSpec(steps=doubts.steps, cases=CasesSpec(keep=False))}
    plans["strict"] = PlanSpec(steps=doubts.steps, cases=CasesSpec(below=0.0))
    (entry,) = snapshot.algorithms
    algorithms = [entry, *(msgspec.structs.replace(entry, tid=name, plan=name) for name in ("off", "strict"))]
    store = FolderStore(home / "snapshots")
    yaml = write_snapshot(msgspec.structs.replace(snapshot, plans=plans, algorithms=algorithms))
    store.set_desired(applied(Desired(), store.add(Entry(yaml=yaml, note="", by="test", at=0.0))))
    rights = {"private": "keeps_cases: false", "clerk": "cases_of: [shop]", "shop": "is_admin: true", "other": "per_minute: 600"}
    (home / "tenants.yaml").write_text(
        "tenants:\n"
        + "".join(f"  {name}: {{key_sha256: {hashlib.sha256(name.encode()).hexdigest()}, {rights[name]}}}\n" for name in TENANTS)
    )
    settings = Settings(folder=home / "snapshots", tenants=home / "tenants.yaml", cases=home / "cases", pages=2)
    with open_instance(settings, LocalFactory()) as parts:
        yield parts


@pytest.fixture(scope="module")
def keeping_address(keeping_parts: Parts) -> Iterator[str]:
    with serving(keeping_parts) as address:
        yield address
