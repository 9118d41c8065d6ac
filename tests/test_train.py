"""The training loop, on made samples, tiny and short: what it writes, and that it resumes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from conftest import ROOT
from made_data import red_head_sample, scene_sample, write_data

from headcut.errors import ModelError, OptionError
from headcut_train import train as training
from headcut_train.networks import NETWORKS
from headcut_train.recipe import Recipe, read_recipe
from headcut_train.sources import Sample
from headcut_train.train import (
    TRAIN_SOURCES,
    Pictures,
    keep_weights,
    load_weights,
    open_sources,
    read_state,
    train,
)

RECIPE = Recipe(
    network="segmenter",
    steps=4,
    batch=2,
    warmup_steps=1,
    sizes=((0.5, 32), (1.0, 64)),
    steps_an_epoch=2,
)


@pytest.fixture(scope="module")
def sources() -> Mapping[str, Sequence[Sample]]:
    sample = red_head_sample((60, 50, 120, 130))
    return {name: [sample] for name in TRAIN_SOURCES} | {"scenes": [scene_sample()]}


@pytest.fixture(scope="module")
def finished(
    sources: Mapping[str, Sequence[Sample]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The checkpoint of an uninterrupted run."""
    return train(RECIPE, sources=sources, out=tmp_path_factory.mktemp("run"), workers=0)


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("network", list(NETWORKS))
def test_two_steps_change_the_weights_and_keep_them_finite(
    network: str, sources: Mapping[str, Sequence[Sample]], tmp_path: Path
) -> None:
    recipe = replace(RECIPE, network=network, steps=2)
    state = read_state(train(recipe, sources=sources, out=tmp_path, workers=0))
    torch.manual_seed(recipe.seed)
    start = NETWORKS[network]().state_dict()
    assert state["step"] == 2
    assert np.isfinite(state["rows"]).all()
    assert not same(state["network"], start)
    assert all(torch.isfinite(value).all() for value in state["network"].values())


