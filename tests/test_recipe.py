"""Recipes: what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT

from headcut.errors import OptionError
from headcut.model_file import open_model
from headcut_train.recipe import Recipe, read_recipe
from headcut_train.train import read_state, size_of

GOOD = 'network = "finder"\nsteps = 10\n'


def recipe_of(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return read_recipe(path)


def test_recipe_is_read_with_its_defaults(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, GOOD + "batch = 4\nsizes = [[0.5, 128], [1.0, 256]]\n")
    assert recipe == Recipe(network="finder", steps=10, batch=4, sizes=((0.5, 128), (1.0, 256)))


def test_unknown_key_is_an_error_that_names_the_known_ones(tmp_path: Path) -> None:
    """A misspelt key would train for hours with the default."""
    with pytest.raises(OptionError, match=r"unknown key \['stepz'\]; known are \[.*'steps'"):
        recipe_of(tmp_path, GOOD + "stepz = 20\n")


@pytest.mark.parametrize(
    ("text", "key"), [('network = "finder"', "steps"), ("steps = 1", "network")]
)
def test_missing_key_is_named(text: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=rf"missing key \['{key}'\]"):
        recipe_of(tmp_path, text)


def test_unknown_network_is_an_error_that_names_the_known_ones(tmp_path: Path) -> None:
    known = r"network must be one of \[.*'finder', 'lr-aspp', 'segmenter'\]"
    with pytest.raises(OptionError, match=known):
        recipe_of(tmp_path, 'network = "unet"\nsteps = 1')


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("batch = 0", "batch must be a whole number from 1 on"),
        ("batch = 2.5", "batch must be a whole number"),
        ("seed = true", "seed must be a whole number"),
        ('learning_rate = "fast"', "learning_rate must be a number"),
        ("weight_decay = -1", "weight_decay must be a number from 0 on"),
        ("sizes = 256", "sizes must be pairs"),
        ("sizes = [[1.0]]", "sizes must be pairs"),
        ("sizes = []", "multiples of 32"),
        ("sizes = [[1.0, 100]]", "multiples of 32"),
    ],
)
def test_senseless_value_is_refused_with_what_would_make_sense(
    line: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=words):
        recipe_of(tmp_path, GOOD + line)


@pytest.mark.parametrize("content", [b"not toml", b"\xff\xfe\x00", b'network = "find'])
def test_file_that_is_no_toml_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(OptionError, match=r"recipe\.toml: cannot be read") as error:
        read_recipe(path)
    assert "\n" not in str(error.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none\.toml: cannot be read .*No such file"):
        read_recipe(tmp_path / "none.toml")


def test_pictures_grow_by_the_share_of_the_steps() -> None:
    recipe = Recipe(network="finder", steps=100, sizes=((0.3, 128), (0.6, 192), (1.0, 256)))
    assert [recipe.size_at(step) for step in (0, 29, 30, 59, 60, 99, 100)] == [
        *(128, 128),
        *(192, 192),
        *(256, 256, 256),
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda p: p.stem)
def test_recipes_of_the_repository_are_good(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.sizes[-1][0] == 1.0


def test_everything_that_makes_a_refiner_makes_it_of_one_size() -> None:
    _, size = read_recipe(ROOT / "recipes" / "refiner.toml").sizes[-1]
    assert size_of(read_state(ROOT / "weights" / "refiner.pt")) == size
    assert open_model("refiner").size == size


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('loss = "l1"', "loss must be 'square'"),
        ('pictures = "near"', "pictures must be 'framed' or 'whole'"),
        ("muon = 1", "muon must be true or false"),
    ],
)
def test_choices_that_a_recipe_does_not_have(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f'network = "segmenter"\nsteps = 1\n{line}\n')
    with pytest.raises(OptionError, match=words):
        read_recipe(path)
