"""Everything Flowledger raises on purpose.

FlowledgerError
├── FatalError                    stop; a human has to change something
│   ├── UsageError                the caller's words are wrong (exit status 2)
│   │   ├── RecordConflictError       the record is another one already, or has ended otherwise
│   │   ├── ExpressionError           an expression cannot be read or evaluated; it names the place
│   │   └── InvalidWorkflowError      a workflow cannot be published; ``faults`` names each node and field
│   ├── ForbiddenError            somebody may not do this
│   │   └── ApprovalLinkError         a link to an approval is not, or no longer, good
│   ├── RecordNotFoundError       there is no record of that id
│   ├── SettingsError             one or many bad settings, listed together
│   ├── UnreadableSecretError     a reference to a secret leads to nothing that can be read
│   ├── AuthenticationError       a key, token or password was refused
│   │   └── LoginLockedError      the source locks the account; trying again makes it worse
│   ├── SourceRefusedError        the source will never answer this request (other 4xx)
│   ├── LeaseLostError            another worker has taken the execution over
│   ├── LedgerError               the ledger cannot be used
│   │   └── LedgerVersionError    its schema is newer than this program
│   ├── StorageError              a report could not be kept
│   │   ├── StorageUnavailableError   the storage is away for now; what it was given waits on this machine
│   │   └── StorageRefusedError       it will never take it like this: no bucket, no right, wrong key
│   ├── SchedulerError            the scheduler (Prefect) cannot be asked, or refuses
│   └── MessageRefusedError       a channel will never take this message
├── RetriableError                may succeed later; the source's are retried in one place (dify.session)
│   ├── SourceUnreachableError    no connection, name not found, reset, short body
│   ├── SourceBusyError           429 or 5xx
│   ├── SourceGarbledError        an answer that is not what it claims to be (HTML, cut JSON)
│   ├── DeadlineExceededError     no complete answer within the request's deadline
│   └── ChannelBusyError          a channel cannot take a message now; it waits in the ledger
└── SkippableError                concerns one run only; becomes ``Missing(reason)``
    └── RunUnavailableError       the source no longer knows the run

The first level decides what happens, the second names the phase.  Every message says what
happened, to which app, window or run, and what to do.
"""

from collections.abc import Sequence


class FlowledgerError(Exception):
    """Root of everything raised on purpose."""


class FatalError(FlowledgerError):
    """Stop: a human has to change something."""


class UsageError(FatalError):
    """The caller's words are wrong; the command line exits with status 2."""


class RecordConflictError(UsageError):
    """What is to be recorded contradicts what is: another record of that id, or one that ended otherwise."""


class ExpressionError(UsageError):
    """An expression cannot be read or evaluated; the message names the place in its text."""


class InvalidWorkflowError(UsageError):
    """A workflow cannot be published; ``faults`` holds a line for each fault, with its node and field."""

    def __init__(self, message: str, faults: Sequence[str]) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class ForbiddenError(FatalError):
    """Somebody may not do this: not an approver, not in this role."""


class ApprovalLinkError(ForbiddenError):
    """A link to an approval does not hold; ``why`` is changed, gone, expired, used or somebody (else's)."""

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why


class LeaseLostError(FatalError):
    """Another worker has taken the execution over; what this one would have written is not kept."""


class RecordNotFoundError(FatalError, LookupError):
    """There is no record of that id; a ``LookupError`` too, as those who write programs expect."""


class SettingsError(FatalError):
    """One or many settings are wrong; ``problems`` holds a line for each, with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("settings need attention:\n" + "\n".join(f"  - {line}" for line in self.problems))


class UnreadableSecretError(FatalError):
    """A reference to a secret (a file, an encrypted text, a block) leads to nothing that can be read."""


class AuthenticationError(FatalError):
    """A key, token or password was refused; it is never offered twice.

    ``status`` and ``body`` are the source's answer, where there was one.
    """

    def __init__(self, message: str, *, status: int | None = None, body: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class LoginLockedError(AuthenticationError):
    """The source has locked the account (Dify: 24 h after six wrong passwords)."""


class SourceRefusedError(FatalError):
    """The source will never answer this request; ``status`` is its HTTP status."""

    def __init__(self, message: str, *, status: int, body: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class LedgerError(FatalError):
    """The ledger cannot be opened, read or written."""


class LedgerVersionError(LedgerError):
    """The ledger's schema is newer than this program knows."""


class StorageError(FatalError):
    """A report or data file could not be kept."""


class StorageUnavailableError(StorageError):
    """The storage cannot be reached, or takes nothing for now; later it may."""


class StorageRefusedError(StorageError):
    """The storage does nothing until a person changes something there or in the settings."""


class SchedulerError(FatalError):
    """The scheduler (Prefect) cannot be reached, or does not do as asked."""


class MessageRefusedError(FatalError):
    """A channel will never take this message: wrong key, wrong address, not understood."""


class RetriableError(FlowledgerError):
    """May succeed later; ``retry_after_s`` is the wait the source asked for, in seconds."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceUnreachableError(RetriableError):
    """No connection, name not found, connection reset or body cut short."""


class SourceBusyError(RetriableError):
    """The source answered 429 or 5xx; ``status`` is its HTTP status."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.status = status


class SourceGarbledError(RetriableError):
    """The answer is not what it claims to be: HTML for JSON, cut JSON, an error object for a list."""


class DeadlineExceededError(RetriableError):
    """No complete answer within the request's total deadline."""


class ChannelBusyError(RetriableError):
    """A channel cannot be reached or takes no more for now; the message waits in the ledger."""


class SkippableError(FlowledgerError):
    """Concerns one run only; it becomes ``Missing(reason)``."""


class RunUnavailableError(SkippableError):
    """The source no longer knows the run."""
