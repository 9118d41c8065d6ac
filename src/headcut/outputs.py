"""From the cut-outs of one photo to the files that are written: the same for every face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headcut.cutout import CutOut, choose_heads, merge
from headcut.options import Heads, SaveOptions
from headcut.plan import numbered
from headcut.sidecar import Picture, sidecar, sidecar_path


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file to write."""

    path: Path

    data: bytes

    is_picture: bool = True
    """False for the sidecar."""


def output_files(
    cut_outs: Sequence[CutOut],
    photo_name: str,
    output: Path,
    *,
    heads: Heads,
    save: SaveOptions,
    with_sidecar: bool,
) -> Iterator[OutputFile]:
    """Yield one file a picture, each encoded when it is asked for, and the sidecar.

    Args:
        cut_outs: at least one, of one photo, left to right.
        photo_name: what the sidecar calls the photo.
        output: the file of the picture; where `heads` is `each`, it is numbered.
        heads: which of them go into which picture.
        save: what a picture looks like.
        with_sidecar: whether to describe them in a JSON.

    Raises:
        HeadChoiceError: there is no such head.
        PhotoError: the background's picture cannot be read.
        OutputError: a picture is too large for its format.
    """
    written = []
    for number, chosen in enumerate(choose_heads(cut_outs, heads), start=1):
        path = numbered(output, number) if heads == "each" else output
        picture = merge(chosen)
        yield OutputFile(path, picture.encode(save))
        written.append(Picture(path, chosen, picture.frame(save)))
    if with_sidecar:
        yield OutputFile(sidecar_path(output), sidecar(photo_name, written), is_picture=False)
