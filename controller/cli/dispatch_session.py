"""One conversation with a site: connect, send, and wait for what it says."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from controller.cli.dispatch_options import EXIT_REFUSED, EXIT_SILENT, Options, fail
from controller.cli.dispatch_view import View
from controller.clock import SystemClock
from controller.dispatch.link import DispatchLink
from controller.dispatch.message import (
    Confirmation,
    ConfirmationStage,
    Heartbeat,
    Inward,
    Order,
    Outward,
    Receipt,
    ReceiptStage,
    Reference,
    Setpoint,
)
from controller.dispatch.sealing import Opened, open_from_site, seal
from controller.dispatch.topics import (
    dispatcher_subscriptions,
    heartbeat_topic,
    order_topic,
    setpoint_topic,
)

CONNECT_S = 10.0
"""Longest wait for the broker, and for its acknowledgement of what we send."""


_ENDS = {
    ConfirmationStage.RELEASED,
    ConfirmationStage.EXPIRED,
    ConfirmationStage.SUPERSEDED,
}


@dataclass(frozen=True, slots=True)
class Sending:
    """A signed message on its way, and how to know answers to it."""

    message: Order | Setpoint
    envelope: bytes

    def is_answered_by(self, of: Reference) -> bool:
        """Whether `of` means this message, or the order that it releases."""
        if of.envelope_sha256 is not None:
            mine = hashlib.sha256(self.envelope).hexdigest()
            if of.envelope_sha256 == mine:
                return True
        message = self.message
        if isinstance(message, Setpoint):
            theirs = (of.issuer, of.node, of.sequence, of.order)
            return theirs == (message.issuer, message.node, message.sequence, None)
        return of.order is not None and of.order in (message.id, message.release)


def topic_of(message: Inward) -> str:
    """Topic that a message belongs on."""
    if isinstance(message, Order):
        return order_topic(message.site)
    if isinstance(message, Heartbeat):
        return heartbeat_topic(message.site)
    return setpoint_topic(message.site, message.node)


@asynccontextmanager
async def connected(options: Options) -> AsyncIterator[DispatchLink]:
    """A link that has reached its broker. Ends the program when it cannot be reached."""
    link = DispatchLink(
        address=options.address,
        subscriptions=dispatcher_subscriptions(options.site),
        clock=SystemClock(),
        rng=random.Random(),  # noqa: S311 - spreads reconnections, guards nothing
    )
    async with link:
        if not await _within(CONNECT_S, lambda: link.connected):
            fail(f"broker not reached: {link.last_error or 'no answer'}", EXIT_SILENT)
        yield link


async def publish(link: DispatchLink, message: Inward, options: Options) -> bytes:
    """Sign and send; return the envelope once the broker has acknowledged it."""
    envelope = seal(message, options.keys)
    before = link.counts.published
    retain = isinstance(message, Setpoint)
    await link.publish(topic_of(message), envelope, retain=retain)
    if not await _within(CONNECT_S, lambda: link.counts.published > before):
        fail(f"the broker did not take the message: {link.last_error or 'silence'}", EXIT_SILENT)
    return envelope


async def say(options: Options, message: Order | Setpoint, view: View, wait_s: float | None) -> int:
    """Send one message; with `wait_s`, print the answers to it. Returns the exit status."""
    async with connected(options) as link:
        envelope = await publish(link, message, options)
        view.sent(message)
        if wait_s is None:
            return 0
        try:
            async with asyncio.timeout(wait_s):
                return await _answers(link, Sending(message, envelope), options, view)
        except TimeoutError:
            fail(f"no final answer within {wait_s:g} s", EXIT_SILENT)


async def watch(options: Options, view: View, for_s: float | None) -> None:
    """Print everything that the site says; `for_s` None: until interrupted."""
    async with connected(options) as link:
        try:
            async with asyncio.timeout(for_s):
                while True:
                    await _next(link, options, view)
        except TimeoutError:
            return


async def beat(
    options: Options, make: Callable[[], Heartbeat], view: View, every_s: float, for_s: float | None
) -> None:
    """Send heartbeats; `for_s` None: until interrupted."""
    clock = SystemClock()
    async with connected(options) as link:
        begun_s = due_s = clock.monotonic_s()
        while for_s is None or due_s - begun_s < for_s:
            message = make()
            await publish(link, message, options)
            view.sent(message)
            due_s += every_s
            await asyncio.sleep(max(0.0, due_s - clock.monotonic_s()))


async def _answers(link: DispatchLink, sending: Sending, options: Options, view: View) -> int:
    while True:
        opened = await _next(link, options, view, only=sending)
        status = None if opened is None else _status(opened.message, sending.message)
        if status is not None:
            return status


def _status(answer: Outward, message: Order | Setpoint) -> int | None:
    """Exit status when `answer` is the last one to wait for, else None.

    An order ends with a confirmation. A release ends with the end of the order that it releases,
    however that came; what else is still said of that order does not count. A setpoint is state:
    it is accepted or not.
    """
    if isinstance(answer, Receipt):
        if answer.stage is ReceiptStage.REJECTED:
            return EXIT_REFUSED
        taken = answer.stage in {ReceiptStage.ACCEPTED, ReceiptStage.ACCEPTED_PARTIAL}
        return 0 if taken and isinstance(message, Setpoint) else None
    if not isinstance(answer, Confirmation):
        return None
    if isinstance(message, Order) and message.release is not None:
        return 0 if answer.stage in _ENDS else None
    return EXIT_REFUSED if answer.stage is ConfirmationStage.FAILED else 0


async def _next(
    link: DispatchLink, options: Options, view: View, *, only: Sending | None = None
) -> Opened | None:
    """Print the next message of the site; with `only`, pass over what does not answer that."""
    inbound = await link.inbox.get()
    if not inbound.payload:
        return None
    opened = open_from_site(inbound.payload, options.site, options.site_keys)
    if isinstance(opened, str):
        view.doubtful(inbound.topic, opened)
        return None
    message = opened.message
    if only is not None and not (
        isinstance(message, Receipt | Confirmation) and only.is_answered_by(message.of)
    ):
        return None
    view.heard(opened)
    return opened


async def _within(limit_s: float, condition: Callable[[], bool]) -> bool:
    try:
        async with asyncio.timeout(limit_s):
            while not condition():  # noqa: ASYNC110 - the link has no event for this
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return True
