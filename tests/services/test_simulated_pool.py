"""The simulated pool as a process: its faults, its API and its usage."""

import json
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.patience import eventually
from tests.services.pool_ground import BEGAN, NEXT, OURS, POOL, Pool, earned_by, received_sat, waits

simulated = pytest.mark.parametrize("chain", ["simulated"], indirect=True)


@simulated
def test_a_late_pool_pays_later_than_due(chain, pool):
    pool.start("--fault", "late:4")
    pool.hash(1.0, 21)
    pool.counted()
    chain.mine(1)
    eventually(pool.earned_sat, "it credits")
    began_s = time.monotonic()
    eventually(pool.payouts, "it pays")
    assert time.monotonic() - began_s > 3.0


@simulated
def test_a_short_pool_sends_less_than_it_says(chain, pool):
    pool.start("--fault", "short:100")
    pool.hash(1.0, 21)
    pool.counted()
    chain.mine(1)
    (payout,) = eventually(pool.payouts, "it pays")
    sat = earned_by(20 * 10**12)
    assert payout["total_satoshis_net_paid"] == sat
    waits(chain, payout["on_chain_txid"])
    chain.mine_mempool()
    assert received_sat(chain) == sat * 9 // 10


@simulated
def test_an_api_that_is_silent_talks_nonsense_or_hangs(chain, tmp_path):
    pool = Pool(chain, tmp_path)
    path = f"/v1/earnpay/{OURS}"
    pool.start("--fault", "silent")
    assert pool.status(path)[0] == 503
    pool.end()
    pool.start("--fault", "garbage")
    status, body = pool.status(path)
    assert status == 200
    with pytest.raises(ValueError, match="decode"):
        json.loads(body)
    pool.end()
    pool.start("--fault", "hang", "--fault", "late:60")
    with pytest.raises(TimeoutError):
        pool.status(path, timeout=1)
    began_s = time.monotonic()
    pool.end()
    assert time.monotonic() - began_s < 10


@simulated
def test_what_the_api_is_asked_and_what_not(chain, pool):
    pool.start()
    pool.hash(1.0, 21)
    pool.counted()
    chain.mine(1)
    eventually(pool.payouts, "it pays")
    rates = pool.result(f"/v1/user_hashrate/{OURS}")
    assert list(rates) == [
        "snap_ts",
        "db_ts",
        *(f"hashrate_{s}s" for s in (60, 300, 600, 1800, 3600, 10800, 43200, 86400)),
        "active_worker_count",
        "lastest_share_ts",
    ]
    assert (rates["hashrate_60s"], rates["active_worker_count"]) == ("0", 0)
    assert rates["lastest_share_ts"] == str(int(BEGAN.timestamp()) + 20)
    today = datetime.now(UTC)
    forms = (
        int(today.timestamp()) - 600,
        (today - timedelta(days=2)).strftime("%Y-%m-%d"),
        (today - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S"),
    )
    for start in forms:
        found = pool.result(f"/v1/earnpay/{OURS}/{start}/{int(today.timestamp()) + 60}")
        assert (len(found["earnings"]), len(found["payouts"])) == (1, 1)
    past = pool.result(f"/v1/earnpay/{OURS}/2020-01-01/2021-01-01")
    assert past == {
        "start_ts": "1577836800",
        "end_ts": "1609459200",
        "earnings": [],
        "payouts": [],
    }
    for path, status in (
        (f"/v1/earnpay/{NEXT}", 404),
        (f"/v1/user_hashrate/{NEXT}", 404),
        (f"/v1/earnpay/{OURS}/yesterday", 400),
        (f"/v1/earnpay/{OURS}/{'9' * 400}", 400),
        (f"/v1/earnpay/{OURS}/2026-01-01/%00", 400),
    ):
        found, body = pool.status(path)
        assert (found, list(json.loads(body))) == (status, ["error"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--destination": "bcrt1qwrong"}, "is no bitcoin address"),
        ({"--difficulty": "0"}, "is no difficulty"),
        ({"--difficulty": "1e999999999"}, "is no difficulty"),
        ({"--threshold-sat": "1999"}, "is not a whole number 2000 …"),
        ({"--fee-permille": "1000"}, "is not a whole number 0 … 999"),
        ({"--fault": "short:501"}, "is not one of: late:SECONDS"),
        ({"--key-file": "open.key"}, "mend: chmod 600"),
        ({"--port": "busy"}, "is not a whole number"),
    ],
)
def test_wrong_usage_is_status_2_and_one_sentence(tmp_path, change, sentence):
    (tmp_path / "open.key").write_text("11" * 32)
    options = {
        "--truth": tmp_path / "truth.jsonl",
        "--folder": tmp_path / "pool",
        "--key-file": tmp_path / "pool.key",
        "--node": "http://127.0.0.1:1",
        "--cookie": tmp_path / "cookie",
        "--destination": OURS,
        "--difficulty": "1",
        **change,
    }
    if change.get("--key-file"):
        options["--key-file"] = tmp_path / "open.key"
    command = [*POOL, *(str(word) for pair in options.items() for word in pair)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
