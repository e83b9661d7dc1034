"""The demonstration's ports: each can be moved, and what cannot be is named."""

import pytest
import typer

from controller.cli.demo.ports import Ports


def test_a_service_is_moved_by_its_name():
    assert Ports.moved(["console=9000", "treasury-health=9001"]) == Ports(
        console=9000, treasury_health=9001
    )
    assert Ports.moved([]) == Ports()


@pytest.mark.parametrize(
    "wish", ["console", "console=", "console=80", "konsole=9000", "http=70000"]
)
def test_what_is_no_port_is_named(wish):
    with pytest.raises(typer.BadParameter, match="is not NAME=PORT"):
        Ports.moved([wish])


def test_two_services_do_not_share_a_port():
    with pytest.raises(typer.BadParameter, match="8441 is used twice"):
        Ports.moved(["console=8441"])
