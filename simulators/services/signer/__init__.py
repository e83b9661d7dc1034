"""The signer of the collection wallet: another person's process, the only holder of its keys.

It shares no code and no configuration with the treasury that asks it. It has its own copy of the
reserve descriptor and its own policy, so that a treasury in wrong hands gets no coin anywhere else.
"""
