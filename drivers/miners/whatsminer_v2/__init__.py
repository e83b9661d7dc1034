"""MicroBT's own firmware for WhatsMiners with API version 2."""
