//! `cert`: certificates for peers that no operator serves.

mod network;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use sorcha_peer_pki::files::{self, AUTHORITY_KEY_FILE, IdentityFiles, TRUST_FILE};
use sorcha_peer_pki::{
    Authority, Description, IssueRequest, SigningKey, SpiffeId, TrustBundle, certificates_from_pem, describe,
};

use crate::cli::config::host_name;
use crate::cli::console::{Console, Failure, Format};
use crate::cli::escape;

/// Days of a root: ten years, since changing it means a new certificate for every peer (guess).
const ROOT_DAYS: u32 = 3650;
/// Days of a leaf (docs/design.md § 6).
const LEAF_DAYS: u32 = 30;
/// Days of anything: a hundred years.
const DAYS_MAX: i64 = 36_500;

/// What `cert` does.
#[derive(Debug, Subcommand)]
pub enum CertVerb {
    /// Print what a certificate says, and whether the peer beside it could use it
    Show {
        /// A PEM file, a directory with tls.crt, tls.key and ca.crt, or a CA's directory
        #[arg(default_value = "/run/sorcha/tls")]
        path: PathBuf,
        /// The peer whose NAME.crt and NAME.key count where the directory has no tls.crt [default: the host's name]
        #[arg(long, value_name = "NAME", env = "SORCHA_NAME")]
        name: Option<String>,
    },
    /// Make a CA: ca.crt for every peer, ca.key for nobody else
    CreateCa(CreateArgs),
    /// Issue a peer's certificate into a directory
    Issue(IssueArgs),
    /// Make a CA and issue the certificates of all peers of a network; what is there and good is kept
    Network(network::NetworkArgs),
}

/// `cert create-ca`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Trust domain: the CA names peers of this one only
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: String,
    /// Directory for ca.crt and ca.key; never overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Days of validity
    #[arg(long, default_value_t = ROOT_DAYS, value_parser = clap::value_parser!(u32).range(1..=DAYS_MAX))]
    days: u32,
}

/// `cert issue`.
#[derive(Debug, Args)]
pub struct IssueArgs {
    /// Directory of the CA
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Identity: spiffe://TRUST-DOMAIN/NETWORK/PEER
    #[arg(long)]
    uri: SpiffeId,
    /// Directory for tls.crt, tls.key and ca.crt
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Days of validity
    #[arg(long, default_value_t = LEAF_DAYS, value_parser = clap::value_parser!(u32).range(1..=DAYS_MAX))]
    days: u32,
    /// First moment, such as 2030-01-01T00:00:00Z [default: five minutes ago]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    not_before: Option<Timestamp>,
    /// Last moment, in place of --days
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "days")]
    not_after: Option<Timestamp>,
    /// DNS names for clients that check them; peers look at the URI alone
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// IP addresses, likewise
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
}

pub(super) fn cert(verb: &CertVerb, format: Format, console: &mut Console<'_>) -> Result<(), Failure> {
    match verb {
        CertVerb::Show { path, name } => show(path, name.as_deref(), format, console),
        CertVerb::CreateCa(args) => create(args, console),
        CertVerb::Issue(args) => issue(args, console),
        CertVerb::Network(args) => network::network(args, console),
    }
}

fn bad(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write a time with its zone, such as 2030-01-01T00:00:00Z".to_owned())
}

fn days(days: u32) -> SignedDuration {
    SignedDuration::from_hours(i64::from(days) * 24)
}

fn create(args: &CreateArgs, console: &mut Console<'_>) -> Result<(), Failure> {
    let authority =
        Authority::generate(&args.trust_domain, Timestamp::now(), days(args.days)).map_err(bad)?;
    files::write_authority(&args.out, &authority).map_err(failed)?;
    let (out, until) = (args.out.display(), authority.not_after());
    writeln!(
        console.out,
        "{out} holds a CA for spiffe://{}/ until {until:.0}; keep ca.key to yourself",
        args.trust_domain
    )?;
    Ok(())
}

