//! The CPU time of processes (user and system together) from `/proc` (proc_pid_stat(5)).

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::progress;

/// CPU time by the name of the process in the report.
pub(crate) type Used = BTreeMap<&'static str, Duration>;

/// The content of `/proc/PID/stat`.
#[derive(Debug, Eq, PartialEq)]
struct Stat {
    parent: u32,
    own: Duration,
    with_ended_children: Duration,
}

/// The unit of `/proc/PID/stat`. USER_HZ is 100 on x86-64 and aarch64, regardless of the kernel's
/// own tick.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of each process within a period.
pub(crate) async fn during(
    time: &Range<Instant>,
    processes: &[(&'static str, u32)],
) -> Result<Used> {
    progress::wait_until(time.start).await;
    let before = so_far(processes)?;
    progress::wait_until(time.end).await;
    Ok(since(&before, so_far(processes)?))
}

/// The CPU time of each process since it started.
pub(crate) fn so_far(processes: &[(&'static str, u32)]) -> Result<Used> {
    let each = processes.iter();
    each.map(|&(name, process)| Ok((name, used(process)?)))
        .collect()
}

/// The difference between two measurements.
pub(crate) fn since(before: &Used, mut spent: Used) -> Used {
    for (name, spent) in &mut spent {
        *spent = spent.saturating_sub(before[name]);
    }
    spent
}

/// The CPU time of a process and its children, including those that have ended. PostgreSQL has one
/// process per connection.
pub(crate) fn with_children(process: u32) -> Result<Duration> {
    let mut sum = read(process)?.with_ended_children;
    for entry in std::fs::read_dir("/proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse() else {
            continue;
        };
        // A process that has just ended is no longer a child.
        if let Ok(stat) = read(id)
            && stat.parent == process
        {
            sum += stat.with_ended_children;
        }
    }
    Ok(sum)
}

/// The CPU time of all threads of a process since it started, without children.
fn used(process: u32) -> Result<Duration> {
    Ok(read(process)?.own)
}

fn read(process: u32) -> Result<Stat> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    Stat::parse(&stat).with_context(|| format!("{path} contains no CPU times: {stat}"))
}

// === impl Stat ===

impl Stat {
    /// Parses fields 4 (ppid) and 14 to 17 (utime, stime, cutime, cstime). Field 2 is the name of
    /// the program in parentheses and may contain spaces and parentheses, so fields are counted
    /// after the last parenthesis.
    fn parse(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let mut fields = after_name.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let mut fields = fields.skip(9);
        let mut ticks = || fields.next()?.parse::<u32>().ok();
        let own = ticks()?.checked_add(ticks()?)?;
        let all = own.checked_add(ticks()?)?.checked_add(ticks()?)?;
        Some(Self {
            parent,
            own: TICK * own,
            with_ended_children: TICK * all,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_after_any_name() {
        let stat =
            "42 (a) b (c) S 1 42 42 0 -1 4194560 900 0 3 0 1234 66 7 8 20 0 9 0 100 1000 200";
        let parsed = Stat {
            parent: 1,
            own: Duration::from_secs(13),
            with_ended_children: Duration::from_millis(13_150),
        };
        assert_eq!(Stat::parse(stat), Some(parsed));
    }

    #[test]
    fn invalid_content_is_rejected() {
        for stat in [
            "",
            "42 (a) S 1 2",
            "42 (a) S 1 42 42 0 -1 0 0 0 0 0 soon 66",
            "42 a S",
        ] {
            assert_eq!(Stat::parse(stat), None, "{stat}");
        }
    }

    #[test]
    fn ended_children_are_counted() {
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", busy]).status();
        assert!(status.is_ok_and(|status| status.success()));
        let this = std::process::id();
        let (own, all) = (
            used(this).expect("this process exists"),
            with_children(this).expect("this process exists"),
        );
        assert!(all > own, "{all:?}, {own:?}");
    }

    #[test]
    fn the_time_of_this_process_increases() {
        let before = used(std::process::id()).expect("this process exists");
        let mut rounds = 0_u64;
        while used(std::process::id()).expect("this process exists") < before + 3 * TICK {
            rounds += 1;
            assert!(rounds < 100_000_000, "the CPU time does not increase");
        }
        assert!(used(u32::MAX).is_err(), "the process does not exist");
    }
}
