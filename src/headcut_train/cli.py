"""`headcut-train`: from training pictures to scores and model files; and `workshop`'s commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from PIL import Image, ImageDraw
from tqdm import tqdm

from headcut.errors import HeadcutError, OptionError
from headcut.find import PROPOSED, HeadFinder
from headcut.geometry import U8Array
from headcut.model_file import open_model
from headcut.pipeline import HeadCutter
from headcut.segment import HeadSegmenter
from headcut_train import workshop
from headcut_train.cache import CachedSource
from headcut_train.calibrate import (
    FITTED_ON,
    MOST_PHOTOS_A_SET,
    draw_reliability,
    fit,
    observe,
    safe_threshold,
    write_calibration,
)
from headcut_train.evaluate import as_text, contact_sheet, evaluate
from headcut_train.export.crops import (
    Labelled,
    crops_of_sample,
    crops_of_training,
    crops_with_masks,
)
from headcut_train.export.description import describe
from headcut_train.export.onnx_file import export_onnx
from headcut_train.export.parity import RESEARCH
from headcut_train.guesses import GUESSED, keep_guesses, open_guesses
from headcut_train.manifest import open_manifests
from headcut_train.mistakes import MINED_SOURCES, TRAPPED, mined
from headcut_train.networks import FINDER_STRIDE, Network
from headcut_train.pictures import Picture
from headcut_train.recipe import Recipe, read_recipe
from headcut_train.train import (
    PICTURES,
    keep_weights,
    load_network,
    open_sources,
    size_of,
    train,
)

app = typer.Typer(
    help="Train, score and export headcut's networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.add_typer(workshop.app)  # without a name: commands beside these

Data = Annotated[Path, typer.Option(help="Folder of the data sets.")]
Manifests = Annotated[
    list[Path] | None,
    typer.Option("--manifest", help="Instead of the data sets; may be given several times."),
]
Cache = Annotated[Path, typer.Option(help="Folder of decoded photos, made on first use.")]
Guessed = Annotated[
    bool, typer.Option("--guessed", help="Not of a finder: draw from what `guess` kept, too.")
]
DATA, CACHE = Path("data"), Path("runs/cache")


@app.command()
def samples(
    recipe: Path,
    sheet: Annotated[Path, typer.Option(help="PNG to write.")] = Path("samples.png"),
    data: Data = DATA,
    cache: Cache = CACHE,
    guessed: Guessed = False,
) -> None:
    """Draw 40 pictures as the network of a recipe sees them: labels red, unknown pixels dark."""
    chosen = read_recipe(recipe)
    make = PICTURES[chosen.pictures or chosen.network]
    sources = _sources_of(chosen, data, cache, guessed)
    size = chosen.sizes[-1][1]
    tiles = [_drawn(make(sources, np.random.default_rng([0, i]), size)) for i in range(40)]
    rows = [np.concatenate(tiles[i : i + 8], axis=1) for i in range(0, 40, 8)]
    Image.fromarray(np.concatenate(rows)).save(sheet)
    typer.echo(sheet)


@app.command()
def mine(
    finder: Annotated[str, typer.Option(help="Finder: a bundled name or a file.")] = "finder",
    segmenter: Annotated[
        str, typer.Option(help="Segmenter: a bundled name or a file.")
    ] = "segmenter",
    data: Data = DATA,
    cache: Cache = CACHE,
) -> None:
    """Keep what the networks take for heads where none is, for `train` to show to them."""
    doubtful = HeadFinder(open_model(finder), TRAPPED, proposes=PROPOSED / 2)
    cutter = HeadCutter(finder=doubtful, segmenter=HeadSegmenter(open_model(segmenter)))
    for name, source in open_sources(_folder(data), cache).items():
        if name in MINED_SOURCES:
            photos = tqdm(source, desc=name, disable=None)
            results = [mined(cutter, sample) for sample in photos]
            found, traps = [boxes for boxes, _ in results], [trap for _, trap in results]
            source.remember(found, traps)
            typer.echo(f"{name}: {sum(map(len, found))} mistakes in {len(found)} photos")


@app.command()
def guess(
    segmenter: Annotated[
        str, typer.Option(help="Segmenter: a bundled name or a file.")
    ] = "segmenter",
    refiner: Annotated[str, typer.Option(help="Refiner: a bundled name or a file.")] = "refiner",
    data: Data = DATA,
    cache: Cache = CACHE,
) -> None:
    """Keep what the networks surely cut of heads that are only boxed, to train on."""
    cutter = HeadCutter(
        segmenter=HeadSegmenter(open_model(segmenter)), refiner=HeadSegmenter(open_model(refiner))
    )
    kept = keep_guesses(cutter, open_sources(_folder(data), cache), cache)
    typer.echo(f"{len(kept)} heads have guessed masks")


@app.command("train")
def train_command(
    recipe: Path,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; resumes it.")] = None,
    start_from: Annotated[Path | None, typer.Option(help="Weights to begin with.")] = None,
    manifest: Manifests = None,
    data: Data = DATA,
    cache: Cache = CACHE,
    guessed: Guessed = False,
    workers: Annotated[int, typer.Option(help="Processes that make pictures.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of the network; 0: as many as fit.")] = 0,
) -> None:
    """Train a network by a recipe, or go on where it stopped. Runs under torchrun too."""
    if threads:
        torch.set_num_threads(threads)
    chosen = read_recipe(recipe)
    if manifest and guessed:
        raise OptionError(
            "--guessed needs the data sets; leave one of --manifest and --guessed out"
        )
    if manifest:
        opened = open_manifests(manifest, cache, chosen.network)
    else:
        opened = _sources_of(chosen, data, cache, guessed)
    folder = out or Path("runs") / recipe.stem
    typer.echo(train(chosen, sources=opened, out=folder, start_from=start_from, workers=workers))


exports = typer.Typer(
    help="Write a trained network as a model file, unless the file, executed, differs from it.",
    no_args_is_help=True,
)
app.add_typer(exports, name="export")

Trained = Annotated[Path, typer.Argument(metavar="MODEL", help="A checkpoint: runs/NAME/last.pt.")]
Licence = Annotated[str, typer.Option(help="Of the weights, for the metadata.")]
ExportData = Annotated[
    Path | None, typer.Option(help="Folder of the data sets; without: compare on the sample photo.")
]
Crops = Annotated[int, typer.Option(min=1, help="Pictures to compare on.")]
Size = Annotated[
    int | None,
    typer.Option(min=32, help="Side of its input in pixels, not the one it was trained at last."),
]


@exports.command("onnx")
def onnx_command(
    model: Trained,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    weights: Annotated[
        Path | None, typer.Option(help="Also keep its weights, to go on from.")
    ] = None,
    quantize: Annotated[
        Literal["none", "fp16", "int8"], typer.Option(help="Precision of the weights.")
    ] = "fp16",
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Probability from which an answer is yes.")
    ] = 0.5,
    licence: Licence = RESEARCH,
    crops: Crops = 100,
    size: Size = None,
    data: ExportData = None,
    cache: Cache = CACHE,
) -> None:
    """Write an ONNX file, for ONNX Runtime anywhere."""
    trained = _trained(model, size)
    real = _export_data(data)
    if quantize == "int8" and real is None:
        raise OptionError("int8 is calibrated on real photos; name their folder with --data")
    parity = export_onnx(
        trained.network,
        trained.name,
        out,
        threshold=threshold,
        crops=_crops(trained, real, cache, crops),
        quantize=quantize,
        calibration=_crops(trained, real, cache, crops, seed=8) if quantize == "int8" else None,
        labelled=_labelled(trained, real, cache, quantize),
        licence=licence,
        trained_on=trained.state["trained_on"],
    )
    if weights:
        keep_weights(trained.state, weights)
    typer.echo(f"{out}: {_bytes(out)} bytes, {parity}, on {crops} crops of {_named(real)}")


@exports.command("coreml")
def coreml_command(
    model: Trained,
    out: Annotated[Path, typer.Option("--out", "-o", help=".mlpackage or .mlmodel to write.")],
    format: Annotated[
        Literal["mlprogram", "neuralnetwork"], typer.Option(help="neuralnetwork: from iOS 14 on.")
    ] = "mlprogram",
    quantize: Annotated[
        Literal["none", "fp16", "int8", "palette6"], typer.Option(help="Precision of the weights.")
    ] = "fp16",
    output: Annotated[
        Literal["array", "image"], typer.Option(help="MLMultiArray, or a greyscale picture.")
    ] = "array",
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Give masks of 0 and 1 instead of probabilities."),
    ] = None,
    licence: Licence = RESEARCH,
    crops: Crops = 100,
    size: Size = None,
    data: ExportData = None,
    cache: Cache = CACHE,
) -> None:
    """Write a Core ML model, for Xcode: an image in, probabilities per pixel out."""
    with _coremltools_at_hand():  # imported here, for it takes seconds to load
        from headcut_train.export.coreml_file import export_coreml

    trained = _trained(model, size)
    real = _export_data(data)
    parity = export_coreml(
        trained.network,
        trained.name,
        out,
        crops=_crops(trained, real, cache, crops),
        format=format,
        quantize=quantize,
        output=output,
        threshold=threshold,
        labelled=_labelled(trained, real, cache, quantize),
        licence=licence,
        trained_on=trained.state["trained_on"],
    )
    typer.echo(f"{out}: {_bytes(out)} bytes, {parity}, on {crops} crops of {_named(real)}")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help=".onnx, .mlpackage or .mlmodel.")],
) -> None:
    """Say what is in a model file: inputs, outputs, operators, sizes, metadata, licence."""
    with _coremltools_at_hand():
        typer.echo(describe(file))


@app.command()
def calibrate(
    finder: Annotated[Path, typer.Argument(help="Finder's ONNX file; its metadata is renewed.")],
    segmenter: Annotated[
        str, typer.Option(help="Segmenter: a bundled name or a file.")
    ] = "segmenter",
    curve: Annotated[Path | None, typer.Option(help="PNG of the reliability by set.")] = None,
    data: Data = DATA,
    cache: Cache = CACHE,
) -> None:
    """Fit how sure a found head is, and choose the threshold, on held-out photos."""
    proposer, closer = HeadFinder(open_model(finder)), HeadSegmenter(open_model(segmenter))
    observed = {}
    for name in (*FITTED_ON, "wild"):
        source = CachedSource(_folder(data), cache, name, "val")
        step = max(1, -(-len(source) // MOST_PHOTOS_A_SET))
        observed[name] = observe(proposer, closer, [source[i] for i in range(0, len(source), step)])
    fitted = fit({name: observed[name] for name in FITTED_ON})
    threshold = safe_threshold(fitted, observed["scenes"])
    write_calibration(finder, fitted, threshold)
    typer.echo(f"{finder}: {fitted}, threshold {threshold:g}")
    if curve:
        draw_reliability(fitted, observed, curve)
        typer.echo(curve)


@app.command("evaluate")
def evaluate_command(
    model: Annotated[str, typer.Argument(help="Refiner: a bundled name or a file.")] = "refiner",
    finder: Annotated[str, typer.Option(help="Finder: a bundled name or a file.")] = "finder",
    segmenter: Annotated[
        str, typer.Option(help="Segmenter: a bundled name or a file.")
    ] = "segmenter",
    threshold: Annotated[float | None, typer.Option(help="The finder's, if not its own.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Scores as JSON.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Contact sheet of the wild photos.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Photos a set at the most.")] = None,
    manifest: Manifests = None,
    whole: Annotated[
        bool, typer.Option(help="With manifests: look at whole photos, as the original does.")
    ] = False,
    data: Data = DATA,
    cache: Cache = CACHE,
) -> None:
    """Score model files by set, run as a user runs them."""
    if manifest:
        if threshold is not None or sheet:
            raise OptionError("--threshold and --sheet do not go with --manifest; leave them out")
        table = workshop.score_model(
            model, manifest, whole=whole, limit=limit, finder=finder, segmenter=segmenter
        )
        _give_table(table, json_path)
        return
    if whole:
        raise OptionError("--whole goes with --manifest alone; give one, or leave it out")
    found = open_model(finder)
    closer, last = HeadSegmenter(open_model(segmenter)), HeadSegmenter(open_model(model))
    cutter = HeadCutter(finder=HeadFinder(found, threshold), segmenter=closer, refiner=last)
    doubter = HeadCutter(finder=HeadFinder(found, 0.0), segmenter=closer)
    table = evaluate(cutter, doubter, data=_folder(data), cache=cache, limit=limit)
    _give_table(table, json_path)
    if sheet:
        photos = [sample.photo for sample in CachedSource(data, cache, "wild", "val")]
        Image.fromarray(contact_sheet(cutter, photos)).save(sheet)
        typer.echo(sheet)


def _give_table(table: dict[str, dict[str, float]], json_path: Path | None) -> None:
    typer.echo(as_text(table))
    if json_path:
        json_path.write_text(json.dumps(table, indent=2) + "\n")


def _sources_of(recipe: Recipe, data: Path, cache: Path, guessed: bool) -> dict[str, CachedSource]:
    if guessed and recipe.network == "finder":
        raise OptionError("a finder learns from boxes; leave --guessed out")
    opened = open_sources(_folder(data), cache)
    return opened | {GUESSED: open_guesses(cache)} if guessed else opened


def _folder(data: Path) -> Path:
    if not data.is_dir():
        raise OptionError(f"{data}: no such folder; name the data with --data")
    return data


@contextmanager
def _coremltools_at_hand() -> Iterator[None]:
    """Say what to install where coremltools is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "coremltools":
            raise
        words = 'Core ML files need coremltools: pip install -e ".[coreml]"'
        raise OptionError(words) from error


