"""Braiins OS+: live values from the cgminer API on 4028, all that acts by gRPC on 50051."""
