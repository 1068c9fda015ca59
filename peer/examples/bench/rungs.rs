//! What a link carries on each rung of the ladder: what one peer accepted during an outage of the other goes there, on streams, on
//! unary calls and over HTTP/1.1 in turn.

use anyhow::Result;
use serde_json::{Value, json};

use crate::crowd::{Crowd, Place};
use crate::figures::quantile;
use crate::outbox;

const RUNGS: [&str; 3] = ["stream", "exchange", "rest"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each is measured; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Transactions of 1 KiB in each
    #[arg(long, default_value_t = 30_000)]
    small: u64,
    /// Transactions of 4 MiB in each
    #[arg(long, default_value_t = 48)]
    large: u64,
}

pub(crate) async fn run(place: &Place, args: &Args) -> Result<Value> {
    let kinds = [("small", args.small, 1024), ("large", args.large, 4 << 20)];
    let mut measured = [[const { Vec::new() }; 3], [const { Vec::new() }; 3]];
    // In turn, so that what else the machine does meets all of them.
    for round in 0..args.rounds {
        for (at, rung) in RUNGS.into_iter().enumerate() {
            for (kind, (name, transactions, bytes)) in kinds.into_iter().enumerate() {
                let directory = place.directory.join(format!("{name}-{rung}-{round}"));
                let place = Place { program: place.program.clone(), directory };
                let links = json!({ "links": { "rungs": [rung] } });
                let crowd = Crowd::prepare_with(&place, 2, |_| vec![0, 1], &links)?;
                let (per_second, _) = outbox::drain(&crowd, &outbox::Args { transactions, bytes }).await?;
                measured[kind][at].push(per_second * bytes as f64 / 1e6);
                std::fs::remove_dir_all(&place.directory)?;
            }
        }
    }
    let mut report = json!({ "rounds": args.rounds });
    for ((name, _, bytes), measured) in kinds.into_iter().zip(&mut measured) {
        let medians: Vec<f64> = measured.iter_mut().map(|values| quantile(values, 0.5)).collect();
        for (at, rung) in RUNGS.into_iter().enumerate() {
            report[name][rung] = json!({
                "mbPerSecond": (medians[at] * 10.0).round() / 10.0,
                "transactionsPerSecond": (medians[at] * 1e6 / bytes as f64 * 10.0).round() / 10.0,
                "shareOfStream": (medians[at] / medians[0] * 1000.0).round() / 1000.0,
            });
        }
    }
    Ok(report)
}