@dataclass(frozen=True)
class _Trained:
    """A checkpoint, as from `train.read_state`, its network, and the side of the file's input."""

    state: dict[str, Any]
    network: Network
    size: int

    @property
    def name(self) -> str:
        """In `networks.NETWORKS`."""
        return str(self.state["recipe"]["network"])


def _trained(model: Path, size: int | None) -> _Trained:
    network, state = load_network(model)
    size = size or size_of(state)
    if size % 32:
        raise OptionError(f"--size {size}: must be a multiple of 32")
    return _Trained(state, network, size)


def _export_data(data: Path | None) -> Path | None:
    """Return the folder of the data sets: the one named, or `data`, or none."""
    return _folder(data) if data else DATA if DATA.is_dir() else None


def _crops(trained: _Trained, data: Path | None, cache: Path, count: int, seed: int = 9) -> U8Array:
    if data is None:
        return crops_of_sample(trained.size, count, seed)
    pictures = trained.state["recipe"].get("pictures") or trained.name
    return crops_of_training(pictures, open_sources(data, cache), trained.size, count, seed)


def _labelled(trained: _Trained, data: Path | None, cache: Path, quantize: str) -> Labelled:
    """Return crops with people's masks, for the precisions whose probabilities may differ much."""
    if data is None or trained.name == "finder" or quantize in ("none", "fp16"):
        return ()
    return crops_with_masks(CachedSource(data, cache, "celebamask", "val"), trained.size)


