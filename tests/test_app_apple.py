"""Core ML and the sheets of iOS and macOS, on a stand-in for rubicon-objc: no device is here.

What these tests show is that the messages are those of the table, that pixels and arrays are read
and written where the (padded) memory says, and that a whole cut comes out as with ONNX Runtime.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toga
from conftest import ASTRONAUT
from made_objc import Made, MadeFrameworks, Recorder, made_rubicon

import headcut
from headcut.errors import ModelError
from headcut.find import HeadFinder
from headcut.model_file import Model, open_model
from headcut.segment import HeadSegmenter

Apple = tuple[Any, Recorder, MadeFrameworks]

SENT: set[str] = set()
"""All messages of this module's tests, for the last one."""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Apple]:
    with made_rubicon(monkeypatch) as (apple, recorder, frameworks):
        yield apple, recorder, frameworks
    SENT.update(recorder.sent)


def made_array(recorder: Recorder, values: np.ndarray, *, padding: int, dtype: int) -> Made:
    """An MLMultiArray whose rows are padded and whose last two axes are swapped in memory."""
    *outer, height, width = values.shape
    memory = np.full((*outer, width, height + padding), np.nan, values.dtype)
    memory[..., :height] = np.swapaxes(values, -1, -2)
    view = np.swapaxes(memory[..., :height], -1, -2)
    array = Made(
        recorder,
        "MLMultiArray",
        shape=list(values.shape),
        strides=[step // values.itemsize for step in view.strides],
        dataType=dtype,
        dataPointer=memory.ctypes.data,
    )
    array.__dict__["memory"] = memory  # kept alive
    return array


@pytest.mark.parametrize(
    ("dtype", "number"), [(np.float16, 65552), (np.float32, 65568), (np.float64, 65600)]
)
def test_arrays_are_read_by_their_strides(made: Apple, dtype: type, number: int) -> None:
    """Core ML pads rows; reading on as if it did not would shear the mask."""
    apple, recorder, _ = made
    values = np.arange(2 * 3 * 5, dtype=dtype).reshape(1, 2, 3, 5)
    array = made_array(recorder, values, padding=11, dtype=number)
    read = apple.read_array(array)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values)
    array.memory[:] = 0
    assert read.any(), "the memory is Core ML's own, and it is gone after the prediction"


def test_one_number_is_read_without_looking_behind_it(made: Apple) -> None:
    apple, recorder, _ = made
    array = made_array(recorder, np.full((1, 1), 7, np.float32), padding=0, dtype=65568)
    assert apple.read_array(array).tolist() == [[7]]


def installed(
    apple: Any, recorder: Recorder, frameworks: MadeFrameworks, models: dict[str, Model]
) -> None:
    """Answer Core ML's messages with ONNX Runtime, in padded arrays."""
    answers = recorder.answers
    key = "CoreML.MLModelCreatorDefinedKey"

    def load(_: Made, compiled: str, configuration: Made, error: Any) -> Made:
        assert configuration.properties["computeUnits"] == 2
        model = models[Path(compiled).stem]
        description = Made(
            recorder,
            "MLModelDescription",
            metadata={key: model.metadata, "MLModelAuthorKey": "headcut"},
            outputDescriptionsByName=dict.fromkeys(sorted(model.outputs)),
        )
        return Made(recorder, "MLModel", modelDescription=description, path=compiled)

    def predict(model: Made, features: Any, error: Any) -> Made:
        onnx = models[Path(model.properties["path"]).stem]
        handle = features["image"].buffer.value
        outputs = onnx.run(np.ascontiguousarray(frameworks.rgb(handle, onnx.size)))
        arrays = {
            name: made_array(recorder, output[None], padding=13, dtype=65568)
            for name, output in zip(onnx.outputs, outputs, strict=True)
        }
        answer = Made(recorder, "MLFeatureProvider")
        answer.__dict__["arrays"] = arrays
        return answer

    def pixel_value(_: Made, buffer: Any) -> Made:
        value = Made(recorder, "MLFeatureValue")
        value.__dict__["buffer"] = ctypes.c_void_p(buffer.value)
        return value

    answers["NSURL +fileURLWithPath:"] = lambda _, path: path
    answers["MLModel +compileModelAtURL:error:"] = lambda _, url, error: url + "c"
    answers["MLModel +modelWithContentsOfURL:configuration:error:"] = load
    answers["MLModel -predictionFromFeatures:error:"] = predict
    answers["MLFeatureValue +featureValueWithPixelBuffer:"] = pixel_value
    answers["MLDictionaryFeatureProvider -initWithDictionary:error:"] = lambda _, features, e: (
        features
    )
    answers["MLFeatureProvider -featureValueForName:"] = lambda answer, name: Made(
        recorder, "MLFeatureValue", multiArrayValue=answer.arrays[name]
    )


