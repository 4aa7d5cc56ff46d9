"""The recorder: samples of a real broker are kept over a restart, and damage of their file costs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from gpupool_broker.core.history import Level, Sample
from gpupool_broker.core.overview import Overview, Totals
from gpupool_broker.history import Recorder
from gpupool_broker.service import Broker


class FakeBroker:
    """Shows an empty pool."""

    def read(self, _look: Any) -> Overview:
        return Overview(totals=Totals(compute_offered_pct=100), alarms=[], tenants=[])


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(cast(Broker, FakeBroker()), tmp_path / "history.mpk", every_s=0.001)


def test_samples_outlive_a_restart(recorder: Recorder, tmp_path: Path) -> None:
    recorder.history.coarse.append(Sample(7, 100, Level(40, 20), 0, 0, 0, {"t": Level(40, 20)}))
    recorder.start()
    recorder.stop()
    again = Recorder(cast(Broker, FakeBroker()), tmp_path / "history.mpk")
    assert again.history.points(0, "t")[0].at_ms == 7


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x91\x01"])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "history.mpk").write_bytes(content)
    assert Recorder(cast(Broker, FakeBroker()), tmp_path / "history.mpk").history.points(0) == []


def test_a_folder_that_is_gone_stops_nothing(recorder: Recorder, tmp_path: Path) -> None:
    tmp_path.rename(tmp_path.with_name("away"))
    recorder.start()
    recorder.stop()
    assert not recorder._thread.is_alive()
