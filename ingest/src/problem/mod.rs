//! Problem details (RFC 9457): the only format of errors that a client sees.

mod details;
mod kind;

pub(crate) use self::{details::Problem, kind::ProblemKind};
