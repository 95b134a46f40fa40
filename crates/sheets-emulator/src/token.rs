//! Authentication. `POST /token` implements the OAuth 2 JWT-bearer grant (RFC 7523), so that a
//! client can use its real service-account code with the emulator. Signatures are not verified,
//! because the emulator has no keys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;

use crate::api_error::ApiError;
use crate::store::Store;

/// Lifetime of an access token.
const LIFETIME: Duration = Duration::from_secs(3_600);
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The user of requests without a token, which is acceptable on a loopback address.
const ANONYMOUS: &str = "anonymous";
/// Maximum length of an issuer in bytes.
const MAX_ISSUER_BYTES: usize = 320;

/// The claims of an assertion that the emulator uses.
#[derive(Debug, Deserialize)]
struct Claims {
    /// The service account, which is the user for quotas.
    iss: String,
    exp: u64,
}

/// The user of a request. An unknown or expired token gets 401, as with Google.
pub(crate) fn user(
    store: &Store,
    headers: &HeaderMap,
    now: SystemTime,
) -> Result<String, ApiError> {
    let Some(authorization) = headers.get(header::AUTHORIZATION) else {
        return Ok(ANONYMOUS.to_owned());
    };
    let token = authorization
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("Bearer "));
    let known = token.map_or(Ok(None), |token| store.token(token))?;
    match known {
        Some((owner, end)) if end > seconds(now) => Ok(owner),
        _ => Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
             other valid authentication credential.",
        )),
    }
}

/// Handles a token request, whose body is a form.
pub(crate) fn grant(store: &Store, form: &[u8], now: SystemTime) -> Result<Response, ApiError> {
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(form);
        fields
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    if field("grant_type").as_deref() != Some(GRANT) {
        return Ok(denied(
            "unsupported_grant_type",
            &format!("grant_type must be {GRANT}"),
        ));
    }
    let claims = field("assertion").and_then(|assertion| read_claims(&assertion));
    let Some(claims) = claims else {
        return Ok(denied(
            "invalid_grant",
            "Invalid JWT: the assertion is not a token with iss and exp.",
        ));
    };
    let now = seconds(now);
    if claims.exp <= now || claims.iss.len() > MAX_ISSUER_BYTES {
        return Ok(denied(
            "invalid_grant",
            "Invalid JWT: check your iat and exp values and your clock.",
        ));
    }
    let token = format!("ya29.emulator.{}", uuid::Uuid::now_v7().simple());
    store.put_token(&token, &claims.iss, now + LIFETIME.as_secs(), now)?;
    let body =
        json!({ "access_token": token, "expires_in": LIFETIME.as_secs(), "token_type": "Bearer" });
    Ok(Json(body).into_response())
}

fn read_claims(assertion: &str) -> Option<Claims> {
    let mut parts = assertion.split('.');
    let (_head, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    // RFC 7515 forbids padding, but some clients add it.
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// An OAuth 2 error (RFC 6749, 5.2), whose format differs from the API's errors.
fn denied(error: &str, description: &str) -> Response {
    let body = json!({ "error": error, "error_description": description });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_expires() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("tokens.redb")).unwrap();
        store.put_token("t", "robot", 100, 50).unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, "Bearer t".parse().unwrap())]);
        let at = |seconds| user(&store, &headers, UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(99).unwrap(), "robot");
        assert!(at(100).is_err());
    }
}
