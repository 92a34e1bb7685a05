//! The dates of a node's certificate and of the CAs that it trusts, and what to do when one of them is not valid now. Nodes do
//! not check the dates of a CA in `ca`; other programs may.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::certificate::Certificate;
use super::error::{TlsError, TlsFault};
use super::files::Content;
use crate::access::identity::{Holder, Identity};

/// When a certificate is valid.
pub(super) struct Validity {
    pub(super) path: PathBuf,
    what: String,
    /// The first and the last second, since the Unix epoch.
    from: i64,
    until: i64,
    /// How to replace it.
    renewal: String,
}

impl Validity {
    /// Of a node's certificate, first, and of the CAs in its files.
    pub(super) fn of_all(
        me: &Identity,
        cert: &Content,
        bundles: &[&Content],
    ) -> Result<Vec<Self>, TlsError> {
        let chain = read(cert)?;
        let (end, intermediates) = chain.split_first().expect("a file has certificates");
        let authority = |path: &Path, certificate: &Certificate| {
            let renewal = format!(
                "make a new CA with `snapledger cert init --cluster {} --dir new`, and change to it as docs/security.md says",
                me.cluster
            );
            let what = format!("the CA {:?}", certificate.subject);
            Self::new(path, what, certificate, renewal)
        };
        let what = "the certificate".to_owned();
        let mut all = vec![Self::new(&cert.path, what, end, renewal(me, end))];
        all.extend(intermediates.iter().map(|ca| authority(&cert.path, ca)));
        for bundle in bundles {
            all.extend(read(bundle)?.iter().map(|ca| authority(&bundle.path, ca)));
        }
        Ok(all)
    }

    fn new(path: &Path, what: String, certificate: &Certificate, renewal: String) -> Self {
        Self {
            path: path.to_owned(),
            what,
            from: certificate.from,
            until: certificate.until,
            renewal,
        }
    }

    /// Why it is not valid at a time, in seconds since the Unix epoch.
    pub(super) fn fault(&self, now: i64) -> Option<TlsError> {
        let (what, renewal) = (self.what.clone(), self.renewal.clone());
        let fault = if now > self.until {
            let since = instant(self.until);
            TlsFault::Expired {
                what,
                since,
                renewal,
            }
        } else if now < self.from {
            let from = instant(self.from);
            TlsFault::NotYetValid {
                what,
                from,
                renewal,
            }
        } else {
            return None;
        };
        Some(fault.of(&self.path))
    }
}

// The command that issues the same certificate again.
fn renewal(me: &Identity, certificate: &Certificate) -> String {
    let (kind, id) = match &me.holder {
        Holder::Process(id) => ("node --id", id.to_string()),
        Holder::Client(name) => ("client --name", name.clone()),
    };
    let addresses = certificate.names.iter();
    let addresses = addresses.filter(|name| name.parse::<IpAddr>().is_ok());
    let hosts = certificate.dns_names.iter().chain(addresses);
    let hosts: String = hosts.map(|host| format!(" --host {host}")).collect();
    format!(
        "issue a new pair with `snapledger cert {kind} {id}{hosts} --out renewed`, and move it over the old one"
    )
}

fn read(content: &Content) -> Result<Vec<Certificate>, TlsError> {
    let certificates = content.certificates()?.into_iter();
    let read = certificates.map(|encoded| {
        let certificate = Certificate::read(&encoded);
        certificate.map_err(|error| TlsFault::Malformed(error).of(&content.path))
    });
    read.collect()
}

fn instant(seconds: i64) -> String {
    let instant = Timestamp::from_second(seconds);
    instant.map_or_else(|_| format!("second {seconds}"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_validity_belong_to_it() {
        let validity = Validity {
            path: "certs/n1.crt".into(),
            what: "the certificate".to_owned(),
            from: 10,
            until: 20,
            renewal: "renew it".to_owned(),
        };
        let shown = [9, 10, 20, 21].map(|now| validity.fault(now).map(|fault| fault.to_string()));
        let expected = [
            Some(
                "certs/n1.crt: the certificate is not valid before 1970-01-01T00:00:10Z; set the clock of this machine, or \
                 renew it",
            ),
            None,
            None,
            Some("certs/n1.crt: the certificate expired at 1970-01-01T00:00:20Z; renew it"),
        ];
        assert_eq!(shown, expected.map(|text| text.map(str::to_owned)));
    }
}
