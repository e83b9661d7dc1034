"""The treasury decides here: amounts, ledger, policy, sweeps. Pure: no IO, no clock."""
