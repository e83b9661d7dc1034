"""Puts the inventory into a site's journal, and reads it out."""

from collections.abc import Sequence
from datetime import UTC, datetime

from controller.app.site import BOOT_ID_FILE
from controller.config.inventory import InventoryRow
from controller.config.load import SiteConfig
from controller.site.journal import Journal
from controller.site.lock import SiteLock


async def store_inventory(config: SiteConfig, rows: Sequence[InventoryRow]) -> None:
    """Replace the inventory. Raises SiteLockError while the site runs, JournalError."""
    with SiteLock(config.state_dir), _journal(config) as journal:
        await journal.replace_inventory(rows)


def stored_inventory(config: SiteConfig) -> tuple[InventoryRow, ...]:
    """The inventory as stored. Raises SiteLockError while the site runs, JournalError."""
    with SiteLock(config.state_dir), _journal(config) as journal:
        return journal.load().inventory


def _journal(config: SiteConfig) -> Journal:
    return Journal(
        config.state_dir / "journal.db",
        site_id=config.file.site.id,
        boot_id=BOOT_ID_FILE.read_text().strip(),
        now=datetime.now(UTC),
        threaded=False,
    )
