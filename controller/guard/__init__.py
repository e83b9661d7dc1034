"""The second process: watches the controller, and puts the fleet to sleep when it falls silent."""
