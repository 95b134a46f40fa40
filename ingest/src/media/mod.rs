//! The three media types that a form takes, each read into one JSON value.

mod json;
mod multipart;
mod urlencoded;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, header},
};
use serde_json::Value;

pub(crate) use self::urlencoded::pairs;
use crate::{
    coerce,
    fields::Fields,
    limits::Limits,
    problem::{Kind, Problem},
};

/// How a body is encoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Media {
    Json,
    UrlEncoded,
    /// With its boundary.
    Multipart(String),
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const URL_ENCODED: &str = "application/x-www-form-urlencoded";
pub(crate) const MULTIPART: &str = "multipart/form-data";

/// What an answer 415 offers instead.
pub(crate) const ACCEPTED: &str =
    "application/json, application/x-www-form-urlencoded, multipart/form-data";

// === impl Media ===

impl Media {
    /// What the headers declare.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if headers
            .get(header::CONTENT_ENCODING)
            .is_some_and(|coding| coding != "identity")
        {
            return Err(refused("send the body without Content-Encoding"));
        }
        let declared = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        match declared {
            Some(b"application/json") => Ok(Self::Json),
            Some(other) => std::str::from_utf8(other)
                .map_err(|_| refused("the Content-Type is not text"))
                .and_then(Self::parse),
            None => Err(refused("name the media type of the body in Content-Type")),
        }
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut boundary = None;
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim_matches('"');
            match name.to_ascii_lowercase().as_str() {
                "charset" if !is_utf8(value) => return Err(refused("encode the body in UTF-8")),
                "boundary" => boundary = Some(value.to_owned()),
                _ => {}
            }
        }
        match (essence.as_str(), boundary) {
            (JSON, _) => Ok(Self::Json),
            (URL_ENCODED, _) => Ok(Self::UrlEncoded),
            (MULTIPART, Some(boundary)) => Ok(Self::Multipart(boundary)),
            (MULTIPART, None) => Err(Problem::new(
                Kind::Malformed,
                "multipart/form-data needs a boundary",
            )),
            _ => Err(refused(
                "send JSON, a URL-encoded form or multipart/form-data",
            )),
        }
    }

    /// The submission in a body. Texts of forms take the types of the schema (`coerce`).
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
        Ok(coerce::typed(pairs, fields))
    }
}

fn is_utf8(charset: &str) -> bool {
    // US-ASCII is a part of UTF-8.
    ["utf-8", "utf8", "us-ascii"]
        .iter()
        .any(|known| charset.eq_ignore_ascii_case(known))
}

fn refused(detail: &'static str) -> Problem {
    Problem::new(Kind::MediaType, detail)
}

fn too_many(limit: usize) -> Problem {
    Problem::new(
        Kind::Invalid,
        format!("send at most {limit} values in one submission"),
    )
}

fn not_utf8() -> Problem {
    Problem::new(Kind::Malformed, "the body is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &'static str) -> Result<Media, Kind> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Media::of(&headers).map_err(|problem| problem.kind)
    }

    #[test]
    fn media_types_are_understood_with_their_parameters() {
        assert_eq!(of("application/json"), Ok(Media::Json));
        assert_eq!(of("Application/JSON ; Charset=\"UTF-8\""), Ok(Media::Json));
        assert_eq!(
            of("application/x-www-form-urlencoded;charset=utf8"),
            Ok(Media::UrlEncoded)
        );
        assert_eq!(
            of("multipart/form-data; boundary=\"x y\""),
            Ok(Media::Multipart("x y".into()))
        );
    }

    #[test]
    fn other_types_and_encodings_are_refused() {
        for wrong in [
            "",
            "text/plain",
            "application/xml",
            "application/json; charset=latin1",
        ] {
            assert_eq!(of(wrong), Err(Kind::MediaType), "{wrong}");
        }
        assert_eq!(of("multipart/form-data"), Err(Kind::Malformed));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(
            Media::of(&headers).map_err(|p| p.kind),
            Err(Kind::MediaType)
        );
    }
}
