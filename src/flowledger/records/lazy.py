"""The service that programs share: opened when it is first used, not when it is imported."""

import atexit
from threading import Lock
from typing import Any, cast

from flowledger.records.log_service import LogService

_KNOWN = frozenset(name for name in vars(LogService) if not name.startswith("_")) | {
    *("config", "storage", "workflow_logger")
}


class LazyLogService:
    """Stands for a ``LogService`` of the settings; closed, the next use opens it again."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._opened: LogService | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in _KNOWN:  # who only looks at it, such as a debugger, opens nothing
            raise AttributeError(f"LogService has no {name}")
        return getattr(self._service(), name)

    def close(self) -> None:
        """Give files and connections back; nothing was opened where nothing was used."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            atexit.unregister(self.close)
            opened.close()

    def _service(self) -> LogService:
        with self._lock:
            if self._opened is None:
                self._opened = LogService()
                atexit.register(self.close)
            return self._opened


log_service = cast(LogService, LazyLogService())
"""The ``LogService`` of the settings."""
