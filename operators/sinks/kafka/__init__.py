"""Rows, ranges and dead letters into Kafka, exactly once: what is new of them (`Outgoing`), the token, the transactions.

The Bytewax sink is in `operator.py`, what reads the topics back in `reading.py`.
"""

from operators.sinks.kafka.outgoing import Item, Outgoing, Record
from operators.sinks.kafka.token import Token, identity_of
from operators.sinks.kafka.transactions import Transactions

__all__ = ["Item", "Outgoing", "Record", "Token", "Transactions", "identity_of"]
