"""How sure a found head is: fitted on what was right before, and the threshold that follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import RedSegmenter
from made_data import red_head_sample
from made_model import write_model

from headcut.errors import OptionError
from headcut.find import Calibration, Head, HeadFinder, log_odds
from headcut.geometry import Box, U8Array
from headcut.model_file import Model
from headcut_train.calibrate import (
    Observations,
    chances,
    draw_reliability,
    fit,
    observe,
    safe_threshold,
    write_calibration,
)

HEAD_AT: Box = (60.0, 50.0, 120.0, 130.0)
WALL_AT: Box = (130.0, 150.0, 160.0, 190.0)


def observed(*rows: tuple[float, float, float, bool]) -> Observations:
    """Observations of (proposed, share, size, right), each in a photo of its own."""
    evidence = [[1.0, log_odds(c), log_odds(s), float(np.log(z))] for c, s, z, _ in rows]
    return Observations(evidence, [r for *_, r in rows], list(range(len(rows))), len(rows))


def drawn(truth: Calibration, count: int) -> Observations:
    """Observations whose heads are right with the chance that a calibration says."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        c, s, z = rng.uniform(0.05, 0.95), rng.uniform(0.05, 0.95), rng.uniform(0.02, 0.9)
        rows.append((c, s, z, bool(rng.random() < truth.chance(c, s, z))))
    return observed(*rows)


def test_fit_finds_what_the_heads_were_drawn_from() -> None:
    truth = Calibration(1.0, 1.5, 0.7, 0.5)
    found = fit({"made": drawn(truth, 8000)})
    for name in ("constant", "proposed", "confirmed", "size"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), abs=0.2)


def test_every_set_has_the_same_weight() -> None:
    """A thousand heads of a lecture room must not outvote a hundred portraits."""
    right, wrong = drawn(Calibration(3, 0, 0, 0), 2000), drawn(Calibration(-3, 0, 0, 0), 100)
    found = fit({"large": right, "small": wrong})
    assert found.chance(0.5, 0.5, 0.3) == pytest.approx(0.5, abs=0.1)


def test_fit_of_nothing_says_what_it_needs() -> None:
    for sets in ({}, {"made": observed((0.9, 0.9, 0.5, True))}, {"empty": Observations()}):
        with pytest.raises(OptionError, match="needs right and wrong heads"):
            fit(sets)


def test_lecture_halls_weigh_little() -> None:
    """Where the closer look fails, in crowds, must not decide how much it counts elsewhere."""
    telling = observed(*[(0.5, s, 0.5, s > 0.5) for s in (0.1, 0.9)] * 20, (0.5, 0.9, 0.5, False))
    misleading = observed(*[(0.5, s, 0.5, s < 0.5) for s in (0.1, 0.9)] * 20)
    assert fit({"celebamask": telling, "scut_heads": misleading}).confirmed > 0.5
    assert abs(fit({"celebamask": telling, "lfw_parts": misleading}).confirmed) < 0.1


def test_chances_are_those_of_the_calibration() -> None:
    calibration = Calibration(0.5, 1.2, 0.8, 0.3)
    [chance] = chances(calibration, observed((0.3, 0.8, 0.1, True)))
    assert chance == pytest.approx(calibration.chance(0.3, 0.8, 0.1), abs=1e-6)
    assert len(chances(calibration, Observations())) == 0


def test_threshold_lets_few_scenes_have_a_false_head() -> None:
    """Of a hundred photos, four have a false head; three of them must go."""
    calibration = Calibration(0, 1, 0, 0)
    scenes = observed(*[(c, 0.5, 0.5, False) for c in (0.3, 0.41, 0.62, 0.83)])
    scenes.photos = 100
    assert safe_threshold(calibration, scenes) == pytest.approx(0.66)
    scenes.photo = [0, 1, 2, 2]
    assert safe_threshold(calibration, scenes) == pytest.approx(0.45)
    for sure in (0.93, 0.97):
        scenes = observed((sure, 0.5, 0.5, False))
        assert safe_threshold(calibration, scenes) == 0.95


class Proposer(HeadFinder):
    """Proposes the red head and a piece of wall."""

    threshold = 0.5
    calibration = Calibration()

    def __init__(self) -> None:
        pass

    def find(self, photo: U8Array) -> list[Head]:
        return [Head(HEAD_AT, 0.6), Head(WALL_AT, 0.7)]


def test_proposals_are_observed_with_what_the_closer_look_says() -> None:
    seen = observe(Proposer(), RedSegmenter(), [red_head_sample(HEAD_AT)] * 2)
    assert seen.photos == 2
    assert seen.right == [True, False] * 2
    assert seen.photo == [0, 0, 1, 1]
    head, wall = seen.evidence[:2]
    assert head[1] == pytest.approx(log_odds(0.6))
    assert head[2] > 2
    assert head[3] == pytest.approx(np.log(80 / 200), abs=0.02)
    assert (wall[1], wall[2]) == pytest.approx((log_odds(0.7), log_odds(0)))


def test_calibration_of_before_has_no_say() -> None:
    """Calibrated twice, a finder keeps its numbers."""
    finder = Proposer()
    before = observe(finder, RedSegmenter(), [red_head_sample(HEAD_AT)])
    finder.calibration = Calibration(0, -1, -1, 0)
    assert observe(finder, RedSegmenter(), [red_head_sample(HEAD_AT)]) == before


def test_calibration_travels_in_the_model_file(tmp_path: Path) -> None:
    path = write_model(tmp_path / "finder.onnx", licence="mine")
    before = onnx.load(str(path)).graph
    write_calibration(path, Calibration(-1.5, 2, 0.25, 0.125), 0.37)
    model = Model(path)
    assert HeadFinder(model).calibration == Calibration(-1.5, 2, 0.25, 0.125)
    assert (model.threshold, model.metadata["licence"]) == (0.37, "mine")
    assert onnx.load(str(path)).graph == before
    assert [p.name for p in tmp_path.iterdir()] == ["finder.onnx"]


def test_reliability_is_drawn(tmp_path: Path) -> None:
    truth = Calibration(0, 1, 1, 0)
    draw_reliability(truth, {"made": drawn(truth, 500), "none": Observations()}, tmp_path / "r.png")
    assert (tmp_path / "r.png").stat().st_size > 5000
