"""Start judge.yml when Coval reports the end of a run: a WSGI function that needs Python 3.9 on Linux or macOS.

Settings are environment variables. Coval's webhook calls https://YOUR-ADDRESS/?token=RELAY_TOKEN
"""

import fcntl
import hmac
import json
import os
import re
from http.client import HTTPException
from pathlib import Path
from urllib.parse import parse_qs
from urllib.request import HTTPRedirectHandler, Request, build_opener

TOKEN = os.environ["RELAY_TOKEN"].strip()  # a long random text, which only Coval's webhook knows
COVAL_KEY = os.environ["COVAL_API_KEY"].strip()  # may read runs
GITHUB_TOKEN = os.environ["GITHUB_TOKEN"].strip()  # may write contents of this repository only
REPOSITORY = os.environ["GITHUB_REPOSITORY"]  # OWNER/NAME
SENT = Path(os.environ["RELAY_FOLDER"])  # keeps a file for each run; it is not empty once the run was dispatched
COVAL = os.environ.get("COVAL_API_URL", "https://api.coval.dev/v1")
GITHUB = os.environ.get("GITHUB_API_URL", "https://api.github.com")


class NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_):  # it would hand the key to another server
        return None


def call(url, headers, body=None):
    data = json.dumps(body).encode() if body else None
    with build_opener(NoRedirects).open(Request(url, data, headers), timeout=10) as response:
        return json.loads(response.read() or b"null")


def relay(query, message):
    """Return the status and the words of the response. The message names a run, and nothing else of it is believed."""
    token = parse_qs(query).get("token", [""])[0]
    if not TOKEN or not hmac.compare_digest(token.encode(), TOKEN.encode()):
        return "403 Forbidden", "wrong token"
    try:
        run_id = re.fullmatch(r"[A-Za-z0-9_-]{1,64}", json.loads(message)["run_id"])[0]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "400 Bad Request", "the message has no run_id"
    try:
        run = call(f"{COVAL}/runs/{run_id}", {"X-API-Key": COVAL_KEY})["run"]
        metadata = run.get("metadata") or {}
        metadata = metadata.get("customer") or metadata
        if metadata.get("github_repository") != REPOSITORY or not metadata.get("judge_later"):
            return "200 OK", "not a run that waits for judge.yml"
        if run["status"].upper() not in ("COMPLETED", "FAILED", "CANCELLED", "CANCELED", "DELETED", "ERROR"):
            return "503 Service Unavailable", "the run is not over; send the message again"
        with (SENT / run_id).open("a") as sent:
            fcntl.flock(sent, fcntl.LOCK_EX)  # one of several messages is first; the lock ends with the process
            if os.fstat(sent.fileno()).st_size:
                return "200 OK", "dispatched already"
            body = {"event_type": "coval-run-ended", "client_payload": {"run_id": run_id}}
            call(f"{GITHUB}/repos/{REPOSITORY}/dispatches", {"Authorization": f"Bearer {GITHUB_TOKEN}"}, body)
            sent.write("dispatched\n")
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # Others than OSError may quote a secret that no header can have, or the whole response.
        what = f"{getattr(error, 'url', '')} {error!r}" if isinstance(error, OSError) else type(error).__name__
        return "502 Bad Gateway", f"{what}; send the message again"
    return "200 OK", "dispatched"


def application(environ, start_response):
    length = re.fullmatch("[0-9]{1,9}", environ.get("CONTENT_LENGTH") or "")
    message = environ["wsgi.input"].read(min(int(length[0]), 65536)) if length else b""
    status, words = relay(environ.get("QUERY_STRING", ""), message)
    environ["wsgi.errors"].write(f"{status}: {words}\n")
    start_response(status, [("Content-Type", "text/plain")])
    return [words.encode()]


if __name__ == "__main__":
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    class Server(ThreadingMixIn, WSGIServer):  # a client that says nothing holds up no other
        daemon_threads = True

    WSGIRequestHandler.timeout = 30  # s
    WSGIRequestHandler.log_message = lambda *_: None  # it would log the token
    make_server("", int(os.environ.get("PORT", "8080")), application, Server).serve_forever()
