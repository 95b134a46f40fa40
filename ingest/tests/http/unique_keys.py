"""Makes the valid Idempotency-Keys of generated requests unique. The service rejects a key that is used with two
bodies, but the description of a single request cannot express this."""

import re
import uuid

import schemathesis

VALID = re.compile(r'[!#-+\-./0-:<-\[\]-~]{1,200}|"(?:[ !#-\[\]-~]|\\["\\]){1,200}"')


@schemathesis.hook
def before_call(context, case, kwargs):
    key = (case.headers or {}).get("Idempotency-Key")
    # Whitespace around a header value is not a part of it (RFC 9110, 5.5).
    key = key.strip(" \t") if isinstance(key, str) else ""
    if VALID.fullmatch(key):
        quote = '"' if key.startswith('"') else ""
        case.headers["Idempotency-Key"] = f"{key.removesuffix(quote)}{uuid.uuid4()}{quote}"
