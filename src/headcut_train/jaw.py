"""Photo -> the line under a jaw, from border to border: face mesh landmarks, joined by Bresenham.

A *jaw line* is a row of joints (N, 2) in photo pixels, from the photo's border below the person's
right ear over the chin to the border below the left ear: whoever walks along it has the neck on the
right-hand side, however the head is turned.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from headcut.doctor import SAMPLE_PHOTO
from headcut.errors import OptionError
from headcut.geometry import (
    BoolArray,
    FloatArray,
    U8Array,
    centred_square,
    crop_for_model,
    tight_box,
)
from headcut.photo import load_photo

JAW = (132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361)
"""Landmarks of MediaPipe's face mesh from the right ear's lobe over the chin to the left one's."""
CHIN, FOREHEAD = 152, 10
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)

LOWERED = 0.01
"""The line runs this much of the face's height below the landmarks: those lie inside the chin's
edge (on 310 masks that people drew, IoU rises by 0.004)."""

RISE = 0.5
"""How steeply the line rises from an ear's lobe to the border: necks reach up behind the jaw."""

DOUBTFUL = 0.5
"""Below this confidence nothing is cut along a line before a person accepts it."""

LOOK_PX = 512
LOOK_BY_HEAD = 1.5
"""Side of the square that the face mesh sees, in pixels and by the head's longer side."""

SPREAD = 0.04
"""Of the face's height: when the lines of a photo and of its mirror image are this far apart,
confidence is down to 1/e."""


@dataclass(frozen=True, slots=True)
class FoundJaw:
    """Where a jaw is, and how sure that is.

    Attributes:
        line: (N, 2) float32, the jaw line.
        chin_px: row of the chin.
        confidence: in [0, 1].
    """

    line: FloatArray
    chin_px: float
    confidence: float


def find_jaw(photo: U8Array, head: BoolArray) -> FoundJaw | None:
    """Return the jaw line of the face that a mask covers; None where no landmarks are found.

    Args:
        photo: (H, W, 3) uint8 sRGB.
        head: (H, W), the head with its neck.

    Raises:
        OptionError: MediaPipe is not installed.
    """
    mesh = _landmarks(photo, head)
    if mesh is None:
        return None
    mirrored = _landmarks(photo[:, ::-1], head[:, ::-1])
    confidence = 0.3  # one of the two was not recognised as a face
    if mirrored is not None:
        other = mesh.copy()
        other[[*JAW, FOREHEAD]] = mirrored[[*reversed(JAW), FOREHEAD]]
        other[[*JAW, FOREHEAD], 0] = head.shape[1] - other[[*JAW, FOREHEAD], 0]
        apart = np.linalg.norm((other - mesh)[list(JAW), :2], axis=1).mean()
        confidence = float(np.exp(-((apart / (SPREAD * _face_height(mesh))) ** 2)))
        mesh = (mesh + other) / 2
    line, yaw = jaw_line(mesh, head.shape), _yaw_deg(mesh)
    confidence *= float(np.clip((105 - yaw) / 60, 0, 1))
    oval = _filled([tuple(mesh[i, :2]) for i in OVAL], head.shape)
    confidence *= float(np.clip(1.25 * head[oval].mean(), 0, 1)) ** 2 if oval.any() else 0.0
    return FoundJaw(line, float(mesh[CHIN, 1]), confidence)


