"""A stand-in for rubicon-objc: it records each message and refuses what it was not told to know.

An object has a class by Apple's name, attributes for its properties, and methods by selector.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROW_PADDING = 48
"""Bytes after each row of a pixel buffer: Core Video aligns rows as it likes."""


class Recorder:
    """What was sent, and who answers."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.known: dict[str, tuple[str, ...]] = {}
        self.answers: dict[str, Callable[..., Any]] = {}

    def send(self, receiver: Made, mark: str, name: str, *arguments: Any) -> Any:
        message = f"{mark}{name}"
        owner = next((kind for kind in receiver.kinds if message in self.known.get(kind, ())), None)
        assert owner, f"{receiver.kinds[0]} is sent {message}, which is not in the table"
        self.sent.append(f"{owner} {message}")
        if mark == ".":
            return None
        if message == "+alloc":
            return Made(self, *receiver.kinds)
        if message == "-init":
            return receiver
        return self.answers[f"{owner} {message}"](receiver, *arguments)


class Made:
    """An object or a class of Objective-C."""

    def __init__(self, recorder: Recorder, *kinds: str, is_class: bool = False, **properties: Any):
        self.__dict__.update(
            recorder=recorder, kinds=kinds, is_class=is_class, properties=properties
        )

    def __getattr__(self, name: str) -> Any:
        if name in self.properties:
            self.recorder.send(self, ".", name)
            return self.properties[name]

        def call(*arguments: Any, **named: Any) -> Any:
            assert len(arguments) <= 1, "rubicon takes one argument without a name"
            selector = name + ":" * len(arguments) + "".join(f"{key}:" for key in named)
            mark = "+" if self.is_class else "-"
            return self.recorder.send(self, mark, selector, *arguments, *named.values())

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        self.recorder.send(self, ".", name)
        self.properties[name] = value

    def declare_class_property(self, name: str) -> None:
        """As rubicon has it, for class properties that it cannot tell from methods."""


class MadeFrameworks:
    """Core Video with padded rows; of the others, only their being there."""

    def __init__(self) -> None:
        self.buffers: dict[int, tuple[Any, int]] = {}

    class Function:
        def __init__(self, run: Callable[..., Any]):
            self.run, self.argtypes, self.restype = run, None, None

        def __call__(self, *arguments: Any) -> Any:
            assert self.argtypes is not None, "without types a pointer would be cut to 32 bits"
            assert len(arguments) == len(self.argtypes)
            return self.run(*arguments)

    def __call__(self, name: str) -> Any:
        if name != "CoreVideo":
            return name
        functions = {
            "CVPixelBufferCreate": self.create,
            "CVPixelBufferLockBaseAddress": lambda buffer, flags: 0,
            "CVPixelBufferUnlockBaseAddress": lambda buffer, flags: 0,
            "CVPixelBufferGetBaseAddress": lambda b: ctypes.addressof(self.buffers[b.value][0]),
            "CVPixelBufferGetBytesPerRow": lambda b: self.buffers[b.value][1],
            "CVPixelBufferRelease": lambda b: self.buffers.pop(b.value) and None,
        }
        library = ModuleType(name)
        for function, run in functions.items():
            setattr(library, function, self.Function(run))
        return library

    def create(
        self, allocator: None, width: int, height: int, format: int, more: None, out: Any
    ) -> int:
        assert format == int.from_bytes(b"BGRA")
        row_bytes = 4 * width + ROW_PADDING
        handle = 1000 + len(self.buffers)
        self.buffers[handle] = ((ctypes.c_uint8 * (row_bytes * height))(), row_bytes)
        out._obj.value = handle
        return 0

    def rgb(self, handle: int, side: int) -> np.ndarray:
        memory, row_bytes = self.buffers[handle]
        rows = np.frombuffer(memory, np.uint8).reshape(side, row_bytes)
        return rows[:, : 4 * side].reshape(side, side, 4)[..., 2::-1]


@contextlib.contextmanager
def made_rubicon(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Recorder, MadeFrameworks]]:
    """Give `headcut.app.apple`, imported on top of a made rubicon-objc."""
    recorder, frameworks = Recorder(), MadeFrameworks()

    def send_message(
        receiver: Made, selector: str, *arguments: Any, restype: Any, argtypes: list[Any]
    ) -> Any:
        assert len(arguments) == len(argtypes)
        mark = "+" if receiver.is_class else "-"
        return recorder.send(receiver, mark, selector, *arguments)

    class Delegate:
        """What `class ...(NSObject)` becomes: the class itself takes alloc and init."""

        kinds = ("PickerDelegate",)

        @classmethod
        def alloc(cls) -> Any:
            recorder.sent.append("PickerDelegate +alloc")
            return cls()

        def init(self) -> Any:
            recorder.sent.append("PickerDelegate -init")
            return self

        def __setattr__(self, name: str, value: Any) -> None:
            recorder.sent.append(f"PickerDelegate .{name}")
            object.__setattr__(self, name, value)

    classes: dict[str, Made] = {}

    def named_class(name: str) -> Made:
        return classes.setdefault(name, Made(recorder, name, is_class=True))

    objc = ModuleType("rubicon.objc")
    objc.__dict__.update(
        Block=lambda function, restype, *argtypes: function,
        NSMakeRect=lambda *edges: edges,
        NSObject=Delegate,
        ObjCClass=named_class,
        ObjCInstance=lambda instance: instance,
        objc_const=lambda library, name: f"{library}.{name}",
        objc_id=type("objc_id", (ctypes.c_void_p,), {}),
        objc_method=lambda method: method,
        objc_property=lambda kind: None,
        py_from_ns=lambda value: value,
    )
    runtime = ModuleType("rubicon.objc.runtime")
    runtime.__dict__.update(
        autoreleasepool=contextlib.nullcontext,
        load_library=frameworks,
        send_message=send_message,
    )
    for name, module in {
        "rubicon": ModuleType("rubicon"),
        "rubicon.objc": objc,
        "rubicon.objc.runtime": runtime,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    try:
        apple = importlib.import_module("headcut.app.apple")
        recorder.known = apple.MESSAGES
        yield apple, recorder, frameworks
    finally:  # nobody else may find a module that stands on this one
        package = sys.modules["headcut.app"]
        for name in ("apple", "coreml"):
            sys.modules.pop(f"headcut.app.{name}", None)
            if hasattr(package, name):
                delattr(package, name)
