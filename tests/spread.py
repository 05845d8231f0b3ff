"""Work for the tests of the engine: small enough to be done by any process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hfembed.errors import ModelError


@dataclass
class Tripling:
    """Triples numbers. dies: a file; whoever meets 13 and does not find it leaves it there and dies, or always."""

    dies: Path | None = None
    always: bool = False
    files: Mapping[str, Path] = field(default_factory=dict)
    on_gpu: bool = False

    def __call__(self, number: int) -> tuple[int, int, str]:
        """Return three times the number, by whom, and the keys that whoever works can see."""
        if number == 13 and self.dies is not None and (self.always or not self.dies.exists()):
            self.dies.touch()
            os._exit(1)
        if number < 0:
            raise ModelError("Numbers begin at 0.", "Give others.")
        seen = sorted(name for name in os.environ if "KEY" in name or name.endswith("TOKEN"))
        return 3 * number, os.getpid(), ",".join(seen)
