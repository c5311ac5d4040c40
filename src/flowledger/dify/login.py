"""Console requests with the log-in of the release, once for all threads; and the servers that are open."""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from threading import Lock
from types import TracebackType
from typing import Protocol, Self

from loguru import logger

from flowledger import errors
from flowledger.dify.answers import Answer, excerpt
from flowledger.dify.concurrency import AdaptiveLimiter, SearchState
from flowledger.dify.credentials import (
    COOKIES_SINCE,
    AdminKey,
    AdminTokens,
    BearerTokens,
    ConsoleToken,
    Credentials,
    EmailPassword,
    LoginForm,
    Tokens,
    login_document,
    login_form,
    read_tokens,
)
from flowledger.dify.session import NOTHING, DifySession, SessionOptions, normalise
from flowledger.dify.workspaces import read_workspaces

__all__ = ["AdminKey", "ConsoleLogin", "ConsoleToken", "Credentials", "EmailPassword"]

ROOT = "/console/api"
MOST_UNANSWERED = 3
"""Log-ins without an answer may have counted as wrong passwords, of which six lock the account
(docs/dify-api.md "Log-in")."""


class LoginAttempts(Protocol):
    """What several processes know together of passwords that were tried."""

    def attempt(self, server: str, email: str, password: str) -> AbstractContextManager[None]:
        """Hold the log-in of a person at a server while it is tried.

        :raises AuthenticationError: on entering, when it was refused before.
        """


