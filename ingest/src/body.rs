//! Reads a body within its limits of size and time.

use axum::body::{Body, Bytes, HttpBody as _};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::{
    limits::Limits,
    problem::{Kind, Problem},
};

/// The whole body. A declared length over the limit is refused before anything is read, and so before a client that
/// sent `Expect: 100-continue` sends it.
pub(crate) async fn read(mut body: Body, limits: &Limits) -> Result<Bytes, Problem> {
    let announced = body.size_hint().lower();
    if announced > limits.body_bytes as u64 {
        return Err(too_large(limits));
    }
    let end = Instant::now() + limits.body_timeout();
    let first = chunk(&mut body, end).await?.unwrap_or_default();
    if first.len() as u64 == announced && body.is_end_stream() {
        return Ok(first); // nearly every submission: one chunk, not copied
    }
    let mut whole = first.to_vec();
    while let Some(next) = chunk(&mut body, end).await? {
        if whole.len() + next.len() > limits.body_bytes {
            return Err(too_large(limits));
        }
        whole.extend_from_slice(&next);
    }
    Ok(whole.into())
}

/// The next piece of data; none at the end. Trailers are passed over.
async fn chunk(body: &mut Body, end: Instant) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = timeout_at(end, body.frame()).await.map_err(|_| timeout())?;
        match frame.map(|frame| frame.map(hyper::body::Frame::into_data)) {
            None => return Ok(None),
            Some(Ok(Ok(data))) => return Ok(Some(data)),
            Some(Ok(Err(_trailers))) => {}
            Some(Err(error)) => {
                let problem =
                    Problem::new(Kind::Malformed, "the body ended before it was complete");
                return Err(problem.because(&error));
            }
        }
    }
}

fn too_large(limits: &Limits) -> Problem {
    let detail = format!("send at most {} bytes", limits.body_bytes);
    Problem::new(Kind::TooLarge, detail)
}

fn timeout() -> Problem {
    Problem::new(Kind::Timeout, "send the whole body without pauses")
}
