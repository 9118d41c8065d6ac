"""Build hook: a wheel holds ``headcut`` alone, with its page, and offers no ``headcut-train``."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PrepareWheel(BuildHookInterface):  # type: ignore[type-arg]
    """An editable install keeps the command: there ``headcut_train`` is importable."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before each build; version is "standard" or "editable"."""
        if version == "standard":
            del self.metadata.core.scripts["headcut-train"]
            self._build_page()

    def _build_page(self) -> None:
        """Build the page of `headcut serve`, if that was not done; all else works without it."""
        root = Path(self.root)
        if (root / "src/headcut/web/built/index.html").is_file():
            return
        npm = shutil.which("npm")
        if npm is None:
            self.app.display_warning("no Node.js: this wheel has no page for `headcut serve`")
            return
        for arguments in (["ci", "--ignore-scripts"], ["run", "build"]):
            if subprocess.run([npm, *arguments], cwd=root / "web", check=False).returncode:
                self.app.display_warning("npm failed: this wheel has no page for `headcut serve`")
                return
