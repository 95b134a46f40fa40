//! `multipart/form-data` (RFC 7578) with texts only; files are rejected.

use axum::body::Bytes;
use formline_core::app::schema::Violation;
use futures::stream;
use multer::Multipart;

use super::refusal::{not_utf8, too_many_values};
use crate::{
    problem::{Problem, ProblemKind},
    submission::json_pointer::escape,
};

/// Returns names and values in the order of the body.
pub(super) async fn pairs(
    body: Bytes,
    boundary: String,
    limit: usize,
) -> Result<Vec<(String, String)>, Problem> {
    let stream = stream::once(std::future::ready(Ok::<_, std::convert::Infallible>(body)));
    let mut parts = Multipart::new(stream, boundary);
    let mut pairs = Vec::new();
    let mut files = Vec::new();
    while let Some(part) = parts
        .next_field()
        .await
        .map_err(|error| malformed(&error))?
    {
        if pairs.len() == limit {
            return Err(too_many_values(limit));
        }
        let Some(name) = part.name().map(str::to_owned) else {
            return Err(Problem::new(
                ProblemKind::Malformed,
                "give each part a name",
            ));
        };
        let is_file = part.file_name().is_some();
        let content = part.bytes().await.map_err(|error| malformed(&error))?;
        match is_file {
            // Browsers send an empty file for an empty file input.
            true if content.is_empty() => {}
            true => files.push(file_violation(&name)),
            false => {
                let text = String::from_utf8(content.into()).map_err(|_| not_utf8())?;
                pairs.push((name, text));
            }
        }
    }
    if files.is_empty() {
        Ok(pairs)
    } else {
        Err(Problem::invalid(files))
    }
}

fn file_violation(name: &str) -> Violation {
    let detail = "files are not accepted; send a text, such as the URL of the file".to_owned();
    Violation {
        pointer: format!("#/{}", escape(name)),
        detail,
        keyword: "type".to_owned(),
    }
}

fn malformed(error: &multer::Error) -> Problem {
    Problem::new(
        ProblemKind::Malformed,
        "the body is not valid multipart/form-data",
    )
    .with_cause(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(body: &'static str) -> Result<Vec<(String, String)>, ProblemKind> {
        let body = Bytes::from(body.replace('\n', "\r\n"));
        pairs(body, "b".to_owned(), 2)
            .await
            .map_err(|problem| problem.kind)
    }

    #[tokio::test]
    async fn texts_are_accepted_and_files_are_rejected() {
        let text = "--b\nContent-Disposition: form-data; name=\"a\"\n\n1\n--b--\n";
        assert_eq!(read(text).await, Ok(vec![("a".into(), "1".into())]));
        let file = "--b\nContent-Disposition: form-data; name=\"a\"; filename=\"x\"\n\n1\n--b--\n";
        assert_eq!(read(file).await, Err(ProblemKind::Invalid));
        let none = "--b\nContent-Disposition: form-data; name=\"a\"; filename=\"\"\n\n\n--b--\n";
        assert_eq!(read(none).await, Ok(vec![]));
    }

    #[tokio::test]
    async fn broken_parts_are_malformed() {
        for broken in [
            "",
            "--b\n",
            "--b\nContent-Disposition: form-data\n\n1\n--b--\n",
            "--x\n",
        ] {
            assert_eq!(read(broken).await, Err(ProblemKind::Malformed), "{broken}");
        }
    }
}
