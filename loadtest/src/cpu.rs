//! CPU time of processes, user and system together, from `/proc` (proc_pid_stat(5)).

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::progress;

/// CPU time by the names that processes have in the report.
pub(crate) type Used = BTreeMap<&'static str, Duration>;

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Eq, PartialEq)]
struct Stat {
    parent: u32,
    own: Duration,
    with_ended_children: Duration,
}

/// USER_HZ, the unit of `/proc/PID/stat`: 100 a second on x86-64 and aarch64, whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);

/// What each process uses from the beginning to the end of a time, by its name in the report.
pub(crate) async fn during(
    time: &Range<Instant>,
    processes: &[(&'static str, u32)],
) -> Result<Used> {
    progress::wait_until(time.start).await;
    let before = so_far(processes)?;
    progress::wait_until(time.end).await;
    Ok(since(&before, so_far(processes)?))
}

/// What each process has used since it started.
pub(crate) fn so_far(processes: &[(&'static str, u32)]) -> Result<Used> {
    let each = processes.iter();
    each.map(|&(name, process)| Ok((name, used(process)?)))
        .collect()
}

/// What was used between two moments.
pub(crate) fn since(before: &Used, mut spent: Used) -> Used {
    for (name, spent) in &mut spent {
        *spent = spent.saturating_sub(before[name]);
    }
    spent
}

/// What a process and its children have used since they started, also children that have ended: PostgreSQL has a process
/// for each connection.
pub(crate) fn with_children(process: u32) -> Result<Duration> {
    let mut sum = read(process)?.with_ended_children;
    for entry in std::fs::read_dir("/proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse() else {
            continue;
        };
        // One that has just ended is no child any more.
        if let Ok(stat) = read(id)
            && stat.parent == process
        {
            sum += stat.with_ended_children;
        }
    }
    Ok(sum)
}

/// What a process has used since it started, all its threads together; children that have ended do not count.
fn used(process: u32) -> Result<Duration> {
    Ok(read(process)?.own)
}

fn read(process: u32) -> Result<Stat> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Stat::parse(&stat).with_context(|| format!("{path} has no CPU times: {stat}"))
}

// === impl Stat ===

impl Stat {
    /// Fields 4 (ppid) and 14 to 17 (utime, stime, cutime, cstime). The second is the program's name in parentheses and
    /// may itself hold spaces and parentheses, so the count begins behind the last one.
    fn parse(stat: &str) -> Option<Self> {
        let (_, behind_name) = stat.rsplit_once(')')?;
        let mut fields = behind_name.split_ascii_whitespace();
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
    fn user_and_system_time_add_up_behind_any_name() {
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
    fn anything_else_is_no_time() {
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
    fn children_count_while_they_run_and_afterwards() {
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", busy]).status();
        assert!(status.is_ok_and(|status| status.success()));
        let this = std::process::id();
        let (own, all) = (
            used(this).expect("ours"),
            with_children(this).expect("ours"),
        );
        assert!(all > own, "{all:?}, {own:?}");
    }

    #[test]
    fn work_of_this_process_shows() {
        let before = used(std::process::id()).expect("ours");
        let mut rounds = 0_u64;
        while used(std::process::id()).expect("ours") < before + 3 * TICK {
            rounds += 1;
            assert!(rounds < 100_000_000, "time does not pass");
        }
        assert!(used(u32::MAX).is_err(), "there is no such process");
    }
}
