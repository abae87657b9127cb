//! What the kernel knows about a process.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::Result;
use crate::process::now;

/// Linux tells times of processes in hundredths of a second whatever the kernel's own tick is (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// The fields of `/proc/PID/stat` after the name: the name may hold blanks and brackets, so they count from its end.
fn fields(pid: &str) -> Result<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&text).ok_or_else(|| format!("/proc/{pid}/stat is not understood: {text}").into())
}

fn parse(stat: &str) -> Option<Vec<u64>> {
    let rest = stat.rsplit_once(')')?.1;
    Some(rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect())
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a benchmark stay far below 2^52")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

/// CPU seconds of a process, user and kernel, threads that have ended included.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    let fields = fields(&pid.to_string())?;
    Ok(seconds(fields[10] + fields[11]))
}

/// CPU seconds of our own children that have ended: the load generator.
pub(crate) fn children_cpu() -> Result<f64> {
    let fields = fields("self")?;
    Ok(seconds(fields[12] + fields[13]))
}

/// CPU seconds of the whole machine that were not idle.
pub(crate) fn machine_cpu() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    // user, nice, system, (idle, iowait,) irq, softirq
    Ok(seconds([0, 1, 2, 5, 6].iter().filter_map(|&index| ticks.get(index)).sum()))
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.ok_or("the process has no memory: it has ended")? * 1024)
}

/// Waits until the process has nothing left to do, so that work put off until after the answers is counted too.
pub(crate) fn settle(pid: u32) -> Result {
    let deadline = now() + Duration::from_secs(10);
    let mut before = cpu(pid)?;
    while now() < deadline {
        thread::sleep(Duration::from_millis(300));
        let after = cpu(pid)?;
        // Up to one tick in 300 ms is housekeeping.
        if after - before < 0.015 {
            return Ok(());
        }
        before = after;
    }
    // A process that never rests is measured as it is.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_do_not_shift_the_fields() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194304 5 0 0 0 70 30 8 9 20 0 1 0 100 1000 200";
        let fields = parse(stat).unwrap();
        assert_eq!((fields[10], fields[11], fields[12], fields[13]), (70, 30, 8, 9));
    }

    #[test]
    fn our_own_figures_are_plausible() {
        let pid = std::process::id();
        assert!(resident(pid).unwrap() > 500_000);
        assert!(cpu(pid).unwrap() < 10_000.0);
        assert!(machine_cpu().unwrap() >= cpu(pid).unwrap());
    }
}
