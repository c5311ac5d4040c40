"""What all executions of a worker share: the store, the handlers, the clock, compiled versions."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr

from flowledger.domain.runs import Json
from flowledger.domain.workflows import definition
from flowledger.domain.workflows.graph import CompiledWorkflow, compile_workflow
from flowledger.ports import Clock
from flowledger.workflow_ports import NodeHandler, Observer, WorkflowStore, WorkflowVersion

KEPT_VERSIONS = 256


Config = Mapping[str, Json]


async def as_it_is(_: str, config: Config) -> Config:
    """Return a node's config as it is."""
    return config


@dataclass(frozen=True)
class Engine:
    """All that carries executions out.

    ``handler`` returns what executes nodes of a type, ``complete`` the config of one with all that it refers
    to (an entry of the registry of APIs) before it is rendered; ``secrets`` are values by name, ``random``
    gives a number from 0 to 1.
    """

    store: WorkflowStore
    handler: Callable[[str], NodeHandler]
    clock: Clock
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)
    observers: Sequence[Observer] = ()
    random: Callable[[], float] = lambda: 0.5
    complete: Callable[[str, Config], Awaitable[Config]] = as_it_is
    _compiled: OrderedDict[tuple[int, int, str], CompiledWorkflow] = field(
        default_factory=OrderedDict, repr=False
    )

    def compiled(self, version: WorkflowVersion) -> CompiledWorkflow:
        """Return a version ready to be planned; the last few hundred are kept."""
        key = (version.workflow_id, version.number, version.digest)
        workflow = self._compiled.pop(key, None)
        if workflow is None:
            workflow = compile_workflow(definition.read(version.document))
        self._compiled[key] = workflow
        while len(self._compiled) > KEPT_VERSIONS:
            self._compiled.popitem(last=False)
        return workflow
