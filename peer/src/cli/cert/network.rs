//! `cert network`: a CA and the certificates of all peers of a small network in one go, as often as one likes. What is
//! there and good is kept.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use sorcha_peer_pki::files::{self, AUTHORITY_KEY_FILE};
use sorcha_peer_pki::{Authority, IssueRequest, SpiffeId};

use super::{ROOT_DAYS, bad, check_directory, days, failed};
use crate::cli::console::{Console, Failure};

/// A certificate that ends within this is issued anew (docs/design.md § 6: renewed from 10 days on).
const RENEWED_BEFORE: SignedDuration = SignedDuration::from_hours(10 * 24);

/// `cert network`.
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// Trust domain of the CA
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: String,
    /// Network that the peers belong to
    #[arg(long, value_name = "NETWORK")]
    network_id: String,
    /// Directory: `ca` in it gets the CA, `PEER` in it the certificate of each peer
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Names of the peers
    #[arg(required = true, value_name = "PEER")]
    peers: Vec<String>,
}

pub(super) fn network(args: &NetworkArgs, console: &mut Console<'_>) -> Result<(), Failure> {
    let now = Timestamp::now();
    let authority = authority(args, now)?;
    let (mut issued, mut kept) = (0, 0);
    for peer in &args.peers {
        let uri = format!("spiffe://{}/{}/{peer}", args.trust_domain, args.network_id);
        let uri: SpiffeId = uri.parse().map_err(bad)?;
        let directory = args.out.join(peer);
        if is_good(&directory, peer, &uri, &authority, now) {
            kept += 1;
            continue;
        }
        let certificate = authority.issue(&IssueRequest::new(uri, now)).map_err(bad)?;
        files::write_identity(&directory, &certificate, authority.certificate_pem()).map_err(failed)?;
        issued += 1;
    }
    writeln!(console.out, "{} certificates issued, {} kept, in {}", issued, kept, args.out.display())?;
    Ok(())
}

/// The one that is there, or a new one.
fn authority(args: &NetworkArgs, now: Timestamp) -> Result<Authority, Failure> {
    let directory = args.out.join("ca");
    if directory.join(AUTHORITY_KEY_FILE).exists() {
        return files::read_authority(&directory).map_err(failed);
    }
    let authority = Authority::generate(&args.trust_domain, now, days(ROOT_DAYS)).map_err(bad)?;
    files::write_authority(&directory, &authority).map_err(failed)?;
    Ok(authority)
}

/// Whether a peer can go on with what is there.
fn is_good(directory: &Path, peer: &str, uri: &SpiffeId, authority: &Authority, now: Timestamp) -> bool {
    let same_root = || {
        let trust = files::read(&directory.join(files::TRUST_FILE));
        trust.is_ok_and(|trust| trust == authority.certificate_pem().as_bytes())
    };
    check_directory(directory, peer)
        .is_ok_and(|found| found.uri == uri.as_str() && found.not_after > now + RENEWED_BEFORE)
        && same_root()
}
