"""The grid dispatcher of a scenario, written from the protocol's description alone.

It makes its own envelopes from the DSSE specification and shares no code with the site that obeys
it: when the two understand each other, both have read the protocol alike.
"""

from simulators.services.dispatcher.play import Answer, Dispatcher, EventError

__all__ = ["Answer", "Dispatcher", "EventError"]
