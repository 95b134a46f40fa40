//! A session: the time from joining the consumer group until the membership ends.

mod commit;
mod membership;
mod partitions;
mod work;

pub(super) use self::membership::Session;
