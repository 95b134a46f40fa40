//! Detects the encoding of a body from its headers, and reads the body accordingly.

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, header},
};
use serde_json::Value;

use super::{json, multipart, urlencoded};
use crate::{
    limits::Limits,
    media_type::{JSON, MULTIPART, URL_ENCODED},
    problem::{Problem, ProblemKind},
    submission::{coerce, fields::Fields},
};

/// How a body is encoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Encoding {
    Json,
    UrlEncoded,
    /// With the boundary between its parts.
    Multipart(String),
}

// === impl Encoding ===

impl Encoding {
    /// The encoding that the headers declare.
    ///
    /// # Errors
    ///
    /// 415 if it is not supported, and 400 if `multipart/form-data` has no boundary.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        if headers
            .get(header::CONTENT_ENCODING)
            .is_some_and(|coding| coding != "identity")
        {
            return Err(unsupported("send the body without Content-Encoding"));
        }
        let declared = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        match declared {
            Some(b"application/json") => Ok(Self::Json),
            Some(other) => std::str::from_utf8(other)
                .map_err(|_| unsupported("send a Content-Type of printable ASCII characters"))
                .and_then(Self::parse),
            None => Err(unsupported(
                "set Content-Type to the media type of the body",
            )),
        }
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut boundary = None;
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim_matches('"');
            match name.to_ascii_lowercase().as_str() {
                "charset" if !is_utf8(value) => {
                    return Err(unsupported("encode the body in UTF-8"));
                }
                "boundary" => boundary = Some(value.to_owned()),
                _ => {}
            }
        }
        match (essence.as_str(), boundary) {
            (JSON, _) => Ok(Self::Json),
            (URL_ENCODED, _) => Ok(Self::UrlEncoded),
            (MULTIPART, Some(boundary)) => Ok(Self::Multipart(boundary)),
            (MULTIPART, None) => Err(Problem::new(
                ProblemKind::Malformed,
                "add the boundary to the Content-Type multipart/form-data",
            )),
            _ => Err(unsupported(
                "send JSON, a URL-encoded form or multipart/form-data",
            )),
        }
    }

    /// Reads the submission from a body. The texts of forms are converted to the types of the
    /// schema (see `coerce`).
    pub(crate) async fn read(
        self,
        body: Bytes,
        fields: &Fields,
        limits: &Limits,
    ) -> Result<Value, Problem> {
        let pairs = match self {
            Self::Json => return json::read(&body, limits.values),
            Self::UrlEncoded => urlencoded::pairs(&body, limits.values)?,
            Self::Multipart(boundary) => multipart::pairs(body, boundary, limits.values).await?,
        };
        Ok(coerce::coerce(pairs, fields))
    }
}

fn is_utf8(charset: &str) -> bool {
    // US-ASCII is a subset of UTF-8.
    ["utf-8", "utf8", "us-ascii"]
        .iter()
        .any(|known| charset.eq_ignore_ascii_case(known))
}

fn unsupported(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::MediaType, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content_type: &'static str) -> Result<Encoding, ProblemKind> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Encoding::from_headers(&headers).map_err(|problem| problem.kind)
    }

    #[test]
    fn media_types_are_parsed_with_their_parameters() {
        assert_eq!(parse("application/json"), Ok(Encoding::Json));
        assert_eq!(
            parse("Application/JSON ; Charset=\"UTF-8\""),
            Ok(Encoding::Json)
        );
        assert_eq!(
            parse("application/x-www-form-urlencoded;charset=utf8"),
            Ok(Encoding::UrlEncoded)
        );
        assert_eq!(
            parse("multipart/form-data; boundary=\"x y\""),
            Ok(Encoding::Multipart("x y".into()))
        );
    }

    #[test]
    fn other_media_types_and_encodings_are_rejected() {
        for wrong in [
            "",
            "text/plain",
            "application/xml",
            "application/json; charset=latin1",
        ] {
            assert_eq!(parse(wrong), Err(ProblemKind::MediaType), "{wrong}");
        }
        assert_eq!(parse("multipart/form-data"), Err(ProblemKind::Malformed));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(
            Encoding::from_headers(&headers).map_err(|p| p.kind),
            Err(ProblemKind::MediaType)
        );
    }
}
