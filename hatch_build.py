"""Build hook: the wheel holds only ``headcut``, so it must not offer ``headcut-train``."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DropTrainingCommand(BuildHookInterface):  # type: ignore[type-arg]
    """An editable install keeps the command: there ``headcut_train`` is importable."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before each build; version is "standard" or "editable"."""
        if version == "standard":
            del self.metadata.core.scripts["headcut-train"]