def test_run_leaves_a_checkpoint_and_its_curves(finished: Path) -> None:
    assert finished.name == "last.pt"
    assert sorted(p.name for p in finished.parent.iterdir()) == [
        "curves.csv",
        "curves.png",
        "last.pt",
    ]
    with (finished.parent / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert all(float(row["loss"]) > 0 for row in rows)
    assert (finished.parent / "curves.png").read_bytes().startswith(b"\x89PNG")


class Stopped(Exception):
    """The machine went away."""


def test_resumed_run_gives_the_same_weights_as_an_uninterrupted_one(
    finished: Path,
    sources: Mapping[str, Sequence[Sample]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the last bit: weights, their average, and what the optimiser remembers."""

    def stop(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(training, "_write_curves", stop)
        with pytest.raises(Stopped):
            train(RECIPE, sources=sources, out=tmp_path, workers=0)
    assert read_state(tmp_path / "last.pt")["step"] == 2
    resumed = read_state(train(RECIPE, sources=sources, out=tmp_path, workers=0))
    whole = read_state(finished)
    assert resumed["step"] == whole["step"] == 4
    assert same(resumed["network"], whole["network"])
    assert same(resumed["averaged"], whole["averaged"])
    for ours, theirs in zip(resumed["optimizer"], whole["optimizer"], strict=True):
        assert all(same(ours["state"][i], theirs["state"][i]) for i in theirs["state"])
    assert [row[:3] for row in resumed["rows"]] == [row[:3] for row in whole["rows"]]


def test_finished_run_is_not_trained_again(
    finished: Path, sources: Mapping[str, Sequence[Sample]]
) -> None:
    before = finished.read_bytes()
    assert train(RECIPE, sources=sources, out=finished.parent, workers=0) == finished
    assert finished.read_bytes() == before


def test_workers_change_nothing(
    finished: Path, sources: Mapping[str, Sequence[Sample]], tmp_path: Path
) -> None:
    """Picture k comes from the seed and k, whoever makes it."""
    state = read_state(train(RECIPE, sources=sources, out=tmp_path, workers=1))
    assert same(state["network"], read_state(finished)["network"])


@pytest.mark.parametrize(
    ("changed", "words"), [({"network": "finder"}, "network"), ({"muon": False}, "muon")]
)
def test_folder_of_another_run_is_refused(
    finished: Path, sources: Mapping[str, Sequence[Sample]], changed: dict[str, Any], words: str
) -> None:
    before = finished.read_bytes()
    with pytest.raises(OptionError, match=rf"another run \(not the same {words}\)"):
        train(replace(RECIPE, **changed), sources=sources, out=finished.parent, workers=0)
    assert finished.read_bytes() == before


def test_folder_of_a_run_on_other_photos_is_refused(
    finished: Path, sources: Mapping[str, Sequence[Sample]]
) -> None:
    """It would say that it is done, and be a network that never saw them."""
    others = {"mine": next(iter(sources.values()))}
    with pytest.raises(OptionError, match="not the same photos"):
        train(RECIPE, sources=others, out=finished.parent, workers=0)


def test_checkpoint_says_what_it_was_trained_on(
    finished: Path, sources: Mapping[str, Sequence[Sample]], tmp_path: Path
) -> None:
    """What was fine-tuned has seen what its weights had seen, too."""
    assert read_state(finished)["trained_on"] == sorted(sources)
    others = {"scenes": sources["scenes"], "mine": sources["celebamask"]}
    once = replace(RECIPE, steps=1)
    last = train(once, sources=others, out=tmp_path, start_from=finished, workers=0)
    assert read_state(last)["trained_on"] == sorted({*sources, "mine"})


def test_processes_share_the_pictures_without_a_repeat(
    sources: Mapping[str, Sequence[Sample]],
) -> None:
    """Two processes must see twice as many pictures, not the same ones twice."""
    asked: list[int] = []

    class Watched(Pictures):
        def __getitem__(self, k: int) -> list[np.ndarray]:
            asked.append(k)
            return [np.zeros(1, np.float32)] * 4

    pictures = Watched(sources, RECIPE, world=2)
    for rank in (0, 1):
        list(training._batches(pictures, 1, rank, workers=0))
    first = 1 * 2 * RECIPE.batch
    assert sorted(asked) == list(range(first, RECIPE.steps * 2 * RECIPE.batch))


def test_rate_warms_up_and_falls_to_a_hundredth() -> None:
    recipe = replace(RECIPE, steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [training._rate(recipe, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.01)


def test_biases_and_norms_do_not_decay() -> None:
    network = NETWORKS["segmenter"]().to(memory_format=torch.channels_last)
    muon, adamw = training.Optimizers(network, RECIPE).all
    (inner,), (outer, kept) = muon.param_groups, adamw.param_groups
    assert inner["weight_decay"] == outer["weight_decay"] == RECIPE.weight_decay
    assert kept["weight_decay"] == 0
    assert all(weight.ndim == 1 for weight in kept["params"])
    assert [tuple(weight.shape) for weight in outer["params"]] == [(16, 3, 3, 3), (8, 16, 3, 3)]
    count = sum(len(group["params"]) for group in (inner, outer, kept))
    assert count == len(list(network.parameters()))


@pytest.mark.parametrize("network", list(NETWORKS))
def test_every_parameter_takes_a_step(network: str) -> None:
    """Muon works on matrices made of the kernels: were they copies, nothing would be learnt."""
    made = NETWORKS[network]().to(memory_format=torch.channels_last)
    before = {name: value.detach().clone() for name, value in made.named_parameters()}
    for parameter in made.parameters():
        parameter.grad = torch.randn_like(parameter)
    training.Optimizers(made, RECIPE).step(0.01)
    assert not [name for name, value in made.named_parameters() if torch.equal(before[name], value)]


def test_kept_weights_start_a_new_run(
    finished: Path, sources: Mapping[str, Sequence[Sample]], tmp_path: Path
) -> None:
    """Fine-tuning: in half the bytes, and the averaged weights, which are the better ones."""
    network = NETWORKS["segmenter"]()
    load_weights(network, finished)
    checkpoint = read_state(finished)
    averaged = checkpoint["averaged"]
    assert same(network.state_dict(), averaged)
    kept = tmp_path / "weights" / "kept.pt"
    keep_weights(checkpoint, kept)
    assert kept.stat().st_size < finished.stat().st_size / 4
    frozen = replace(RECIPE, steps=1, learning_rate=0.0)
    state = read_state(
        train(frozen, sources=sources, out=tmp_path / "next", start_from=kept, workers=0)
    )
    for name, value in state["network"].items():
        if "running" not in name and value.is_floating_point():
            torch.testing.assert_close(value, averaged[name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"PK\x03\x04 cut short"])
def test_missing_or_damaged_checkpoint_is_refused_in_one_line(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "last.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"last\.pt: (no such|damaged or not a) checkpoint") as e:
        load_weights(NETWORKS["segmenter"](), path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("state", [[], {}, {"network": "unet"}, {"network": "finder"}])
def test_checkpoint_of_another_version_is_refused(state: object, tmp_path: Path) -> None:
    """Weights alone, as they were kept once, and networks that are no more."""
    path = tmp_path / "last.pt"
    whole = {"recipe": state, "trained_on": [], "averaged": {}}
    torch.save(whole if state == {"network": "unet"} else state, path)
    with pytest.raises(ModelError, match="not a checkpoint of this version"):
        read_state(path)


def test_weights_of_another_network_are_refused(finished: Path) -> None:
    with pytest.raises(ModelError, match="not the weights of a Finder") as error:
        load_weights(NETWORKS["finder"](), finished)
    assert "\n" not in str(error.value)


TWO_STEPS = """
network = "segmenter"
steps = 2
batch = 1
steps_an_epoch = 1
sizes = [[1.0, 64]]
"""


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_train_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command under torchrun gives one checkpoint, made of both processes' pictures."""
    data = write_data(tmp_path / "data")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TWO_STEPS)
    out = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = ["-m", "headcut_train.cli", "train", recipe, "--out", out, "--workers=0"]
    folders = ["--data", data, "--cache", tmp_path / "cache"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [*launch, *command, *folders],
        env=environment,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr.decode()[-3000:]
    state = read_state(out / "last.pt")
    assert (state["step"], len(state["rows"])) == (2, 2)
    assert sorted(p.name for p in out.iterdir()) == ["curves.csv", "curves.png", "last.pt"]
    # The same process without the other's gradients ends elsewhere: they really trained together.
    monkeypatch.setenv("WORLD_SIZE", "2")
    nothing = lambda: None  # noqa: E731
    group = SimpleNamespace(
        is_initialized=lambda: True, barrier=nothing, destroy_process_group=nothing
    )
    monkeypatch.setattr(training, "dist", group)
    monkeypatch.setattr(training, "DistributedDataParallel", lambda network: network)
    sources = open_sources(data, tmp_path / "cache")
    alone = train(read_recipe(recipe), sources=sources, out=tmp_path / "alone", workers=0)
    assert not same(state["network"], read_state(alone)["network"])
    assert all(torch.isfinite(value).all() for value in state["network"].values())
