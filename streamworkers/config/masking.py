"""Settings for the eyes of people: URLs without what lets somebody in."""

import re

MASK = "***"
# What may be shown of a URL's options; any other may hold a password, also one that a later driver gives a meaning.
_HARMLESS = frozenset(
    {
        "application_name",
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "db",
        "dbname",
        "gssencmode",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "max_connections",
        "port",
        "protocol",
        "socket_connect_timeout",
        "socket_timeout",
        "ssl_ca_certs",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "sslcert",
        "sslcertmode",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
        "tcp_user_timeout",
        "user",
    }
)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/{1,3})(?:([^@/?#]*)@)?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_KEYWORD = re.compile(r"\s*([a-z_]+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(?:\s|$)", re.DOTALL)


def mask_url(text: str) -> str:
    """Return a URL, or the `name=value` form of PostgreSQL, with `***` for its password and for unknown options.

    User, host and path stay. What is neither is masked as a whole.
    """
    found = _URL.fullmatch(text)
    if found is None or "@" in found[3]:
        return _mask_keywords(text)
    scheme, login, rest, query, fragment = found.groups()
    shown = "" if login is None else f"{_mask_login(login, scheme)}@"
    options = "" if query is None else "?" + "&".join(map(_mask_option, query.split("&")))
    return f"{scheme}{shown}{rest}{options}{'' if fragment is None else '#' + MASK}"


def _mask_login(login: str, scheme: str) -> str:
    user, colon, _ = login.partition(":")
    if colon:
        return f"{user}:{MASK}"
    return MASK if scheme.startswith("http") else user  # there, a login of one word is a token


def _mask_option(option: str) -> str:
    name, equals, _ = option.partition("=")
    if name in _HARMLESS:
        return option
    return f"{name}={MASK}" if equals else MASK


def _mask_keywords(text: str) -> str:
    words, place = [], 0
    while place < len(text):
        if (found := _KEYWORD.match(text, place)) is None:
            return MASK
        name, value = found[1], found[2]
        words.append(f"{name}={value if name in _HARMLESS else MASK}")
        place = found.end()
    return " ".join(words)
