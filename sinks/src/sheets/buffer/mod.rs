//! Where rows wait until they are written: in the memory of a session, or in Redis.

pub(crate) mod flusher;
mod in_flight;
pub(crate) mod memory_session;
mod payload;
pub(crate) mod redis_queue;
mod redis_scripts;
pub(crate) mod redis_session;
mod redis_snapshot;
mod watermark_follower;
mod writes;
