"""How much of a run's detail is wanted, and how much is held."""

from enum import IntEnum

from flowledger.domain.runs import Detail, Detailed, Missing

UNREAD = Missing("not read yet")
"""What a ledger tells of a detail that was never asked for."""


class Level(IntEnum):
    """Depth of detail, in order."""

    NONE = 0
    RUN = 1
    NODES = 2


def level_of(detail: Detail) -> Level:
    """Tell how deep a detail goes."""
    match detail:
        case Missing():
            return Level.NONE
        case Detailed(nodes=Missing()):
            return Level.RUN
        case _:
            return Level.NODES
