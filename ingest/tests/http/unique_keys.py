"""Makes the valid Idempotency-Keys of generated requests unique. A key that comes with two bodies is refused, as it
must be, but the description of one request cannot say so."""

import re
import uuid

import schemathesis

VALID = re.compile(r'[!#-+\-./0-:<-\[\]-~]{1,200}|"(?:[ !#-\[\]-~]|\\["\\]){1,200}"')


@schemathesis.hook
def before_call(context, case, kwargs):
    key = (case.headers or {}).get("Idempotency-Key")
    # What surrounds a value is no part of it for HTTP (RFC 9110, 5.5).
    key = key.strip(" \t") if isinstance(key, str) else ""
    if VALID.fullmatch(key):
        quote = '"' if key.startswith('"') else ""
        case.headers["Idempotency-Key"] = f"{key.removesuffix(quote)}{uuid.uuid4()}{quote}"