def test_whole_cut_is_the_same_as_with_onnx_runtime(
    made: Apple, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Colours, padding, strides and the order of outputs are all in this one equality."""
    apple, recorder, frameworks = made
    onnx = {name: open_model(name) for name in ("finder", "segmenter", "refiner")}
    installed(apple, recorder, frameworks, onnx)
    from headcut.app import coreml

    for name in onnx:
        (tmp_path / f"{name}.mlpackage").mkdir()
        monkeypatch.setitem(coreml.MODELS, name, tmp_path / f"{name}.mlpackage")
    finder, segmenter, refiner = map(coreml.open_coreml, onnx)
    assert segmenter.outputs == onnx["segmenter"].outputs
    cutter = headcut.HeadCutter(
        finder=HeadFinder(finder),
        segmenter=HeadSegmenter(segmenter),
        refiner=HeadSegmenter(refiner),
    )
    (ours,), (theirs,) = cutter.cut(ASTRONAUT), headcut.cut(ASTRONAUT)
    assert ours.encode() == theirs.encode()
    assert frameworks.buffers == {}, "each picture is given back"
    with pytest.raises(ModelError, match="wants 256x256x3"):
        finder.run(np.zeros((8, 8, 3), np.uint8))


def test_core_ml_is_taken_on_ios(
    made: Apple, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is no ONNX Runtime there; what is missing is said in one line."""
    from headcut.app import coreml, system

    monkeypatch.setattr(system, "APPLE", True)
    monkeypatch.setattr(sys, "platform", "ios")
    monkeypatch.setitem(coreml.MODELS, "segmenter", tmp_path / "segmenter.mlpackage")
    with pytest.raises(ModelError, match="run make app-models and build the app again"):
        system.open_networks()


def test_refused_model_is_an_error_in_the_systems_words(made: Apple, tmp_path: Path) -> None:
    apple, recorder, _ = made
    recorder.answers["NSURL +fileURLWithPath:"] = lambda _, path: path
    recorder.answers["MLModel +compileModelAtURL:error:"] = lambda _, url, error: None
    error = Made(recorder, "NSError", localizedDescription="no such operator")
    apple.ObjCInstance = lambda instance: error
    with pytest.raises(ModelError, match=r"not a model that runs here \(no such operator\)"):
        apple.CoreMLFile(tmp_path / "finder.mlpackage")


def made_phone(recorder: Recorder) -> tuple[SimpleNamespace, list[Any]]:
    """A window of toga-ios, and the controllers that are shown on it."""
    shown: list[Any] = []
    recorder.answers["UIViewController -presentViewController:animated:completion:"] = (
        lambda _, controller, animated, completion: shown.append(controller)
    )
    controller = Made(recorder, "UIViewController", view="view")
    native = Made(recorder, "UIWindow", rootViewController=controller)
    return SimpleNamespace(_impl=SimpleNamespace(native=native)), shown


def test_picked_photos_are_copied_before_the_system_removes_them(
    made: Apple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that the picker gives is gone when its handler returns; what is missing is said."""
    apple, recorder, _ = made
    window, shown = made_phone(recorder)
    made_filter = apple.ObjCClass("PHPickerFilter")
    made_filter.properties["imagesFilter"] = "images"
    answers = recorder.answers
    answers["PHPickerViewController -initWithConfiguration:"] = lambda picker, configuration: (
        picker.__dict__.update(configuration=configuration, kinds=(*picker.kinds, *CONTROLLER))
        or picker
    )
    answers["UIViewController -dismissViewControllerAnimated:completion:"] = lambda *_: None

    def provider(name: str | None) -> Made:
        def load(_: Made, kind: str, handler: Any) -> None:
            assert kind == "public.image"
            if name is None:
                handler(None, "error")
                return
            theirs = tmp_path / name
            theirs.write_bytes(name.encode())
            handler(Made(recorder, "NSURL", path=str(theirs)), None)
            theirs.unlink()

        item = Made(recorder, "NSItemProvider")
        selector = "-loadFileRepresentationForTypeIdentifier:completionHandler:"
        # All providers share one answer, so it asks the provider itself.
        item.__dict__["load"] = load
        answers[f"NSItemProvider {selector}"] = lambda it, kind, handler: it.load(it, kind, handler)
        return item

    said: list[str] = []

    async def dialog(error: toga.ErrorDialog) -> None:
        said.append(error)

    window.dialog = dialog
    monkeypatch.setattr(apple.toga, "ErrorDialog", lambda title, message: message)

    async def pick() -> list[Path]:
        picking = asyncio.ensure_future(apple.pick_photos(window))
        await asyncio.sleep(0)
        (picker,) = shown
        assert picker.configuration.properties == {
            "filter": "images",
            "selectionLimit": 0,
            "preferredAssetRepresentationMode": 2,
        }
        delegate = picker.properties["delegate"]
        names = ["IMG_1.jpeg", None, "IMG_1.jpeg"]
        results = [Made(recorder, "PHPickerResult", itemProvider=provider(n)) for n in names]
        delegate.picker_didFinishPicking_(picker, results)
        return await picking

    photos = asyncio.run(pick())
    assert [photo.name for photo in photos] == ["IMG_1.jpeg", "IMG_1.jpeg"]
    assert photos[0] != photos[1]
    assert photos[0].read_bytes() == b"IMG_1.jpeg"
    assert said == ["1 of 3 photos cannot be loaded; open them in Photos first"]


CONTROLLER = ("UIViewController",)


@pytest.mark.parametrize("popover", [True, False])
def test_sharing_on_ios_shows_the_systems_sheet(made: Apple, popover: bool) -> None:
    """On an iPad the sheet must point at something, or the app ends."""
    apple, recorder, _ = made
    window, shown = made_phone(recorder)
    recorder.answers["NSURL +fileURLWithPath:"] = lambda _, path: path
    bubble = Made(recorder, "UIPopoverPresentationController") if popover else None

    def init(sheet: Made, items: list[str], activities: None) -> Made:
        sheet.properties["popoverPresentationController"] = bubble
        sheet.__dict__["kinds"] = (*sheet.kinds, *CONTROLLER)
        sheet.__dict__["items"] = items
        return sheet

    recorder.answers["UIActivityViewController -initWithActivityItems:applicationActivities:"] = (
        init
    )
    apple.share(window, Path("a-head.png"))
    assert shown[0].items == ["a-head.png"]
    if bubble:
        assert bubble.properties == {"sourceView": "view"}


def test_sharing_on_macos_shows_the_systems_menu(
    made: Apple, monkeypatch: pytest.MonkeyPatch
) -> None:
    apple, recorder, _ = made
    monkeypatch.setattr(sys, "platform", "darwin")
    shown: list[Any] = []
    answers = recorder.answers
    answers["NSURL +fileURLWithPath:"] = lambda _, path: path
    answers["NSSharingServicePicker -initWithItems:"] = lambda picker, items: picker
    answers["NSSharingServicePicker -showRelativeToRect:ofView:preferredEdge:"] = (
        lambda _, rect, view, edge: shown.append((view, edge))
    )
    native = Made(recorder, "NSWindow", contentView="content")
    apple.share(SimpleNamespace(_impl=SimpleNamespace(native=native)), Path("a-head.png"))
    assert shown == [("content", 1)]


def test_unlisted_message_is_refused(made: Apple) -> None:
    """The stand-in must not be more patient than Objective-C."""
    apple, *_ = made
    with pytest.raises(AssertionError, match="not in the table"):
        apple.ObjCClass("MLModel").modelWithContentsOfPath("finder")


def test_every_listed_message_is_sent(made: Apple) -> None:
    """A table with more in it than the code sends proves nothing. Runs last."""
    apple, *_ = made
    if not SENT:
        pytest.skip("sums up the other tests of this file; run them too")
    listed = {f"{kind} {message}" for kind, all_ in apple.MESSAGES.items() for message in all_}
    assert listed - SENT == set()
