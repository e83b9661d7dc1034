"""The `site.toml` of a scenario that brings none: its feeders and meters, and the defaults of the
law.
"""

from simulators.scenario import Scenario

_MAPS = {"plant-plc": "demo-plc"}
_SITE = """\
[site]
id = "{site_id}"
name = "{title}"
timezone = "Asia/Bishkek"
clock = "host"

[control]
ramp_up_mw_per_min = {ramp_mw_per_min:.6f}
ramp_down_mw_per_min = {ramp_mw_per_min:.6f}

[[node]]
id = "plant"
kind = "plant"
rating_kw = {rating_kw:.3f}
"""
_FEEDER = """
[[node]]
id = "{id}"
kind = "feeder"
parent = "plant"
rating_kw = {rating_kw:.3f}
meter = "{meter}"
auxiliary_kw = {auxiliary_kw:.3f}
"""
_METER = """
[[meter]]
id = "{id}"
map = "{map}"
host = "{host}"
port = {port}
unit_id = {unit_id}
"""
_DISPATCH = """
[dispatch]
broker_host = "127.0.0.1"
broker_port = {broker_port}
site_key_file = "keys/site.pem"
node = "plant"

[[dispatch.key]]
file = "keys/dispatcher.pub"
issuer = "dispatcher"
roles = ["dispatch", "emergency", "lockout"]
"""
_RAMP_SHARE_PER_MIN = 0.1
"""10 % of the rating a minute: the reference's default (energy.md §3.4)."""


def plain_site(scenario: Scenario, site_id: str, broker_port: int) -> str:
    """A site of one plant and its feeders. Raises ValueError for a feeder without a meter."""
    meters = {meter.measures: meter.id for meter in scenario.meters}
    rating_w = sum(feeder.rating_w for feeder in scenario.feeders)
    text = _SITE.format(
        site_id=site_id,
        title=scenario.title.replace('"', "'"),
        rating_kw=rating_w / 1000,
        ramp_mw_per_min=_RAMP_SHARE_PER_MIN * rating_w / 1e6,
    )
    for feeder in scenario.feeders:
        meter = meters.get(f"feeder:{feeder.id}")
        if meter is None:
            raise ValueError(
                f"feeder {feeder.id} has no [[meter]] that measures feeder:{feeder.id}"
            )
        text += _FEEDER.format(
            id=feeder.id,
            rating_kw=feeder.rating_w / 1000,
            meter=meter,
            auxiliary_kw=feeder.auxiliary_w / 1000,
        )
    for meter_setup in scenario.meters:
        text += _METER.format(
            id=meter_setup.id,
            map=_MAPS.get(meter_setup.product, meter_setup.product),
            host=meter_setup.host,
            port=meter_setup.port,
            unit_id=meter_setup.unit_id,
        )
    return text + _DISPATCH.format(broker_port=broker_port)
