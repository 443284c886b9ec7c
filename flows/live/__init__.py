"""Flows that run until they are told to stop: what they are wired to, how they are watched, what they log."""
