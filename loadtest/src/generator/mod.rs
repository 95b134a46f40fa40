//! The load generator: sends submissions from one thread, at a constant rate or as fast as
//! responses arrive.

mod connection;
mod http_target;
mod response_head;
mod run;
mod students;
mod target;
mod topic_target;

pub(crate) use self::{
    connection::Connection,
    http_target::HttpTarget,
    run::{Pace, Plan, Results, run},
    students::Students,
    target::Target,
    topic_target::TopicTarget,
};
