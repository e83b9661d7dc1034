"""The keys and the policy that every module about the signer asks for."""

from types import SimpleNamespace

import pytest

from simulators.services.signer.keys import new_collection_key, new_reserve
from simulators.services.signer.policy import Policy
from simulators.services.signer.reserve import Reserve


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    collection = new_collection_key(folder / "collection.key", "regtest")
    reserve = new_reserve(folder / "reserve", "regtest")
    policy = Policy(collection, Reserve(reserve, 20), 10_000)
    return SimpleNamespace(folder=folder, collection=collection, reserve=reserve, policy=policy)
