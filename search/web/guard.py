"""What stands before the dashboard, which itself lets everybody who reaches it do everything."""

import base64
import binascii
import hmac
import ipaddress
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from search.web.guesses import Guesses

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

READING = ("GET", "HEAD")
# Whatever a file in the store says it is, in a browser it may only be looked at: it runs no
# script, and has no part in the site that it comes from.
_FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
}
_RENAME = re.compile(r"/api/studies/\d+/rename/*")


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let through."""

    status: str
    reason: str  # one line
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        """The headers of its answer, but for the length."""
        return [("Content-Type", "application/json"), *self.headers, *_PROTECTION.items()]

    @property
    def body(self) -> bytes:
        """What its answer says, in the form in which the dashboard's pages show a reason."""
        return json.dumps({"reason": self.reason}).encode() + b"\n"


class Guard:
    """A WSGI application that lets through to another what may be done.

    Args:
        app: the dashboard.
        read_only: let nothing be changed.
        password: asked for by basic authentication, with any user name; "" for none.
        local: whether only this machine reaches the server. Then without a password it answers
            to no name but localhost, or any site could make its own name mean this machine and
            have its visitors' browsers read what is here.

    """

    def __init__(self, app: "WSGIApplication", read_only: bool, password: str, local: bool) -> None:
        self._app = app
        self._read_only = read_only
        self._password = password.encode()
        self._local = local
        self._guesses = Guesses()

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        refusal = self.refusal(environ)
        if refusal is not None:
            return _refuse(refusal, environ, start_response)
        return self._app(environ, _protected(environ, start_response))

    def refusal(self, environ: "WSGIEnvironment") -> Refusal | None:
        """Return why a request is not let through, which its body has no part in; None if it is."""
        if self._password and (refusal := self._asked(environ)):
            return refusal
        writing = environ["REQUEST_METHOD"] not in READING
        if writing and self._read_only:
            return Refusal(
                "405 Method Not Allowed",
                "the dashboard is read-only; start it with --writable to change anything",
                (("Allow", ", ".join(READING)),),
            )
        if (writing or self._local) and not self._password and not _unmistakable(environ):
            return Refusal(
                "403 Forbidden",
                "reach the dashboard as localhost or by its number; by name it needs "
                "DASHBOARD_PASSWORD",
            )
        if writing and not _from_here(environ):
            return Refusal("403 Forbidden", "another site cannot change anything here")
        if writing and _RENAME.fullmatch(environ.get("PATH_INFO", "")):
            return Refusal(
                "403 Forbidden", "a study keeps its name, by which workers and reports know it"
            )
        return None

    def _asked(self, environ: "WSGIEnvironment") -> Refusal | None:
        """Ask for the password, but of nobody for whose guesses it is too early."""
        address = environ.get("REMOTE_ADDR", "")
        if seconds := math.ceil(self._guesses.wait(address)):
            return Refusal(
                "429 Too Many Requests",
                f"too many wrong passwords came from your address; wait for {seconds} s",
                (("Retry-After", str(seconds)),),
            )
        if self._knows_password(environ):
            return None
        if environ.get("HTTP_AUTHORIZATION"):
            self._guesses.wrong(address)
        challenge = 'Basic realm="studies", charset="UTF-8"'
        return Refusal(
            "401 Unauthorized",
            "give the dashboard's password, with any user name",
            (("WWW-Authenticate", challenge),),
        )

    def _knows_password(self, environ: "WSGIEnvironment") -> bool:
        scheme, _, encoded = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(given, self._password)


def _unmistakable(environ: "WSGIEnvironment") -> bool:
    """Say whether the request is for an address that no name service decides on."""
    try:
        host = urlsplit("//" + environ.get("HTTP_HOST", "")).hostname or ""
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _from_here(environ: "WSGIEnvironment") -> bool:
    """Say whether a page of the dashboard sent the request, or no page at all."""
    origin = environ.get("HTTP_ORIGIN")
    return origin is None or origin.partition("://")[2] == environ.get("HTTP_HOST")


def _protected(environ: "WSGIEnvironment", start_response: "StartResponse") -> "StartResponse":
    """Return a ``start_response`` that adds what protects the browser."""
    static = environ.get("PATH_INFO", "").startswith("/static/")

    def start(status, headers, exc_info=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        kept = [one for one in headers if one[0].lower() != "access-control-allow-origin"]
        kept += _PROTECTION.items()
        if not static and all(name.lower() != "content-security-policy" for name, _ in kept):
            kept.append(("Content-Security-Policy", _FILE_POLICY))
        return start_response(status, kept, exc_info)

    return start


def _refuse(
    refusal: Refusal, environ: "WSGIEnvironment", start_response: "StartResponse"
) -> Iterable[bytes]:
    body = refusal.body
    start_response(refusal.status, [("Content-Length", str(len(body))), *refusal.all_headers])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
