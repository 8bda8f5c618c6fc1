"""The log: one JSON object a line on stderr. The standard library's, because a start has to be quick."""

import logging
import sys

import msgspec

from paperbroker.timestamps import rfc3339

_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonLines(logging.Formatter):
    """What was said, by whom and when; what it was said about (`extra`), and the trace of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        line = {name: value for name, value in vars(record).items() if name not in _USUAL}
        line["event"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        line |= {"logger": record.name, "level": record.levelname.lower()}
        line["timestamp"] = rfc3339(int(record.created * 1_000_000) * 1000)
        return msgspec.json.encode(line, enc_hook=str).decode()


def log_to_stderr() -> None:
    """The broker's own from `info` on, what others say from `warning` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("paperbroker").setLevel(logging.INFO)
