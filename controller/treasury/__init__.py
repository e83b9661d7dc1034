"""The running treasury: chain, sweeps, pools. It holds no private key."""
