//! The environment variables that a storage reads. They are checked before: the client of the storage takes most of them as they
//! are, and a line break at the end of a key, as files of secrets have, would end the program in its first request.

use std::ffi::OsString;

use object_store::ClientConfigKey;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use url::Url;

/// The services whose variables there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    S3,
    Gcs,
    Azure,
}

/// What a variable must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A key, a token, a name or a path: one line.
    Line,
    /// Text of several lines.
    Lines,
    /// A part of the name of a host.
    HostPart,
    /// The address of the storage.
    Endpoint,
    /// The address of another service.
    Address,
}

impl Service {
    fn prefix(self) -> &'static str {
        match self {
            Self::S3 => "AWS_",
            Self::Gcs => "GOOGLE_",
            Self::Azure => "AZURE_",
        }
    }

    // The variable that permits an endpoint without TLS.
    fn allow_http(self) -> &'static str {
        match self {
            Self::S3 => "AWS_ALLOW_HTTP",
            Self::Gcs => "GOOGLE_ALLOW_HTTP",
            Self::Azure => "AZURE_ALLOW_HTTP",
        }
    }

    // `None` if the service does not read it.
    fn kind(self, name: &str) -> Option<Kind> {
        let other = match (self, name) {
            (Self::Gcs, "SERVICE_ACCOUNT") | (Self::Azure, "IDENTITY_HEADER") => Some(Kind::Line),
            (Self::Gcs, "GCE_METADATA_HOST" | "GCE_METADATA_ROOT" | "GCE_METADATA_IP") => {
                Some(Kind::HostPart)
            }
            (Self::Azure, "IDENTITY_ENDPOINT") => Some(Kind::Address),
            _ => None,
        };
        if other.is_some() || !name.starts_with(self.prefix()) {
            return other;
        }
        let key = name.to_ascii_lowercase();
        match self {
            Self::S3 => key.parse().ok().map(of_s3),
            Self::Gcs => key.parse().ok().map(of_gcs),
            Self::Azure => key.parse().ok().map(of_azure),
        }
    }
}

fn of_s3(key: AmazonS3ConfigKey) -> Kind {
    match key {
        AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint => Kind::Endpoint,
        AmazonS3ConfigKey::StsEndpoint
        | AmazonS3ConfigKey::MetadataEndpoint
        | AmazonS3ConfigKey::ContainerCredentialsFullUri => Kind::Address,
        AmazonS3ConfigKey::Region | AmazonS3ConfigKey::DefaultRegion => Kind::HostPart,
        AmazonS3ConfigKey::Client(key) => of_client(&key),
        _ => Kind::Line,
    }
}

fn of_gcs(key: GoogleConfigKey) -> Kind {
    match key {
        GoogleConfigKey::ServiceAccountKey => Kind::Lines,
        GoogleConfigKey::BaseUrl => Kind::Endpoint,
        GoogleConfigKey::Client(key) => of_client(&key),
        _ => Kind::Line,
    }
}

fn of_azure(key: AzureConfigKey) -> Kind {
    match key {
        AzureConfigKey::Endpoint => Kind::Endpoint,
        AzureConfigKey::AuthorityHost
        | AzureConfigKey::MsiEndpoint
        | AzureConfigKey::FabricTokenServiceUrl
        | AzureConfigKey::FabricWorkloadHost => Kind::Address,
        AzureConfigKey::AccountName | AzureConfigKey::AuthorityId => Kind::HostPart,
        AzureConfigKey::Client(key) => of_client(&key),
        _ => Kind::Line,
    }
}

fn of_client(key: &ClientConfigKey) -> Kind {
    match key {
        ClientConfigKey::ProxyUrl => Kind::Address,
        ClientConfigKey::ProxyCaCertificate => Kind::Lines,
        _ => Kind::Line,
    }
}

/// Checks the variables that a service reads, among these.
///
/// # Errors
/// A sentence that names the variable and what to write.
pub(super) fn check(
    service: Service,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), String> {
    let mut endpoint = None;
    let mut allows_http = false;
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some(kind) = service.kind(name) else {
            continue;
        };
        let value = value
            .to_str()
            .ok_or_else(|| format!("the environment variable {name} is not text"))?;
        fault(kind, value).map_or(Ok(()), |fault| {
            Err(format!("the environment variable {name} {fault}"))
        })?;
        if kind == Kind::Endpoint && value.starts_with("http://") {
            endpoint = Some(name.to_owned());
        }
        allows_http |= name == service.allow_http() && is_set(value);
    }
    match endpoint {
        Some(name) if !allows_http => Err(format!(
            "{name} in the environment is an endpoint without TLS; write https://HOST:PORT, or set {}=true",
            service.allow_http()
        )),
        _ => Ok(()),
    }
}

/// Whether the environment permits the endpoint of a service to be without TLS.
pub(super) fn allows_http(service: Service) -> bool {
    std::env::var(service.allow_http()).is_ok_and(|value| is_set(&value))
}

fn is_set(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str())
}

