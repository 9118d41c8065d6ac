"""Photos dropped on a window, for Qt and for Windows Forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

OpenPhotos = Callable[[Sequence[Path]], None]


def accept_qt_drops(native: Any, open_photos: OpenPhotos) -> Any:
    """Open files that are dropped on a Qt window; keep what is returned as long as the window."""
    from PySide6.QtCore import QEvent, QObject
    from PySide6.QtGui import QDropEvent

    class Drops(QObject):
        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if not isinstance(event, QDropEvent):
                return False
            urls = event.mimeData().urls()
            if event.type() == QEvent.Type.Drop:
                open_photos([Path(url.toLocalFile()) for url in urls if url.isLocalFile()])
            elif any(url.isLocalFile() for url in urls):
                event.acceptProposedAction()
            return True

    drops = Drops(native)
    native.setAcceptDrops(True)
    native.installEventFilter(drops)
    return drops


def accept_winforms_drops(native: Any, open_photos: OpenPhotos) -> None:
    """Open files that are dropped on a form. Written from Microsoft's documents, not run here."""
    from System.Windows.Forms import DataFormats, DragDropEffects

    def enter(sender: Any, event: Any) -> None:
        if event.Data.GetDataPresent(DataFormats.FileDrop):
            event.Effect = DragDropEffects.Copy

    def drop(sender: Any, event: Any) -> None:
        open_photos([Path(name) for name in event.Data.GetData(DataFormats.FileDrop)])

    native.AllowDrop = True
    native.DragEnter += enter
    native.DragDrop += drop
