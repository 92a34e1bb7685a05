//! The machine of a measurement. Figures of different machines are not comparable.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// A machine.
#[derive(Debug)]
pub(super) struct Machine {
    cores: usize,
    cpu: String,
    memory_mib: u64,
    kernel: String,
    /// The file system of the stores.
    filesystem: String,
}

impl Machine {
    /// This machine, with stores in `dir`.
    pub(super) fn look(dir: &Path) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let memory = after(&meminfo, "MemTotal").and_then(|rest| rest.split(' ').next());
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: after(&cpuinfo, "model name")
                .unwrap_or("unknown")
                .to_owned(),
            memory_mib: memory.and_then(|kib| kib.parse().ok()).unwrap_or(0_u64) / 1024,
            kernel: kernel.trim().to_owned(),
            filesystem: filesystem(&mounts, dir).unwrap_or("unknown").to_owned(),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "cores": self.cores,
            "cpu": self.cpu,
            "memory_mib": self.memory_mib,
            "kernel": self.kernel,
            "filesystem": self.filesystem,
        })
    }

    /// A one-line description.
    pub(super) fn line(&self) -> String {
        let Self {
            cores,
            cpu,
            memory_mib,
            kernel,
            filesystem,
        } = self;
        format!(
            "{cores} cores ({cpu}), {memory_mib} MiB, Linux {kernel}, stores on {filesystem}; \
             client and servers share the machine"
        )
    }
}

/// The value after `name` and a colon.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| found.trim() == name)?;
    Some(value.trim())
}

/// The file system type of the innermost mount that contains `dir`.
fn filesystem<'a>(mounts: &'a str, dir: &Path) -> Option<&'a str> {
    let around = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    around
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "a / ext4 rw 0 0\nb /tmp tmpfs rw 0 0\n";
        assert_eq!(filesystem(mounts, Path::new("/tmp/x")), Some("tmpfs"));
        assert_eq!(filesystem(mounts, Path::new("/tmpx")), Some("ext4"));
    }

    #[test]
    fn names_are_found_before_their_colon() {
        let text = "model\t: 1\nmodel name\t: A b\nMemTotal:   2048 kB\n";
        assert_eq!(after(text, "model name"), Some("A b"));
        assert_eq!(after(text, "MemTotal"), Some("2048 kB"));
        assert_eq!(after(text, "none"), None);
    }
}
