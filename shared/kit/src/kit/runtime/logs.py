"""Logs: one JSON object per line, with names and ids only. No personal data, no secrets, no bodies."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(*, service: str, role: str, level: str) -> None:
    """Configures logging for the whole process, including libraries."""

    def stamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"service": service, "role": role, **event}

    structlog.configure(
        processors=[*_SHARED, stamp, _exception_type, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, stamp, structlog.stdlib.add_logger_name, _first_line],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _exception_type,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # libraries that log addresses, headers or statements
    for chatty in ("aio_pika", "aiormq", "httpx", "httpcore", "sqlalchemy", "uvicorn.access", "stripe", "aiosmtplib"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def _first_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """asyncio appends lines with the repr of a task, which contains its exception's message."""
    event["event"] = str(event.get("event", "")).split("\n", 1)[0]
    return event


def _exception_type(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replaces an exception by its type and location: its message may quote a row or a request."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[0] is not None:
        frames = []
        trace = info[2]
        while trace is not None:
            code = trace.tb_frame.f_code
            frames.append(f"{code.co_filename.rsplit('/src/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
            trace = trace.tb_next
        event["exception"] = info[0].__name__
        event["stack"] = frames[-12:]
    return event
