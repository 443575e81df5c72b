//! Amounts, as people write them.

use muster_events::resources::Resources;
use muster_events::spec::PortAsk;

use crate::state::Class;

/// What a task needs, leaving out what it needs nothing of; one slot goes without saying unless it is all.
pub(super) fn amounts(class: &Class) -> String {
    let mut parts = resources(&class.resources);
    parts.extend(class.devices.iter().map(|(name, count)| format!("{count} {name}")));
    if !class.ports.is_empty() {
        parts.push(ports(&class.ports));
    }
    if parts.is_empty() {
        parts.push(format!("{} slot", class.resources.slots));
    }
    parts.join(", ")
}

pub(super) fn resources(need: &Resources) -> Vec<String> {
    let mut parts = Vec::new();
    if need.cpu_milli > 0 {
        parts.push(cpu_cores(need.cpu_milli));
    }
    if need.memory > 0 {
        parts.push(format!("{} of memory", bytes(need.memory)));
    }
    if need.disk > 0 {
        parts.push(format!("{} of disk", bytes(need.disk)));
    }
    parts
}

pub(super) fn ports(asks: &[PortAsk]) -> String {
    let fixed: Vec<_> = asks.iter().filter_map(|ask| ask.port).collect();
    let free = asks.len() - fixed.len();
    let mut parts: Vec<_> = fixed.iter().map(|port| format!("port {port}")).collect();
    if free > 0 {
        parts.push(format!("{free} port{}", if free == 1 { "" } else { "s" }));
    }
    parts.join(", ")
}

pub(super) fn cpu_cores(milli: u64) -> String {
    format!("{} cpu core{}", cores(milli), if milli == 1000 { "" } else { "s" })
}

/// Thousandths of a core as cores: `2`, `0.5`.
pub(super) fn cores(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Bytes in the largest unit that leaves a whole number before the point, with two digits after it: `1.5 GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(place) = (bytes.max(1).ilog2() / 10).checked_sub(1) else { return format!("{bytes} bytes") };
    let unit = 1_u64 << (10 * (place + 1));
    let hundredths = u128::from(bytes % unit) * 100 / u128::from(unit);
    let text = format!("{}.{hundredths:02}", bytes / unit);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} {}", UNITS[(place as usize).min(UNITS.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_like_people_write_them() {
        assert_eq!(cores(4_096_000), "4096");
        assert_eq!(cores(50), "0.05");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(bytes(1 << 60), "1 EiB");
        assert_eq!(bytes(u64::MAX), "15.99 EiB");
    }
}
