//! What the parts use of the machine.

use std::fs;

use super::rig::Rig;
use crate::exit::Failure;
use crate::units::to_f64;

/// Resident memory of each part that runs, in MiB.
pub(super) fn memory(rig: &Rig) -> Result<Vec<(&'static str, f64)>, Failure> {
    rig.processes().into_iter().map(|(name, pid)| Ok((name, resident(pid)?))).collect()
}

/// Resident memory of one part, in MiB, if it runs.
pub(super) fn memory_of(rig: &Rig, part: &str) -> Result<Option<f64>, Failure> {
    let found = rig.processes().into_iter().find(|(name, _)| *name == part);
    found.map(|(_, pid)| resident(pid)).transpose()
}

fn resident(pid: u32) -> Result<f64, Failure> {
    let file = format!("/proc/{pid}/status");
    let text =
        fs::read_to_string(&file).map_err(|e| Failure::failed(format!("{file} cannot be read: {e}")))?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .ok_or_else(|| Failure::failed(format!("{file} does not say how much memory is resident")))?;
    Ok(to_f64(kib) / 1024.0)
}
