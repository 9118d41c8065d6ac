"""Every call to Objective-C: Core ML, the photo picker of iOS, and the sharing sheets.

Not run on a device yet: the tests drive it with a stand-in for rubicon-objc that refuses any
message that `MESSAGES` does not list, and check that all of them are sent.
"""

from __future__ import annotations

import asyncio
import ctypes
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import toga
from rubicon.objc import (
    Block,
    NSMakeRect,
    NSObject,
    ObjCClass,
    ObjCInstance,
    objc_const,
    objc_id,
    objc_method,
    objc_property,
    py_from_ns,
)
from rubicon.objc.runtime import autoreleasepool, load_library, send_message

from headcut.errors import ModelError
from headcut.geometry import FloatArray, U8Array

MESSAGES: dict[str, tuple[str, ...]] = {
    "MLDictionaryFeatureProvider": ("+alloc", "-initWithDictionary:error:"),
    "MLFeatureProvider": ("-featureValueForName:",),
    "MLFeatureValue": ("+featureValueWithPixelBuffer:", ".multiArrayValue"),
    "MLModel": (
        "+compileModelAtURL:error:",
        "+modelWithContentsOfURL:configuration:error:",
        ".modelDescription",
        "-predictionFromFeatures:error:",
    ),
    "MLModelConfiguration": ("+alloc", "-init", ".computeUnits"),
    "MLModelDescription": (".metadata", ".outputDescriptionsByName"),
    "MLMultiArray": (".dataPointer", ".dataType", ".shape", ".strides"),
    "NSError": (".localizedDescription",),
    "NSItemProvider": ("-loadFileRepresentationForTypeIdentifier:completionHandler:",),
    "NSSharingServicePicker": (
        "+alloc",
        "-initWithItems:",
        "-showRelativeToRect:ofView:preferredEdge:",
    ),
    "NSURL": ("+fileURLWithPath:", ".path"),
    "NSWindow": (".contentView",),
    "PHPickerConfiguration": (
        "+alloc",
        "-init",
        ".filter",
        ".preferredAssetRepresentationMode",
        ".selectionLimit",
    ),
    "PHPickerFilter": (".imagesFilter",),
    "PHPickerResult": (".itemProvider",),
    "PHPickerViewController": ("+alloc", "-initWithConfiguration:", ".delegate"),
    "PickerDelegate": ("+alloc", "-init", ".chosen"),
    "UIActivityViewController": (
        "+alloc",
        "-initWithActivityItems:applicationActivities:",
    ),
    "UIPopoverPresentationController": (".sourceView",),
    "UIViewController": (
        "-dismissViewControllerAnimated:completion:",
        "-presentViewController:animated:completion:",
        ".popoverPresentationController",
        ".view",
    ),
    "UIWindow": (".rootViewController",),
}
"""All that is sent, by Apple's names: + to a class, - to an instance, . a property.

`PickerDelegate` is the class below. A controller of any kind is a UIViewController too.
"""

ALL_COMPUTE_UNITS = 2
"""MLComputeUnitsAll: processor, graphics and neural engine."""

DTYPES: dict[int, type[np.floating[Any]]] = {
    65552: np.float16,
    65568: np.float32,
    65600: np.float64,
}
"""MLMultiArrayDataType -> what NumPy calls it."""

BGRA = 0x42475241
"""kCVPixelFormatType_32BGRA."""

COMPATIBLE = 2
"""PHPickerConfigurationAssetRepresentationModeCompatible: JPEG instead of HEIC."""

LOWER_EDGE = 1
"""NSRectEdgeMinY."""


