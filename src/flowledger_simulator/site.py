"""One simulated server's fixed facts and its moving parts."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flowledger_simulator.releases import Release
from flowledger_simulator.sessions import Sessions
from flowledger_simulator.world import SimulatedApp, World

PageHook = Callable[[World], object]
"""Called before every page of the log list is cut: new runs arrive, others change or vanish."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a server differs from the plain one.

    ``secure_cookies`` gives the ``__Host-`` names with ``Secure``; ``token_lifetime_s`` is the access
    token's; ``clock`` gives seconds since 1970 for tokens and ``time_range``; ``keep_alive_s`` closes idle
    connections.
    """

    keep_alive_s: float = 2.0
    secure_cookies: bool = False
    token_lifetime_s: int = 3600
    clock: Callable[[], float] = time.time
    on_page: PageHook | None = None


@dataclass(slots=True)
class Site:
    """What the handlers work on."""

    world: World
    release: Release
    options: Options = field(default_factory=Options)
    sessions: Sessions = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.options.clock, self.options.token_lifetime_s)

    def app_of_token(self, token: str) -> SimulatedApp | None:
        """Give the app an API key belongs to."""
        return next((app for app in self.world.apps.values() if app.api_token == token), None)

    def before_page(self) -> None:
        """Let the world move on before a page of the log list is cut."""
        if self.options.on_page is not None:
            self.options.on_page(self.world)
