"""The built page: where it is, and how it becomes a folder that anyone can host."""

from __future__ import annotations

import shutil
from pathlib import Path

from headcut.errors import OutputError
from headcut.model_file import BUNDLED, bundled_models
from headcut.writing import why_not_written

BUILT = Path(__file__).with_name("built")
"""What `make page` makes of `web/`; wheels hold it."""

NOT_BUILT = "this copy of headcut has no page; run `make page` in the checkout (needs Node.js)"


def built_page() -> Path | None:
    """Return the folder of the page, or None if it was not built."""
    return BUILT if (BUILT / "index.html").is_file() else None


def export_static(folder: Path) -> None:
    """Write the page and its models as a folder of static files.

    Raises:
        OutputError: the page was not built, the folder is not empty, or it cannot be written.
    """
    page = built_page()
    if page is None:
        raise OutputError(NOT_BUILT)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty; give a new folder")
        shutil.copytree(page, folder, dirs_exist_ok=True)
        (folder / "models").mkdir()
        for name in bundled_models():
            shutil.copy(BUNDLED / f"{name}.onnx", folder / "models")
    except OSError as error:
        raise OutputError(
            f"cannot write {folder}: {why_not_written(error, '--export-static')}"
        ) from error
