"""`headcut-train` for people with masks of their own: prepare, neck, finetune, report."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer

from headcut.errors import OptionError
from headcut.find import HeadFinder
from headcut.geometry import BoolArray
from headcut.model_file import open_model
from headcut.pipeline import HeadCutter
from headcut.segment import HeadSegmenter
from headcut.writing import write_whole
from headcut_train import neck as necks
from headcut_train.evaluate import as_text, main_head, score_manifests, whole_head
from headcut_train.export.crops import crops_of_sample
from headcut_train.export.onnx_file import export_onnx
from headcut_train.layouts import LAYOUTS
from headcut_train.manifest import open_manifests
from headcut_train.prepare import as_table, prepare
from headcut_train.recipe import read_recipe
from headcut_train.report import Scored, compared, report_page
from headcut_train.sources import Sample
from headcut_train.train import load_network, read_state, size_of, train

app = typer.Typer()

CHECKOUT = Path(__file__).parents[2]

LayoutName = StrEnum("LayoutName", {name: name for name in LAYOUTS})

Cache = Annotated[Path, typer.Option(help="Folder of decoded photos, made on first use.")]
Manifests = Annotated[list[Path], typer.Option("--manifest", help="May be given several times.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes; 0: one a core.")]


@app.command("prepare")
def prepare_command(
    source: Annotated[Path, typer.Argument(help="Folder of photos and masks; stays as it is.")],
    out: Annotated[Path, typer.Argument(help="Folder for the manifest and its masks.")],
    layout: Annotated[LayoutName, typer.Option(help="What its files and colours mean.")],
    held_out: Annotated[
        int, typer.Option(min=0, max=100, help="Percent of the pairs, for evaluation.")
    ] = 10,
    strict: Annotated[bool, typer.Option(help="Exit code 1 if a pair was left out.")] = False,
    workers: Workers = 0,
) -> None:
    """Check photos and masks, and write a manifest; goes on where it stopped."""
    manifest, left_out = prepare(source, layout.value, out, held_out_pct=held_out, workers=workers)
    held = len(manifest.used("val"))
    count = len(manifest.pairs)
    typer.echo(f"{manifest.path}: {count} pairs, {held} held out; {len(left_out)} left out")
    if left_out:
        typer.echo(as_table(left_out))
        typer.echo(f"each of them: {out / 'left_out.csv'}")
    if not count or (strict and left_out):
        raise typer.Exit(1)


@app.command("neck")
def neck_command(
    manifest: Annotated[Path, typer.Argument(help="From prepare: the file or its folder.")],
    sheet: Annotated[
        Path | None, typer.Option(help="PNG: before and after, doubtful ones first, 50 a file.")
    ] = None,
    review: Annotated[
        bool, typer.Option(help="Then open a page on this machine to accept, drop or drag.")
    ] = False,
    port: Annotated[int, typer.Option(help="Of the page; 0: any that is free.")] = 0,
    workers: Workers = 0,
) -> None:
    """Cut necks off masks along the jaw, into neck.jsonl beside the manifest."""
    cut = necks.cut_necks(manifest, workers=workers)
    typer.echo(necks.summary(cut))
    if sheet:
        for path in necks.write_sheets(cut, sheet):
            typer.echo(path)
    if review:
        from headcut_train.review import serve

        serve(cut, port, lambda url: typer.echo(f"{url}  (Ctrl-C ends; every choice is saved)"))


@app.command()
def finetune(
    start_from: Annotated[
        str, typer.Argument(metavar="FROM", help="Kept weights by name (refiner), or a .pt.")
    ],
    manifest: Annotated[list[Path], typer.Argument(help="Manifests to train on.")],
    recipe: Annotated[Path, typer.Option(help="What to do; sizes are the weights'.")] = CHECKOUT
    / "recipes/finetune.toml",
    out: Annotated[Path, typer.Option(help="Folder of the run; resumes it.")] = Path(
        "runs/finetune"
    ),
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    cache: Cache = Path("runs/cache"),
    workers: Annotated[int, typer.Option(help="Processes that make pictures.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of the network; 0: as many as fit.")] = 0,
) -> None:
    """Train on from weights, on pairs of your own."""
    if threads:
        torch.set_num_threads(threads)
    kept = CHECKOUT / "weights" / f"{start_from}.pt"
    weights = kept if kept.is_file() else Path(start_from)
    chosen = read_recipe(recipe)
    chosen = replace(chosen, steps=steps) if steps else chosen
    state = read_state(weights)
    chosen = replace(chosen, network=state["recipe"]["network"], sizes=((1.0, size_of(state)),))
    sources = open_manifests(manifest, cache, chosen.network)
    last = train(chosen, sources=sources, out=out, start_from=weights, workers=workers)
    typer.echo(last)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run: runs/NAME.")],
    manifest: Manifests,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="HTML; RUN/report.html.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Scores as JSON.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Photos a set at the most.")] = None,
) -> None:
    """Score a run's network on held-out pairs, and write one page about it."""
    network, state = load_network(run / "last.pt")
    recipe = state["recipe"]
    if recipe["network"] == "finder":
        raise OptionError(f"{run}: not a run of a segmenter; choose another")
    scored: list[Scored] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        crops = crops_of_sample(size_of(state), 8, 9)
        export_onnx(network, recipe["network"], path, threshold=0.5, crops=crops)
        table = score_model(
            path,
            manifest,
            whole=recipe.get("pictures") == "whole",
            limit=limit,
            keep=lambda *seen: scored.append(compared(*seen)),
        )
    typer.echo(as_text(table))
    if json_path:
        write_whole(json_path, (json.dumps(table, indent=2) + "\n").encode())
    page = out or run / "report.html"
    write_whole(page, report_page(run.name, state, table, scored).encode())
    typer.echo(page)


ORIGINAL_THRESHOLD = 0.7
"""The original calls a pixel head from this probability on."""


def score_model(
    model: str | Path,
    manifests: list[Path],
    *,
    whole: bool = False,
    limit: int | None = None,
    finder: str = "finder",
    segmenter: str = "segmenter",
    keep: Callable[[Sample, BoolArray, float], None] = lambda *_: None,
) -> dict[str, dict[str, float]]:
    """Return the scores of a refiner's file on held-out pairs, by set.

    Args:
        model: a bundled name or a file.
        manifests: of the pairs.
        whole: the network looks at the whole photo, as the original does, and a pixel is head from
            `ORIGINAL_THRESHOLD` on; else the whole pipeline runs, as for users.
        limit: pairs a set at the most.
        finder: a bundled name or a file.
        segmenter: a bundled name or a file.
        keep: called with each sample, the pixels called head, and their IoU.
    """
    refiner = HeadSegmenter(open_model(model))
    if whole:
        return score_manifests(
            lambda sample: whole_head(refiner, sample.photo, ORIGINAL_THRESHOLD),
            manifests,
            limit=limit,
            keep=keep,
        )
    cutter = HeadCutter(
        finder=HeadFinder(open_model(finder)),
        segmenter=HeadSegmenter(open_model(segmenter)),
        refiner=refiner,
    )
    return score_manifests(
        lambda sample: main_head(cutter.cut(sample.photo), sample),
        manifests,
        limit=limit,
        keep=keep,
    )
