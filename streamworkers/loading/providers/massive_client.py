"""Calls of the Massive API over HTTP: one answer for each, whole and decoded, or the error that fits it.

The key is sent in a header and appears nowhere else: in no URL, log or error.
"""

import re
import time
import zlib
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import TypeVar

import httpx

from streamworkers.config import Settings
from streamworkers.deadline import Deadline
from streamworkers.errors import ItemError, UsageError
from streamworkers.loading.providers.massive_answers import decode_answer, shorten
from streamworkers.loading.providers.massive_rejections import check_code, explain_status
from streamworkers.loading.providers.provider import BadPayloadError, Calls, TransientError
from streamworkers.loading.providers.transport import explain_proxy_answer, make_transport

T = TypeVar("T")
_MOST_SKEW_SECONDS = 2.0
_INVENTED_HEADER = "X-Invented-Bars"  # a fake of the API confesses with it
_GOOD = frozenset({"OK", "DELAYED"})
NO_KEY = "the provider massive needs a key in STREAMWORKERS_MASSIVE_API_KEY"
_KEY = re.compile(r"[!-~]+")  # any other character breaks the header, and the error would show the key

# As objects a page takes ten times the memory of its columns: of the pages of all threads one is unpacked at a time.
_UNPACKING = Lock()


class MassiveClient:
    """The connections of one worker to the API. Thread-safe.

    `confesses` becomes true if an answer says that its bars are invented. Raises UsageError for a setting that cannot
    work.
    """

    def __init__(self, settings: Settings) -> None:
        key = settings.massive_api_key
        if key is None:
            raise UsageError(NO_KEY)
        self._key = key.get_secret_value()
        if not _KEY.fullmatch(self._key):
            raise UsageError("the key in STREAMWORKERS_MASSIVE_API_KEY is empty or holds blanks, line ends, non-ASCII")
        self.base = httpx.URL(settings.massive_base_url)
        self.confesses = False
        self._has_proxy = settings.massive_proxy is not None
        self._max_bytes = settings.massive_max_body_mb << 20
        self._answer_seconds = settings.massive_answer_seconds
        self._skew = timedelta(0)
        self._deadline = Deadline()
        self.http = httpx.Client(
            base_url=self.base,
            headers={"Authorization": f"Bearer {self._key}", "Accept-Encoding": "gzip"},
            timeout=httpx.Timeout(settings.massive_timeout_seconds, connect=5.0),
            transport=make_transport(settings, self._deadline),
            follow_redirects=False,
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections to the API."""
        self.http.close()

    def now(self) -> datetime:
        """Return the time by the clock of the API, as in its last answer."""
        return datetime.now(UTC) + self._skew

    def get(
        self,
        calls: Calls,
        path: str,
        kind: type[T],
        days: tuple[date, date] | None = None,
        unpacking: ExitStack | None = None,
    ) -> T:
        """Return the decoded answer of one call for bars of `days`. Raises the error that fits the answer.

        With `unpacking` no other thread decodes an answer until that is closed.
        """
        token = calls.reserve()
        word, started = "error", time.monotonic()
        try:
            with self._deadline.of(self._answer_seconds), self.http.stream("GET", path) as response:
                word = str(response.status_code)
                self._read_headers(response)
                body = self._body(response)
                if response.status_code != 200:
                    self._check(response, body, days)
            if unpacking is not None:
                unpacking.enter_context(_UNPACKING)
            answer = decode_answer(body, kind)
            status = str(getattr(answer, "status", ""))
            if status not in _GOOD:
                word = "rejected"
                raise explain_status(status, self._without_key(body), response.status_code, days, self.now())
        except httpx.HTTPError as error:
            word, meant = self._explain(error, time.monotonic() - started)
            raise meant from None
        except BadPayloadError:
            word = "bad_payload"
            raise
        finally:
            calls.finish(token)
            calls.count(word)
        return answer

    def _explain(self, error: httpx.HTTPError, seconds: float) -> tuple[str, ItemError]:
        """Return the word and the error for a call that failed after so long without an answer."""
        if isinstance(error, httpx.TimeoutException):
            if seconds >= self._answer_seconds:
                text = f"massive's answer exceeds STREAMWORKERS_MASSIVE_ANSWER_SECONDS={self._answer_seconds:g}"
            else:
                text = f"massive did not answer in time ({type(error).__name__})"
            return "timeout", TransientError(text)
        if isinstance(error, httpx.ProxyError):
            return "proxy", explain_proxy_answer(str(error), self.base.host)
        # The text may name a host, but not the key, whose characters were checked. A body that ends early is such an
        # error too.
        return "error", TransientError(f"massive: {type(error).__name__}: {shorten(str(error))}")

    def _check(self, response: httpx.Response, body: bytearray, days: tuple[date, date] | None) -> None:
        """Raise the error of an answer with a code that is not 200.

        Without TLS a proxy answers in the place of the API. What the API answers itself is always JSON.
        """
        code = response.status_code
        is_of_proxy = code == 407 or (code == 403 and not body.lstrip().startswith(b"{"))
        if self._has_proxy and self.base.scheme == "http" and is_of_proxy:
            raise explain_proxy_answer(str(code), self.base.host)
        check_code(code, response.headers.get("Retry-After"), self._without_key(body), days, self.now())

    def _body(self, response: httpx.Response) -> bytearray:
        body = bytearray()
        # Raw parts, because a part that decompresses to nothing must not hide how long the answer takes.
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("gzip", "identity"):
            raise BadPayloadError(f"the answer has the Content-Encoding {shorten(encoding)}; gzip alone is read")
        is_packed = encoding == "gzip"
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
        for part in response.iter_raw():
            try:
                plain = unpack.decompress(part, self._max_bytes + 1) if is_packed else part
            except zlib.error as error:
                raise BadPayloadError(f"the answer cannot be decompressed: {error}") from None
            body += plain
            if len(body) > self._max_bytes:
                raise BadPayloadError(f"the answer exceeds STREAMWORKERS_MASSIVE_MAX_BODY_MB={self._max_bytes >> 20}")
        if is_packed and not unpack.eof:
            raise BadPayloadError("the answer ends in the middle of its compressed data")
        return body

    def _read_headers(self, response: httpx.Response) -> None:
        """Note by how much the API's clock differs from ours, in whole seconds, and whether its bars are invented."""
        if _INVENTED_HEADER in response.headers:
            self.confesses = True
        try:
            skew = parsedate_to_datetime(response.headers.get("Date", "")) - datetime.now(UTC)
        except (ValueError, TypeError):
            return
        self._skew = skew if abs(skew.total_seconds()) > _MOST_SKEW_SECONDS else timedelta(0)

    def _without_key(self, body: bytearray) -> bytes:
        """Return the body without the key, so that errors can quote it: some servers repeat what they receive."""
        return bytes(body).replace(self._key.encode(), b"***")
