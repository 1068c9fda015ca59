//! `sorcha-peer store check`: holds every row against what it stands for and all tables against one another. Reads
//! the database through an overlay, so that it changes nothing; knows nothing of a running store.

use std::path::Path;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use sha2::{Digest, Sha256};
use sorcha_peer_core::envelope::SyncKey;
use sorcha_peer_core::message::Fingerprint;
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::{PeerId, TxId};

use super::buckets::{self, LEVELS, Node};
use super::envelope::{self, LogEntry, read_entry, read_header};
use super::fault::{Broken, OpenError, guarded};
use super::open::{DATABASE_FILE, check_layout, lock_directory, open_error, open_overlay, overlay_journal};
use super::records::read_record;
use super::report::{CheckReport, Fault, FaultKind};
use super::retention::Account;
use super::schema::{
    CERTIFICATE_TIMES, CERTIFICATES, CURSORS, IDS, KEY_TIMES, KEYS, LOG, META, ORDER, RECORDS, SCHEMA,
    SEGMENT_BYTES, SEGMENTS, SUMMARY, TREES,
};

/// Faults listed; further ones are only counted.
const FAULTS_MAX: usize = 1000;

/// Checks the store of a state directory, which no peer may use meanwhile. Changes nothing but the lock file. Reads all of
/// it: about 1 s per 100 MB.
pub fn check(directory: &Path) -> Result<CheckReport, OpenError> {
    let file = directory.join(DATABASE_FILE);
    if !file.is_file() {
        return Err(OpenError::Missing(directory.to_owned()));
    }
    let lock = lock_directory(directory)?;
    let broken = |broken: Broken| open_error(directory, &file, &broken);
    let bytes = std::fs::metadata(&file).map_err(|error| broken(error.into()))?.len();
    let mut check = Check::new(&file, bytes);
    match guarded(|| open_overlay(&file)).map_err(broken) {
        Ok(database) => {
            check.report.layout = check_layout(&database, &file, broken)?;
            if check.report.layout == SCHEMA
                && let Err(broken) = guarded(|| overlay_journal(&database, &file))
            {
                check.broken(FaultKind::Journal, &broken);
            }
            check.database(database);
        }
        Err(OpenError::Damaged { detail, .. }) => {
            check.fault(FaultKind::Database, format!("the database does not open: {detail}"));
        }
        Err(error) => return Err(error),
    }
    drop(lock);
    Ok(check.report)
}

/// A check under way.
pub(super) struct Check {
    pub(super) report: CheckReport,
    /// As the database says; the last position found where an earlier layout says nothing.
    account: Option<Account>,
    head: u64,
}

type Step = fn(&mut Check, &ReadTransaction) -> Result<(), Broken>;

impl Check {
    pub(super) fn new(file: &Path, bytes: u64) -> Self {
        let report = CheckReport {
            file: file.to_owned(),
            layout: SCHEMA,
            bytes,
            transactions: 0,
            live_bytes: 0,
            floor_unix_ms: 0,
            ids_digest: String::new(),
            body_bytes: 0,
            certificates: 0,
            idempotency_keys: 0,
            cursors: 0,
            records: 0,
            faults: Vec::new(),
            faults_unlisted: 0,
        };
        Self { report, account: None, head: 0 }
    }

    fn fault(&mut self, kind: FaultKind, message: String) {
        if self.report.faults.len() < FAULTS_MAX {
            self.report.faults.push(Fault { kind, message });
        } else {
            self.report.faults_unlisted += 1;
        }
    }

    fn broken(&mut self, kind: FaultKind, broken: &Broken) {
        self.fault(kind, broken.detail());
    }

    /// Its pages first, then what they say.
    pub(super) fn database(&mut self, mut database: Database) {
        match guarded(|| Ok(database.check_integrity()?)) {
            Ok(true) => {}
            Ok(false) => {
                let message =
                    "pages of the database contradict one another; the next start of the peer repairs them";
                self.fault(FaultKind::Database, message.to_owned());
            }
            Err(broken) => return self.broken(FaultKind::Database, &broken),
        }
        let steps: [(FaultKind, Step); 7] = [
            (FaultKind::Database, Self::numbers),
            (FaultKind::Envelope, Self::transactions),
            (FaultKind::Index, Self::indices),
            (FaultKind::Certificate, Self::certificates),
            (FaultKind::Summary, Self::summary),
            (FaultKind::Key, Self::keys),
            (FaultKind::Record, Self::cursors_and_records),
        ];
        for (kind, step) in steps {
            if let Err(broken) = guarded(|| step(self, &database.begin_read()?)) {
                self.broken(kind, &broken);
            }
        }
    }

    fn numbers(&mut self, snapshot: &ReadTransaction) -> Result<(), Broken> {
        if self.report.layout == SCHEMA {
            let account = Account::read(&snapshot.open_table(META)?)?;
            self.report.floor_unix_ms = account.floor;
            self.account = Some(account);
        }
        Ok(())
    }

