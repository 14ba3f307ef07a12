"""Conditions on versions: `ETag`, `If-Match` and `If-None-Match`."""

import re

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.problem import Problem

_TAG = re.compile(r'(W/)?"([^"]*)"')
TAGS_PATTERN = r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$'


def tag_answer(call: ApiCall, answer: ApiAnswer, version: int) -> ApiAnswer:
    """Give an answer the tag of a version; with one that the caller has already, there is no body."""
    answer.headers["ETag"] = f'"{version}"'
    wanted = call.headers.get("if-none-match")
    if call.method == "GET" and wanted is not None and _names(wanted, version):
        answer.status = 304
    return answer


def require_version(call: ApiCall, version: int) -> None:
    """Raise Problem 428 without an If-Match, 400 for a malformed one, and 412 for one of another version.

    `*` stands for any version.
    """
    wanted = call.headers.get("if-match")
    if wanted is None:
        text = "name the version that you have seen, its ETag, in the header If-Match, or * for any"
        raise Problem(428, "version-required", text)
    if not re.fullmatch(TAGS_PATTERN, wanted.strip()):
        raise Problem(400, "malformed", f"If-Match {wanted[:80]!r} is neither * nor a version in quotes")
    if not _names(wanted, version):
        raise Problem(412, "other-version", f"the version is {version} now, and If-Match is {wanted[:80]!r}")


def _names(header: str, version: int) -> bool:
    return header.strip() == "*" or str(version) in (tag for _, tag in _TAG.findall(header))
