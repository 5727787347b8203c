"""Stores every mail instead of sending it: SMTP on SMTP_PORT, pages on HTTP_PORT, files in MAIL_DIR.

GET /             an HTML list of the messages, newest first
GET /messages     the same as JSON: [{"id", "to", "from", "subject", "date"}], oldest first
GET /messages/ID  one message, raw
"""

from __future__ import annotations

import email
import email.policy
import html
import os
import time
from pathlib import Path

import uvicorn
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

FOLDER = Path(os.environ["MAIL_DIR"])


_HEADERS = {"to": "X-Envelope-To", "from": "X-Envelope-From", "subject": "Subject", "date": "Date"}


def _messages() -> list[dict[str, str]]:
    messages = []
    for file in sorted(FOLDER.glob("*.eml")):
        parsed = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        headers = {name: str(parsed[header] or "") for name, header in _HEADERS.items()}
        messages.append({"id": file.stem, **headers})
    return messages


def alive(_: Request) -> Response:
    return JSONResponse({"status": "alive"})


def messages(_: Request) -> Response:
    return JSONResponse(_messages())


def message(request: Request) -> Response:
    files = {file.stem: file for file in FOLDER.glob("*.eml")}  # the id comes from outside: no path is built from it
    if (file := files.get(request.path_params["id"])) is None:
        raise HTTPException(404)
    return FileResponse(file, media_type="text/plain")


def page(_: Request) -> Response:
    rows = [
        f"<tr><td>{html.escape(m['date'])}<td>{html.escape(m['to'])}"
        f'<td><a href="/messages/{m["id"]}">{html.escape(m["subject"])}</a>'
        for m in reversed(_messages())
    ]
    return HTMLResponse(f"<title>Mail</title><h1>{len(rows)} messages</h1><table>{''.join(rows)}</table>")


app = Starlette(
    routes=[
        Route("/", page),
        Route("/healthz", alive),
        Route("/messages", messages),
        Route("/messages/{id}", message),
    ]
)


class Storage:
    """aiosmtpd calls its methods by name."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        head = f"X-Envelope-From: {envelope.mail_from}\r\nX-Envelope-To: {', '.join(envelope.rcpt_tos)}\r\n"
        partial = FOLDER / f"{time.time_ns():020}.partial"
        partial.write_bytes(head.encode() + (envelope.original_content or b""))
        partial.rename(partial.with_suffix(".eml"))  # complete once it has this name
        return "250 OK, stored"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    host, port = os.environ["HTTP_HOST"], int(os.environ["HTTP_PORT"])
    smtp = Controller(Storage(), hostname=host, port=int(os.environ["SMTP_PORT"]))
    smtp.start()
    try:
        uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=5)
    finally:
        smtp.stop()


if __name__ == "__main__":
    main()