    fn transactions(&mut self, snapshot: &ReadTransaction) -> Result<(), Broken> {
        let ids = snapshot.open_table(IDS)?;
        let order = snapshot.open_table(ORDER)?;
        let certificates = snapshot.open_table(CERTIFICATES)?;
        let entries = envelope::Reader::new(snapshot)?;
        let (mut segments, mut trees, mut whole, mut bytes) = (0, 0, true, 0);
        for row in snapshot.open_table(LOG)?.iter()? {
            let (position, row) = row?;
            let position = position.value();
            self.head = position;
            self.report.transactions += 1;
            bytes += entries.bytes(position, row.value().len())?;
            let read =
                read_entry(position, row.value()).and_then(|entry| Ok((read_header(&entry.signed)?, entry)));
            let (header, entry) = match read {
                Ok(read) => read,
                Err(broken) => {
                    self.broken(FaultKind::Envelope, &broken);
                    continue;
                }
            };
            let id = TxId::of_header(&entry.signed);
            if envelope::position(&ids, &id)? != Some(position) {
                let message = format!("transaction {id} at position {position} is not found by its id");
                self.fault(FaultKind::Index, message);
            }
            let key = buckets::key(SyncKey { published: header.published, id });
            if order.get(&key)?.is_none() {
                let message =
                    format!("transaction {id} at position {position} is missing in the order of time");
                self.fault(FaultKind::Index, message);
            }
            let digest: Option<&[u8; 32]> = entry.certificate.as_ref().try_into().ok();
            let archived = digest.map(|digest| certificates.get(digest)).transpose()?.flatten();
            if archived.is_none() {
                let message = format!("the certificate of transaction {id} is missing in the archive");
                self.fault(FaultKind::Certificate, message);
            }
            self.report.body_bytes += header.body_bytes;
            if entry.body.is_none() {
                segments += header.body_bytes.div_ceil(SEGMENT_BYTES as u64);
            }
            match check_body(&entries, position, &entry, id) {
                Ok(rows) => trees += rows,
                Err(broken) => {
                    whole = false;
                    self.broken(FaultKind::Body, &broken);
                }
            }
        }
        for (name, found, expected) in [
            ("segments of bodies", snapshot.open_table(SEGMENTS)?.len()?, segments),
            ("rows of chunk trees", snapshot.open_table(TREES)?.len()?, trees),
        ] {
            // A body with a fault of its own is reported already.
            if whole && found != expected {
                let message = format!("there are {found} {name}, the transactions held have {expected}");
                self.fault(FaultKind::Body, message);
            }
        }
        self.report.live_bytes = bytes;
        if let Some(account) = self.account {
            if whole && account.bytes != bytes {
                let said = account.bytes;
                let message = format!("the transactions held take {bytes} bytes, the store says {said}");
                self.fault(FaultKind::Index, message);
            }
            if account.head < self.head {
                let (said, head) = (account.head, self.head);
                let message = format!("the last position is {head}, the store says {said}");
                self.fault(FaultKind::Index, message);
            }
            self.head = self.head.max(account.head);
        }
        Ok(())
    }

    fn indices(&mut self, snapshot: &ReadTransaction) -> Result<(), Broken> {
        let log = snapshot.open_table(LOG)?;
        let ids = snapshot.open_table(IDS)?;
        let mut digest = Sha256::new();
        for row in ids.iter()? {
            let (id, position) = row?;
            let (id, position) = (TxId::from_bytes(*id.value()), position.value());
            digest.update(id.as_bytes());
            if log.get(position)?.is_none() {
                let message = format!("id {id} leads to position {position}, where there is nothing");
                self.fault(FaultKind::Index, message);
            }
        }
        self.report.ids_digest = hex::encode(digest.finalize());
        for row in snapshot.open_table(ORDER)?.iter()? {
            let key = *row?.0.value();
            let id = buckets::id_of(&key);
            if envelope::position(&ids, &id)?.is_none() {
                let message = format!("the order of time names transaction {id}, which is not held");
                self.fault(FaultKind::Index, message);
            }
        }
        Ok(())
    }

    fn certificates(&mut self, snapshot: &ReadTransaction) -> Result<(), Broken> {
        let times =
            if self.report.layout == SCHEMA { Some(snapshot.open_table(CERTIFICATE_TIMES)?) } else { None };
        for row in snapshot.open_table(CERTIFICATES)?.iter()? {
            let (digest, der) = row?;
            self.report.certificates += 1;
            if let Some(times) = &times
                && times.get(digest.value())?.is_none()
            {
                let digest = hex::encode(digest.value());
                let message = format!("certificate {digest} of the archive would never be removed");
                self.fault(FaultKind::Certificate, message);
            }
            if Sha256::digest(der.value()).as_slice() != digest.value() {
                let digest = hex::encode(digest.value());
                let message = format!("certificate {digest} of the archive does not match its digest");
                self.fault(FaultKind::Certificate, message);
            }
        }
        Ok(())
    }

