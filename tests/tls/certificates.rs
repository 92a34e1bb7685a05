//! Certificates as the documented commands make them, and some that no command makes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType, date_time_ymd,
};
use snapledger::tls::client::{ClientFiles, ClientPair, ClientTls};

/// A directory with a CA and the certificates it issued.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    pub(crate) dir: PathBuf,
}

/// Runs `snapledger cert` and returns its output; it must succeed.
pub(crate) fn cert(arguments: &[&str]) -> String {
    let mut command = Command::new(cargo_bin("snapledger"));
    let done = command.arg("cert").args(arguments).assert().success();
    String::from_utf8_lossy(&done.get_output().stdout).into_owned()
}

impl Certificates {
    /// A new CA.
    pub(crate) fn of_cluster(dir: &Path, cluster: &str) -> Self {
        let dir = dir.to_path_buf();
        cert(&["init", "--cluster", cluster, "--dir", text(&dir)]);
        Self { dir }
    }

    /// Issues the certificate of a node on this machine.
    pub(crate) fn node(&self, id: &str) {
        self.node_into(id, &self.dir);
    }

    /// The same, into another directory.
    pub(crate) fn node_into(&self, id: &str, out: &Path) {
        let hosts = ["--host", "localhost", "--host", "127.0.0.1"];
        let dirs = ["--dir", text(&self.dir), "--out", text(out)];
        cert(&[&["node", "--id", id][..], &hosts, &dirs].concat());
    }

    /// Issues the certificate of a client.
    pub(crate) fn client(&self, name: &str) {
        cert(&["client", "--name", name, "--dir", text(&self.dir)]);
    }

    /// Issues a certificate of a process that has expired.
    pub(crate) fn expired(&self, id: &str, name: &str) {
        self.issue(id, name, |params| {
            params.not_after = date_time_ymd(2020, 2, 1)
        });
    }

    /// Replaces the CA by one that has expired. Issues the certificates of the nodes again.
    pub(crate) fn expired_authority(&self, ids: &[&str]) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, "bank");
        name.push(DnType::CommonName, "old CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(self.ca(), certificate.pem()).expect("there is room");
        std::fs::write(self.key("ca"), key.serialize_pem()).expect("there is room");
        for id in ids {
            self.short_lived(id, Duration::from_secs(3600));
        }
    }

    /// Issues the certificate of a node on this machine that is not valid yet.
    pub(crate) fn early(&self, id: &str, name: &str) {
        self.issue(id, name, |params| {
            params.not_before = date_time_ymd(2090, 1, 1);
            params.not_after = date_time_ymd(2091, 1, 1);
        });
    }

    /// Issues the certificate of a node on this machine that expires soon.
    pub(crate) fn short_lived(&self, id: &str, lifetime: Duration) {
        let now = jiff::Timestamp::now().as_second();
        let now = Duration::from_secs(now.try_into().expect("it is after 1970"));
        self.issue(id, id, |params| {
            params.not_after = date_time_ymd(1970, 1, 1) + now + lifetime;
        });
    }

    fn issue(&self, id: &str, name: &str, end: impl FnOnce(&mut CertificateParams)) {
        let read = |name: &str| std::fs::read_to_string(self.dir.join(name)).expect("it was made");
        let key = KeyPair::from_pem(&read("ca.key")).expect("a key");
        let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), key).expect("a CA");
        let mut params = CertificateParams::default();
        let uri = format!("snapledger://bank/process/{id}");
        let uri = uri.as_str().try_into().expect("ASCII");
        let address = SanType::IpAddress([127, 0, 0, 1].into());
        params.subject_alt_names = vec![SanType::URI(uri), address];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.not_before = date_time_ymd(2020, 1, 1);
        end(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        std::fs::write(self.crt(name), certificate.pem()).expect("there is room");
        std::fs::write(self.key(name), key.serialize_pem()).expect("there is room");
        private(&self.key(name));
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.crt("ca")
    }

    pub(crate) fn crt(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.crt"))
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.key"))
    }

    /// A client that trusts this CA, with the certificate of this name if one is given.
    pub(crate) fn trusting(&self, name: Option<&str>) -> ClientTls {
        let pair = name.map(|name| ClientPair {
            cert: self.crt(name),
            key: self.key(name),
        });
        let files = ClientFiles {
            ca: self.ca(),
            pair,
        };
        ClientTls::load(&files).expect("the commands made them")
    }
}

/// Takes the file from others.
pub(crate) fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("it is ours");
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of this test")
}
