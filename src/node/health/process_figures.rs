//! What the operating system says about this program, read with each answer: memory, file descriptors, and the start.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, getrlimit};

/// The figures. One that the system does not tell has no series.
#[derive(Debug)]
pub(super) struct ProcessFigures {
    /// Unix time in seconds.
    started: f64,
}

impl ProcessFigures {
    /// Of a program that starts now.
    pub(super) fn new() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started: started.unwrap_or_default().as_secs_f64(),
        }
    }
}

impl Collector for ProcessFigures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let descriptors = fs::read_dir("/proc/self/fd").ok();
        let whole = [
            (
                "process_resident_memory_bytes",
                "Memory of the program that is in RAM",
                resident_bytes(),
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                // The listing itself needs one.
                descriptors.map(|open| open.count().saturating_sub(1) as u64),
            ),
            (
                "process_max_fds",
                "Limit of open file descriptors",
                getrlimit(Resource::Nofile).current,
            ),
        ];
        for (name, help, figure) in whole {
            let Some(figure) = figure else { continue };
            let gauge = ConstGauge::new(i64::try_from(figure).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let (name, help) = ("process_start_time_seconds", "Start of the node, Unix time");
        let started = ConstGauge::new(self.started);
        started.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    resident_in(&status)
}

fn resident_in(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes_and_left_out_if_it_is_not_told() {
        let status = "Name:\tsnapledger\nVmHWM:\t   99 kB\nVmRSS:\t    12345 kB\n";
        assert_eq!(resident_in(status), Some(12_641_280));
        assert_eq!(resident_in("VmRSS:\t 5 pages\n"), None);
        assert_eq!(resident_in("Name:\tsnapledger\n"), None);
    }
}
