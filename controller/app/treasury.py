"""Builds `naryn treasury run`: reads the wallets, puts the parts together, serves what they see."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog

from controller.channel.frames import ChannelError
from controller.channel.server import ChannelServer
from controller.channel.treasury import TreasuryImage
from controller.clock import SiteClock, SystemClock
from controller.config.problems import ConfigError, Problem
from controller.config.treasury import SweepSection, TreasuryConfig, WalletSection
from controller.health import serve_health
from controller.money.facts import Wallet
from controller.money.policy import Limits
from controller.money.pools import Terms
from controller.money.sweep import Costs
from controller.treasury import book, sweep_book
from controller.treasury.audit import Audit
from controller.treasury.build import Builder
from controller.treasury.chain import Chain
from controller.treasury.database import Database, only_writer
from controller.treasury.descriptors import (
    DescriptorError,
    WatchedWallet,
    are_apart,
    script_of,
    watch,
)
from controller.treasury.exchange import Exchange
from controller.treasury.follower import Follower
from controller.treasury.image import Painter
from controller.treasury.loops import Loops, off_loop
from controller.treasury.node import GENESIS, look
from controller.treasury.people import People
from controller.treasury.pools.desk import PoolDesk
from controller.treasury.pools.ocean import OceanReader
from controller.treasury.sweeper import Pace, Sweeper
from controller.treasury.work import Parts, Work

_FLOOR_SAT_KVB = 100
"""Below it no node relays."""

_log = structlog.get_logger()
Wallets = Mapping[Wallet, WatchedWallet]


def treasury_channel_path(state_dir: Path) -> Path:
    """Where `naryn treasury run` with this `state_dir` listens for consoles and command lines."""
    return state_dir / "run" / "treasury.sock"


def read_wallets(config: TreasuryConfig) -> Wallets:
    """Both wallets, derived. Raises ConfigError with every problem of theirs and of the pools'
    addresses.
    """
    file = config.file
    problems: list[Problem] = []
    wallets: dict[Wallet, WatchedWallet] = {}
    for wallet, section in ((Wallet.COLLECTION, file.collection), (Wallet.RESERVE, file.reserve)):
        try:
            wallets[wallet] = _wallet(config, wallet, section)
        except DescriptorError as error:
            problems.append(_problem(config, f"{wallet}.descriptor", str(error)))
    if not problems and not are_apart(wallets[Wallet.COLLECTION], wallets[Wallet.RESERVE]):
        mend = "has a key of the collection's too; the reserve has keys of its own"
        problems.append(_problem(config, "reserve.descriptor", mend))
    if not problems:
        known = {script for watched in wallets.values() for script in watched.scripts}
        for number, pool in enumerate(file.pool, 1):
            for place, address in enumerate(pool.addresses, 1):
                key = f"pool[{number}].addresses[{place}]"
                try:
                    if script_of(address, file.node.network) not in known:
                        mend = "comes from neither descriptor: the pool would pay to strangers"
                        problems.append(_problem(config, key, f"{address}: {mend}"))
                except DescriptorError as error:
                    problems.append(_problem(config, key, str(error)))
    if problems:
        raise ConfigError(problems)
    return wallets


def _wallet(config: TreasuryConfig, wallet: Wallet, section: WalletSection) -> WatchedWallet:
    watched = watch(wallet, section.descriptor, config.file.node.network, section.addresses)
    if section.sha256 is not None and section.sha256 != watched.sha256:
        raise DescriptorError(
            f"{wallet}: the descriptor's sha256 is {watched.sha256}, pinned is "
            f"{section.sha256}; one of them was changed: ask who did"
        )
    return watched


def _problem(config: TreasuryConfig, key: str, mend: str) -> Problem:
    return Problem(file=config.path, key=key, value="", mend=mend)


def assemble(
    config: TreasuryConfig, wallets: Wallets, database: Database, clock: SiteClock
) -> Work:
    """Put a treasury together over its open database.

    Raises ConfigError, DatabaseError, LedgerError.
    """
    file = config.file
    collection, reserve = wallets[Wallet.COLLECTION], wallets[Wallet.RESERVE]
    genesis = GENESIS[file.node.network]
    database.belong_to(
        {
            "treasury": file.treasury.id,
            "genesis": genesis,
            "collection": collection.sha256,
            "reserve": reserve.sha256,
            "from_height": str(file.treasury.from_height),
        }
    )
    with database.transaction() as db:
        book.verify(db)
        for watched in wallets.values():
            used = sweep_book.next_index(db, watched.wallet)
            if watched.is_ranged and used > watched.addresses:
                mend = f"{used} addresses are in use already; watch more than that"
                raise ConfigError([_problem(config, f"{watched.wallet}.addresses", mend)])
    chain = build_chain(config)
    return Work(
        Parts(
            look=lambda: look(chain, file.node.network, file.node.tip_age_max_s, clock),
            database=database,
            follower=Follower(
                chain, database, (collection, reserve), file.treasury.from_height, clock
            ),
            sweeper=None
            if file.sweep is None
            else _sweeper(config, file.sweep, wallets, database, chain, clock),
            audit=Audit(chain, database, (collection, reserve)),
            pools=_pools(config, clock),
            wallets=(collection, reserve),
            painter=Painter(file.treasury.id, file.treasury.name, reserve),
            clock=clock,
        )
    )


def build_chain(config: TreasuryConfig) -> Chain:
    """The configured node."""
    node = config.file.node
    return Chain(
        node.url,
        config.cookie_file,
        timeout_s=node.timeout_s,
        scan_timeout_s=node.audit_timeout_s,
    )


def build_costs(section: SweepSection, wallets: Wallets) -> Costs:
    """How sweeps between these wallets are weighed."""
    return Costs(
        input_weight=wallets[Wallet.COLLECTION].input_weight,
        output_script_bytes=len(wallets[Wallet.RESERVE].script(0)),
        feerate_sat_kvb=section.feerate_sat_kvb,
        min_sweep_sat=section.min_sweep_sat,
        limits=Limits(
            max_fee_sat=section.max_fee_sat,
            max_fee_percent=section.max_fee_percent,
            floor_sat_kvb=_FLOOR_SAT_KVB,
            ceiling_sat_kvb=section.feerate_max_sat_kvb,
        ),
    )


def _sweeper(
    config: TreasuryConfig,
    section: SweepSection,
    wallets: Wallets,
    database: Database,
    chain: Chain,
    clock: SiteClock,
) -> Sweeper:
    collection, reserve = wallets[Wallet.COLLECTION], wallets[Wallet.RESERVE]
    return Sweeper(
        chain,
        database,
        Exchange(config.exchange_dir, clock),
        Builder(chain, collection, reserve, build_costs(section, wallets)),
        collection,
        reserve,
        Pace(
            every=timedelta(seconds=section.every_s),
            signer_patience=timedelta(seconds=section.signer_patience_s),
            bump_after=timedelta(seconds=section.bump_after_s),
        ),
        GENESIS[config.file.node.network],
        clock,
    )


def _pools(config: TreasuryConfig, clock: SiteClock) -> list[PoolDesk]:
    network = config.file.node.network
    return [
        PoolDesk(
            pool.id,
            OceanReader(pool.url, pool.timeout_s),
            {address: script_of(address, network) for address in pool.addresses},
            Terms(
                pay_every=timedelta(seconds=pool.pay_every_s),
                grace=timedelta(seconds=pool.grace_s),
                threshold_sat=pool.threshold_sat,
                tolerance_permille=pool.tolerance_permille,
            ),
            pool.poll_s,
            timedelta(days=pool.window_days),
            clock,
        )
        for pool in config.file.pool
    ]


async def run(config: TreasuryConfig) -> None:
    """`naryn treasury run`: until cancelled.

    Raises ConfigError, DatabaseError, LedgerError, ChannelError with a sentence for people.
    """
    clock = SystemClock()
    wallets = await off_loop(lambda: read_wallets(config))
    with only_writer(config.state_dir):
        database = Database(config.state_dir / "treasury.db")
        try:
            await _run(config, assemble(config, wallets, database, clock), wallets, clock)
        finally:
            database.close()


async def _run(config: TreasuryConfig, work: Work, wallets: Wallets, clock: SiteClock) -> None:
    node = config.file.node
    people = People(work.parts.database, wallets, clock)
    loops = Loops(
        work, node.poll_s, audit_every_s=node.audit_every_s, late_s=2 * node.timeout_s, clock=clock
    )

    async def answer(body: bytes) -> bytes:
        return await off_loop(lambda: people.answer(body))

    async with AsyncExitStack() as stack:
        server = ChannelServer(treasury_channel_path(config.state_dir), answer)
        await stack.enter_async_context(server)
        health = config.file.health
        await stack.enter_async_context(
            serve_health("treasury", health.host, health.port, loops.not_ready)
        )
        _log.info(
            "treasury_running",
            treasury=config.file.treasury.id,
            network=node.network,
            sweeps=config.file.sweep is not None,
            pools=len(config.file.pool),
        )

        def publish(image: TreasuryImage) -> None:
            try:
                server.publish(msgspec.msgpack.encode(image))
            except ChannelError as error:  # what nobody can be shown must not stop the treasury
                _log.error("image_not_shown", error=str(error))

        await loops.run(publish)