fn issue(args: &IssueArgs, console: &mut Console<'_>) -> Result<(), Failure> {
    let authority = files::read_authority(&args.ca).map_err(|error| {
        let hint = "--ca names a directory that `sorcha-peer cert create-ca` has made";
        Failure::Usage(format!("{error}; {hint}"))
    })?;
    let now = Timestamp::now();
    let usual = IssueRequest::new(args.uri.clone(), now);
    let request = IssueRequest {
        dns_names: args.dns.clone(),
        ip_addresses: args.ip.clone(),
        not_before: args.not_before.unwrap_or(usual.not_before),
        not_after: args.not_after.unwrap_or_else(|| args.not_before.unwrap_or(now) + days(args.days)),
        ..usual
    };
    let issued = authority.issue(&request).map_err(bad)?;
    files::write_identity(&args.out, &issued, authority.certificate_pem()).map_err(failed)?;
    let until = request.not_after.min(authority.not_after());
    writeln!(console.out, "{} holds the certificate of {} until {until:.0}", args.out.display(), args.uri)?;
    Ok(())
}

/// A certificate directory that a peer could use now.
pub(super) struct CheckedDirectory {
    pub(super) uri: String,
    pub(super) not_after: Timestamp,
    /// The file that the certificate was read from.
    pub(super) certificate: PathBuf,
}

/// Reads certificate, key and roots of a directory and checks that they belong together now.
pub(super) fn check_directory(directory: &Path, name: &str) -> Result<CheckedDirectory, Failure> {
    let read = files::read_identity(directory, name).map_err(bad)?;
    let IdentityFiles { certificate, key, trust } = read.files;
    let about =
        |path: &Path, error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", path.display()));
    let chain = certificates_from_pem(&read.certificate).map_err(|error| about(&certificate, &error))?;
    let signing = SigningKey::from_pem(&read.key).map_err(|error| about(&key, &error))?;
    let roots = TrustBundle::from_pem(&read.trust).map_err(|error| about(&trust, &error))?;
    let (leaf, intermediates) =
        chain.split_first().ok_or_else(|| about(&certificate, &"it holds no certificate"))?;
    if !signing.is_of(leaf).map_err(|error| about(&certificate, &error))? {
        return Err(about(
            &key,
            &format!("the key is not that of {}: both must be issued together", certificate.display()),
        ));
    }
    let uri = roots
        .check_leaf(leaf, intermediates, Timestamp::now())
        .map_err(|error| about(&certificate, &error))?;
    let described = describe(leaf).map_err(|error| about(&certificate, &error))?;
    Ok(CheckedDirectory { uri: uri.as_str().to_owned(), not_after: described.not_after, certificate })
}

fn show(path: &Path, name: Option<&str>, format: Format, console: &mut Console<'_>) -> Result<(), Failure> {
    // A CA's own directory has a root with its key and no leaf.
    let is_ca = path.is_dir() && path.join(AUTHORITY_KEY_FILE).exists();
    let name = name.map(str::to_owned).or_else(host_name).unwrap_or_default();
    let file = match (path.is_dir(), is_ca) {
        (true, true) => path.join(TRUST_FILE),
        (true, false) => IdentityFiles::of(path, &name).map_err(bad)?.certificate,
        (false, _) => path.to_owned(),
    };
    let about = |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", file.display()));
    let chain = certificates_from_pem(&files::read(&file).map_err(bad)?).map_err(|error| about(&error))?;
    let described: Vec<Description> =
        chain.iter().map(|der| describe(der)).collect::<Result<_, _>>().map_err(|error| about(&error))?;
    if format == Format::Table {
        for (index, certificate) in described.iter().enumerate() {
            if index > 0 {
                writeln!(console.out)?;
            }
            table(certificate, console)?;
        }
    } else {
        console.value(format, &described)?;
    }
    if path.is_dir() && !is_ca {
        check_directory(path, &name)?;
    }
    Ok(())
}

fn table(certificate: &Description, console: &mut Console<'_>) -> Result<(), Failure> {
    let addresses: Vec<String> = certificate.ip_addresses.iter().map(ToString::to_string).collect();
    let kind = if certificate.is_ca { "CA" } else { "leaf" };
    let lines = [
        ("identity", certificate.uris.join(", ")),
        ("subject", certificate.subject.clone()),
        ("issuer", certificate.issuer.clone()),
        ("kind", kind.to_owned()),
        ("valid from", format!("{:.0}", certificate.not_before)),
        ("valid until", format!("{:.0}", certificate.not_after)),
        ("DNS names", certificate.dns_names.join(", ")),
        ("addresses", addresses.join(", ")),
        ("serial", certificate.serial.clone()),
        ("SHA-256", certificate.sha256.clone()),
    ];
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(console.out, "{name:<12} {}", escape::text(value))?;
    }
    Ok(())
}
