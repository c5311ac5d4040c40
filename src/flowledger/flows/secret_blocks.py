"""``prefect:name``: a secret kept in a Secret block of the Prefect server."""

import os
import sys
from pathlib import Path
from typing import Any

from flowledger.errors import UnreadableSecretError
from flowledger.flows import environment
from flowledger.settings.references import Keyring

WHERE = "Prefect UI → Blocks → Secret"


def read_block(name: str, keyring: Keyring) -> str:
    """Read the text of a Secret block, synchronously, also from inside a flow.

    :raises UnreadableSecretError: when there is no server, no such block, or no text in it.
    """
    if keyring.prefect_api_url and "prefect" not in sys.modules:
        # Prefect reads its settings when it is imported, which happens here first.
        environment.prepare(os.environ, api_url=keyring.prefect_api_url, home=Path())
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    server = keyring.prefect_api_url or get_current_settings().api.url
    if not server:
        raise UnreadableSecretError(
            f"the block {name!r} needs a Prefect server: set PREFECT_API_URL, or take file: or enc: instead"
        )
    with temporary_settings(updates={PREFECT_API_URL: server}):
        text = _load(name, server)
    if not isinstance(text, str):
        raise UnreadableSecretError(
            f"the Prefect block {name!r} holds no text: write the secret alone into it ({WHERE})"
        )
    return text


def _load(name: str, server: str) -> object:
    from httpx import HTTPError
    from prefect.blocks.system import Secret
    from prefect.exceptions import PrefectException, PrefectHTTPStatusError

    try:
        block: Any = Secret.load(name, _sync=True)  # type: ignore[call-arg]  # of Prefect's decorator
    except ValueError:
        raise UnreadableSecretError(
            f"the Prefect server at {server} has no Secret block {name!r}: create it ({WHERE})"
        ) from None
    except PrefectHTTPStatusError as error:
        raise UnreadableSecretError(
            f"the Prefect server at {server} refuses the block {name!r} (HTTP {error.response.status_code}):"
            " check PREFECT_API_URL and PREFECT_API_AUTH_STRING"
        ) from None
    except (HTTPError, PrefectException, RuntimeError, OSError) as error:
        raise UnreadableSecretError(
            f"the Prefect server at {server} cannot be asked for the block {name!r} ({type(error).__name__}):"
            " start it, or check PREFECT_API_URL"
        ) from None
    text: object = block.value.get_secret_value()  # get() would make a number of digits
    return text