def jaw_line(mesh: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return the jaw line of a face's landmarks (468, 3), in a photo of (height, width).

    Of a face that is turned away, the jaw's hidden side folds back behind the chin's contour and is
    left out: there the line goes straight on to the border.
    """
    up = (mesh[FOREHEAD] - mesh[CHIN])[:2]
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    right = np.array([-up[1], up[0]])  # in the picture, of an upright head
    jaw = mesh[list(JAW), :2] - up * LOWERED * _face_height(mesh)
    middle = len(jaw) // 2
    line = [jaw[middle]]
    for side, way in ((jaw[middle + 1 :], right), (jaw[middle - 1 :: -1], -right)):
        reached, folded = float(jaw[middle] @ way), False
        part = []
        for joint in side:
            if joint @ way <= reached:
                folded = True
                break
            reached = float(joint @ way)
            part.append(joint)
        rise = 0.0 if folded else RISE
        part.append(_at_border((part or [jaw[middle]])[-1], way + rise * up, shape))
        line = [*line, *part] if way is right else [*part[::-1], *line]
    return np.array(line, np.float32)


def _at_border(point: FloatArray, way: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return where a ray leaves the photo; the point itself if it is outside already."""
    steps = []
    for start, step, extent in zip(point, way, (shape[1] - 1, shape[0] - 1), strict=True):
        if abs(step) > 1e-6:
            steps.append(((extent if step > 0 else 0) - start) / step)
    return point + way * max(0.0, min(steps))


def joined(line: FloatArray) -> list[tuple[int, int]]:
    """Return the pixels (x, y) of a jaw line, its joints joined by Bresenham's algorithm."""
    from bresenham import bresenham

    joints = [(int(x), int(y)) for x, y in np.floor(line)]
    pixels = [joints[0]]
    for (x0, y0), (x1, y1) in pairwise(joints):
        pixels += list(bresenham(x0, y0, x1, y1))[1:]
    return pixels


def below(line: FloatArray, shape: tuple[int, ...]) -> BoolArray:
    """Return the (H, W) pixels under a jaw line; those of the line itself are not."""
    pixels = joined(line)
    first, last = np.array(pixels[0]), np.array(pixels[-1])
    along = (last - first) / max(float(np.linalg.norm(last - first)), 1e-6)
    far = 4 * max(shape) * np.array([-along[1], along[0]])
    wide = 4 * max(shape) * along
    under = _filled([*pixels, tuple(last + wide + far), tuple(first - wide + far)], shape)
    for x, y in pixels:
        if 0 <= x < shape[1] and 0 <= y < shape[0]:
            under[y, x] = False
    return under


def _filled(corners: list[tuple[float, float]], shape: tuple[int, ...]) -> BoolArray:
    image = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in corners], fill=1)
    return np.array(image)


def _face_height(mesh: FloatArray) -> float:
    return float(np.linalg.norm(mesh[FOREHEAD] - mesh[CHIN]))


def _yaw_deg(mesh: FloatArray) -> float:
    """Return how far the line from ear to ear turns out of the picture, in degrees."""
    across = mesh[JAW[0]] - mesh[JAW[-1]]
    return float(np.degrees(np.arctan2(abs(across[2]), np.hypot(across[0], across[1]))))


def _landmarks(photo: U8Array, head: BoolArray) -> FloatArray | None:
    """Return the landmarks (468, 3) in photo pixels of the face that a mask covers most."""
    if not head.any():
        return None
    box = tight_box(head)
    side = LOOK_BY_HEAD * max(box[2] - box[0], box[3] - box[1])
    look = centred_square((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, side)
    seen = crop_for_model(np.ascontiguousarray(photo), look, LOOK_PX)
    found = _face_mesh().process(seen).multi_face_landmarks or []
    scale = np.array([side, side, side])
    origin = np.array([look[0], look[1], 0])
    meshes = [np.array([(p.x, p.y, p.z) for p in face.landmark]) * scale + origin for face in found]

    def covered(mesh: FloatArray) -> float:
        oval = _filled([tuple(mesh[i, :2]) for i in OVAL], head.shape)
        return float((oval & head).sum())

    return max(meshes, key=covered, default=None)


@cache
def _face_mesh() -> Any:
    """Open MediaPipe's face mesh, once a process; its models are inside its package."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        with _without_log():
            import mediapipe

            mesh = mediapipe.solutions.face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=3, min_detection_confidence=0.3
            )
            mesh.process(load_photo(SAMPLE_PHOTO))  # all its models open when there is a face
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "mediapipe":
            raise
        words = 'jaw landmarks need MediaPipe: pip install -e ".[neck]" (Python 3.11 or 3.12)'
        raise OptionError(words) from error
    return mesh


@contextmanager
def _without_log() -> Iterator[None]:
    """Close standard error to MediaPipe's C++: it logs before it can be told not to."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
