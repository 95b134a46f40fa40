//! The problems that several media types share.

use crate::problem::{Problem, ProblemKind};

/// 422: the submission has more values than one submission may have.
pub(super) fn too_many_values(limit: usize) -> Problem {
    Problem::new(
        ProblemKind::Invalid,
        format!("send at most {limit} values in one submission"),
    )
}

/// 400: the body contains bytes that are not UTF-8.
pub(super) fn not_utf8() -> Problem {
    Problem::new(ProblemKind::Malformed, "the body is not valid UTF-8")
}
