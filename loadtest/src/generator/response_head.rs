//! Parses the parts of the head of an HTTP/1.1 response that the load generator needs.

use anyhow::{Context as _, Result};

/// The head of a response.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Head<'a> {
    pub(crate) status: u16,
    /// The value of `Location`.
    pub(crate) location: Option<&'a str>,
    /// Whether the server closes the connection after this response.
    pub(crate) closes: bool,
    /// The size of head and body in bytes.
    pub(crate) response_bytes: usize,
}

const END: &[u8] = b"\r\n\r\n";

/// Parses the head; `None` until it is complete. The response must have a `Content-Length`, which
/// all measured servers send.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Head<'_>>> {
    let Some(end) = bytes.windows(END.len()).position(|window| window == END) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..end]).context("the head of a response is not UTF-8")?;
    let mut lines = text.split("\r\n");
    let status = status(lines.next().unwrap_or_default())?;
    let (mut location, mut body_bytes, mut closes) = (None, None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            let length: usize = value
                .trim()
                .parse()
                .with_context(|| format!("invalid content-length {value}"))?;
            body_bytes = Some(length);
        } else if name.eq_ignore_ascii_case("location") {
            location = Some(value.trim());
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let body_bytes =
        body_bytes.with_context(|| format!("a response {status} has no content-length"))?;
    let head_bytes = end + END.len();
    let response_bytes = head_bytes
        .checked_add(body_bytes)
        .context("content-length is too large")?;
    Ok(Some(Head {
        status,
        location,
        closes,
        response_bytes,
    }))
}

fn status(line: &str) -> Result<u16> {
    let code = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    let code = code.and_then(|code| code.parse().ok());
    code.with_context(|| format!("`{line}` is not the status line of an HTTP/1.1 response"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: &str =
        "HTTP/1.1 202 Accepted\r\nLOCATION: /v1/submissions/7\r\ncontent-Length: 2\r\n\r\n{}";

    #[test]
    fn a_head_is_parsed_regardless_of_what_follows() {
        for text in [ACCEPTED.to_owned(), format!("{ACCEPTED}HTTP/1.1 5")] {
            let head = parse(text.as_bytes())
                .expect("a valid head")
                .expect("a complete head");
            assert_eq!(
                (head.status, head.location),
                (202, Some("/v1/submissions/7"))
            );
            assert_eq!(head.response_bytes, ACCEPTED.len());
        }
    }

    #[test]
    fn an_incomplete_head_is_none() {
        let end = ACCEPTED.len() - "{}".len();
        for length in 0..end {
            assert_eq!(
                parse(&ACCEPTED.as_bytes()[..length]).expect("a valid part"),
                None
            );
        }
        assert!(
            parse(&ACCEPTED.as_bytes()[..end])
                .expect("a valid head")
                .is_some()
        );
    }

    #[test]
    fn invalid_heads_are_rejected() {
        for (text, reason) in [
            ("HTTP/1.1 202 Accepted\r\n\r\n", "no content-length"),
            (
                "HTTP/1.1 202 Accepted\r\ncontent-length: two\r\n\r\n",
                "invalid content-length",
            ),
            (
                "HTTP/1.1 202 Accepted\r\ncontent-length: 18446744073709551615\r\n\r\n",
                "too large",
            ),
            ("SSH-2.0-x\r\n\r\n", "is not the status line"),
            ("HTTP/1.1 2\r\n\r\n", "is not the status line"),
        ] {
            let error = parse(text.as_bytes()).expect_err(text);
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
        assert!(parse(b"HTTP/1.1 202 \xff\r\n\r\n").is_err());
    }
}