class CoreMLFile:
    """A Core ML model, compiled and loaded for all compute units.

    Args:
        path: an .mlpackage or .mlmodel.

    Attributes:
        metadata: what its maker wrote into it.
        outputs: names of its outputs, in no order.

    Raises:
        ModelError: Core ML refuses it.
    """

    def __init__(self, path: Path):
        library = load_library("CoreML")
        with autoreleasepool():
            model_class, error = ObjCClass("MLModel"), objc_id()
            url = ObjCClass("NSURL").fileURLWithPath(str(path))
            compiled = model_class.compileModelAtURL(url, error=ctypes.byref(error))
            _require(compiled, path, error)
            configuration = ObjCClass("MLModelConfiguration").alloc().init()
            configuration.computeUnits = ALL_COMPUTE_UNITS
            self._model = model_class.modelWithContentsOfURL(
                compiled, configuration=configuration, error=ctypes.byref(error)
            )
            _require(self._model, path, error)
            description = self._model.modelDescription
            everything = py_from_ns(description.metadata)
            own = str(objc_const(library, "MLModelCreatorDefinedKey"))
            self.metadata: Mapping[str, str] = everything.get(own, {})
            self.outputs = {str(name) for name in description.outputDescriptionsByName}
        self._path = path

    def predict(self, image: U8Array, outputs: list[str]) -> list[FloatArray]:
        """Return the named outputs for one (S, S, 3) uint8 RGB picture, as float32.

        Raises:
            ModelError: Core ML cannot run it.
        """
        buffer = _pixel_buffer(image)
        try:
            with autoreleasepool():
                error = objc_id()
                # Spelled out, for rubicon cannot tell that a CVPixelBufferRef is a plain pointer.
                value = send_message(
                    ObjCClass("MLFeatureValue"),
                    "featureValueWithPixelBuffer:",
                    buffer,
                    restype=objc_id,
                    argtypes=[ctypes.c_void_p],
                )
                features = (
                    ObjCClass("MLDictionaryFeatureProvider")
                    .alloc()
                    .initWithDictionary({"image": ObjCInstance(value)}, error=ctypes.byref(error))
                )
                _require(features, self._path, error)
                answer = self._model.predictionFromFeatures(features, error=ctypes.byref(error))
                _require(answer, self._path, error)
                return [
                    read_array(answer.featureValueForName(name).multiArrayValue) for name in outputs
                ]
        finally:
            _core_video().CVPixelBufferRelease(buffer)


