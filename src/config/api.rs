//! The names of this node that clients may use for its REST port.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::address::{check_address, host_of, join};
use super::fault::{ConfigError, Fault};
use super::options::NodeOptions;

/// The `[api]` table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiBlock {
    /// Further host names that clients may use for the REST port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<Spanned<String>>>,
}

/// Settings of the REST port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiSettings {
    /// Names that clients may use for this node: the configured ones and its own. IP addresses and loopback names are
    /// always accepted.
    pub hosts: Vec<String>,
}

impl ApiSettings {
    /// Replaces the configured names by those of the options, if given.
    pub(super) fn override_with(&mut self, options: &NodeOptions) -> Result<(), ConfigError> {
        if options.api_hosts.is_empty() {
            return Ok(());
        }
        // An empty environment variable arrives as one empty entry.
        let given = options.api_hosts.iter().map(|name| name.trim());
        let given = given.filter(|name| !name.is_empty());
        let hosts = given.map(|name| check_host(name).map_err(|fault| fault.of("--api-hosts")));
        self.hosts = hosts.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Adds the names of the node's own addresses.
    pub(super) fn add_own<'a>(&mut self, addresses: impl IntoIterator<Item = &'a String>) {
        for address in addresses {
            let host = host_of(address).to_owned();
            if !self.hosts.contains(&host) {
                self.hosts.push(host);
            }
        }
    }
}

impl ApiBlock {
    /// The settings; `locate` adds the line to a fault.
    pub(super) fn settings(
        &self,
        locate: impl Fn(&Spanned<String>, Fault) -> ConfigError,
    ) -> Result<ApiSettings, ConfigError> {
        let written = self.hosts.iter().flatten();
        let hosts = written.map(|name| check_host(name.get_ref()).map_err(|f| locate(name, f)));
        let hosts = hosts.collect::<Result<_, _>>()?;
        Ok(ApiSettings { hosts })
    }
}

fn check_host(name: &str) -> Result<String, Fault> {
    // With a port it is a whole address.
    match check_address(&join(name, 1)) {
        Ok(()) => Ok(name.to_owned()),
        Err(_) => Err(Fault::Host(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_port_and_no_scheme() {
        for name in ["ledger.example.org", "n1", "192.0.2.7", "[::1]", "::1"] {
            assert_eq!(check_host(name), Ok(name.to_owned()));
        }
        for other in ["", "ledger:7201", "http://ledger", "*.example.org", "a b"] {
            assert_eq!(check_host(other), Err(Fault::Host(other.to_owned())));
        }
    }
}
