//! Reads a request body within limits of size and time.

use axum::body::{Body, Bytes, HttpBody as _};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::{
    limits::Limits,
    problem::{Problem, ProblemKind},
};

/// Reads the whole body. Rejects a declared length above the limit without reading, so that a
/// client that sent `Expect: 100-continue` does not send the body at all.
///
/// # Errors
///
/// 413 if the body is too large, 408 if it is not complete in time, and 400 if the connection
/// breaks before its end.
pub(crate) async fn read(mut body: Body, limits: &Limits) -> Result<Bytes, Problem> {
    let declared = body.size_hint().lower();
    if declared > limits.body_bytes as u64 {
        return Err(too_large(limits));
    }
    let deadline = Instant::now() + limits.body_timeout();
    let first = chunk(&mut body, deadline).await?.unwrap_or_default();
    // Nearly every submission arrives in one chunk, which is not copied.
    if first.len() as u64 == declared && body.is_end_stream() {
        return Ok(first);
    }
    let mut whole = first.to_vec();
    while let Some(next) = chunk(&mut body, deadline).await? {
        if whole.len() + next.len() > limits.body_bytes {
            return Err(too_large(limits));
        }
        whole.extend_from_slice(&next);
    }
    Ok(whole.into())
}

/// The next chunk of data; `None` at the end. Trailers are skipped.
async fn chunk(body: &mut Body, deadline: Instant) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = timeout_at(deadline, body.frame())
            .await
            .map_err(|_| timeout())?;
        match frame.map(|frame| frame.map(hyper::body::Frame::into_data)) {
            None => return Ok(None),
            Some(Ok(Ok(data))) => return Ok(Some(data)),
            Some(Ok(Err(_trailers))) => {}
            Some(Err(error)) => {
                let problem = Problem::new(
                    ProblemKind::Malformed,
                    "the body ended before it was complete",
                );
                return Err(problem.with_cause(&error));
            }
        }
    }
}

fn too_large(limits: &Limits) -> Problem {
    let detail = format!("send at most {} bytes", limits.body_bytes);
    Problem::new(ProblemKind::TooLarge, detail)
}

fn timeout() -> Problem {
    Problem::new(ProblemKind::Timeout, "send the whole body without pauses")
}
