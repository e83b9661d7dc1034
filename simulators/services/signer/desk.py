"""Answers what lies in the inbox, round by round."""

from pathlib import Path

from simulators.services.signer.exchange import open_requests, read_request, write_answer
from simulators.services.signer.policy import Policy
from simulators.services.signer.sign import Refused, Signed, answer


class Desk:
    """One exchange folder and one policy; keeps only since when a request waits.

    `fault` spoils every answer, `late_s` holds it back.
    """

    def __init__(
        self, inbox: Path, outbox: Path, policy: Policy, *, fault: str | None, late_s: float
    ) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._policy = policy
        self._fault = fault
        self._late_s = late_s
        self._since_s: dict[str, float] = {}

    def round(self, now_s: float) -> str | None:
        """Answer everything whose time has come; return what went wrong, for people."""
        try:
            names = open_requests(self._inbox, self._outbox)
            self._since_s = {name: self._since_s.get(name, now_s) for name in names}
            for name in names:
                if now_s - self._since_s[name] < self._late_s:
                    continue
                given = self._answer(name)
                if given:
                    write_answer(self._outbox, name, given)
        except OSError as error:
            return f"the exchange folder: {error}; nothing is lost, it is tried again"
        return None

    def _answer(self, name: str) -> Signed | Refused | None:
        """None when the request was taken back meanwhile."""
        try:
            data = read_request(self._inbox, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            return Refused(f"the request cannot be read: {error.strerror or error}")
        return answer(data, self._policy, self._fault)
