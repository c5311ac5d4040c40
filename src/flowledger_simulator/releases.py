"""What differs between Dify releases, decided by the release number alone (docs/dify-api.md "Releases")."""

from dataclasses import dataclass

from flowledger.errors import UsageError

RECORDED = ("1.9.1", "1.12.1", "1.13.3")
"""The releases that were recorded; the others follow from docs/dify-api.md "Releases"."""

_OLDEST = (1, 9, 0)


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """A Dify release; its properties are named after what the server does."""

    number: tuple[int, int, int]

    @classmethod
    def parse(cls, text: str) -> "Release":
        """Read "1.12.1".

        :raises UsageError: for anything that is not such a number, or older than 1.9.0.
        """
        parts = text.strip().removeprefix("v").split(".")
        if len(parts) != 3 or not all(part.isdecimal() for part in parts):
            raise UsageError(f"{text!r} is not a Dify release: give one like {', '.join(RECORDED)}")
        number = (int(parts[0]), int(parts[1]), int(parts[2]))
        if number < _OLDEST:
            raise UsageError(f"Dify {text} is too old to be simulated: 1.9.0 or newer, e.g. {RECORDED[0]}")
        return cls(number)

    def __str__(self) -> str:
        return ".".join(map(str, self.number))

    @property
    def logs_in_by_cookie(self) -> bool:
        """Tokens are cookies, with a CSRF header, instead of the login's JSON (docs/dify-api.md "Log-in")."""
        return self.number >= (1, 9, 2)

    @property
    def wants_base64_password(self) -> bool:
        """The password must be the base64 of its UTF-8 text."""
        return self.number >= (1, 11, 2)

    @property
    def knows_admin_key(self) -> bool:
        """The admin API key reads the console without cookies or CSRF."""
        return self.number >= (1, 11, 0)

    @property
    def lists_at_start(self) -> bool:
        """The log row appears when the run starts, not when it ends (docs/dify-api.md "The log list")."""
        return self.number >= (1, 11, 0)

    @property
    def shows_trigger(self) -> bool:
        """Log rows carry ``details`` and ``triggered_from``."""
        return self.number >= (1, 10, 0)

    @property
    def filters_workflow_runs(self) -> bool:
        """``workflow-runs`` knows ``status`` and ``triggered_from``, and has ``/count``."""
        return self.number >= (1, 9, 2)

    @property
    def refuses_unknown_account(self) -> bool:
        """An unknown ``created_by_account`` is a 400, not an empty list."""
        return self.number >= (1, 9, 2)

    @property
    def validates_with_pydantic(self) -> bool:
        """A bad parameter is answered with a pydantic text instead of ``errors``."""
        return self.number >= (1, 11, 0)

    @property
    def pydantic(self) -> str:
        """The pydantic release named in its texts."""
        return "2.12" if self.number >= (1, 13, 0) else "2.11"

    @property
    def counts_nodes(self) -> bool:
        """Node executions are numbered; before, ``index`` is always 1."""
        return self.number >= (1, 11, 0)

    @property
    def escapes_keyword(self) -> bool:
        """LIKE wildcards are escaped, and the keyword is no longer turned into stored escapes."""
        return self.number >= (1, 11, 3)

    @property
    def has_archive(self) -> bool:
        """``workflow-archived-logs`` exists."""
        return self.number >= (1, 12, 0)

    @property
    def gives_outputs_as_object(self) -> bool:
        """``outputs`` of the service API's run detail is an object, not a JSON text."""
        return self.number >= (1, 13, 0)

    @property
    def denies_unknown_run(self) -> bool:
        """An unknown run id is a 404 instead of a 200 with every field null."""
        return self.number >= (1, 13, 1)

    @property
    def varies_by_cookie(self) -> bool:
        """Every answer carries ``Vary: Cookie``, not the console's alone."""
        return self.number >= (1, 13, 0)

    @property
    def flags_draft_trigger(self) -> bool:
        """Rows of the app list carry ``has_draft_trigger``."""
        return self.number >= (1, 10, 0)
