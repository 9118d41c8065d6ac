"""`headcut-train neck` against people: their necks merged into their heads, cut, and compared.

    python benchmarks/necks.py DATA OUT     # DATA holds celebamask/val

OUT keeps the manifests and masks, for `headcut-train neck OUT --sheet ...`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from headcut.geometry import U8Array
from headcut_train.manifest import HEAD_LEVEL, NECK_LEVEL, Manifest, read_mask, write_manifest
from headcut_train.metrics import iou
from headcut_train.neck import cut_necks
from headcut_train.prepare import prepare, write_png

SKIN, NECK = 1, 17


def main() -> None:
    """Print a row for masks whose skin is labelled, and one for plain masks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    drawn, _ = prepare(arguments.data / "celebamask" / "val", "celebamask", arguments.out / "drawn")
    print("| masks | pairs | aside | IoU | worst | leak | lost |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for words, labelled in (("skin labelled", True), ("head only", False)):
        folder = arguments.out / words.replace(" ", "-")
        merged = _merged(drawn, folder, arguments.data / "celebamask/val/labels", labelled)
        cut = cut_necks(merged.path)
        print(f"| {words} | {' | '.join(_row(drawn, cut))} |")


def _merged(drawn: Manifest, folder: Path, labels: Path, labelled: bool) -> Manifest:
    """Write the masks with their necks in their heads, and where skin is, if that is labelled."""
    pairs = []
    for pair in drawn.pairs:
        mask = read_mask(drawn.file(pair.mask))
        if not (mask == NECK_LEVEL).any():
            continue
        write_png(folder / pair.mask, np.where(mask == NECK_LEVEL, np.uint8(HEAD_LEVEL), mask))
        skin = f"skin/{pair.name}.png" if labelled else ""
        if labelled:
            with Image.open(labels / f"{pair.name}.png") as image:
                label = np.asarray(image)
            write_png(folder / skin, np.isin(label, (SKIN, NECK)) * np.uint8(255))
        photo = str(drawn.file(pair.photo).resolve())
        neck = "inside" if labelled else "unsaid"
        pairs.append(replace(pair, photo=photo, neck=neck, skin=skin, chin_px=None))
    merged = Manifest(folder / "manifest.jsonl", drawn.layout, drawn.source, tuple(pairs))
    write_manifest(merged)
    return merged


def _row(drawn: Manifest, cut: Manifest) -> Sequence[str]:
    people = {pair.name: drawn.file(pair.mask) for pair in drawn.pairs}
    ious, leaked, necks, lost, heads = [], 0, 0, 0, 0
    used = [pair for pair in cut.pairs if pair.used]
    for pair in used:
        theirs, ours = read_mask(people[pair.name]), read_mask(cut.file(pair.mask))
        head, found = _is(theirs, HEAD_LEVEL), _is(ours, HEAD_LEVEL)
        neck = _is(theirs, NECK_LEVEL)
        ious.append(iou(found, head, np.ones_like(head)))
        leaked, necks = leaked + int((neck & found).sum()), necks + int(neck.sum())
        lost, heads = lost + int((head & ~found).sum()), heads + int(head.sum())
    return (
        *(str(len(used)), str(len(cut.pairs) - len(used))),
        *(f"{np.mean(ious):.4f}", f"{min(ious):.3f}"),
        *(f"{leaked / necks:.2%}", f"{lost / heads:.2%}"),
    )


def _is(mask: U8Array, level: int) -> np.ndarray:
    return mask == level


if __name__ == "__main__":
    main()
