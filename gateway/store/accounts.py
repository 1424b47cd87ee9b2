"""Writes of officers' accounts: sessions that end, one-time codes, what an owner is told, who they are elsewhere."""

from sqlalchemy import delete, insert, select, update

from gateway.domain.errors import GatewayError
from gateway.domain.officers import AccountEvent, Enrolment, ProviderSession
from gateway.store import schema
from gateway.store.readings import decode_all
from gateway.store.transaction import Transaction, encode


class AccountWrites(Transaction):
    """A `Transaction` that can also write officers' accounts."""

    def end_sessions(self, why: str, *, officer: str | None = None, session: str | None = None) -> int:
        """End sessions from the commit on: one, an officer's, or everybody's; how many were ended."""
        table = schema.sessions
        narrow = [table.c.ended.is_(None), table.c.expires > self._now_unix]
        if officer is not None:
            narrow.append(table.c.officer == officer)
        if session is not None:
            narrow.append(table.c.id == session)
        statement = update(table).where(*narrow).values(ended=self._now_unix, ended_by=why)
        return int(self._connection.execute(statement).rowcount)

    def know_at_provider(self, issuer: str, subject: str, officer: str) -> None:
        """Note, once and for good, which person at an OpenID provider the officer is.

        Raises:
            GatewayError: `conflict` where that person is another officer, or the officer another person.
        """
        if self.provider_officer(issuer, subject) == officer:
            return
        self._connection.execute(
            insert(schema.provider_subjects).values(issuer=issuer, subject=subject, officer=officer)
        )

    def note_provider_session(self, found: ProviderSession) -> None:
        """Keep what the provider gave with a session, in place of what it gave before."""
        values = {"issuer": found.issuer, "sid": found.sid, "expires": found.expires_unix, "sealed": found.sealed}
        self._put(schema.provider_sessions, {"session": found.session}, values)

    def renew_session(self, session: str, expires_unix: int) -> None:
        """Let a session that stands end later.

        Raises:
            GatewayError: `conflict` where it has ended meanwhile.
        """
        table = schema.sessions
        stands = [table.c.id == session, table.c.ended.is_(None), table.c.expires > self._now_unix]
        if not self._connection.execute(update(table).where(*stands).values(expires=expires_unix)).rowcount:
            raise GatewayError("conflict", "the session has ended meanwhile")

    def put_authenticator(self, officer: str, sealed: str, *, confirmed: bool) -> None:
        """Keep the secret of an officer's second factor, in place of one of before."""
        values = {"sealed": sealed, "confirmed": int(confirmed)}
        self._put(schema.authenticators, {"officer": officer}, values)

    def end_authenticator(self, officer: str) -> None:
        """Forget the second factor of an officer."""
        self._connection.execute(delete(schema.authenticators).where(schema.authenticators.c.officer == officer))

    def put_enrolment(self, enrolment: Enrolment) -> None:
        """Store the one code that may be asked for or given for an officer; another one of before holds no more."""
        self._put(
            schema.enrolments,
            {"officer": enrolment.officer},
            {"expires": enrolment.expires_unix, "body": encode(enrolment)},
        )

    def end_enrolment(self, officer: str) -> None:
        """Forget the code of an officer: it was used, or refused."""
        self._connection.execute(delete(schema.enrolments).where(schema.enrolments.c.officer == officer))

    def note_account(self, officer: str, what: str, by: str) -> None:
        """Note what `by` does about an officer's account, to be told to the owner at the next sign-in."""
        event = AccountEvent(self._now_unix, what, by)
        self._insert(
            schema.account_events, {"officer": officer, "at": self._now_unix, "told": 0, "body": encode(event)}
        )

    def tell_account(self, officer: str) -> tuple[AccountEvent, ...]:
        """What the owner of an account has not been told yet, oldest first; from the commit on it counts as told."""
        table = schema.account_events
        untold = [table.c.officer == officer, table.c.told == 0]
        rows = self._connection.execute(select(table.c.body).where(*untold).order_by(table.c.number)).all()
        if rows:
            self._connection.execute(update(table).where(*untold).values(told=1))
        return decode_all(AccountEvent, rows)