def read_array(array: Any) -> FloatArray:
    """Return an MLMultiArray as float32, copied.

    Rows may be padded and axes in any order, so the strides say where a number lies; they count
    numbers, not bytes.
    """
    shape = [int(n) for n in py_from_ns(array.shape)]
    strides = [int(n) for n in py_from_ns(array.strides)]
    dtype = np.dtype(DTYPES[int(array.dataType)])
    numbers = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    memory = (ctypes.c_char * (numbers * dtype.itemsize)).from_address(int(array.dataPointer))
    flat = np.frombuffer(memoryview(memory), dtype)
    steps = [stride * dtype.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(flat, shape, steps).astype(np.float32)


def _pixel_buffer(image: U8Array) -> ctypes.c_void_p:
    """Return a CVPixelBuffer with an (H, W, 3) uint8 RGB picture; the caller releases it."""
    video, buffer = _core_video(), ctypes.c_void_p()
    height, width = image.shape[:2]
    failed = video.CVPixelBufferCreate(None, width, height, BGRA, None, ctypes.byref(buffer))
    if failed:
        raise ModelError(f"no memory for a {width}x{height} picture ({failed}); shrink the photo")
    video.CVPixelBufferLockBaseAddress(buffer, 0)
    row_bytes = int(video.CVPixelBufferGetBytesPerRow(buffer))
    address = video.CVPixelBufferGetBaseAddress(buffer)
    memory = (ctypes.c_uint8 * (row_bytes * height)).from_address(int(address))
    rows = np.frombuffer(memoryview(memory), np.uint8).reshape(height, row_bytes)
    pixels = rows[:, : 4 * width].reshape(height, width, 4)
    pixels[..., :3], pixels[..., 3] = image[..., ::-1], 255
    video.CVPixelBufferUnlockBaseAddress(buffer, 0)
    return buffer


@cache
def _core_video() -> Any:
    """Return the functions of Core Video, with their types."""
    video, size, pointer = load_library("CoreVideo"), ctypes.c_size_t, ctypes.c_void_p
    create = [pointer, size, size, ctypes.c_uint32, pointer, ctypes.POINTER(pointer)]
    video.CVPixelBufferCreate.argtypes = create
    video.CVPixelBufferLockBaseAddress.argtypes = [pointer, ctypes.c_uint64]
    video.CVPixelBufferUnlockBaseAddress.argtypes = [pointer, ctypes.c_uint64]
    video.CVPixelBufferGetBaseAddress.argtypes = [pointer]
    video.CVPixelBufferGetBaseAddress.restype = pointer
    video.CVPixelBufferGetBytesPerRow.argtypes = [pointer]
    video.CVPixelBufferGetBytesPerRow.restype = size
    video.CVPixelBufferRelease.argtypes = [pointer]
    video.CVPixelBufferRelease.restype = None
    return video


def _require(result: Any, path: Path, error: Any) -> None:
    """Raise ModelError, in the system's words, if a call gave nothing."""
    if result is None:
        reason = str(ObjCInstance(error).localizedDescription)
        raise ModelError(f"{path}: not a model that runs here ({reason})")


class PickerDelegate(NSObject):  # type: ignore[misc]
    """Takes what was picked."""

    chosen = objc_property(object)

    @objc_method  # type: ignore[untyped-decorator]
    def picker_didFinishPicking_(self, picker, results) -> None:  # type: ignore[no-untyped-def]
        picker.dismissViewControllerAnimated(True, completion=None)
        self.chosen.set_result([result.itemProvider for result in results])


async def pick_photos(window: Any) -> list[Path]:
    """Let the user pick photos from the library; needs no permission, for the system shows it.

    Returns:
        Copies in a temporary folder, under the photos' names; none if nothing was picked.
    """
    load_library("PhotosUI")
    configuration = ObjCClass("PHPickerConfiguration").alloc().init()
    filters = ObjCClass("PHPickerFilter")
    filters.declare_class_property("imagesFilter")
    configuration.filter = filters.imagesFilter
    configuration.selectionLimit = 0  # any number
    configuration.preferredAssetRepresentationMode = COMPATIBLE
    picker = ObjCClass("PHPickerViewController").alloc().initWithConfiguration(configuration)
    delegate = PickerDelegate.alloc().init()
    delegate.chosen = asyncio.get_running_loop().create_future()
    picker.delegate = delegate  # a weak reference: the local one keeps it
    controller = window._impl.native.rootViewController
    controller.presentViewController(picker, animated=True, completion=None)
    providers = await delegate.chosen
    folder = Path(tempfile.mkdtemp(prefix="headcut-"))
    copies = [await _copy(provider, folder / str(n)) for n, provider in enumerate(providers)]
    photos = [copy for copy in copies if copy is not None]
    if len(photos) < len(copies):
        missing = f"{len(copies) - len(photos)} of {len(copies)} photos cannot be loaded"
        await window.dialog(toga.ErrorDialog("headcut", f"{missing}; open them in Photos first"))
    return photos


async def _copy(provider: Any, folder: Path) -> Path | None:
    """Copy a picked photo into a new folder; None if the system cannot give it."""
    loop = asyncio.get_running_loop()
    copied: asyncio.Future[Path | None] = loop.create_future()

    def loaded(url: objc_id, error: objc_id) -> None:
        # On another thread; the file is gone when this returns.
        path = None
        try:
            if url:
                source = Path(str(ObjCInstance(url).path))
                folder.mkdir()
                path = shutil.copyfile(source, folder / source.name)
        finally:  # whatever happens: somebody waits for it
            loop.call_soon_threadsafe(copied.set_result, path)

    handler = Block(loaded, None, objc_id, objc_id)
    provider.loadFileRepresentationForTypeIdentifier("public.image", completionHandler=handler)
    return await copied


def share(window: Any, path: Path) -> None:
    """Open the system's sharing sheet for a file."""
    native, urls = window._impl.native, [ObjCClass("NSURL").fileURLWithPath(str(path))]
    if sys.platform == "darwin":
        sheet = ObjCClass("NSSharingServicePicker").alloc().initWithItems(urls)
        sheet.showRelativeToRect(
            NSMakeRect(0, 0, 1, 1), ofView=native.contentView, preferredEdge=LOWER_EDGE
        )
        return
    controller = native.rootViewController
    sheet = ObjCClass("UIActivityViewController").alloc()
    sheet = sheet.initWithActivityItems(urls, applicationActivities=None)
    if sheet.popoverPresentationController is not None:  # on an iPad it points at something
        sheet.popoverPresentationController.sourceView = controller.view
    controller.presentViewController(sheet, animated=True, completion=None)
