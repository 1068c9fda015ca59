//! Follows the directory while the peer runs: what is renewed there is used by the next handshake and signature.
//!
//! It looks at the content, not at names or times, so that files written in place, renamed and swapped behind
//! symbolic links (as Kubernetes does) are all the same to it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Content, Material, TlsError, TlsState};

/// What a look at the directory came to.
enum Look {
    /// What is in use is what is there.
    Same,
    /// Something else is there, and is used from now on.
    Taken,
    /// Something else is there that cannot be used; its digest, where it could be read.
    Refused(Option<Content>, TlsError),
}

/// Looks every `every`, and tells `taken` of what is used anew. What cannot be used leaves in use what was, with a
/// warning once it has been there for two looks: the files of one renewal may come one after the other. It is tried
/// again at every look, for a certificate may only be too early for this clock. Never ends by itself.
pub async fn follow(tls: Arc<TlsState>, every: Duration, taken: impl Fn(&Material)) {
    // The refusal of the last look, and whether it was told.
    let mut refused: Option<(Option<Content>, bool)> = None;
    loop {
        tokio::time::sleep(every).await;
        let state = Arc::clone(&tls);
        let look = tokio::task::spawn_blocking(move || look(&state));
        // A look that panicked has changed nothing; the next may fare better.
        let Ok(look) = look.await else { continue };
        refused = match look {
            Look::Same => None,
            Look::Taken => {
                let material = tls.current();
                let (not_before, not_after) = (material.not_before, material.not_after);
                tracing::info!(%not_before, %not_after, "certificate, key and roots were loaded again");
                taken(&material);
                None
            }
            Look::Refused(content, error) => match refused {
                Some((before, told)) if before == content => {
                    if !told {
                        tracing::warn!("what is in use stays in use: {error}");
                    }
                    Some((content, true))
                }
                _ => Some((content, false)),
            },
        };
    }
}

fn look(tls: &TlsState) -> Look {
    match tls.content() {
        Ok(content) if content == tls.current().content => {
            tls.note(None);
            Look::Same
        }
        Ok(content) => match tls.reload(Timestamp::now()) {
            Ok(()) => Look::Taken,
            Err(error) => Look::Refused(Some(content), error),
        },
        Err(error) => {
            let error = error.into();
            tls.note(Some(&error));
            Look::Refused(None, error)
        }
    }
}