    fn summary(&mut self, snapshot: &ReadTransaction) -> Result<(), Broken> {
        let order = snapshot.open_table(ORDER)?;
        let summary = snapshot.open_table(SUMMARY)?;
        for level in 0..LEVELS {
            let (from, to) = (buckets::row_key(level, &[0; 40]), buckets::row_key(level + 1, &[0; 40]));
            let rows = || summary.range::<&[u8; 41]>(&from..&to);
            let nodes = rows()?
                .map(|row| row.map(|(at, row)| (buckets::lower_of(at.value()), Node::from_row(row.value()))));
            if level == 0 {
                let ids = order.iter()?.map(|row| {
                    row.map(|(key, _)| {
                        let mut print = Fingerprint::default();
                        print.add(&buckets::id_of(key.value()));
                        (*key.value(), print)
                    })
                });
                self.level(level, nodes, ids)?;
            } else {
                let below = buckets::row_key(level - 1, &[0; 40]);
                let children = summary.range::<&[u8; 41]>(&below..&from)?.map(|row| {
                    row.map(|(at, row)| (buckets::lower_of(at.value()), Node::from_row(row.value()).print))
                });
                self.level(level, nodes, children)?;
            }
        }
        Ok(())
    }

    /// Every node must be the sum of the children from its lower bound to the next node's.
    fn level(
        &mut self,
        level: u8,
        nodes: impl Iterator<Item = Result<(buckets::Key, Node), redb::StorageError>>,
        children: impl Iterator<Item = Result<(buckets::Key, Fingerprint), redb::StorageError>>,
    ) -> Result<(), Broken> {
        let mut nodes = nodes.peekable();
        let mut children = children.peekable();
        while let Some(node) = nodes.next() {
            let (lower, node) = node?;
            let upper = nodes.peek().and_then(|next| next.as_ref().ok()).map(|(upper, _)| *upper);
            let mut found = Node::default();
            let inside = |child: &Result<(buckets::Key, Fingerprint), _>| {
                child.as_ref().map_or(true, |(key, _)| upper.is_none_or(|upper| *key < upper))
            };
            while let Some(child) = children.next_if(inside) {
                found.print.merge(&child?.1);
                found.children += 1;
            }
            if found != node {
                let (says, is) = (node.print.count, found.print.count);
                let lower = hex::encode(&lower[..12]);
                let message = format!(
                    "the sum of level {level} from {lower} says {says} ids; there are {is}, or others than it says"
                );
                self.fault(FaultKind::Summary, message);
            }
        }
        if let Some(child) = children.next() {
            let lower = hex::encode(&child?.0[..12]);
            self.fault(FaultKind::Summary, format!("no sum of level {level} covers {lower}"));
        }
        Ok(())
    }

    fn keys(&mut self, snapshot: &ReadTransaction) -> Result<(), Broken> {
        let ids = snapshot.open_table(IDS)?;
        let times = snapshot.open_table(KEY_TIMES)?;
        for row in snapshot.open_table(KEYS)?.iter()? {
            let (key, row) = row?;
            let (accepted, id) = row.value();
            let (key, id) = (key.value(), TxId::from_bytes(*id));
            self.report.idempotency_keys += 1;
            // Retention may have removed what the key stands for; it stands for it still.
            let all_kept = self.account.is_none_or(|account| account.floor == 0);
            if all_kept && envelope::position(&ids, &id)?.is_none() {
                let message =
                    format!("idempotency key '{key}' stands for transaction {id}, which is not held");
                self.fault(FaultKind::Key, message);
            }
            if times.get((accepted, key))?.is_none() {
                self.fault(FaultKind::Key, format!("idempotency key '{key}' would never expire"));
            }
        }
        let (kept, timed) = (self.report.idempotency_keys, times.len()?);
        if timed > kept {
            let message = format!("{timed} idempotency keys are to expire, {kept} are there");
            self.fault(FaultKind::Key, message);
        }
        Ok(())
    }

    fn cursors_and_records(&mut self, snapshot: &ReadTransaction) -> Result<(), Broken> {
        for row in snapshot.open_table(CURSORS)?.iter()? {
            let (name, position) = row?;
            self.report.cursors += 1;
            if position.value() > self.head {
                let (name, position, head) = (name.value(), position.value(), self.head);
                let message =
                    format!("cursor '{name}' stands at {position}, beyond the last position {head}");
                self.fault(FaultKind::Cursor, message);
            }
        }
        for row in snapshot.open_table(RECORDS)?.iter()? {
            let (peer, row) = row?;
            self.report.records += 1;
            let peer = PeerId::from_bytes(*peer.value());
            match read_record(row.value()) {
                Ok(record) if record.peer == peer => {}
                Ok(record) => {
                    let message = format!("the record under peer {peer} is of {}", record.record.uri);
                    self.fault(FaultKind::Record, message);
                }
                Err(broken) => self.broken(FaultKind::Record, &broken),
            }
        }
        Ok(())
    }
}

/// The body against its root, and the stored chunk tree against the body; how many rows that has.
fn check_body(entries: &envelope::Reader, position: u64, entry: &LogEntry, id: TxId) -> Result<u64, Broken> {
    let root = read_header(&entry.signed)?.body_root;
    let body = Body::new(entries.body(position, entry)?);
    if body.root() != root {
        return Err(Broken::Damaged(format!("the body of transaction {id} does not match its root")));
    }
    entries.check_tree(position, &body)
}