class OwnAttempts:
    """The attempts of a process that shares nothing with others."""

    def attempt(self, server: str, email: str, password: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Let it be tried."""
        return nullcontext()


OWN_ATTEMPTS = OwnAttempts()


class ConsoleLogin:
    """Logs in at the first request, renews once for all threads, never sends refused credentials again."""

    def __init__(
        self, session: DifySession, credentials: Credentials, attempts: LoginAttempts = OWN_ATTEMPTS
    ) -> None:
        self.session = session
        self._credentials = credentials
        self._attempts = attempts
        self._lock = Lock()
        self._tokens: Tokens | None = None
        self._failure: errors.FatalError | errors.RetriableError | None = None
        self._unanswered = 0

    def get(self, path: str, params: Mapping[str, str] = NOTHING, *, fields: Collection[str] = ()) -> Answer:
        """Return the console's answer; ``path`` begins with ``/console/api``, its data must have ``fields``.

        :raises AuthenticationError: the credentials are refused; LoginLockedError: the account is locked;
            SourceRefusedError: other 4xx; RetriableError: when tries are used up.
        """
        tokens = self.sign_in()
        try:
            return self._get(path, params, tokens, fields)
        except errors.AuthenticationError as refusal:
            renewed = self._renew(tokens, refusal)
        return self._get(path, params, renewed, fields)

    @property
    def has_admin_key(self) -> bool:
        """Whether the workspace is chosen by the settings, and not by the account."""
        return isinstance(self._credentials, AdminKey)

    @property
    def given_up(self) -> bool:
        """Whether no further log-in will be tried."""
        return self._failure is not None

    def sign_in(self) -> Tokens:
        """Return the tokens in force, logging in if there are none yet."""
        tokens = self._tokens
        if tokens is not None and self._failure is None:
            return tokens
        with self._lock:
            self._raise_earlier_failure()
            if self._tokens is None:
                self._tokens = self._open()
            return self._tokens

    def _get(self, path: str, params: Mapping[str, str], tokens: Tokens, fields: Collection[str]) -> Answer:
        return self.session.get(path, params, headers=tokens.headers(), fields=fields)

    def _renew(self, stale: Tokens, refusal: errors.AuthenticationError) -> Tokens:
        with self._lock:
            self._raise_earlier_failure()
            if self._tokens is stale or self._tokens is None:
                self._tokens = self._refresh(stale) or self._reopen(refusal)
            return self._tokens  # where another thread was first, it is newer already

    def _refresh(self, stale: Tokens) -> Tokens | None:
        request = stale.refresh_request()
        if request is None:
            return None
        headers, document = request
        try:
            answer = self.session.post(f"{ROOT}/refresh-token", document, headers=headers)
        except (errors.AuthenticationError, errors.SourceRefusedError, errors.RetriableError):
            # A refresh token works once, so after a lost answer it is as used up as after a refusal.
            return None
        return read_tokens(answer)

    def _reopen(self, refusal: errors.AuthenticationError) -> Tokens:
        if isinstance(self._credentials, EmailPassword):
            return self._open()
        self._failure = _explain(self._credentials, self.session.host, refusal)
        raise self._failure from refusal

    def _open(self) -> Tokens:
        try:
            tokens = self._enter()
        except errors.FatalError as failure:
            self._failure = failure
            raise
        except errors.RetriableError as failure:
            if self._unanswered >= MOST_UNANSWERED:
                self._failure = failure
            raise
        self._unanswered = 0
        if isinstance(self._credentials, EmailPassword) and self._credentials.switch_to:
            self._switch(self._credentials, tokens)
        return tokens

    def _switch(self, credentials: EmailPassword, tokens: Tokens) -> None:
        """Let the account look at its workspace; whoever has it open in a browser looks at it too then."""
        path, headers = f"{ROOT}/workspaces", tokens.headers()
        listed = read_workspaces(self.session.get(path, headers=headers, fields=("workspaces",)).document)
        own = next((each for each in listed if each.id == credentials.switch_to), None)
        if own is None:
            raise errors.UsageError(
                f"{self.session.host}: the console account {credentials.email} is no member of the workspace"
                f" {credentials.switch_to} (DIFY_WORKSPACE_ID), but of"
                f" {', '.join(f'{each.name} ({each.id})' for each in listed) or 'none'}"
            )
        if not own.is_current:
            self.session.post(f"{path}/switch", {"tenant_id": own.id}, headers=headers)
            logger.warning("the console account {} was switched to {}", credentials.email, own.name)

    def _enter(self) -> Tokens:
        if isinstance(self._credentials, AdminKey):
            return AdminTokens(self._credentials.key, self._credentials.workspace_id)
        form = self._form()
        if isinstance(self._credentials, EmailPassword):
            return self._log_in(self._credentials, form)
        if form is not LoginForm.BEARER:
            raise errors.AuthenticationError(
                f"{self.session.host}: Dify {COOKIES_SINCE} and newer do not accept a console token alone; "
                "set DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD, "
                "or DIFY_ADMIN_API_KEY and DIFY_WORKSPACE_ID"
            )
        return BearerTokens(self._credentials.token)

    def _form(self) -> LoginForm:
        if self.session.release is None:
            try:
                self.session.get(f"{ROOT}/setup")
            except (errors.AuthenticationError, errors.SourceRefusedError):
                # Only its X-Version matters, and error answers carry it too.
                return login_form(self.session.release)
        return login_form(self.session.release)

    def _log_in(self, credentials: EmailPassword, form: LoginForm) -> Tokens:
        """Send the password, again only while unanswered tries cannot have locked the account."""
        password = credentials.password.get_secret_value()

        def attempt() -> Tokens:
            with self._attempts.attempt(self.session.base_url, credentials.email, password):
                return self._offer(credentials, form)

        policy = self.session.retry
        return replace(policy, tries=min(policy.tries, MOST_UNANSWERED - self._unanswered)).call(attempt)

    def _offer(self, credentials: EmailPassword, form: LoginForm) -> Tokens:
        document, secrets = login_document(credentials, form), [credentials.password.get_secret_value()]
        host = self.session.host
        try:
            answer = self.session.post(f"{ROOT}/login", document, secrets=secrets)
        except errors.AuthenticationError as error:
            raise _explain(credentials, host, error) from error
        except errors.SourceRefusedError as error:
            if error.status == 400:
                raise _explain(credentials, host, error) from error
            raise
        except errors.RetriableError as error:
            if isinstance(error, errors.SourceBusyError) and error.status == 429:
                raise _locked(credentials, host) from error
            self._unanswered += 1
            raise
        tokens = read_tokens(answer)
        if tokens is None:
            unusable = errors.SourceRefusedError(excerpt(answer), status=answer.status)
            raise _explain(credentials, host, unusable)
        return tokens

    def _raise_earlier_failure(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)


def _locked(credentials: EmailPassword, host: str) -> errors.LoginLockedError:
    return errors.LoginLockedError(
        f"{host} has locked the console login of {credentials.email} for 24 hours after too many wrong "
        "passwords; no further try is made. Wait, or let an administrator unlock it or set "
        "DIFY_ADMIN_API_KEY and DIFY_WORKSPACE_ID; then check DIFY_CONSOLE_PASSWORD",
        status=429,
    )


def _explain(
    credentials: Credentials, host: str, refusal: errors.AuthenticationError | errors.SourceRefusedError
) -> errors.AuthenticationError:
    if isinstance(credentials, EmailPassword):
        advice = (
            f"the console login of {credentials.email} was refused: check DIFY_CONSOLE_EMAIL and "
            "DIFY_CONSOLE_PASSWORD by logging in with a browser; no second try is made"
        )
    elif isinstance(credentials, AdminKey):
        advice = (
            "the admin API key was refused: check DIFY_ADMIN_API_KEY and DIFY_WORKSPACE_ID, and that the "
            "server runs Dify 1.11.0 or newer with ADMIN_API_KEY_ENABLE=true"
        )
    else:
        advice = "the console token was refused or has expired: renew DIFY_CONSOLE_TOKEN"
    return errors.AuthenticationError(
        f"{host}: {advice} ({refusal})", status=refusal.status, body=refusal.body
    )


class Servers:
    """The Dify servers that are open: one session each, one log-in per credentials; all closed at the end.

    Apps of one server also share its limiter, whose bound is that of the app opened first.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._open = ExitStack()
        self._sessions: dict[tuple[str, SessionOptions], DifySession] = {}
        self._logins: dict[tuple[DifySession, Credentials], ConsoleLogin] = {}

    def session(self, base_url: str, options: SessionOptions, most_at_once: int) -> DifySession:
        """Return the session of a server, opening it at first.

        :raises SettingsError: for an address or a file of authorities that cannot be used.
        """
        key = (normalise(base_url), options)
        with self._lock:
            if key not in self._sessions:
                limiter = AdaptiveLimiter(SearchState(cap=most_at_once))
                session = DifySession(base_url, limiter=limiter, options=options)
                self._sessions[key] = self._open.enter_context(session)
            return self._sessions[key]

    def login(
        self, session: DifySession, credentials: Credentials, attempts: LoginAttempts = OWN_ATTEMPTS
    ) -> ConsoleLogin:
        """Return the log-in of these credentials on a session; a refused one stays refused for all."""
        key = (session, credentials)
        with self._lock:
            if key not in self._logins:
                self._logins[key] = ConsoleLogin(session, credentials, attempts)
            return self._logins[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
