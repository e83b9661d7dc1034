"""Builds the dispatcher's desk: keys, broker address, and what the journal remembers of him."""

import random
from collections.abc import Mapping
from pathlib import Path

import msgspec

from controller.app.trusted import read_trusted
from controller.clock import SiteClock
from controller.config.load import SiteConfig
from controller.config.problems import ConfigError, Problem, shown
from controller.config.schema import DispatchSection
from controller.dispatch.desk import Desk, DeskMemory
from controller.dispatch.link import BrokerAddress, DispatchLink, Tls
from controller.dispatch.message import Status
from controller.dispatch.ports import Clock, LastWill, Link
from controller.dispatch.sealing import seal
from controller.dispatch.secret_files import SecretFileError, read_secret
from controller.dispatch.topics import site_subscriptions, status_topic
from controller.power.site import Site
from controller.signing import (
    KeyFormatError,
    PublicKey,
    Role,
    SigningKey,
    parse_private_key,
)


class DispatchKeys:
    """The keys of `[dispatch]`, read and checked. Raises ConfigError with every key that fails."""

    def __init__(self, config: SiteConfig) -> None:
        section = config.file.dispatch
        if section is None:
            raise ValueError("the site has no [dispatch]")
        problems: list[Problem] = []
        self.site_key = _site_key(config, section, problems)
        self.trusted = _trusted(config, section, problems)
        if problems or self.site_key is None:
            raise ConfigError(problems)


def _site_key(
    config: SiteConfig, section: DispatchSection, problems: list[Problem]
) -> SigningKey | None:
    path = config.folder / section.site_key_file
    try:
        return parse_private_key(read_secret(path))
    except (SecretFileError, KeyFormatError) as error:
        mend = f"{error}; make one with `naryn keys new`"
        problems.append(_problem(config, "site_key_file", section.site_key_file, mend))
        return None


def _trusted(
    config: SiteConfig, section: DispatchSection, problems: list[Problem]
) -> Mapping[str, PublicKey]:
    entries = (
        (entry.file, entry.issuer, [Role(role) for role in entry.roles]) for entry in section.key
    )
    return read_trusted(config, "dispatch.key", entries, problems)


def _problem(config: SiteConfig, key: str, value: Path, mend: str) -> Problem:
    return Problem(file=config.path, key=f"dispatch.{key}", value=shown(str(value)), mend=mend)


def build_link(
    config: SiteConfig, keys: DispatchKeys, clock: Clock, started: SiteClock, rng: random.Random
) -> DispatchLink:
    """The connection to the broker; its last will says, signed, that the site is offline."""
    section, site_id = config.file.dispatch, config.file.site.id
    if section is None or keys.site_key is None:
        raise ValueError("the site has no [dispatch]")
    tls = None
    if section.tls_ca_file is not None or section.tls_cert_file is not None:
        tls = Tls(
            ca_file=_beside(config, section.tls_ca_file),
            cert_file=_beside(config, section.tls_cert_file),
            key_file=_beside(config, section.tls_key_file),
        )
    address = BrokerAddress(
        host=section.broker_host,
        port=section.broker_port,
        client_id=f"naryn-{site_id}",
        username=section.username,
        password_file=_beside(config, section.password_file),
        tls=tls,
    )
    return DispatchLink(
        address=address,
        subscriptions=site_subscriptions(site_id),
        clock=clock,
        rng=rng,
        will=last_will(site_id, keys.site_key, started),
    )


def last_will(site_id: str, site_key: SigningKey, clock: SiteClock) -> LastWill:
    """What the broker says of the site when it is gone. Its sequence is below any that follows."""
    offline = Status(site=site_id, sequence=1, at=clock.utc(), state="offline")
    return LastWill(status_topic(site_id), seal(offline, [site_key]))


def _beside(config: SiteConfig, path: Path | None) -> Path | None:
    return None if path is None else config.folder / path


def build_desk(
    site: Site, config: SiteConfig, link: Link, keys: DispatchKeys, blob: bytes | None
) -> Desk:
    """The desk with what the journal remembers. Raises ConfigError when that cannot be read."""
    if keys.site_key is None:
        raise ValueError("the site has no key")
    memory = None
    if blob is not None:
        try:
            memory = msgspec.json.decode(blob, type=DeskMemory)
        except msgspec.DecodeError as error:
            mend = f"the journal's record of the dispatcher cannot be read: {error}"
            raise ConfigError([_problem(config, "journal", config.state_dir, mend)]) from None
    return Desk(site, link, keys.trusted, keys.site_key, memory)
