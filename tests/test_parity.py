"""How far a file is from its network: what counts, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_data import SIDE, write_data
from torch import Tensor, nn

from headcut.errors import ModelError
from headcut.geometry import BoolArray, FloatArray, U8Array
from headcut_train.cache import CachedSource
from headcut_train.export.crops import crops_with_masks
from headcut_train.export.parity import LIMITS, Parity, compare, outputs_of, refuse

PICTURE = np.zeros((256, 256, 3), np.uint8)
PICTURE[:, :128] = 255
LEFT = PICTURE[..., 0] > 0
ALL = np.ones((256, 256), bool)


class Bright(nn.Module):
    """Head is what is bright."""

    output_names = ("mask",)

    def exported(self, image: Tensor) -> tuple[Tensor, ...]:
        return (image[:, :1] / 255,)


class Boxes(nn.Module):
    """A head where it is bright, of one size everywhere."""

    output_names = ("centre", "box")

    def exported(self, image: Tensor) -> tuple[Tensor, ...]:
        return image[:, :1] / 255, torch.ones_like(image[:, :2])


def shifted(columns: int) -> FloatArray:
    return np.roll(LEFT, columns, axis=1)[None].astype(np.float32)


def test_mask_is_compared_with_the_network_and_with_people() -> None:
    """The file calls 64 columns head that people do not, and misses as many."""
    parity = compare(
        Bright(), lambda crop: [shifted(64)], [PICTURE], labelled=[(PICTURE, LEFT, ALL)]
    )
    assert (parity.largest, parity.mean) == (1.0, 0.5)
    assert parity.iou == pytest.approx(64 / 192)
    assert parity.people == pytest.approx(64 / 192)
    assert parity.lost == pytest.approx(1 - 64 / 192)
    assert "IoU with people 0.3333 (-0.6667)" in str(parity)


def test_pixels_that_people_do_not_know_of_do_not_count() -> None:
    known = np.zeros((256, 256), bool)
    known[:, 64:128] = True
    parity = compare(
        Bright(), lambda crop: [shifted(64)], [PICTURE], labelled=[(PICTURE, LEFT, known)]
    )
    assert (parity.people, parity.lost) == (1.0, 0.0)


@pytest.mark.parametrize("quantize", list(LIMITS))
def test_file_that_loses_more_than_allowed_is_refused(quantize: str) -> None:
    fair = Parity(largest=0.0, mean=0.0, iou=1.0, people=0.93, lost=0.003)
    refuse(Path("a.onnx"), fair, LIMITS[quantize])
    for lost in (0.0031, -0.0031, float("nan")):
        with pytest.raises(ModelError, match="differs from the network"):
            refuse(Path("a.onnx"), replace(fair, lost=lost), LIMITS[quantize])


@pytest.mark.parametrize(("moved", "largest"), [(~LEFT, 0.0), (LEFT, 2.0)])
def test_boxes_count_where_a_head_is_proposed(moved: BoolArray, largest: float) -> None:
    """In other cells nobody reads them."""

    def run(crop: U8Array) -> list[FloatArray]:
        centre, box = outputs_of(Boxes(), crop)
        return [centre, box + 2 * moved.astype(np.float32)]

    assert compare(Boxes(), run, [PICTURE]).largest == largest


def test_boxes_count_somewhere_in_every_picture() -> None:
    """Else a file could pass on pictures without a head, whatever its boxes."""
    dark = PICTURE // 64

    def run(crop: U8Array) -> list[FloatArray]:
        centre, box = outputs_of(Boxes(), crop)
        return [centre, box + 2 * LEFT.astype(np.float32)]

    assert compare(Boxes(), run, [dark]).largest == 2.0


def test_crops_come_with_the_masks_of_people(tmp_path: Path) -> None:
    """A crop is twice as high as its head, so the head fills about a sixth of it."""
    write_data(tmp_path / "data")
    samples = CachedSource(tmp_path / "data", tmp_path / "cache", "celebamask", "val")
    crops = crops_with_masks(samples, 256, 1)
    assert len(crops) == 1 <= len(crops_with_masks(samples, 256)) == len(samples)
    image, head, known = crops[0]
    assert image.shape == (256, 256, 3)
    assert SIDE < head.sum() < known.sum()
    assert image[head][:, 0].mean() > image[known & ~head][:, 0].mean() + 50, "heads are red"
