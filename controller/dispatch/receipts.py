"""The site's first answers, made from verdicts. Confirmations are made where the meter is read."""

from dataclasses import dataclass
from datetime import datetime

from controller.dispatch.acceptance import Accepted, AlreadySo, Rejected
from controller.dispatch.message import Receipt, ReceiptStage, Reference

_DETAIL_MAX = 500


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every outgoing message of a site carries. `sequence` grows with each."""

    site: str
    sequence: int
    at: datetime


def received(reference: Reference, stamp: Stamp) -> Receipt:
    """Answer that a message was believed; what becomes of it follows."""
    return Receipt(
        site=stamp.site,
        sequence=stamp.sequence,
        at=stamp.at,
        of=reference,
        stage=ReceiptStage.RECEIVED,
    )


def accepted(
    verdict: Accepted,
    stamp: Stamp,
    cap_w: int | None,
    *,
    deliverable: tuple[int, datetime] | None = None,
) -> Receipt:
    """Answer that it is done, with the absolute cap that it resolved to (None for a release).

    `deliverable` is given where the cap cannot be reached: the lowest power that can, in W, and
    when. The receipt is then ACCEPTED_PARTIAL.
    """
    stage = ReceiptStage.ACCEPTED if deliverable is None else ReceiptStage.ACCEPTED_PARTIAL
    return Receipt(
        site=stamp.site,
        sequence=stamp.sequence,
        at=stamp.at,
        of=verdict.reference,
        stage=stage,
        cap_w=cap_w,
        valid_from=verdict.window.valid_from,
        valid_until=verdict.window.valid_until,
        deliverable_w=None if deliverable is None else deliverable[0],
        deliverable_at=None if deliverable is None else deliverable[1],
        detail=None if verdict.detail is None else verdict.detail[:_DETAIL_MAX],
        alarm=None if verdict.alarm is None else verdict.alarm.value,
    )


def rejected(verdict: Rejected, stamp: Stamp) -> Receipt:
    """Answer why nothing changes."""
    return Receipt(
        site=stamp.site,
        sequence=stamp.sequence,
        at=stamp.at,
        of=verdict.reference,
        stage=ReceiptStage.REJECTED,
        reason=verdict.reason.value,
        detail=verdict.detail[:_DETAIL_MAX],
    )


def again(verdict: AlreadySo, stamp: Stamp) -> Receipt:
    """Repeat the first verdict for a message that came twice, so that a lost receipt is mended."""
    was_accepted = verdict.entry.verdict == ReceiptStage.ACCEPTED.value
    return Receipt(
        site=stamp.site,
        sequence=stamp.sequence,
        at=stamp.at,
        of=verdict.reference,
        stage=ReceiptStage.ACCEPTED if was_accepted else ReceiptStage.REJECTED,
        reason=None if was_accepted else verdict.entry.verdict,
        detail="the same message was judged before",
    )
