"""A training run -> one HTML page: scores by set, curves, best and worst pictures, recipe, time."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from headcut.geometry import BoolArray, U8Array, crop_for_model, whole_photo_box
from headcut_train.sources import HEAD, KNOWN, Sample

SHOWN = 8
"""Best pictures on the page, and worst."""

TILE_PX = 200

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
figure { display: inline-block; margin: 0 .5rem .5rem 0; } figcaption { font-size: 12px; }
"""


@dataclass(frozen=True, slots=True)
class Scored:
    """A held-out pair: its name, its score, and what was right and wrong, to be looked at."""

    name: str
    iou: float
    picture: U8Array


def report_page(
    name: str,
    state: Mapping[str, Any],
    table: Mapping[str, Mapping[str, float]],
    scores: Sequence[Scored],
) -> str:
    """Return the page, complete in itself: it loads nothing.

    Args:
        name: of the run.
        state: its checkpoint, as from `train.read_state`.
        table: scores by set.
        scores: of each held-out pair.
    """
    rows = state["rows"]
    seconds = sum(row[3] for row in rows)
    ordered = sorted(scores, key=lambda score: score.iou)
    parts = [
        f"<h1>{html.escape(name)}</h1>",
        f"<p>{state['step']} steps in {_time(seconds)}; {len(scores)} held-out photos.</p>",
        "<h2>Scores</h2>",
        _table(table),
        "<h2>Curves</h2>",
        _curves(rows),
        "<h2>Worst</h2><p>Green: right. Red: called head, but is not. Blue: missed.</p>",
        *map(_figure, ordered[:SHOWN]),
        "<h2>Best</h2>",
        *map(_figure, ordered[: -SHOWN - 1 : -1]),
        "<h2>Recipe</h2>",
        _table({key: {"value": value} for key, value in state["recipe"].items() if value != ""}),
    ]
    head = f"<meta charset=utf-8><title>{html.escape(name)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _table(table: Mapping[str, Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    lines = [f"<tr><th></th>{''.join(f'<th>{html.escape(c)}</th>' for c in columns)}</tr>"]
    for name, row in table.items():
        cells = "".join(f"<td>{_cell(row.get(column, '-'))}</td>" for column in columns)
        lines.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _cell(value: object) -> str:
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def _curves(rows: Sequence[Sequence[float]]) -> str:
    figure = Figure(figsize=(9, 3), layout="constrained")
    loss, rate = figure.subplots(1, 2)
    steps = [row[0] for row in rows]
    loss.plot(steps, [row[1] for row in rows], marker=".")
    loss.set(xlabel="step", ylabel="loss", yscale="log")
    rate.plot(steps, [row[2] for row in rows], marker=".")
    rate.set(xlabel="step", ylabel="learning rate")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100)
    return _inline(image.getvalue(), "png", "loss and learning rate by step")


def _figure(score: Scored) -> str:
    image = io.BytesIO()
    Image.fromarray(score.picture).save(image, "JPEG", quality=85)
    words = html.escape(f"{score.name}: IoU {score.iou:.3f}")
    picture = _inline(image.getvalue(), "jpeg", words)
    return f"<figure>{picture}<figcaption>{words}</figcaption></figure>"


def compared(sample: Sample, found: BoolArray, iou: float) -> Scored:
    """Return a photo with what is right green, what is wrongly head red, what is missed blue."""
    head, known = (sample.plane & HEAD) > 0, (sample.plane & KNOWN) > 0
    shown = sample.photo * np.float32(0.6)
    for pixels, colour in (
        (found & head, (0, 255, 0)),
        (found & ~head & known, (255, 0, 0)),
        (~found & head, (0, 0, 255)),
    ):
        shown[pixels] += np.array(colour, np.float32) * 0.4
    look = whole_photo_box((head.shape[0], head.shape[1]))
    return Scored(sample.name, iou, crop_for_model(shown.astype(np.uint8), look, TILE_PX))


def _inline(data: bytes, kind: str, words: str) -> str:
    return f'<img alt="{words}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'
