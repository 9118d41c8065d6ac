"""Model files: what they say of themselves, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made_data import noise_photo
from made_model import MADE_SIZE, write_model

from headcut.errors import ModelError
from headcut.model_file import BUNDLED, MAX_THREADS, Model, bundled_models, open_model


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(write_model(tmp_path / "red.onnx"))


def test_file_says_its_size_threshold_and_licence(model: Model) -> None:
    """The settings travel with the weights; nobody keeps them in code."""
    assert (model.size, model.threshold) == (MADE_SIZE, 0.4)
    assert model.metadata["licence"] == "none"
    assert model.backend == "CPUExecutionProvider"


def test_network_sees_rgb_from_0_to_255(model: Model) -> None:
    """Normalisation is inside the graph: the picture goes in as it is, red first."""
    picture = noise_photo((MADE_SIZE, MADE_SIZE))
    (mask,) = model.run(picture)
    assert mask.shape == (1, MADE_SIZE, MADE_SIZE)
    np.testing.assert_allclose(mask[0], picture[..., 0] / 255, atol=1e-6)


def test_missing_file_is_named_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx: no such model file; bundled are \["):
        open_model(tmp_path / "nowhere.onnx")


def test_unknown_name_is_no_such_file() -> None:
    with pytest.raises(ModelError, match="no such model file"):
        open_model("no-such-name")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07\xff" * 100])
def test_garbage_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "garbage.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a model that runs here") as error:
        open_model(path)
    assert "\n" not in str(error.value)


def test_truncated_model_is_refused(tmp_path: Path) -> None:
    """What a stopped download leaves."""
    path = write_model(tmp_path / "cut.onnx")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="not a model that runs here"):
        open_model(path)


@pytest.mark.parametrize("key", ["size", "threshold"])
@pytest.mark.parametrize("value", ["", "large"], ids=["missing", "not a number"])
def test_onnx_of_others_is_refused_with_the_way_out(key: str, value: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "other.onnx", **{key: value})
    with pytest.raises(ModelError, match=r"not a headcut model .*; export it with headcut-train"):
        open_model(path)


@pytest.mark.parametrize(
    "shape", [(16, 16, 3), (MADE_SIZE, MADE_SIZE, 4), (MADE_SIZE, MADE_SIZE), (64, MADE_SIZE, 3)]
)
def test_picture_of_another_size_is_refused(shape: tuple[int, ...], model: Model) -> None:
    with pytest.raises(ModelError, match=f"wants {MADE_SIZE}x{MADE_SIZE}x3"):
        model.run(np.zeros(shape, np.uint8))


def test_threads_share_one_model(model: Model) -> None:
    """A web server has one model and many requests."""
    pictures = [noise_photo((MADE_SIZE, MADE_SIZE), seed) for seed in range(64)]
    alone = [model.run(picture)[0] for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = [masks[0] for masks in pool.map(model.run, pictures)]
    np.testing.assert_array_equal(together, alone)


def test_threads_of_a_model_are_bounded_by_the_usable_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a container the host's cores are not ours; many threads make small networks slower."""
    import onnxruntime

    path = write_model(tmp_path / "red.onnx")
    session, asked = onnxruntime.InferenceSession, []

    def watched(path: Path, options: onnxruntime.SessionOptions, **rest: object) -> object:
        asked.append(options.intra_op_num_threads)
        return session(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    for cores in (1, 64):
        usable = set(range(cores))
        monkeypatch.setattr("os.sched_getaffinity", lambda _, u=usable: u, raising=False)
        Model(path)
    assert asked == [1, MAX_THREADS]


def test_bundled_names_open_the_bundled_files() -> None:
    for name in bundled_models():
        assert open_model(name).path == BUNDLED / f"{name}.onnx"
    assert {"finder", "segmenter", "refiner"} <= set(bundled_models())
