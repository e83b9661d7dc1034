"""The `naryn` command, one file per command group."""
