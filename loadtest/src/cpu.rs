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

/// What a process has used since it started, all its threads together; children that have ended do not count.
fn used(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse(&stat).with_context(|| format!("{path} has no CPU times: {stat}"))
}

/// Fields 14 (utime) and 15 (stime). The second is the program's name in parentheses and may itself hold spaces and
/// parentheses, so the count begins behind the last one.
fn parse(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    let (user, system) = (ticks()?, ticks()?);
    Some(TICK * user.checked_add(system)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_add_up_behind_any_name() {
        let stat =
            "42 (a) b (c) S 1 42 42 0 -1 4194560 900 0 3 0 1234 66 7 8 20 0 9 0 100 1000 200";
        assert_eq!(parse(stat), Some(Duration::from_secs(13)));
    }

    #[test]
    fn anything_else_is_no_time() {
        for stat in [
            "",
            "42 (a) S 1 2",
            "42 (a) S 1 42 42 0 -1 0 0 0 0 0 soon 66",
            "42 a S",
        ] {
            assert_eq!(parse(stat), None, "{stat}");
        }
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