// Values are not repeated: most are secrets.
fn fault(kind: Kind, value: &str) -> Option<String> {
    if kind == Kind::Lines {
        return None;
    }
    if value.chars().any(char::is_control) {
        let at_end = value.trim_end_matches(char::is_control).len() < value.len();
        let what = match at_end {
            true => "ends with a line break or another control character",
            false => "contains a line break or another control character",
        };
        return Some(format!("{what}; write it without"));
    }
    if value.trim() != value {
        return Some("begins or ends with a space; write it without".to_owned());
    }
    match kind {
        Kind::Line | Kind::Lines => None,
        Kind::HostPart => {
            let is_part = |one: char| one.is_ascii_alphanumeric() || "-._:".contains(one);
            let is_valid = !value.is_empty() && value.chars().all(is_part);
            (!is_valid).then(|| {
                format!("is {value:?}; write letters, digits, hyphens and dots only, or remove it")
            })
        }
        Kind::Endpoint | Kind::Address => (!is_address(value)).then(|| {
            format!("is {value:?}, which is no address; write https://HOST:PORT with a scheme and a host, or remove it")
        }),
    }
}

// The client joins addresses as texts, so both parsers have to accept them.
fn is_address(value: &str) -> bool {
    let has_scheme = value.starts_with("https://") || value.starts_with("http://");
    let of_requests = value.parse::<http::Uri>();
    let has_host = Url::parse(value).is_ok_and(|url| url.has_host() && url.query().is_none());
    has_scheme && has_host && of_requests.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(service: Service, variables: &[(&str, &str)]) -> Result<(), String> {
        let variables = variables.iter();
        check(
            service,
            variables.map(|(name, value)| (name.into(), value.into())),
        )
    }

    // Without this the program panics in its first request, and a supervisor starts it again and again.
    #[test]
    fn what_would_end_the_client_is_refused_with_the_name_of_the_variable() {
        for (service, name, value) in [
            (Service::S3, "AWS_ENDPOINT", "127.0.0.1:9000"),
            (Service::S3, "AWS_ENDPOINT", "localhost:9000"),
            (Service::S3, "AWS_ENDPOINT_URL", "http://"),
            (Service::S3, "AWS_ENDPOINT_URL_S3", ""),
            (Service::S3, "AWS_ENDPOINT", "https://host:99999"),
            (Service::S3, "AWS_ENDPOINT", "https:host"),
            (Service::S3, "AWS_METADATA_ENDPOINT", "169.254.169.254"),
            (Service::S3, "AWS_ACCESS_KEY_ID", "AK\n"),
            (Service::S3, "AWS_SECRET_ACCESS_KEY", "secret\r\n"),
            (Service::S3, "AWS_SESSION_TOKEN", "a\u{7f}b"),
            (Service::S3, "AWS_REGION", "eu-central-1\n"),
            (Service::S3, "AWS_REGION", "eu central"),
            (Service::S3, "AWS_PROXY_URL", "proxy"),
            (Service::Gcs, "GOOGLE_BEARER_TOKEN", "token\n"),
            (Service::Gcs, "GOOGLE_BASE_URL", "localhost"),
            (Service::Gcs, "SERVICE_ACCOUNT", "path\n"),
            (Service::Gcs, "GCE_METADATA_HOST", "a host"),
            (Service::Azure, "AZURE_STORAGE_ACCOUNT_NAME", "name\n"),
            (Service::Azure, "AZURE_STORAGE_ACCOUNT_KEY", "a2V5\n"),
            (Service::Azure, "AZURE_STORAGE_ENDPOINT", "localhost:10000"),
            (Service::Azure, "IDENTITY_ENDPOINT", "http://a b"),
            (Service::Azure, "IDENTITY_HEADER", "a\n"),
        ] {
            let refused = checked(service, &[(name, value)]).expect_err(value);
            assert!(refused.contains(name), "{refused}");
            assert!(refused.contains("write"), "{refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn what_is_right_or_of_another_service_is_accepted() {
        let s3 = [
            ("AWS_ENDPOINT", "https://[::1]:9000/storage"),
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_SECRET_ACCESS_KEY", "a/b+c="),
            ("AWS_REGION", "us-east-1"),
            ("AWS_PROFILE", "not read\n"),
            ("GOOGLE_BASE_URL", "of another service"),
        ];
        checked(Service::S3, &s3).expect("it is right");
        let key = ("GOOGLE_SERVICE_ACCOUNT_KEY", "{\n}\n");
        checked(Service::Gcs, &[key]).expect("JSON may have lines");
    }

    // Without this an endpoint without TLS is reported as one that does not answer, until the node gives up.
    #[test]
    fn an_endpoint_without_tls_has_to_be_permitted() {
        let endpoint = ("AWS_ENDPOINT", "http://127.0.0.1:9000");
        let refused = checked(Service::S3, &[endpoint]).expect_err("it has no TLS");
        assert!(refused.contains("AWS_ALLOW_HTTP=true"), "{refused}");
        let allow = ("AWS_ALLOW_HTTP", "true");
        checked(Service::S3, &[allow, endpoint]).expect("it is permitted");
    }
}
