"""What may be recorded of a URI, and what path an object's key becomes.

A manifest outlives every credential, so signatures, tokens and passwords are
taken out of URIs before anything is recorded, shown or raised.
"""

from __future__ import annotations

import re
import warnings
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from headwater.errors import InvalidInputError

_SIGNED = re.compile(r"(?i)[?&](x-amz-|x-goog-|sig=|signature=|awsaccesskeyid=|googleaccessid=)")
_SECRET = re.compile(
    r"(?i)(x-amz-.*|x-goog-(?!generation).*|awsaccesskeyid|googleaccessid|signature|key-pair-id|policy|"
    r"(access_?|auth_?|id_?|refresh_?|session_?|security_?|private_?)?token|api[-_]?key|"
    r"(client_?)?secret|passw(or)?d|pwd|authorization|credentials?|jwt)\Z"
)
_PASSWORD = re.compile(r"(?i)[a-z][a-z0-9+.-]*://[^/?#@]*:[^/?#@]*@")
_SHARED_ACCESS = re.compile(r"(sv|ss|srt?|st|se|sp|sip|spr|sig?|sdd|ses|skoid|sktid|sk[tesv]|saoid|suoid|scid)\Z")
"""Azure's parameters of a shared access signature."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPED = re.compile(r"%(25)*(2E(%2E)?)?\Z")


def without_secrets(url: str) -> str:
    """An http(s) URL without user, password, fragment, signature or token; all else as it was written."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    pairs = [pair for pair in parts.query.split("&") if pair]
    names = [unquote(pair.partition("=")[0]).lower() for pair in pairs]
    signed = "sig" in names
    expiring = signed or "signature" in names
    kept = [
        pair
        for pair, name in zip(pairs, names)
        if not (_SECRET.match(name) or (signed and _SHARED_ACCESS.match(name)) or (expiring and name == "expires"))
    ]
    return urlunsplit((parts.scheme, host, parts.path, "&".join(kept), ""))


def holds_secret(uri: str) -> bool:
    """Whether a URI of any scheme carries a password, a signature or a token."""
    query = uri.partition("?")[2].partition("#")[0]
    names = (unquote(pair.partition("=")[0]).lower() for pair in query.split("&"))
    return bool(_PASSWORD.match(uri)) or any(name == "sig" or _SECRET.match(name) for name in names)


def recorded(url: str) -> str:
    """The form of an http(s) URL to record; warns when something had to be left out."""
    clean = without_secrets(url)
    if clean != url.partition("#")[0]:
        message = (
            f"the credentials or signature in the URL were not recorded, only {clean}: "
            "reading it back needs access without them"
        )
        warnings.warn(message, UserWarning, stacklevel=2)
    return clean


def refuse_signed(uri: str) -> None:
    """Refuse a signed URL in a scheme whose keys are written verbatim.

    Raises:
        InvalidInputError: It carries a signature.
    """
    if _SIGNED.search(uri):
        raise InvalidInputError(
            what=f"{uri.partition('?')[0]}?… carries a signature, which must not be recorded",
            fix="use the object's plain URI, and the SDK's own credentials",
        )


def path_of(key: str) -> str:
    """The path in a version of an object with that key (relative to what was asked for).

    Paths hold no empty, `.` or `..` parts and no control characters, keys may; those
    parts are percent-encoded (an empty one becomes `%`). Different keys give different
    paths, except where a key already holds the encoding of a control character.
    """
    return "/".join(_part(part) for part in key.split("/"))


def _part(part: str) -> str:
    if part in ("", ".", ".."):
        return part.replace(".", "%2E") or "%"
    if _ESCAPED.match(part):
        return "%25" + part[1:]
    return _CONTROL.sub(lambda found: quote(found[0]), part)
