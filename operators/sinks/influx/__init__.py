"""InfluxDB: points of rows and of seconds as line protocol, a spool on disk, and a courier that sends it in order."""

from operators.sinks.influx.dead_letters import DeadLetterQueue
from operators.sinks.influx.lines import Lines
from operators.sinks.influx.points import RowPoints
from operators.sinks.influx.seconds import SecondPoints
from operators.sinks.influx.spool import Spool
from operators.sinks.influx.writer import Writer

__all__ = ["DeadLetterQueue", "Lines", "RowPoints", "SecondPoints", "Spool", "Writer"]