def _named(data: Path | None) -> str:
    return str(data or "the sample photo")


def _bytes(path: Path) -> int:
    """Return the size of a file, or of all in a folder."""
    return sum(
        f.stat().st_size for f in (path.rglob("*") if path.is_dir() else [path]) if f.is_file()
    )


def _drawn(picture: Picture) -> U8Array:
    """Return a picture with its heads red, necks blue, unknown pixels dark and boxes green."""
    finder = picture.box_weight.size > 1
    target, weight = picture.target[0], picture.weight[0]
    if finder:
        target, weight = (
            m.repeat(FINDER_STRIDE, 0).repeat(FINDER_STRIDE, 1) for m in (target, weight)
        )
    shown = picture.image * (0.35 + 0.65 * (weight[..., None] > 0))
    shown[..., 0] += (255 - shown[..., 0]) * 0.5 * target
    if not finder:
        shown[..., 2] += (255 - shown[..., 2]) * 0.5 * picture.target[1]
    image = Image.fromarray(shown.astype(np.uint8))
    if finder:
        draw = ImageDraw.Draw(image)
        for row, column in np.argwhere(picture.target[0] == 1):
            dx, dy, log_width, log_height = picture.target[1:, row, column]
            x, y = (column + 0.5 + dx) * FINDER_STRIDE, (row + 0.5 + dy) * FINDER_STRIDE
            half = np.exp([log_width, log_height]) * FINDER_STRIDE / 2
            draw.rectangle(
                (x - half[0], y - half[1], x + half[0], y + half[1]), outline=(0, 255, 0)
            )
    return np.asarray(image)


def main() -> None:
    """Run the command; errors are one line and exit code 1, wrong usage 2."""
    try:
        app()
    except HeadcutError as error:
        typer.echo(f"headcut-train: {error}", err=True)
        raise SystemExit(2 if isinstance(error, OptionError) else 1) from error
    except OSError as error:  # a sheet or a run's folder that cannot be written
        reason = str(error)
        if error.filename and error.strerror:
            reason = f"{error.filename}: {error.strerror.lower()}; choose another place"
        typer.echo(f"headcut-train: {reason}", err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
