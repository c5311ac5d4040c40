"""Everything that can be wrong with what people wrote, at once."""

from collections.abc import Callable, Iterator

from flowledger import plugins
from flowledger.bootstrap.configuration import manager
from flowledger.bootstrap.schedules import schedule_problems
from flowledger.notify.templates import check_templates
from flowledger.services.secret_masking import register_secrets
from flowledger.settings import Inspection


def _template_problems(inspection: Inspection) -> Iterator[str]:
    yield from check_templates(inspection.settings.template_dir, tuple(plugins.CHANNELS))


CONFIG_CHECKS: tuple[Callable[[Inspection], Iterator[str]], ...] = (schedule_problems, _template_problems)
"""What else is held against the settings: each gives a line for everything wrong, with its place."""


def config_checks(inspection: Inspection) -> Iterator[str]:
    """Give a line for everything wrong outside the settings themselves, without asking any server."""
    for look in CONFIG_CHECKS:
        yield from look(inspection)


def settings_problems() -> tuple[Inspection, tuple[str, ...]]:
    """Read the settings as far as they are right, and give all problems, those of ``config_checks`` too."""
    inspection = manager().examine()
    register_secrets(secret.get_secret_value() for secret in inspection.settings.secrets())
    return inspection, (*inspection.problems, *config_checks(inspection))
