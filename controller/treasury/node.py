"""Judges the node: whether it may be read, and whether anything may be sent through it."""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.channel.treasury import ChainView
from controller.clock import SiteClock
from controller.config.treasury import Network
from controller.treasury.alarms import Alarm, AlarmKind
from controller.treasury.chain import Chain, ChainError, Tip

GENESIS: Mapping[Network, str] = {
    Network.MAIN: "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
    Network.TESTNET4: "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
    Network.SIGNET: "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
    Network.REGTEST: "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
}
"""Hash of each network's first block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """One look at the node. `may_send` is never without `may_read`."""

    view: ChainView
    alarms: tuple[Alarm, ...] = ()
    may_read: bool = False
    may_send: bool = False


def look(chain: Chain, network: Network, tip_age_max_s: float, clock: SiteClock) -> NodeState:
    """Ask the node for its state and judge it; what goes wrong stands in the alarms."""
    try:
        return _judged(chain, chain.tip(), network, tip_age_max_s, clock)
    except ChainError as error:
        return _unusable(network, AlarmKind.NODE_UNREACHABLE, str(error))


def _judged(
    chain: Chain, tip: Tip, network: Network, tip_age_max_s: float, clock: SiteClock
) -> NodeState:
    if tip.network != network or chain.block_hash(0) != GENESIS[network]:
        detail = f"the node is on {tip.network[:40]!r}, or its first block is not {network}'s"
        return _unusable(network, AlarmKind.WRONG_CHAIN, detail)
    tip_at = chain.header_at(tip.hash)
    age_s = (clock.utc() - tip_at).total_seconds()
    view = ChainView(
        network=network,
        height=tip.height,
        tip_hash=tip.hash,
        tip_at=tip_at,
        tip_age_s=max(0.0, age_s),
    )
    if tip.syncing:
        detail = f"it has {tip.height} blocks until now"
        return NodeState(view=view, alarms=(Alarm(kind=AlarmKind.NODE_SYNCING, detail=detail),))
    if age_s > tip_age_max_s:
        detail = f"the newest block is {age_s:.0f} s old, {tip_age_max_s:.0f} s are allowed"
        stale = Alarm(kind=AlarmKind.NODE_STALE, detail=detail)
        return NodeState(view=view, alarms=(stale,), may_read=True)
    return NodeState(view=view, may_read=True, may_send=True)


def _unusable(network: Network, kind: AlarmKind, detail: str) -> NodeState:
    return NodeState(
        view=ChainView(network=network, error=detail), alarms=(Alarm(kind=kind, detail=detail),)
    )
